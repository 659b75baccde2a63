"""What the workbench warns of while it works for a page or a job, in the thread that asked: a person at a browser sees no log."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import streamlit as st

from app.components.text import sentence
from workbench.errors import WorkbenchWarning

_here = threading.local()
_LEFT = "notes of a page that was left"
_before = warnings.showwarning


def _show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
    """Hand a warning of the workbench to who listens in this thread; all others go where they went."""
    listening: list[list[str]] = getattr(_here, "heard", [])
    if not (listening and issubclass(category, WorkbenchWarning)):
        _before(message, category, *rest, **more)
    elif str(message) not in listening[-1]:
        listening[-1].append(str(message))


def _listen() -> None:
    global _before
    if warnings.showwarning is not _show:
        _before, warnings.showwarning = warnings.showwarning, _show
    # Every session is told, not the first one only.
    warnings.simplefilter("always", WorkbenchWarning)


@contextmanager
def heard() -> Iterator[list[str]]:
    """The warnings of this thread while the block runs, each once."""
    _listen()
    stack: list[list[str]] = _here.__dict__.setdefault("heard", [])
    stack.append([])
    try:
        yield stack[-1]
    finally:
        stack.pop()


def show_notes(notes: list[str]) -> None:
    """Warnings as sentences on the page."""
    for note in notes:
        st.warning(sentence(note))


def keep_for_next_page(notes: list[str]) -> None:
    """Keep warnings for the page that comes next: the one that is being drawn is left."""
    st.session_state[_LEFT] = [*st.session_state.get(_LEFT, []), *notes]


def show_kept() -> None:
    """The warnings of a page that was left, once."""
    show_notes(st.session_state.pop(_LEFT, []))
