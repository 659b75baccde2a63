"""The interface of a data set that a capture needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import pandas as pd


class Examples(Protocol):
    """What a capture reads of a data set; `workbench.datasets.Dataset` has it."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def hash(self) -> str:
        """SHA-256 of its examples with their labels, groups and splits."""

    @property
    def content_hash(self) -> str:
        """SHA-256 of its examples alone."""

    @property
    def earlier(self) -> tuple[str, ...]:
        """The hashes that it had under earlier labels, groups or splits."""

    @property
    def source(self) -> dict[str, Any]:
        """JSON: how to load it again."""

    @property
    def table(self) -> pd.DataFrame:
        """One row an example; column ``split``."""

    @property
    def missing_words(self) -> tuple[str, ...]:
        """The words that stand for no value in columns of labels and groups."""

    def inputs(self, ids: Iterable[int]) -> list[Any]:
        """The texts or images of some examples."""

    def __len__(self) -> int: ...
