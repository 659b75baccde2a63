"""Standard input, output and error as a command finds them: closed, full, or without some characters."""

from __future__ import annotations

import os
import sys


class NobodyReadsError(Exception):
    """Whoever read the output has gone. The parser of the command line takes a `BrokenPipeError` for a failure."""


def prepare() -> None:
    """Have all three streams there, and no character that they cannot write.

    Where one is closed, the next file that is opened would take its number, and what is printed would land in it: in the catalog
    of a study, for instance.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(number, True)
    os.close(number)
    # They stay open as long as the process lives.
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
    """Print nothing more, and nothing of what is in the buffer: whoever read it has gone, or there is no room for it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
