"""Families of evidence: what a concept is tried on, each in a file of its own, and registered by name.

A package offers a family by an entry point in the group ``concept_workbench.evidence``; the trial, the command line, pages and
reports know it then. The order of the built-in ones is that in which a card shows them.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar

from workbench.errors import ConfigError, WorkbenchWarning
from workbench.evidence.attempts import Found
from workbench.evidence.metrics import BY_KEY, QUESTIONS
from workbench.metrics import Metric

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.concepts import ConceptSet
    from workbench.datasets import Dataset
    from workbench.evidence.detection import Detection
    from workbench.evidence.held_out import HeldOut
    from workbench.progress import Progress
    from workbench.store.runs import Run
    from workbench.study import Study

GROUP = "concept_workbench.evidence"
BUILT_IN = (
    "detects:Detects", "informs:Informs", "location:Locates", "cause_trial:Causes", "stability:Stable", "named:Named",
)  # fmt: skip
BUILT_IN_NAMES = frozenset(QUESTIONS)
_registered: dict[str, Family] = {}


@dataclass(frozen=True)
class Tried:
    """One set of concepts on trial, and what a family may read.

    Attributes:
        study, run, acts, dataset: The run that found the concepts, the activations and the data that they are tried on.
        concepts: The concepts.
        numbers: Of each concept, its number in the run.
        whole: Whether they are all the concepts of their set.
        names: Of each concept, its name; empty where it has none.
        rivals: The names of all concepts of the run.
        validation, test: Held-out rows: to choose by, and to measure on.
        detection: Of each concept the label that it is tried for, and its codes on the rows of the test split.
        replica: The set at the same site of the run with another seed; None where there is none, with the reason in
            ``no_replica`` where it could not be made.
        steered: Which of the concepts are steered.
        watched: Gives the sets at the site whose firing is followed, each with the ids of its concepts.
        once: Keeps what concepts of one site share: called with what it is and a function that makes it.
        seed: Every random choice comes from it.
        progress: Called with ``(done, total, text)``.
    """

    study: Study
    run: Run
    acts: ActivationSet
    dataset: Dataset
    concepts: ConceptSet
    numbers: list[int]
    whole: bool
    names: list[str]
    rivals: list[str]
    validation: HeldOut
    test: HeldOut
    detection: Detection
    replica: ConceptSet | None
    no_replica: Exception | None
    steered: list[int]
    watched: Callable[[], list[tuple[ConceptSet, list[str]]]]
    once: Callable[[tuple[Any, ...], Callable[[], Any]], Any]
    seed: int
    progress: Progress


class Family(ABC):
    """One kind of evidence.

    Attributes:
        name: What commands call it; the keys of its metrics begin with it and a dot.
        question: For a heading: a word, a colon, and the question that it answers.
        metrics: What it reports.
    """

    name: ClassVar[str]
    question: ClassVar[str]
    metrics: ClassVar[tuple[Metric, ...]]

    @abstractmethod
    def measure(self, tried: Tried) -> Found:
        """Rows of evidence (`workbench.statistics.rows.row`), each with the ``place`` of its concept in the set, and tables by
        name. Nothing where the family does not apply; what fails is a failed row (`workbench.evidence.attempts`).
        """


def register(family: Family) -> None:
    """Offer a family in this process.

    Raises:
        ConfigError: There is one of that name, or a metric whose key does not begin with it.
    """
    ours = type(family).__module__.startswith("workbench.evidence.")
    known = type(_registered[family.name]).__qualname__ if family.name in _registered else type(family).__qualname__
    if known != type(family).__qualname__ or (family.name in BUILT_IN_NAMES and not ours):
        raise ConfigError(f"There is a family of evidence '{family.name}' already: give this one another name.")
    if strange := [metric.key for metric in family.metrics if not metric.key.startswith(f"{family.name}.")]:
        raise ConfigError(f"The metric '{strange[0]}' of the family '{family.name}' has to be called '{family.name}.…'.")
    _registered[family.name] = family
    QUESTIONS[family.name] = family.question
    BY_KEY.update({metric.key: metric for metric in family.metrics})


def checked(family: Family, found: Found, count: int) -> Found:
    """What a family found, when every row is of one of its metrics and of one of ``count`` concepts.

    Raises:
        ConfigError: A row is not.
    """
    rows, tables = found
    known = {metric.key for metric in family.metrics}
    for row in rows:
        if row.get("metric") not in known:
            raise ConfigError(f"The family '{family.name}' measured '{row.get('metric')}', which it does not declare.")
        if row.get("place") not in range(count):
            raise ConfigError(f"The family '{family.name}' has a row of the concept {row.get('place')} of a set of {count}.")
    return [{"label": "", **row} for row in rows], tables


@cache
def load_installed() -> None:
    """Register the families that installed packages offer; one that cannot be is named, and the others are there."""
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            register(point.load()())
        except Exception as error:
            text = f"The family of evidence '{point.name}' of an installed package cannot be used: {error}"
            warnings.warn(text, WorkbenchWarning, stacklevel=2)


def families() -> dict[str, Family]:
    """Every family by name, the built-in ones first, in the order in which they are measured."""
    for place in BUILT_IN:
        made = resolve_name(f"workbench.evidence.{place}")()
        if made.name not in _registered:
            register(made)
    load_installed()
    order = list(QUESTIONS)
    return dict(sorted(_registered.items(), key=lambda item: order.index(item[0])))
