"""Text that comes from data is shown and does nothing."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.components.text import chips, escape, literal, sentence, short

HOSTILE = "<script>alert(1)</script>\"'\x00\u202eabc ![x](http://a.example/x.png) :red[y] $z$ [l](javascript:alert(1))"


def test_escaped_text_holds_no_tag_and_shows_what_it_hid() -> None:
    shown = escape(HOSTILE)
    assert "<" not in shown
    assert '"' not in shown
    assert "␀" in shown
    assert "‹U+202E›" in shown


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_what_a_table_lacks_is_a_dash(missing: object) -> None:
    assert short(missing) == escape(missing) == "–"


@given(st.text(max_size=300))
def test_literal_escapes_every_mark_of_markdown(text: str) -> None:
    shown = literal(text)
    bare = shown.replace("\\\\", "")
    for place, char in enumerate(bare):
        if char in "![](){}<>*_`#$:|~&":
            assert bare[place - 1] == "\\"


@given(st.text(max_size=100), st.text(alphabet=st.characters(exclude_characters="`"), min_size=1, max_size=60))
def test_a_command_in_a_sentence_is_code_as_it_stands(before: str, command: str) -> None:
    shown = sentence(f"{before.replace('`', '')} Use `{command}`: it helps.")
    assert f"`{short(command, 900)}`" in shown
    assert sentence("see `--root FOLDER`") == "see `--root FOLDER`"
    # What is not code is as in any label.
    assert "](" not in sentence("[a](javascript:b) `c`")


MADE_OF_TEXT = [
    "https://a.example/x", "HTTP://a.example", "www.a.example", "WWW.A.EXAMPLE/x", "ada@a.example", "mailto:ada@a.example",
    ":smile:", ":+1:", ":material/home:", ":streamlit:", "-> <- <-> -- >= <= ~=", "xmpp:a@b.example/c",
    "see http://a.example, www.b.example.",
]  # fmt: skip


@pytest.mark.parametrize("text", MADE_OF_TEXT)
def test_nothing_is_made_of_bare_text(text: str) -> None:
    """By the rules of GitHub's Markdown for addresses, of emoji by name, and of Streamlit's own arrows."""
    shown = literal(text)
    plain = shown.replace("\\", "")
    made = (
        r"https?://", r"www\.", r"[-.\w+]+@[-\w]+\.", r":(\+1|-1|[\w-]+):", r":(material|streamlit)[/_:]", r"<-|->|--|>=|<=|~=",
        r"(mailto|xmpp):\w",
    )  # fmt: skip
    assert not re.search("|".join(made), plain, re.IGNORECASE)
    assert plain.replace("\u2060", "") == text


@given(st.text(max_size=500), st.integers(2, 50))
def test_short_text_is_one_line_and_short(text: str, limit: int) -> None:
    shown = short(text, limit)
    assert "\n" not in shown
    # A control character may be written out in up to ten.
    assert len(shown) <= 10 * limit


def test_a_megabyte_is_cut() -> None:
    assert len(escape("<" * 1_000_000)) < 1000


def test_chips_escape_and_leave_out_what_is_blank() -> None:
    shown = chips({"site": "<b>", "label": ""})
    assert html.escape("<b>") in shown
    assert "label" not in shown
