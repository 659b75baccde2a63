"""The classes whose logits vectors are tested on, and whether so many tests could find anything."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from analyses.directions._shared.tcav import out_of_reach
from workbench.datasets import Dataset
from workbench.errors import ConfigError, DataError, WorkbenchWarning
from workbench.numbers import counted
from workbench.readout import MIN_POSITIVES


def choose_classes(asked: str | None, known: list[str], wanted: list[str], columns_of_labels: Mapping[str, str]) -> list[str]:
    """The labels that are the classes.

    Args:
        asked: A column; the one with most values when None.
        known: The labels that the readout has a logit for.
        wanted: The labels that vectors are fitted for: they are the classes where there is no column.
        columns_of_labels: The column of each label of whole examples.

    Raises:
        ConfigError: The readout knows no such column.
    """
    columns: dict[str, list[str]] = {}
    for label in known:
        if label in columns_of_labels:
            columns.setdefault(columns_of_labels[label], []).append(label)
    if asked is not None and asked not in columns:
        raise ConfigError(
            f"classes='{asked}' is not a label column that the readout knows; it knows {', '.join(columns) or 'none'}."
        )
    if columns:
        return columns[asked or max(columns, key=lambda c: len(columns[c]))]
    # Data with labelled spans only: the readout says whether an example holds one.
    return [label for label in known if label in wanted] or known


def require_classes(dataset: Dataset, column: str) -> None:
    """See that a column has values on which a readout can be fitted, and examples to score; more than were captured may count.

    Raises:
        ConfigError: There is no such column of classes.
        DataError: None of its values has enough examples.
    """
    columns = [label.name for label in dataset.example_labels if label.kind == "class"]
    if column not in columns:
        known = ", ".join(columns) or "none"
        raise ConfigError(f"classes='{column}' is no label column of data set '{dataset.name}'; it has {known}.")
    names, values = dataset.example_targets()
    columns_of_labels = dataset.columns_of_labels()
    of_column = values[:, [columns_of_labels[name] == column for name in names]]
    train, test = (of_column[dataset.table["split"].eq(split).to_numpy()] for split in ("train", "test"))
    fewer = np.minimum((train == 1).sum(axis=0), (train == 0).sum(axis=0))
    if not ((fewer >= MIN_POSITIVES) & (test == 1).any(axis=0)).any():
        raise DataError(
            f"None of the values of classes='{column}' has {MIN_POSITIVES} training examples with it, {MIN_POSITIVES} without it"
            f" and a test example: the most that one has are {fewer.max(initial=0)} of the rarer. Choose a column of fewer"
            " values, or label more examples."
        )


def foresee(tests: int, sets: int, width: int) -> None:
    """Warn before the work where no corrected p value could reach .05, with so many random sets of vectors of a width."""
    if out_of_reach(tests, sets, width):
        warnings.warn(
            f"{counted(tests, 'test')} are corrected together, against {sets} random sets each, at a width of"
            f" {width}: no corrected p value can reach .05. Name fewer labels, a column of fewer classes or fewer sites, or"
            " raise random_sets.",
            WorkbenchWarning,
            stacklevel=2,
        )
