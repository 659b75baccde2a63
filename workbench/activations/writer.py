"""Writing a set of activations: whole, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from workbench.activations.manifest import INDEX, MANIFEST, Manifest, Request, disk_dtype, shard_name
from workbench.errors import DataError, DiskFullError, disk_errors

SHARD_BYTES = 512 * 2**20
_SCHEMA = pa.schema(
    [
        ("example", pa.int32()),
        ("position", pa.int32()),
        ("token", pa.string()),
        ("start", pa.int32()),
        ("end", pa.int32()),
    ]
)


@contextmanager
def writing(folder: Path, request: Request) -> Iterator[Writer]:
    """A writer into ``folder.partial``, which becomes ``folder`` when the writer has finished.

    On any error, an interrupt too, the partial folder is removed and nothing is left.
    """
    partial = folder.with_name(f"{folder.name}.partial")
    writer = Writer(partial, request)
    try:
        with disk_errors("activations"):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield writer
            writer.close()
            _sync(partial)
            # What stands in the way is no whole set, or it would have been opened.
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(partial, folder)
    except BaseException:
        # Closing flushes, and on a full disk that fails again; the first error is the one to tell.
        with suppress(Exception):
            writer.close()
        shutil.rmtree(partial, ignore_errors=True)
        raise


class Writer:
    """Appends rows of every site, rolling over to a new shard when one is large."""

    def __init__(self, folder: Path, request: Request) -> None:
        self.folder, self.request = folder, request
        self.shards: list[int] = []
        self._files: list[BinaryIO] = []
        self._index: pq.ParquetWriter | None = None
        self._dtype = disk_dtype(request.dtype)

    def append(self, rows: list[np.ndarray], index: dict[str, Any]) -> None:
        """Rows ``[n, d]`` of each site, and their index columns."""
        widest = max(self.request.widths) * self._dtype.itemsize
        if not self.shards or (self.shards[-1] + len(rows[0])) * widest > SHARD_BYTES:
            self._roll()
        for file, block in zip(self._files, rows, strict=True):
            file.write(np.ascontiguousarray(block, self._dtype).reshape(-1).view(np.uint8).data)
        self.shards[-1] += len(rows[0])
        if self._index is None:
            self._index = pq.ParquetWriter(self.folder / INDEX, _SCHEMA, compression="zstd")
        self._index.write_table(pa.table(index, schema=_SCHEMA))

    def finish(
        self, model: dict[str, Any], dataset_source: dict[str, Any], n_examples: int, grid: tuple[int, int] | None
    ) -> None:
        """The manifest: the last thing written."""
        self.close()
        manifest = Manifest(
            request=self.request,
            model=model,
            dataset_source=dataset_source,
            n_examples=n_examples,
            grid=grid,
            shards=tuple(self.shards),
        )
        (self.folder / MANIFEST).write_text(manifest.model_dump_json(indent=1), encoding="utf-8")

    def close(self) -> None:
        """Close every file."""
        files, self._files = self._files, []
        for file in files:
            file.close()
        if self._index is not None:
            index, self._index = self._index, None
            index.close()

    def _roll(self) -> None:
        for file in self._files:
            file.close()
        shard = len(self.shards)
        self._files = [(self.folder / shard_name(number, shard)).open("xb") for number in range(len(self.request.sites))]
        self.shards.append(0)


def half(rows: np.ndarray, site: str) -> np.ndarray:
    """Rows as float16. `DataError` when a value does not fit: infinity would pass for a measurement."""
    with np.errstate(over="ignore"):
        small = rows.astype(np.float16)
    if not np.isfinite(small).all():
        if not np.isfinite(rows).all():
            raise DataError(f"The model gives values at {site} that are not finite numbers: check its weights.")
        raise DataError(f"Activations at {site} reach {np.abs(rows).max():.0f}, more than float16 can hold: use dtype='float32'.")
    return small


def check_room(folder: Path, needed: int) -> None:
    """`DiskFullError` when the disk has less room than a capture will take."""
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DiskFullError(
            f"The capture needs about {_size(needed)} and {place} has {_size(free)} free:"
            " free some space, or take fewer sites, a limit or a pool."
        )


def _size(n: int) -> str:
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
