"""Types of activations on disk: float32, float16, or bfloat16.

NumPy has no bfloat16, so bfloat16 rows are stored as the upper 16 bits of float32, in little-endian ``uint16``. Reading puts 16
zero bits below them, which is exact; torch takes the same bits as ``torch.bfloat16`` without any arithmetic.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from jaxtyping import Float

from workbench.errors import DataError, WorkbenchWarning

if TYPE_CHECKING:
    import torch

    from workbench.models.base import Model
    from workbench.sites import Site

Dtype = Literal["float16", "float32", "bfloat16"]
DTYPES: tuple[str, ...] = get_args(Dtype)


def disk_dtype(dtype: str) -> np.dtype:
    """The NumPy type of the stored bytes: little-endian on every machine."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def packed(rows: Float[np.ndarray | torch.Tensor, "n d"], dtype: str, site: str) -> np.ndarray:
    """Rows converted to the type on disk: rounded from float32 to nearest, ties to even.

    Raises:
        DataError: A value overflows float16 or bfloat16.
    """
    import torch

    return packing(torch.as_tensor(rows), dtype, site)()


def packing(rows: Float[torch.Tensor, "n d"], dtype: str, site: str) -> Callable[[], np.ndarray]:
    """Begin to convert rows on their own device; see :func:`packed`. Returns a function that waits for them and returns them.

    So half as many bytes are copied from a GPU, and neither the GPU nor this thread waits.
    """
    import torch

    wide = rows.float()
    small = wide if dtype == "float32" else wide.to(getattr(torch, dtype))
    # A NaN is both the least and the greatest.
    ends = torch.stack(small.aminmax()) if small.numel() else small.new_zeros(2)
    come = arriving(small, ends)

    def packed() -> np.ndarray:
        here, extremes = come()
        if dtype != "float32" and not extremes.isfinite().all():
            if not wide.isfinite().all():
                raise DataError(f"The model gives values at {site} that are not finite numbers: check its weights.")
            most = f"{wide.abs().max():.0f}"
            raise DataError(f"Activations at {site} reach {most}, more than {dtype} can hold: use store_dtype='bfloat16'.")
        return here.view(torch.int16).numpy().view(np.uint16) if dtype == "bfloat16" else here.numpy()

    return packed


def warn_near_overflow(model: Model, inputs: Sequence[Any], sites: Sequence[Site], positions: str) -> None:
    """Warn, in one sentence, of sites whose values on some inputs are over half of the largest number that float16 holds.

    Raises:
        DataError: A value is beyond that number, or none at all.
    """
    largest = float(np.finfo(np.float16).max)
    batch = model.batch(list(inputs), positions=positions)
    near: dict[str, float] = {}
    for site, rows in model.activations(batch, sites).items():
        kept = rows[batch.keep.to(rows.device)] if rows.shape[:2] == batch.keep.shape else rows
        most = float(kept.float().abs().max()) if kept.numel() else 0.0
        if not most <= largest:
            packed(kept.flatten(0, -2), "float16", str(site))
        if most > largest / 2:
            near[str(site)] = most
    if near:
        worst = max(near, key=lambda site: near[site])
        more = f" (and over half of it at {len(near) - 1} more sites)" if len(near) > 1 else ""
        warnings.warn(
            f"Activations at {worst} reach {near[worst]:,.0f}{more} in a first batch, and float16 holds {largest:,.0f} at most:"
            " to be safe, capture with store_dtype='bfloat16' (--store-dtype bfloat16).",
            WorkbenchWarning,
            stacklevel=2,
        )


def arriving(*tensors: torch.Tensor) -> Callable[[], tuple[torch.Tensor, ...]]:
    """Begin to move tensors into main memory. Returns a function that waits for them and returns them."""
    import torch

    if not any(tensor.is_cuda for tensor in tensors):
        return lambda: tuple(tensor.cpu() for tensor in tensors)
    here = tuple(torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True) for tensor in tensors)
    for target, source in zip(here, tensors, strict=True):
        target.copy_(source, non_blocking=True)
    over = torch.cuda.Event()
    over.record(torch.cuda.current_stream(tensors[0].device))

    def arrived() -> tuple[torch.Tensor, ...]:
        over.synchronize()
        return here

    return arrived


def unpacked(block: np.ndarray) -> np.ndarray:
    """Stored rows as floating-point numbers of at least their own precision."""
    if block.dtype.kind != "u":
        return block
    wide: np.ndarray = np.left_shift(block, 16, dtype=np.uint32).view(np.float32)
    return wide


def as_tensor(block: np.ndarray) -> torch.Tensor:
    """Stored rows as a tensor of the same type, bit for bit."""
    import torch

    if block.dtype.kind != "u":
        return torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False))
    return torch.from_numpy(block.astype(np.uint16, copy=False).view(np.int16)).view(torch.bfloat16)
