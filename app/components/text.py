"""Text from data, names and tokens, made fit for a page. All of it is hostile until it has been through here."""

from __future__ import annotations

import html
import math
import re

from workbench.numbers import interval, number
from workbench.reports.highlight import visible

__all__ = ["chips", "escape", "interval", "literal", "number", "sentence", "short"]

# Every character that Markdown, as Streamlit reads it, may take for a command; any of them may be escaped by a backslash.
_MARKDOWN = re.compile(r"([!-/:-@\[-`{-~])")
# What Streamlit makes of plain text whether or not it is escaped: links of bare addresses, pictures of :names:, arrows of ->.
_MADE_OF_TEXT = re.compile(r"(?<=:)(?=[\w+/-])|(?<=www)(?=\.)|(?<=@)(?=[\w-])|(?<=[-<>~=])(?=[-=>])", re.IGNORECASE)
_JOINER = "\u2060"
_CODE = re.compile(r"`([^`]+)`")


def short(text: object, limit: int = 200) -> str:
    """One line of visible characters, at most ``limit`` of the text's own; a dash for what a table lacks."""
    whole = "–" if text is None or (isinstance(text, float) and math.isnan(text)) else str(text)
    # Cut first: a megabyte need not be made visible to be left out.
    return visible(whole) if len(whole) <= limit else visible(whole[: limit - 1]) + "…"


def escape(text: object, limit: int = 200) -> str:
    """For a place inside HTML."""
    return html.escape(short(text, limit))


def literal(text: object, limit: int = 400) -> str:
    """For a Streamlit label, which reads Markdown: links, addresses, images, colours, formulas and emoji stay plain text.

    No escape keeps a bare address from becoming a link, so an invisible character, a word joiner, parts it.
    """
    return _MARKDOWN.sub(r"\\\1", _MADE_OF_TEXT.sub(_JOINER, short(text, limit)))


def sentence(text: object, limit: int = 900) -> str:
    """For a message of the workbench: as `literal`, and what stands between backticks, such as a command, is code.

    Code is copied as it stands: it holds no joiners.
    """
    parts = _CODE.split(short(text, limit))
    return "".join(f"`{part}`" if number % 2 else literal(part, limit) for number, part in enumerate(parts))


def chips(values: dict[str, object]) -> str:
    """Small labelled tags, as HTML."""
    tags = [
        f'<span class="cw-chip"><span class="cw-soft">{escape(key)}</span> {escape(value)}</span>'
        for key, value in values.items()
        if str(value)
    ]
    return f'<div class="cw-chips">{"".join(tags)}</div>'
