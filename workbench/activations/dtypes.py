"""How numbers lie on disk: float32, float16, or bfloat16.

NumPy has no bfloat16, so its rows lie as the upper 16 bits of float32, in little-endian ``uint16``. Reading puts 16 zero bits
below them, which is exact; torch takes the same bits as ``torch.bfloat16`` without any arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from jaxtyping import Float

from workbench.errors import DataError

if TYPE_CHECKING:
    import torch

Dtype = Literal["float16", "float32", "bfloat16"]
DTYPES: tuple[str, ...] = get_args(Dtype)


def disk_dtype(dtype: str) -> np.dtype:
    """What NumPy takes the bytes for: little-endian, whatever the machine."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype).newbyteorder("<")


def packed(rows: Float[np.ndarray | torch.Tensor, "n d"], dtype: str, site: str) -> np.ndarray:
    """Rows as they lie on disk: as float32, and each number then rounded to the nearest, half-way to the even one.

    A tensor is made so where it is: what is copied from a GPU is half as much.

    Raises:
        DataError: A value does not fit float16 or bfloat16: infinity would pass for a measurement.
    """
    import torch

    wide = torch.as_tensor(rows).float()
    if dtype == "float32":
        return wide.cpu().numpy()
    small = wide.to(getattr(torch, dtype))
    # A NaN is both the least and the greatest.
    if small.numel() and not torch.stack(small.aminmax()).isfinite().all():
        if not wide.isfinite().all():
            raise DataError(f"The model gives values at {site} that are not finite numbers: check its weights.")
        raise DataError(f"Activations at {site} reach {wide.abs().max():.0f}, more than {dtype} can hold: use dtype='float32'.")
    if dtype == "bfloat16":
        return small.cpu().view(torch.int16).numpy().view(np.uint16)
    return small.cpu().numpy()


def unpacked(block: np.ndarray) -> np.ndarray:
    """What lies on disk as floating point numbers of at least its own precision."""
    if block.dtype.kind != "u":
        return block
    wide: np.ndarray = np.left_shift(block, 16, dtype=np.uint32).view(np.float32)
    return wide


def as_tensor(block: np.ndarray) -> torch.Tensor:
    """What lies on disk as a tensor of the same type, bit for bit."""
    import torch

    if block.dtype.kind != "u":
        return torch.from_numpy(block.astype(block.dtype.newbyteorder("="), copy=False))
    return torch.from_numpy(block.astype(np.uint16, copy=False).view(np.int16)).view(torch.bfloat16)
