"""How numbers lie on disk: float32, float16, or bfloat16.

NumPy has no bfloat16, so its rows lie as the upper 16 bits of float32, in little-endian ``uint16``. Reading puts 16 zero bits
below them, which is exact; torch takes the same bits as ``torch.bfloat16`` without any arithmetic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, get_args

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


def packed(rows: Float[np.ndarray, "n d"], dtype: str, site: str) -> np.ndarray:
    """Float32 rows as they lie on disk, each number rounded to the nearest, half-way to the even one.

    Raises:
        DataError: A value does not fit float16 or bfloat16: infinity would pass for a measurement.
    """
    if dtype == "float32":
        return rows
    with np.errstate(over="ignore"):
        small = _upper_bits(rows) if dtype == "bfloat16" else rows.astype(np.float16)
    if not np.isfinite(unpacked(small)).all():
        if not np.isfinite(rows).all():
            raise DataError(f"The model gives values at {site} that are not finite numbers: check its weights.")
        raise DataError(f"Activations at {site} reach {np.abs(rows).max():.0f}, more than {dtype} can hold: use dtype='float32'.")
    return small


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


def _upper_bits(rows: np.ndarray) -> Any:
    bits = np.ascontiguousarray(rows, np.float32).view(np.uint32)
    # Rounding adds just less than half of the last bit kept, and that bit itself where it is odd; a NaN must not become infinity.
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(rows), 0x7FC0, rounded).astype(np.uint16)
