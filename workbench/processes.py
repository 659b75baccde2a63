"""Which process is which: a number alone is given again to another process some day."""

from __future__ import annotations

import platform
from typing import Any

import psutil


def identity(pid: int | None = None) -> dict[str, Any]:
    """``host, pid, created`` of a process, of this one when none is given.

    Raises:
        psutil.NoSuchProcess: It has ended.
    """
    process = psutil.Process(pid)
    return {"host": platform.node(), "pid": process.pid, "created": process.create_time()}


def find_process(known: dict[str, Any]) -> psutil.Process | None:
    """The process of an :func:`identity` while it lives on this machine, or None."""
    if known.get("host") != platform.node():
        return None
    try:
        process = psutil.Process(int(known["pid"]))
        # A process that has ended and was not asked how it went is a zombie: it does nothing any more.
        if abs(process.create_time() - known["created"]) > 1 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.Error:
        return None
    return process


def has_ended(known: dict[str, Any]) -> bool:
    """Whether the process is known to have ended; on another machine that cannot be told, so it has not."""
    return known.get("host") == platform.node() and find_process(known) is None
