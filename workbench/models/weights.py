"""What identifies weights, and loading them quietly."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
