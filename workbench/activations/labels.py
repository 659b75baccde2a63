"""Labels on the rows of an activation set, and the means of a set's examples.

A label of an example is broadcast to its rows. A labelled span (characters of a text, a box in an image) marks the rows that
overlap it; rows of examples that nobody annotated are unknown (NaN), never negative.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from workbench.activations.store import ActivationSet
from workbench.datasets import Dataset
from workbench.datasets.spans import PREFIXES
from workbench.errors import DataError, WorkbenchWarning

_CROPPED = (
    "The model's image processor crops images, so that the labelled regions cannot be found in its rows: they count as unknown."
    " Whole-image labels are used as they are."
)
POSITION_POOLS = frozenset({"token", "spatial"})


@dataclass(frozen=True)
class Targets:
    """Binary labels.

    Attributes:
        names: ``column=value`` for a label of examples, ``token:label`` or ``region:label`` for a span.
        values: ``[n, l]``: 1 present, 0 absent, NaN unknown.
    """

    names: list[str]
    values: Float[np.ndarray, "n l"]

    def only(self, names: list[str]) -> Targets:
        """Those of the given names, in that order."""
        return Targets(names, self.values[:, [self.names.index(name) for name in names]])


def is_span(label: str) -> bool:
    """Whether a label's name is that of a span (``token:…``, ``region:…``) and not of whole examples."""
    return label.startswith(PREFIXES)


def all_labels(dataset: Dataset) -> list[str]:
    """Every binary label of a data set: of examples first, then of spans."""
    return [*dataset.example_targets()[0], *dataset.span_targets()]


def choose_labels(dataset: Dataset, labels: str | Sequence[str] | None) -> list[str]:
    """The binary labels that ``labels`` means: a label, a column (all its values), ``tokens``, a list of these, or all.

    Raises:
        DataError: There is no such label; those that exist are named.
    """
    every = all_labels(dataset)
    if not every:
        kept = _kept(dataset, [])
        known = f" Columns that can be labels: {', '.join(kept[:30])}." if kept else ""
        raise DataError(f"Data set '{dataset.name}' has no labels; name them by labels=[…], or load a column of spans.{known}")
    if labels is None:
        return every
    chosen: list[str] = []
    columns = dataset.columns_of_labels()
    for item in [labels] if isinstance(labels, str) else labels:
        spans = item in {"tokens", "token", "regions"} and item not in columns.values()
        found = [n for n in every if (is_span(n) if spans else _means(n, item, columns))]
        # The command line takes blanks off the ends of what it is given.
        found = found or [n for n in every if columns.get(n, "").strip() == item.strip() != ""]
        if not found:
            raise DataError(_no_such_label(dataset, item, every))
        chosen += [n for n in found if n not in chosen]
    return chosen


def _means(label: str, item: str, columns: Mapping[str, str]) -> bool:
    return label in {item, f"token:{item}", f"region:{item}"} or columns.get(label) == item


def _kept(dataset: Dataset, columns: Sequence[str]) -> list[str]:
    """The columns that could be labels, besides those that are."""
    return [str(name) for name in dataset.table.columns if name not in {*columns, dataset.modality, "split", "group"}]


def _no_such_label(dataset: Dataset, item: str, every: list[str]) -> str:
    numbers = [label.name for label in dataset.example_labels if label.kind == "numeric"]
    if item in numbers:
        return f"'{item}' of data set '{dataset.name}' is a quantity, not a label with classes: choose another."
    of_labels = dataset.columns_of_labels()
    columns = sorted({of_labels.get(n, n) for n in every})
    kept = _kept(dataset, columns)
    close = difflib.get_close_matches(item, [*columns, *kept], n=1)
    meant = f" Did you mean '{close[0]}'?" if close else ""
    more = f" Kept columns that can be labels: {', '.join(kept[:30])}." if kept else ""
    return (
        f"Data set '{dataset.name}' has no label '{item}'.{meant} Its labels: {', '.join(columns[:30])}.{more}"
        " A label whose values are all the same cannot be chosen."
    )


def one_of_two(dataset: Dataset, labels: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The labels with one direction a question, and what its other side is called.

    A column with two values is one question: where both values are among the labels, the second is kept (of ``no`` and ``yes``,
    ``yes``; of 0 and 1, 1), since the other one's direction is the same with the sign turned.

    Returns:
        The labels that are left, in order; and for each of a column with two values the other value, as in
        ``{"answer=yes": "no"}``.
    """
    kept = list(labels)
    others: dict[str, str] = {}
    for label in dataset.example_labels:
        if label.kind != "class" or len(label.values) != 2:
            continue
        first, second = (f"{label.name}={value}" for value in label.values)
        if first in kept and second in kept:
            kept.remove(first)
        others |= {second: label.values[0], first: label.values[1]}
    return kept, {name: others[name] for name in kept if name in others}


def labelled(dataset: Dataset, labels: Sequence[str]) -> pd.DataFrame:
    """The table of concepts that were fitted to labels: ``label``, and ``other``, the other side of a label with two values."""
    others = one_of_two(dataset, labels)[1]
    return pd.DataFrame({"label": list(labels), "other": [others.get(name, "") for name in labels]})


def row_targets(acts: ActivationSet, dataset: Dataset, rows: Int[np.ndarray, "n"] | None = None) -> Targets:
    """Every label of the data set on the chosen rows, spans only where rows are positions."""
    example_names, example_values = dataset.example_targets()
    example = acts.index["example"].to_numpy()
    rows = np.arange(acts.n_rows) if rows is None else rows
    names, columns = list(example_names), [example_values[example[rows]]]
    if acts.pool in POSITION_POOLS:
        spans = dataset.span_targets()
        names += spans
        columns.append(_span_values(acts, dataset, spans)[rows])
    return Targets(names, np.concatenate(columns, axis=1).astype(np.float32))


def example_means(acts: ActivationSet, examples: Int[np.ndarray, "e"], chunk: int = 512) -> Float[np.ndarray, "e d"]:
    """The mean activation of each example. Of a pooled set, the rows themselves.

    ``examples`` are numbers in the data set; each must be in the set.
    """
    starts, stops = example_bounds(acts)
    out = np.empty((len(examples), acts.width()), dtype=np.float32)
    for begin in range(0, len(examples), chunk):
        part = examples[begin : begin + chunk]
        lengths = stops[part] - starts[part]
        rows = ranges(starts[part], lengths)
        sums = np.add.reduceat(acts.read(rows), np.concatenate([[0], np.cumsum(lengths)[:-1]]), axis=0)
        out[begin : begin + chunk] = sums / lengths[:, None]
    return out


def units_at(acts: ActivationSet, units: Int[np.ndarray, "k"], whole: bool) -> Callable[[str], Tensor]:
    """A function that gives the activations at a site: of rows, or of whole examples the means."""

    def rows(site: str) -> Tensor:
        here = acts.at(site)
        return torch.from_numpy(example_means(here, units) if whole else here.read(units))

    return rows


def example_bounds(acts: ActivationSet) -> tuple[Int[np.ndarray, "e"], Int[np.ndarray, "e"]]:
    """First row and one past the last row of each example number up to the largest in the set."""
    example = acts.index["example"].to_numpy()
    numbers = np.arange(int(example.max()) + 1)
    return np.searchsorted(example, numbers, side="left"), np.searchsorted(example, numbers, side="right")


def ranges(starts: Int[np.ndarray, "k"], lengths: Int[np.ndarray, "k"]) -> Int[np.ndarray, "n"]:
    """``arange(start, start + length)`` of each pair, one after the other."""
    total = int(lengths.sum())
    offsets = np.repeat(starts - np.concatenate([[0], np.cumsum(lengths)[:-1]]), lengths)
    return np.arange(total) + offsets


def _span_values(acts: ActivationSet, dataset: Dataset, names: list[str]) -> Float[np.ndarray, "n l"]:
    values = np.zeros((acts.n_rows, len(names)), dtype=np.float32)
    example = acts.index["example"].to_numpy().astype(np.int64)
    if not names:
        return values
    column = {name.split(":", 1)[1]: i for i, name in enumerate(names)}
    spans = dataset.spans[dataset.spans["label"].isin(column)]
    spans = spans[spans["example"].isin(set(example.tolist()))]
    if dataset.modality == "image" and _crops(acts.manifest.request.inputs):
        # It is unknown where a box is in the pixels that the model reads.
        warnings.warn(_CROPPED, WorkbenchWarning, stacklevel=3)
        return np.full_like(values, np.nan)
    if dataset.modality == "image":
        _mark_boxes(values, acts, dataset, spans, column)
    else:
        scale = int(max(acts.index["end"].max(), spans["end"].max() if len(spans) else 0)) + 2
        # A chat template may move a message, such as that of the system, behind others.
        start, end = acts.index["start"].to_numpy(), acts.index["end"].to_numpy()
        order = np.lexsort((end, start, example))
        first = np.searchsorted(
            (example * scale + end)[order],
            (spans["example"] * scale + spans["start"]).to_numpy(),
            "right",
        )
        last = np.searchsorted(
            (example * scale + start)[order],
            (spans["example"] * scale + spans["end"]).to_numpy(),
            "left",
        )
        lengths = np.maximum(last - first, 0)
        values[order[ranges(first, lengths)], np.repeat(spans["label"].map(column).to_numpy(dtype=np.int64), lengths)] = 1.0
    values[~dataset.span_scope[example]] = np.nan
    return values


def _crops(inputs: Mapping[str, Any]) -> bool:
    """Whether an image processor may cut off a part of an image, or add to it."""
    settings = inputs.get("settings", {})
    return any(settings.get(name) for name in ("do_center_crop", "do_pad", "crop_pct")) or "shortest_edge" in (
        settings.get("size") or {}
    )


def _mark_boxes(values: Float[np.ndarray, "n l"], acts: ActivationSet, dataset: Dataset, spans: object, column: object) -> None:
    grid_rows, grid_columns = acts.grid
    starts, _ = example_bounds(acts)
    for box in spans.itertuples():  # type: ignore[attr-defined]
        height, width = np.asarray(dataset.table["image"].iloc[box.example]).shape[:2]
        y = (np.arange(grid_rows) + 0.5) * height / grid_rows
        x = (np.arange(grid_columns) + 0.5) * width / grid_columns
        inside = ((y >= box.y0) & (y < box.y1))[:, None] & ((x >= box.x0) & (x < box.x1))[None, :]
        values[starts[box.example] + np.flatnonzero(inside), column[box.label]] = 1.0  # type: ignore[index]
