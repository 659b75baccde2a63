"""Texts and tokens as safe HTML: everything is escaped, nothing can steer the page."""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Iterable

WINDOW = 160


def visible(text: str) -> str:
    """Text with its control and direction characters written out, so that they are seen and do nothing.

    A newline or tab becomes a space, NUL becomes its picture ␀, and a right-to-left mark becomes ‹U+202E› or the like.
    """
    return "".join(_shown(c) for c in text)


def highlight(text: str, marks: Iterable[tuple[int, int, float]], window: int = WINDOW) -> str:
    """A text as HTML with the marked characters shaded by strength, cut to a window around the strongest.

    Args:
        text: Anything at all.
        marks: ``(start, end, value)`` in characters; values below zero are not shaded. One without characters, such as a special
            token has, is an empty mark, which the page's style shows as a ring.
        window: Characters kept on either side of the strongest mark.
    """
    marks = sorted((s, e, v) for s, e, v in marks if e >= s)
    strongest = max((v for _, _, v in marks), default=0.0)
    peak = next(((s, e) for s, e, v in marks if v == strongest), (0, 0))
    low, high = max(0, peak[0] - window), min(len(text), peak[1] + window)
    parts, place = ["…"] if low else [], low
    for start, end, value in marks:
        nothing = start == end
        behind = start < place or start > high if nothing else end <= place or start >= high
        if behind or value <= 0 or strongest <= 0:
            continue
        begin = max(start, place)
        parts.append(html.escape(visible(text[place:begin])))
        shade = round(100 * min(1.0, value / strongest))
        shown = html.escape(visible(text[begin : min(end, high)]))
        tooltip = f"a token without characters: {value:.3g}" if nothing else f"{value:.3g}"
        parts.append(f'<mark class="fire" style="--fire:{shade}%" title="{tooltip}">{shown}</mark>')
        place = min(end, high)
    parts.append(html.escape(visible(text[place:high])) + ("…" if high < len(text) else ""))
    return f'<bdi class="text">{"".join(parts)}</bdi>'


def _shown(c: str) -> str:
    if c in "\n\t\r":
        return " "
    category = unicodedata.category(c)
    if category == "Cc":
        return chr(0x2400 + ord(c)) if ord(c) < 0x20 else "␡"
    if category in {"Cf", "Cs", "Co", "Zl", "Zp"}:
        return f"‹U+{ord(c):04X}›"
    return c
