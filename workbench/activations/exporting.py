"""Activations as files that anything reads: safetensors, one a site, and a table of their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from workbench.activations.dtypes import disk_dtype
from workbench.errors import ConfigError, disk_errors
from workbench.writing import folder_beside

if TYPE_CHECKING:
    from workbench.activations.store import ActivationSet

_KINDS = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
TENSOR = "activations"
_CHUNK_BYTES = 16 * 2**20


def export_set(acts: ActivationSet, folder: Path) -> list[Path]:
    """Write ``<site>.safetensors`` with one tensor ``activations [n, d]`` for each site of a view, and ``rows.parquet``.

    Numbers are those on disk, bit for bit. ``study.import_activations`` reads the folder. A colon in a site is ``%3A`` in the
    name of its file.

    Raises:
        ConfigError: The folder is there and not empty.
        DiskFullError: There is no room; nothing is left.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a folder that does not exist yet.")
    with disk_errors("the export"), folder_beside(folder) as partial:
        for site in map(str, acts.sites):
            _write_site(acts, site, partial / f"{quote(site, safe='')}.safetensors")
        acts.index.to_parquet(partial / "rows.parquet", index=False, compression="zstd")
    return sorted(folder.iterdir())


def _write_site(acts: ActivationSet, site: str, path: Path) -> None:
    """The format is a length, a JSON header and the bytes, so that a set larger than memory can be written row by row."""
    dtype, width = acts.manifest.request.dtype, acts.width(site)
    row = width * disk_dtype(dtype).itemsize
    header = {TENSOR: {"dtype": _KINDS[dtype], "shape": [acts.n_rows, width], "data_offsets": [0, acts.n_rows * row]}}
    text = json.dumps(header | {"__metadata__": {"site": site, "set": acts.id}}).encode()
    # The numbers begin at a multiple of eight bytes.
    text += b" " * (-len(text) % 8)
    step = max(1, _CHUNK_BYTES // row)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for start in range(0, acts.n_rows, step):
            file.write(acts.raw(slice(start, start + step), site).tobytes())
