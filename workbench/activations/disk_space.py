"""Whether a capture fits on the disk and within its limit."""

from __future__ import annotations

import shutil
from pathlib import Path

from workbench.errors import DiskFullError
from workbench.memory import size_text


def check_space(folder: Path, needed: int, done: int = 0, most: int | None = None) -> None:
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
    """Raise `DiskFullError` when a capture grows beyond its limit; the check before it used an estimate."""
    if most is not None and written > most:
        raise DiskFullError(
            f"The capture was stopped before it took more than {size_text(most)} (max_disk); what is whole is kept. Allow more"
            " and capture again: it goes on from there."
        )
