"""The contract of an analysis, and the registry of those that are installed.

An analysis is a frozen pydantic model: its fields are its configuration, its docstring is its description, and ``run`` turns a
:class:`Context` into a :class:`Result`. It never touches the store. The runner (``workbench.runner``) records.

A package offers an analysis by an entry point in the group ``concept_workbench.analyses``; the built-in ones come the same way.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.engines import Engine, Local
from workbench.errors import ConfigError, UnknownNameError, WorkbenchError
from workbench.progress import Progress
from workbench.shapes import faults

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from workbench.activations import ActivationSet
    from workbench.concepts import ConceptSet
    from workbench.datasets import Dataset
    from workbench.evidence.readout import Readout
    from workbench.models import Model
    from workbench.store.unfinished import Made

GROUP = "concept_workbench.analyses"


@dataclass(frozen=True)
class Metric:
    """A number that an analysis or the trial reports, described well enough that a page needs no code of its own for it.

    Attributes:
        key: Stable identifier, ``family.name``.
        title: What a table header says.
        description: One sentence: what the number means and what its null is.
        unit: ``""`` for a share or a score; otherwise ``bits``, ``nats``, ``cosine`` and so on.
        direction: ``up`` when more is better, ``down`` when less is, ``none`` when neither.
        shown: Whether tables show it unasked.
        neutral: What the metric reads when there is nothing to see (.5 for an AUROC), or None.
    """

    key: str
    title: str
    description: str
    unit: str = ""
    direction: str = "up"
    shown: bool = True
    neutral: float | None = None


@dataclass
class Result:
    """What an analysis found.

    Attributes:
        concepts: One set a site, in the order the concepts are numbered.
        metrics: Rows of ``metric, value`` and any of ``low, high, null, n, site, label``; ``metric`` is a declared key. A
            measurement that could not be made has ``status`` ``failed`` and the reason as ``error`` (see `measured`); ``note``
            is a sentence that has to be read with the number.
        tables: More tables, by name.
        tensors: Tensors to keep, by name.
        figures: Plotly figures, by name.
    """

    concepts: list[ConceptSet] = field(default_factory=list)
    metrics: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Context:
    """What an analysis may read.

    Attributes:
        activations: The activations, at the sites that were asked for.
        dataset: The data they were captured from.
        seed: Every random choice must come from it.
        progress: Call with ``(done, total, text)``.
        model: Call to get the model; loading it is left until it is needed.
        readout: Call to get the frozen linear readout of the model's output for the data set's labels.
        gradients: Call with ``(sites, labels, per_label)`` to get the readout's gradients, ``{site: {label: [e, d]}}``.
        engine: Who does what is done at each site by itself.
        remote: The URL of a place that has the activations as well, for who does not see their folder; empty where there is none.
        once: Call with a name and a function that gives tensors and facts: they are kept in the study until the run is
            finished, so that what took long survives a crash of what comes after it, and the same call goes on from there.
    """

    activations: ActivationSet
    dataset: Dataset
    seed: int
    progress: Progress
    model: Callable[[], Model]
    readout: Callable[[], Readout]
    gradients: Callable[[Sequence[str], Sequence[str], int], dict[str, dict[str, Tensor]]]
    engine: Engine = field(default_factory=Local)
    remote: str = ""
    once: Callable[[str, Callable[[], Made]], Made] = lambda _name, make: make()


class Analysis(BaseModel, ABC):
    """Base of every analysis: fields are the configuration, frozen.

    The app draws a form from the fields: their types, bounds, defaults and descriptions. A field of names may say what there is
    to choose from by ``json_schema_extra={"choices": "labels"}`` (or ``"columns"``, the columns of labels). A field that had
    another name before says so by ``"formerly"``: stored runs are read with it, and whoever uses it is told the new one. A field
    that is a path says so by ``"path": True``: the app takes only paths inside the folders that it reaches.

    Attributes:
        name: What scripts and commands call it.
        title: What people call it.
        method: What its concepts are called, such as ``SAE``.
        version: Raised when the same options give something else, so that old runs are not taken for new ones.
        metrics: What it reports.
        one_site: Whether it reads exactly one site.
        reads_labels: Whether it reads labels: what does not is the same run whatever labels the data has.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    title: ClassVar[str]
    method: ClassVar[str]
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = ()
    one_site: ClassVar[bool] = False
    reads_labels: ClassVar[bool] = True

    @abstractmethod
    def run(self, context: Context) -> Result:
        """Do the work. Raises a WorkbenchError when the input does not fit."""

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """Raise a WorkbenchError where the options name what is not there, or do not fit what is.

        It is called before the work is recorded as a run, so that a typing error leaves none, nor do labels with too few rows.
        Nothing is checked unless an analysis says how.
        """

    @classmethod
    def configured(cls, options: dict[str, Any]) -> Analysis:
        """An instance from options.

        Raises:
            ConfigError: An option is unknown or has a value that does not fit; all of them are named.
        """
        known = ", ".join(cls.model_fields)
        for name in options:
            if name in cls.model_fields:
                continue
            if name in (former := cls._former()):
                raise ConfigError(f"The option '{name}' of {cls.name} is called '{former[name]}' now.")
            close = difflib.get_close_matches(name, cls.model_fields, n=1, cutoff=0.5)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            raise ConfigError(f"{cls.name} has no option '{name}'.{meant} Its options: {known or 'none'}.")
        try:
            return cls(**options)
        except ValidationError as error:
            raise ConfigError(f"{cls.name} cannot take {faults(error)}. Its options: {known}.") from error

    @classmethod
    def migrated(cls, config: dict[str, Any]) -> dict[str, Any]:
        """The options of a stored run, by the names that they have now."""
        former = cls._former()
        return {former.get(name, name): value for name, value in config.items()}

    def labels_asked(self) -> list[str]:
        """The labels and columns that the options name."""
        found: list[str] = []
        for name, field_ in type(self).model_fields.items():
            extra = field_.json_schema_extra
            if isinstance(extra, dict) and extra.get("choices") in {"labels", "columns"}:
                value = getattr(self, name)
                found += [value] if isinstance(value, str) else list(value or ())
        return found

    @classmethod
    def _former(cls) -> dict[str, str]:
        extras = {name: field_.json_schema_extra for name, field_ in cls.model_fields.items()}
        return {str(e["formerly"]): name for name, e in extras.items() if isinstance(e, dict) and "formerly" in e}


class SiteAnalysis(Analysis):
    """An analysis that does the same at every site, each by itself: engines with several workers do several at once.

    ``shared`` is made once, ``at_site`` for each site, and ``joined`` makes them one result. ``at_site`` may be called in
    another process: it reads the activations, data set and seed of its context, and nothing of the model. What it tells the
    context's progress, in units of its own, is a part of one step over all sites.
    """

    @abstractmethod
    def shared(self, context: Context) -> Any:
        """What every site needs."""

    @abstractmethod
    def at_site(self, context: Context, site: str, shared: Any) -> Any:
        """What there is at one site."""

    @abstractmethod
    def joined(self, context: Context, shared: Any, parts: list[Any]) -> Result:
        """The result, from what there is at each site."""

    def run(self, context: Context) -> Result:
        """Do the work, site by site."""
        from workbench.engines.sites import each_site

        shared = self.shared(context)
        return self.joined(context, shared, each_site(self, context, shared))


CANNOT_MEASURE = (WorkbenchError, MemoryError, RuntimeError, OSError)
"""What is raised where a measurement cannot be made: for want of a model, of data or of memory. All else is a fault."""


def reason(error: BaseException) -> str:
    """Why something could not be done, as one text."""
    text = str(error) if isinstance(error, WorkbenchError) else f"{type(error).__name__}: {error}"
    return text[:2000]


def failed_rows(metrics: Sequence[str], error: BaseException, **common: Any) -> list[dict[str, Any]]:
    """A failed row for each of some metrics, with the reason; ``common`` is in each of them."""
    nothing = float("nan")
    return [common | {"metric": key, "value": nothing, "status": "failed", "error": reason(error)} for key in metrics]


def measured(metrics: Sequence[str], work: Callable[[], list[dict[str, Any]]], **common: Any) -> list[dict[str, Any]]:
    """The rows that ``work`` makes, or failed ones of these metrics where it cannot: what else there is of a run is kept."""
    try:
        return [common | row for row in work()]
    except CANNOT_MEASURE as error:
        return failed_rows(metrics, error, **common)


def declared_metrics(analysis: str) -> tuple[Metric, ...]:
    """The metrics that an analysis declares; none when it is not installed."""
    try:
        return find_analysis(analysis).metrics
    except (WorkbenchError, ImportError):
        return ()


_registered: dict[str, type[Analysis]] = {}


def register(analysis: type[Analysis]) -> type[Analysis]:
    """Offer an analysis that no installed package declares, from a notebook for instance. Usable as a decorator."""
    _registered[analysis.name] = analysis
    return analysis


def analysis_names() -> list[str]:
    """The names of all the analyses there are; nothing is imported."""
    return sorted({*_registered, *(point.name for point in entry_points(group=GROUP))})


def find_analysis(name: str) -> type[Analysis]:
    """The analysis of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name in _registered:
        return _registered[name]
    for point in entry_points(group=GROUP):
        if point.name == name:
            loaded: type[Analysis] = point.load()
            return loaded
    raise UnknownNameError("analysis", name, analysis_names())


def migrated(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """The options of a stored run, by the names that they have now; as they are where its analysis is not installed."""
    if name not in analysis_names():
        return dict(config)
    return find_analysis(name).migrated(config)
