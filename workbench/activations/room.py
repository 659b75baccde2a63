"""How much a capture may write, and whether there is room for it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from workbench.errors import ConfigError, DiskFullError

_UNITS = (
    {"": 1, "b": 1} | {f"{k}b": 1000**i for i, k in enumerate("kmgt", 1)} | {f"{k}ib": 1024**i for i, k in enumerate("kmgt", 1)}
)


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


def check_room(folder: Path, needed: int, done: int = 0, most: int | None = None) -> None:
    """Refuse a capture that does not fit.

    Args:
        folder: Where it goes.
        needed: Bytes that the whole of it will take.
        done: Bytes of it that are on the disk already.
        most: Bytes that it may take; None stands for any number.

    Raises:
        DiskFullError: It takes more than it may, or more than is free.
    """
    if most is not None and needed > most:
        raise DiskFullError(
            f"The capture needs about {size_text(needed)} and may take {size_text(most)} (max_disk): allow more, or take fewer"
            " sites, a limit or a pool."
        )
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if needed - done > free:
        raise DiskFullError(
            f"The capture needs about {size_text(needed - done)} and {place} has {size_text(free)} free:"
            " free some space, or take fewer sites, a limit or a pool."
        )


def check_limit(written: int, most: int | None) -> None:
    """`DiskFullError` when a capture would grow beyond what it may take; only an estimate was known before."""
    if most is not None and written > most:
        raise DiskFullError(
            f"The capture was stopped before it took more than {size_text(most)} (max_disk); what is whole is kept. Allow more"
            " and capture again: it goes on from there."
        )
