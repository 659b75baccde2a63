"""Many concepts of a study at once: those of a run, or those a search found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, overload

import pandas as pd

from workbench.errors import UnknownNameError
from workbench.numbers import counted
from workbench.statistics.correction import benjamini_hochberg
from workbench.store import tables

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet
    from workbench.store.concept import Concept
    from workbench.store.runs import Run
    from workbench.store.stored_study import StoredStudy
    from workbench.study import Study


class ConceptList:
    """Concepts in an order, such as that of a search.

    Attributes:
        ids: Their ids, best first.
        relevance: One number each, or None where the order means nothing.
    """

    def __init__(self, study: Study, ids: list[str], relevance: list[float] | None = None) -> None:
        self.study, self.ids, self.relevance = study, ids, relevance

    def best(self) -> Concept:
        """The first.

        Raises:
            UnknownNameError: Nothing was found.
        """
        if not self.ids:
            raise UnknownNameError("concept", "that you searched for", [], "Try other words, or name some concepts first.")
        return self.study.concept(self.ids[0])

    def sort(self, metric: str, ascending: bool = False) -> ConceptList:
        """By a metric of the trial; concepts without it come last."""
        found = self.study.evidence([metric])
        if found.empty:
            known = self.study.evidence()["metric"].unique()
            raise UnknownNameError("metric with evidence", metric, known)
        best = found.groupby("concept")["value"].agg("min" if ascending else "max")
        order = best.reindex(self.ids).sort_values(ascending=ascending, na_position="last", kind="stable")
        return ConceptList(self.study, list(order.index))

    def table(self, metrics: list[str] | None = None) -> pd.DataFrame:
        """One row a concept: id, name, method, site, label, relevance, and the value of each metric."""
        return concept_table(self.study, self.ids, metrics, self.relevance)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Concept]:
        return (self.study.concept(i) for i in self.ids)

    @overload
    def __getitem__(self, place: int) -> Concept: ...

    @overload
    def __getitem__(self, place: slice) -> ConceptList: ...

    def __getitem__(self, place: int | slice) -> Concept | ConceptList:
        if isinstance(place, slice):
            return ConceptList(self.study, self.ids[place], None if self.relevance is None else self.relevance[place])
        return self.study.concept(self.ids[place])

    def _repr_html_(self) -> str:
        return str(self.table().head(20).to_html(escape=True))

    def __repr__(self) -> str:
        shown = ", ".join(f"'{c.name}'" for c in list(self)[:5])
        return f"<{counted(len(self), 'concept')}: {shown}{', …' if len(self) > 5 else ''}>"


class BoundConcepts(ConceptList):
    """The concepts of a run."""

    def __init__(self, run: Run) -> None:
        self.run = run
        count = sum(header.concepts for header in run.set_headers)
        super().__init__(run.study, [f"{run.id}.{number}" for number in range(count)])

    @property
    def sets(self) -> list[ConceptSet]:
        """The concept sets, one a site."""
        return self.run.sets

    def name(
        self,
        vocabulary: str | list[str] = "common-words",
        progress: Callable[[int, int, str], None] | None = None,
        **options: Any,
    ) -> pd.DataFrame:
        """Name every concept that was fitted to no label from a vocabulary; see :func:`workbench.naming.name_concepts`."""
        return self.study.name_concepts(self, vocabulary, progress, **options)


def concept_table(
    study: StoredStudy,
    ids: list[str] | None = None,
    metrics: list[str] | None = None,
    relevance: list[float] | None = None,
) -> pd.DataFrame:
    """One row a concept with its current name, where it was found, its density and the value of each metric.

    ``detects.q`` is the p value of its AUROC, adjusted by Benjamini and Hochberg's method over all tests of a concept for a
    label in the study.
    """
    frame = study.catalog.frame(tables.concepts_in_order())
    names = study.catalog.current_names()
    frame = frame.merge(
        names[["concept", "text", "source"]].rename(columns={"concept": "id", "text": "name", "source": "named_by"}),
        on="id",
        how="left",
    )
    frame["name"] = frame["name"].fillna(frame["id"])
    evidence = study.evidence(metrics)
    if len(evidence):
        evidence = evidence[evidence["status"].eq("ok")]
        # A concept has one row a metric, except where it was tried against several labels: keep the strongest.
        wide = evidence.sort_values("value").groupby(["concept", "metric"])["value"].last().unstack("metric")
        frame = frame.merge(wide, left_on="id", right_index=True, how="left")
        area = evidence[evidence["metric"].eq("detects.auroc")]
        # A list is browsed: of those with a q up to .05 at most one in twenty is expected to be false. Every test counts, also
        # those that are not shown.
        area = area.assign(q=benjamini_hochberg(area["p"].to_numpy(dtype=float)))
        # A concept whose AUROC is not above chance detects no label.
        best = area[area["value"].gt(0.5)].sort_values("value").groupby("concept").tail(1)
        frame = frame.merge(
            best[["concept", "label", "q"]].rename(columns={"concept": "id", "label": "detects", "q": "detects.q"}),
            on="id",
            how="left",
        )
    if ids is not None:
        frame = frame.set_index("id").reindex(ids).reset_index()
    if relevance is not None:
        frame.insert(1, "relevance", relevance)
    return frame
