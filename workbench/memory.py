"""How much memory one step of work may take, and sizes in bytes as people write them."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from workbench.errors import ConfigError

VARIABLE = "WORKBENCH_MEMORY"
SHARE = 0.25
"""The budget when nothing is set, as a share of the memory that is free."""
_UNITS = (
    {"": 1, "b": 1} | {f"{k}b": 1000**i for i, k in enumerate("kmgt", 1)} | {f"{k}ib": 1024**i for i, k in enumerate("kmgt", 1)}
)
# Bytes of one array at most: larger blocks are no faster, and smaller ones stay in the processor's cache.
_BLOCK_NUMBERS = 2**25
_NUMBER_BYTES = 4


def parse_size(text: str | int) -> int:
    """Bytes of a size such as ``2GB`` (10⁹), ``500MiB`` (2²⁰), ``1.5 TB`` or ``4096``.

    Raises:
        ConfigError: It is no such size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", str(text).lower())
    if found is None or found[2] not in _UNITS:
        raise ConfigError(f"'{text}' is no size: write 2GB, 500MB or 1.5TiB.")
    return int(float(found[1]) * _UNITS[found[2]])


def size_text(n: float) -> str:
    """Bytes for a person."""
    return f"{n / 2**30:.1f} GiB" if n >= 2**30 else f"{n / 2**20:.1f} MiB"


def memory_budget(device: str = "cpu") -> int:
    """Bytes that the temporary arrays of one step may take on a device.

    The environment variable ``WORKBENCH_MEMORY`` sets it (``2GB``, ``500MiB``); without it a quarter of what is free: of a GPU's
    memory for a model on a GPU, else of main memory, within the limit of the container that the process runs in.

    Raises:
        ConfigError: The variable is no size.
    """
    if set_by_user := os.environ.get(VARIABLE):
        return max(parse_size(set_by_user), 1)
    return int(free_memory(device) * SHARE)


def free_memory(device: str = "cpu") -> int:
    """Bytes that are free on a device: of a GPU's memory, else of main memory, within the limit of the process's container."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(torch.device(device))[0])
    import psutil

    return int(min([psutil.virtual_memory().available, *_container_free()]))


def rows_at_once(width: int, arrays: int, device: str = "cpu") -> int:
    """How many rows of ``width`` float32 numbers a step may handle at once when it holds ``arrays`` arrays of that size.

    At least one, whatever the budget; at most what makes an array of 128 MiB, beyond which nothing is gained.
    """
    fit = memory_budget(device) // (width * arrays * _NUMBER_BYTES)
    return max(1, min(fit, _BLOCK_NUMBERS // width))


def _container_free() -> list[int]:
    """Bytes left within the memory limit of this process's control group; empty if there is none."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        with suppress(OSError, ValueError):
            return [max(int(Path(limit).read_text()) - int(Path(used).read_text()), 0)]
    return []
