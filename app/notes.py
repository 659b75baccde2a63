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


@st.cache_resource(show_spinner=False)
def listen() -> None:
    """Hand every warning of the workbench to who listens in its thread, from now on; all others go where they went."""
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *rest: Any, **more: Any) -> None:
        heard: list[list[str]] = getattr(_here, "heard", [])
        if heard and issubclass(category, WorkbenchWarning):
            if str(message) not in heard[-1]:
                heard[-1].append(str(message))
        else:
            before(message, category, *rest, **more)

    warnings.showwarning = show
    # Every session is told, not the first one only.
    warnings.simplefilter("always", WorkbenchWarning)


@contextmanager
def heard() -> Iterator[list[str]]:
    """The warnings of this thread while the block runs, each once."""
    listen()
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
