"""Drawing a sample of the examples of a data set to capture."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from workbench.activations.source import Examples
from workbench.datasets import columns
from workbench.errors import ConfigError, UnknownNameError, WorkbenchWarning
from workbench.seeds import check_seed

_NAMED = 8


@dataclass(frozen=True)
class Drawn:
    """The examples of a capture.

    Attributes:
        ids: ``[n]``: their numbers in the data set, ascending.
        rule: JSON: how they were drawn, ``{"seed": …, "by": …}``; None where they are all, or the first ones.
    """

    ids: Int[np.ndarray, "n"]
    rule: dict[str, Any] | None = None

    @property
    def digest(self) -> str | None:
        """What identifies drawn examples: the first 16 hexadecimal digits of the SHA-256 of their numbers; None without a rule.

        Two rules that draw the same examples give the same capture, also if labels have changed since.
        """
        return None if self.rule is None else hashlib.sha256(self.ids.astype("<i8").tobytes()).hexdigest()[:16]


def draw(dataset: Examples, limit: int | None, seed: int | None = 0, by: str | None = None) -> Drawn:
    """``limit`` examples of a data set, drawn by a seed; all of them when there are no more.

    Args:
        dataset: The data set.
        limit: How many; None for all.
        seed: Of the drawing; None takes the first ones.
        by: A column: of each of its values as many are drawn, as far as there are. Examples without a value come last.

    Raises:
        ConfigError: The limit is below 1, the seed is invalid, or ``by`` is given without a limit or a seed.
        UnknownNameError: There is no such column.
    """
    count = len(dataset)
    if seed is not None:
        check_seed(seed)
    if by is not None and (limit is None or seed is None):
        lacking = "limit= (--limit)" if limit is None else "a seed="
        raise ConfigError(f"sample_by= (--sample-by) says how a limited number of examples is drawn: give {lacking} as well.")
    if by is not None and by not in dataset.table.columns:
        raise UnknownNameError("column", by, map(str, dataset.table.columns), f"({dataset.name} has no such column.)")
    if (count if limit is None else min(limit, count)) < 1:
        raise ConfigError("There is no example to capture: raise the limit or take another data set.")
    if limit is None or limit >= count:
        return Drawn(np.arange(count))
    if seed is None:
        return Drawn(np.arange(limit))
    order = np.random.default_rng(seed).permutation(count)
    if by is not None:
        order = _in_turn(_values(dataset, by), order)
    return Drawn(np.sort(order[:limit]), {"seed": seed, "by": by})


def _in_turn(values: pd.Series, order: Int[np.ndarray, "n"]) -> Int[np.ndarray, "n"]:
    """The order in which one example of each value is drawn after another."""
    shuffled = values.iloc[order].reset_index(drop=True)
    turn = np.where(shuffled.isna(), np.inf, shuffled.groupby(shuffled, sort=False).cumcount())
    return order[np.argsort(turn, kind="stable")]


def _values(dataset: Examples, by: str) -> pd.Series:
    """What examples are drawn by: the values of a column as text, and None where one has none."""
    cells = columns.cells(dataset.table[by])
    present = [None if columns.missing(cell, dataset.missing_words) else columns.class_text(cell) for cell in cells]
    return pd.Series(present, dtype=object)


def warn_of_short_values(dataset: Examples, limit: int, by: str) -> None:
    """Warn of values that have fewer examples than an equal share of ``limit``; all of theirs are drawn."""
    counts = _values(dataset, by).value_counts()
    share = -(-limit // max(len(counts), 1))
    short = counts[counts < share]
    if not len(short) or limit >= len(dataset):
        return
    names = ", ".join(f"{value} ({count})" for value, count in short.head(_NAMED).items())
    more = f" and {len(short) - _NAMED} more" if len(short) > _NAMED else ""
    warnings.warn(
        f"An equal share of {by} is {share} examples a value, and these have fewer, so all of theirs are drawn: {names}{more}.",
        WorkbenchWarning,
        stacklevel=3,
    )
