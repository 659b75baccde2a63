"""The contract of an analysis, and the registry of those that are installed.

An analysis is a frozen pydantic model: its fields are its configuration, its docstring is its description, and ``run`` turns a
:class:`Context` into a :class:`Result`. It never touches the store. The runner (``workbench.runner``) records.

A package offers an analysis by an entry point in the group ``concept_workbench.analyses``; the built-in ones come the same way.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.engines import Engine, Local
from workbench.errors import ConfigError, UnknownNameError
from workbench.progress import Progress

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from workbench.activations import ActivationSet
    from workbench.concepts import ConceptSet
    from workbench.datasets import Dataset
    from workbench.evidence.readout import Readout
    from workbench.models import Model

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
        metrics: Rows of ``metric, value`` and any of ``low, high, null, n, site, label``; ``metric`` is a declared key.
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


class Analysis(BaseModel, ABC):
    """Base of every analysis: fields are the configuration, frozen.

    The app draws a form from the fields: their types, bounds, defaults and descriptions. A field of names may say what there is
    to choose from by ``json_schema_extra={"choices": "labels"}`` (or ``"columns"``, the columns of labels).

    Attributes:
        name: What scripts and commands call it.
        title: What people call it.
        method: What its concepts are called, such as ``SAE``.
        version: Raised when the same options give something else, so that old runs are not taken for new ones.
        metrics: What it reports.
        one_site: Whether it reads exactly one site.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    title: ClassVar[str]
    method: ClassVar[str]
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = ()
    one_site: ClassVar[bool] = False

    @abstractmethod
    def run(self, context: Context) -> Result:
        """Do the work. Raises a WorkbenchError when the input does not fit."""

    @classmethod
    def configured(cls, options: dict[str, Any]) -> Analysis:
        """An instance from options.

        Raises:
            ConfigError: An option is unknown or has a value that does not fit; all of them are named.
        """
        try:
            return cls(**options)
        except ValidationError as error:
            known = ", ".join(cls.model_fields)
            faults = []
            for item in error.errors():
                where = ".".join(map(str, item["loc"])) or "options"
                faults.append(f"'{where}': {item['msg'].removeprefix('Value error, ')}")
            raise ConfigError(f"{cls.name} cannot take {'; '.join(faults)}. Its options: {known}.") from error


class SiteAnalysis(Analysis):
    """An analysis that does the same at every site, each by itself: engines with several workers do several at once.

    ``shared`` is made once, ``at_site`` for each site, and ``joined`` makes them one result. ``at_site`` may be called in
    another process: it reads the activations, data set and seed of its context, and nothing of the model.
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
