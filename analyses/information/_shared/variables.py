"""Labels as discrete variables: a column with several values is one variable, each span label is one of two values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from workbench.activations.labels import is_span
from workbench.analysis import Context
from workbench.evidence.samples import Sample, samples
from workbench.progress import Progress, silent

MAX_VALUES = 24


@dataclass(frozen=True)
class Variable:
    """A discrete variable on training and test rows; -1 where it is unknown."""

    name: str
    y_train: Int[np.ndarray, "n"]
    y_test: Int[np.ndarray, "m"]

    @property
    def count(self) -> int:
        """How many values it has."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1


@dataclass(frozen=True)
class Group:
    """Variables that share their rows."""

    level: str
    variables: list[Variable]
    x_train: Float[np.ndarray, "n d"]
    x_test: Float[np.ndarray, "m d"]
    clusters_train: Int[np.ndarray, "n"]
    clusters_test: Int[np.ndarray, "m"]
    progress: Progress = silent


def variables(
    context: Context, site: str, labels: list[str], max_rows: int, skipped: list[dict[str, str]] | None = None
) -> Iterator[Group]:
    """The variables of a site, by level; labels with too few rows are appended to ``skipped``, with the reason."""
    columns = context.dataset.columns_of_labels()
    for sample in samples(context, site, labels, max_rows, skipped):
        usable, reasons = split_by_values(sample.labels, columns)
        if skipped is not None:
            skipped += reasons
        found = list(_spans(sample)) if is_span(sample.labels[0]) else list(_columns(sample, usable, columns))
        if found:
            yield Group(
                sample.level, found, sample.x_train, sample.x_test, sample.clusters_train, sample.clusters_test, sample.progress
            )  # fmt: skip


def split_by_values(labels: list[str], columns: Mapping[str, str]) -> tuple[list[str], list[dict[str, str]]]:
    """The labels without those of columns that have too many of them, and those columns with the reason."""
    counts = Counter(columns[label] for label in labels if not is_span(label))
    usable = [label for label in labels if is_span(label) or counts[columns[label]] <= MAX_VALUES]
    skipped = [
        {"label": column, "reason": f"'{column}' has {count} values with enough rows, and at most {MAX_VALUES} can be told apart:"
         " name some of them, column=value, or a coarser label"}
        for column, count in counts.items() if count > MAX_VALUES
    ]  # fmt: skip
    return usable, skipped


def _spans(sample: Sample) -> Iterator[Variable]:
    for i, name in enumerate(sample.labels):
        y = [np.where(np.isnan(part[:, i]), -1, part[:, i]).astype(np.int64) for part in (sample.y_train, sample.y_test)]
        yield Variable(name, y[0], y[1])


def _columns(sample: Sample, usable: list[str], columns: Mapping[str, str]) -> Iterator[Variable]:
    for column in dict.fromkeys(columns[name] for name in usable):
        places = [i for i, name in enumerate(sample.labels) if columns[name] == column]
        parts = []
        for values in (sample.y_train, sample.y_test):
            part = values[:, places]
            # A row with none of the values that can be used (a rare value, or no value) is unknown.
            code = np.where(np.nansum(part, axis=1) == 1, np.nan_to_num(part).argmax(1), -1)
            if len(places) == 1:
                code = np.where(np.isnan(part[:, 0]), -1, np.nan_to_num(part[:, 0]).astype(np.int64))
            parts.append(code.astype(np.int64))
        if all(len(np.unique(part[part >= 0])) >= 2 for part in parts):
            yield Variable(column, parts[0], parts[1])
