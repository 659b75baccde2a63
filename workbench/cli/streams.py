"""Standard streams that are closed, full, or cannot encode some characters."""

from __future__ import annotations

import os
import sys


class NobodyReadsError(Exception):
    """The reader of the output has closed it. A type of our own, because the command-line parser treats `BrokenPipeError` as a
    failure."""


def prepare() -> None:
    """Open all three streams, and escape characters that they cannot encode.

    Where one is closed, the next file that is opened would take its number, and what is printed would land in it: in the catalog
    of a study, for instance.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # Left open for the lifetime of the process.
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def only_ascii() -> bool:
    """Whether standard output cannot write every character, as with `LANG=C` and Python's UTF-8 mode off."""
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"


def let_go() -> None:
    """Discard all further output and the buffer: its reader has gone, or the disk is full."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
