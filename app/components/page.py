"""Parts that every page has: a title, a heading, an empty state, and errors as sentences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import streamlit as st

from app import state
from app.components.text import escape, sentence, short
from app.notes import heard, keep_for_next_page, show_notes
from workbench.errors import WorkbenchError


def title(text: object, under: str = "") -> None:
    """The page's title; ``under`` is plain text."""
    st.html(f'<h1 class="cw-title"><bdi>{escape(text)}</bdi></h1><div class="cw-soft">{escape(under, 400)}</div>')


def small_lines(lines: Iterable[str], limit: int = 900) -> None:
    """Lines of plain text under something, small and soft; nothing where there are none."""
    if parts := [f'<div class="cw-soft cw-small">{escape(line, limit)}</div>' for line in lines]:
        st.html("".join(parts))


def study_switch() -> None:
    """Where several studies are served, a choice between them; the page stays the same."""
    names = list(state.study_folders())
    if len(names) > 1:
        place = names.index(st.session_state.get("study", names[0]))
        chosen = st.selectbox("Study", names, index=place, format_func=lambda name: short(name, 80), width=320)
        if chosen != names[place]:
            state.choose_study(chosen)
            st.rerun()


def heading(text: str, about: str = "") -> None:
    """A section's heading with a sentence that says what is to be seen."""
    below = f'<div class="cw-soft cw-small">{escape(about, 600)}</div>' if about else ""
    st.html(f'<h2 class="cw-heading">{escape(text)}</h2>{below}')


def empty(text: str, command: str = "") -> None:
    """What to say where there is nothing yet, and the command that would change that."""
    shown = f'<div style="margin-top:8px"><code>{escape(command)}</code></div>' if command else ""
    st.html(f'<div class="cw-empty">{escape(text, 600)}{shown}</div>')


@contextmanager
def sentences() -> Iterator[None]:
    """Show an error and the warnings of the workbench as the sentences that they are; the rest of the page goes on."""
    with heard() as notes:
        try:
            yield
        except WorkbenchError as error:
            st.error(sentence(error))
        except BaseException:
            # Streamlit leaves a page by an exception.
            keep_for_next_page(notes)
            raise
    show_notes(notes)
