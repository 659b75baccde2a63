"""A data set in words, for a terminal and for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from workbench.datasets.columns import missing
from workbench.numbers import counted

if TYPE_CHECKING:
    from workbench.datasets.dataset import Dataset

_CUT = 160


def summary(data: Dataset) -> str:
    """A few lines: how many examples, in which splits, with which labels."""
    lines = [f"Dataset {printable(data.name)}: {_sizes(data)}"]
    for label in data.labels:
        if label.kind == "numeric":
            lines.append(f"  {printable(label.name)}: a number")
        else:
            shown = ", ".join(f"{printable(value)} {label.n[value]:,}" for value in label.values[:8])
            more = f", and {len(label.values) - 8} more" if len(label.values) > 8 else ""
            lines.append(f"  {printable(label.name)} ({label.level}): {shown}{more}")
    return "\n".join([*lines, *(f"  {printable(note)}" for note in data.notes)])


def page(data: Dataset) -> str:
    """The summary and the first five examples as HTML; every name and text in it is escaped."""
    names = [data.modality, "split", *(label.name for label in data.example_labels)]
    head = "".join(f"<th>{safe(name)}</th>" for name in names)
    rows = "".join(
        f"<tr>{''.join(f'<td>{safe(value)}</td>' for value in row)}</tr>"
        for row in data.table[names].head(5).itertuples(index=False, name=None)
    )
    lines = "<br>".join(escape(line) for line in summary(data).split("\n"))
    return f"<div><p>{lines}</p><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def safe(value: Any) -> str:
    """A cell as HTML: escaped, cut, and nothing that could turn the text around it."""
    shape = getattr(value, "shape", None)
    if shape:
        return f"image, {shape[1]} by {shape[0]}"
    return "" if missing(value) else escape(printable(value))


def printable(value: object) -> str:
    """A text as one line of visible characters: control and direction marks are shown by their code."""
    text = str(value)
    cut = text if len(text) <= _CUT else text[: _CUT - 1] + "…"
    return "".join(c if c.isprintable() else " " if c in "\n\t\r" else f"\\u{ord(c):04x}" for c in cut)


def _sizes(data: Dataset) -> str:
    splits = data.table["split"].value_counts()
    parts = ", ".join(f"{splits.get(name, 0):,} {name}" for name in ("train", "validation", "test"))
    kind = "conversation" if data.of_conversations else data.modality
    spans = f", {counted(len(data.spans), 'span')} in {int(data.span_scope.sum()):,} of them" if len(data.spans) else ""
    return f"{counted(len(data), kind)} ({parts}){spans}"
