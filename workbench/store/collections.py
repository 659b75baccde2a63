"""Collections: named lists of concepts, such as those of a report. They are append-only: removing a concept adds a row that says
so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd
import sqlalchemy as sa

from workbench.errors import UnknownNameError
from workbench.store import tables
from workbench.store.concept_list import ConceptList

if TYPE_CHECKING:
    from workbench.study import Study


class Collections:
    """The collections of a study: ``study.collections``."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def names(self) -> list[str]:
        """The collections that hold a concept, in alphabetical order."""
        return sorted(self._current()["name"].unique())

    def table(self) -> pd.DataFrame:
        """``name, concept, author, at`` of everything that is kept, in the order in which it was added."""
        return self._current()[["name", "concept", "author", "at"]].reset_index(drop=True)

    def __getitem__(self, name: str) -> ConceptList:
        """The concepts of a collection.

        Raises:
            UnknownNameError: There is no such collection.
        """
        current = self._current()
        ids = current.loc[current["name"].eq(name), "concept"].tolist()
        if not ids:
            raise UnknownNameError("collection", name, current["name"])
        return ConceptList(self.study, ids)

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def add(self, name: str, concepts: Sequence[str] | ConceptList, author: str = "someone") -> None:
        """Put concepts into a collection, which is made when it is not there.

        Raises:
            ConfigError: The name is blank or too long.
            UnknownNameError: There is no such concept.
        """
        self._record(name, concepts, True, author)

    def remove(self, name: str, concepts: Sequence[str] | ConceptList, author: str = "someone") -> None:
        """Remove concepts from a collection; an empty collection no longer exists.

        Raises:
            UnknownNameError: There is no such collection or concept.
        """
        if name not in self:
            raise UnknownNameError("collection", name, self.names())
        self._record(name, concepts, False, author)

    def _record(self, name: str, concepts: Sequence[str] | ConceptList, kept: bool, author: str) -> None:
        from workbench.store.concept import clean_name

        ids = concepts.ids if isinstance(concepts, ConceptList) else list(concepts)
        current = self._current()
        inside = set(current.loc[current["name"].eq(clean_name(name)), "concept"])
        fresh = [self.study.concept(i).id for i in dict.fromkeys(ids) if (i in inside) != kept]
        common = {"name": clean_name(name), "kept": kept, "author": author or "someone", "at": tables.now()}
        self.study.catalog.insert(tables.collections, [{"concept": i} | common for i in fresh])

    def _current(self) -> pd.DataFrame:
        every = self.study.catalog.frame(sa.select(tables.collections).order_by(tables.collections.c.id))
        newest = every.drop_duplicates(["name", "concept"], keep="last")
        return newest[newest["kept"].astype(bool)]

    def __repr__(self) -> str:
        counts = self._current()["name"].value_counts().sort_index()
        return f"<Collections: {', '.join(f'{name} ({n})' for name, n in counts.items()) or 'none'}>"
