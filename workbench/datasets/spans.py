"""Labels on part of an example: runs of characters in a text, boxes in an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from workbench.conversations import Conversation
from workbench.datasets.columns import missing
from workbench.errors import DataError
from workbench.shapes import ShapeError, parse_json

PLACES = {"text": ("start", "end"), "image": ("x0", "y0", "x1", "y1")}
LEVELS = {"text": "token", "image": "region"}
PREFIXES = tuple(f"{level}:" for level in LEVELS.values())
"""What the names of labels of spans begin with."""
_SHAPES = {
    "text": "a list of {start, end, label}",
    "image": "a list of {x0, y0, x1, y1, label}",
}


def no_spans(modality: str) -> pd.DataFrame:
    """A span table without rows."""
    return span_frame(modality, {})


def span_frame(modality: str, columns: Mapping[str, Any]) -> pd.DataFrame:
    """A span table with its columns in order and of their types."""
    names = ("example", *PLACES[modality])
    frame = pd.DataFrame({name: np.asarray(columns.get(name, []), dtype=np.int64) for name in names})
    frame["label"] = pd.Series(columns.get("label", []), dtype=object)
    return frame


def read_spans(cells: Sequence[Any], contents: Sequence[Any] | None, modality: str) -> tuple[pd.DataFrame, np.ndarray]:
    """The span table of a column of lists (or of their JSON), and which examples were annotated.

    A span may name a ``message`` of a conversation, counted from 0: its characters are then those of that message's content.
    An empty list says that the example was looked at and holds nothing; a missing cell says that nobody looked. Without
    ``contents`` nothing is checked to be inside its example: only for a file that was checked when it was written.
    """
    rows: dict[str, list] = {name: [] for name in ("example", *PLACES[modality], "label")}
    scope = np.zeros(len(cells), dtype=bool)
    for example, (cell, content) in enumerate(zip(cells, [None] * len(cells) if contents is None else contents, strict=True)):
        if cell is None or (not isinstance(cell, (list, tuple, np.ndarray)) and missing(cell)):
            continue
        scope[example] = True
        for item in _as_list(cell, example, modality):
            place, label = _one(item, content, example, modality)
            rows["example"].append(example)
            rows["label"].append(label)
            for name, value in zip(PLACES[modality], place, strict=True):
                rows[name].append(value)
    return span_frame(modality, rows), scope


def _as_list(cell: Any, example: int, modality: str) -> Sequence[Any]:
    if isinstance(cell, str):
        try:
            cell = parse_json(cell)
        except ShapeError:
            cell = None
    if isinstance(cell, (list, tuple, np.ndarray)):
        return list(cell)
    what = "spans" if modality == "text" else "regions"
    raise DataError(f"The {what} of row {example} (the first is 0) are not {_SHAPES[modality]}: give such a list, or its JSON.")


def _one(item: Any, content: Any, example: int, modality: str) -> tuple[tuple[int, ...], str]:
    what = "span" if modality == "text" else "region"
    names = PLACES[modality]
    if not isinstance(item, Mapping) or not all(_whole(item.get(name)) for name in names) or missing(item.get("label")):
        raise DataError(
            f"A {what} of row {example} (the first is 0) is not {_SHAPES[modality][10:]}"
            " with whole numbers and a label: mend it in the file."
        )
    place = tuple(int(item[name]) for name in names)
    if content is None:
        return place, str(item["label"]).strip()
    if modality == "text":
        start, stop = _message(item, content, example)
        place = (place[0] + start, place[1] + start)
        inside, size = start <= place[0] < place[1] <= stop, f"{stop - start} characters"
    else:
        height, width = content.shape[:2]
        inside = 0 <= place[0] < place[2] <= width and 0 <= place[1] < place[3] <= height
        size = f"{width} by {height} pixels"
    if not inside:
        where = ", ".join(map(str, place))
        raise DataError(
            f"A {what} of row {example} (the first is 0), {where}, lies outside its example of {size}"
            " or is empty: count from 0, with the end after the last one inside."
        )
    return place, str(item["label"]).strip()


def _message(item: Mapping[str, Any], content: Any, example: int) -> tuple[int, int]:
    """The characters that a span's places are counted in: those of one message where it names one, else the whole text's."""
    number = item.get("message")
    if number is None:
        return 0, len(content)
    if not isinstance(content, Conversation) or not _whole(number) or not 0 <= int(number) < len(content.messages):
        raise DataError(
            f"A span of row {example} (the first is 0) names the message {number!r}, which is not there: count from 0."
        )
    start = content.starts[int(number)]
    return start, start + len(content.messages[int(number)].content)


def _whole(value: Any) -> bool:
    if isinstance(value, Integral):
        return not isinstance(value, bool) and abs(int(value)) < 2**62
    return isinstance(value, Real) and float(value).is_integer()
