"""Work that takes longer than a click: it runs in a thread of its own and outlives the page that started it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from app.components.text import literal, sentence
from app.notes import heard, show_notes
from app.state import wait_for_engine
from workbench.errors import WorkbenchError
from workbench.progress import Progress, TimeLeft, with_time_left

POLL_SECONDS = 1.0
_OVERTAKEN = "a job overtook the page"
log = logging.getLogger(__name__)


@dataclass
class Job:
    """One piece of work.

    Attributes:
        title: What it is, for a person.
        done, total, text: How far it is.
        result: What it returned.
        error: The sentence that says why it failed.
        finished: Whether it has ended.
        notes: What the workbench warned of.
    """

    title: str
    done: int = 0
    total: int = 1
    text: str = ""
    result: Any = None
    error: str = ""
    finished: bool = False
    notes: list[str] = field(default_factory=list)
    left: TimeLeft = field(default_factory=TimeLeft)

    def progress(self, done: int, total: int, text: str) -> None:
        """Note how far it is."""
        self.left.update(done, total, text)
        self.done, self.total, self.text = done, max(total, 1), with_time_left(text, self.left.seconds)

    def work(self, do: Callable[[Progress], Any]) -> None:
        """Do it, here and now."""
        try:
            wait_for_engine()
            with heard() as self.notes:
                self.result = do(self.progress)
        except WorkbenchError as error:
            self.error = str(error)
        except Exception as error:
            log.exception("%s failed", self.title)
            self.error = f"{self.title} failed: {type(error).__name__}: {error}"
        finally:
            self.finished = True


@st.cache_resource(show_spinner=False)
def _jobs() -> dict[tuple[str, ...], Job]:
    return {}


def find_job(key: tuple[str, ...]) -> Job | None:
    """The job of this key, running or ended, if there is one."""
    return _jobs().get(key)


def start(key: tuple[str, ...], title: str, do: Callable[[Progress], Any]) -> Job:
    """Start a job, or give the one of this key that is still running."""
    known = find_job(key)
    if known is not None and not known.finished:
        return known
    job = _jobs()[key] = Job(title)
    threading.Thread(target=job.work, args=(do,), name=title, daemon=True).start()
    return job


def forget(key: tuple[str, ...]) -> None:
    """Let go of an ended job and its result."""
    _jobs().pop(key, None)


def button(
    key: tuple[str, ...], label: str, title: str, do: Callable[[Progress], Any], *, icon: str, disabled: bool = False, **look: Any
) -> Job | None:
    """A button that starts a job, and below it how far that is or why it failed.

    Args:
        key: The job's: what kind of work, on which study, and what else tells one piece of work from another.
        label: What the button says.
        title: What the job is, for a person.
        do: The work.
        icon: The button's.
        disabled: Whether there is something else to do first.
        look: Passed to ``st.button``.

    Returns:
        The job, once it has ended well.
    """
    job = find_job(key)
    busy = job is not None and not job.finished
    # The rest of the key may change between the moment when a page is drawn and the click, which would then be lost.
    if st.button(label, icon=icon, disabled=busy or disabled, key=f"{label} {key[:2]}", **look):
        start(key, title, do)
        st.rerun()
    if busy:
        watch(key)
    if job is not None and job.finished and job.error:
        st.error(sentence(job.error))
    if job is not None and job.finished:
        show_notes(job.notes)
    return job if job is not None and job.finished and not job.error else None


def watch(key: tuple[str, ...]) -> None:
    """Show the progress of a job that the page took for running; the page is drawn anew when it ends.

    It may have ended while the page was drawn: then :func:`redraw` draws the page anew, once what was clicked has been done.
    """
    job = find_job(key)
    if job is None or job.finished:
        st.session_state[_OVERTAKEN] = True
    else:
        _bar(key)


def redraw() -> None:
    """At the end of a page: draw it anew if a job ended meanwhile. Any earlier, a click not yet come to would be lost."""
    if st.session_state.pop(_OVERTAKEN, False):
        st.rerun()


@st.fragment(run_every=POLL_SECONDS)
def _bar(key: tuple[str, ...]) -> None:
    job = find_job(key)
    if job is None or job.finished:
        st.rerun()
        return
    st.progress(min(1.0, job.done / job.total), text=literal(f"{job.title}: {job.text or 'starting'}", 160))
