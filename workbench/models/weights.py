"""Hashes of weights, and loading without messages of the libraries."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field
from torch import Tensor, nn

from workbench.errors import StudyError
from workbench.models.cache import cache_dir
from workbench.shapes import read_shaped
from workbench.writing import write_beside

# How long files must have been left alone for their hash to be remembered; file systems tell times to 2 seconds at worst.
_SETTLED_S = 3.0


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the sorted names with their types, shapes and bytes; one entry a tied tensor."""
    digest = hashlib.sha256()
    seen: set[tuple[int, tuple[int, ...], tuple[int, ...]]] = set()
    for name in sorted(tensors):
        tensor = tensors[name].detach()
        place = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride())
        if tensor.numel() and place in seen:
            continue
        seen.add(place)
        digest.update(f"{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def module_hash(module: nn.Module) -> str:
    """`weights_hash` of a module's parameters and buffers."""
    return weights_hash(module.state_dict())


def pretrained_hash(model: nn.Module, *, base_only: bool, missing: Iterable[str] = ()) -> str:
    """`weights_hash` of a Hugging Face model, the same whichever head it was loaded with.

    Names are those inside the base model. ``base_only`` leaves heads out; ``missing`` are weights that the
    file did not have, whose random values identify nothing.
    """
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    absent = set(missing)
    kept: dict[str, Tensor] = {}
    inside = any(name.startswith(prefix) for name in model.state_dict())
    for name, tensor in model.state_dict().items():
        if name in absent or (base_only and inside and not name.startswith(prefix)):
            continue
        kept[name.removeprefix(prefix)] = tensor
    return weights_hash(kept)


def weight_files(path: str) -> list[Path]:
    """The files with the weights of a model in a folder; none of a model that is known by a name alone."""
    folder = Path(path)
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def remembered_hash(files: Sequence[Path], kind: str, compute: Callable[[], str]) -> str:
    """A hash of what is in some files, from the user's cache directory if the files are what they were, else computed and kept.

    Files are recognised by name, length and times of change, to the nanosecond. What was changed shortly before is not
    remembered: a second change in the same tick of the file system's clock would pass unseen.

    Args:
        files: The files, as they were before they were read; where there are none nothing is remembered.
        kind: What else the hash depends on.
        compute: Computes it.
    """
    if not files:
        return compute()
    before = _stamps(files)
    name = hashlib.sha256(json.dumps([str(files[0].resolve().parent), kind]).encode()).hexdigest()[:24]
    entry = cache_dir() / "hashes" / f"{name}.json"
    with suppress(StudyError):
        known = read_shaped(entry, _Remembered)
        if known.files == before:
            return known.hash
    digest = compute()
    newest = max(max(stamp[2:]) for stamp in before) / 1e9
    if _stamps(files) == before and newest < time.time() - _SETTLED_S:
        # If the cache cannot be written, the hash is computed each time.
        with suppress(OSError):
            write_beside(entry, json.dumps({"files": before, "hash": digest}))
    return digest


class _Remembered(BaseModel):
    files: list[list[str | int]]
    hash: str = Field(pattern="^[0-9a-f]{64}$")


def _stamps(files: Sequence[Path]) -> list[list[Any]]:
    states = [(path.name, path.stat()) for path in files]
    return [[name, state.st_size, state.st_mtime_ns, state.st_ctime_ns] for name, state in states]


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and the notes of transformers about unused or missing heads."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
