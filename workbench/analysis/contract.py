"""The contract of an analysis.

An analysis is a frozen pydantic model: its fields are its configuration, its docstring is its description, and ``run`` turns a
:class:`Context` into a :class:`Result`. It never touches the store. The runner (``workbench.runner``) records.

A package offers an analysis by an entry point in the group ``concept_workbench.analyses``; the built-in ones come the same way.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench import registry
from workbench.analysis.inputs import Input
from workbench.analysis.planted import Planted
from workbench.engines import Engine, Local
from workbench.errors import ConfigError
from workbench.metrics import Metric
from workbench.progress import Progress
from workbench.shapes import faults

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from workbench.activations import ActivationSet
    from workbench.concepts import ConceptSet, Graph, Head
    from workbench.datasets import Dataset
    from workbench.edits import Edit
    from workbench.models import Model
    from workbench.models.small import SmallModel
    from workbench.readout import Readout
    from workbench.store.unfinished import Made
    from workbench.views import View


@dataclass
class Result:
    """What an analysis found.

    Attributes:
        concepts: One set a site, in the order the concepts are numbered.
        metrics: Rows of ``metric, value`` and any of ``low, high, null, n, site, label``; ``metric`` is a declared key. A
            measurement that could not be made has ``status`` ``failed`` and the reason as ``error`` (see `measured`); ``note``
            is a sentence to read beside the number.
        tables: More tables, by name.
        tensors: Tensors to keep, by name.
        figures: Plotly figures, by name.
        evidence: The method's own scores of its concepts, shown on their cards beside the trial: rows as those of ``metrics``,
            each with the ``place`` of its concept among all concepts of the result, counted from 0.
        graphs: Graphs of typed nodes and edges, by name.
        heads: Predictors over the concepts, by name; they can be edited, as runs of their own.
        models: Small models that the method trained, by name; another process opens them again.
        views: How the parts above are shown, in this order. Figures, and tables that no view names, are shown as well.
        edits: Fitted edits, by name, such as ``{"eraser": fit_eraser(rows, labels).at(site)}``: edits of a declared kind
            (`workbench.edits.edit_kind`) at sites that were read. ``run.edits["eraser"]`` opens one in any process.
    """

    concepts: list[ConceptSet] = field(default_factory=list)
    metrics: pd.DataFrame | None = None
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    evidence: pd.DataFrame | None = None
    graphs: dict[str, Graph] = field(default_factory=dict)
    heads: dict[str, Head] = field(default_factory=dict)
    models: dict[str, SmallModel] = field(default_factory=dict)
    views: list[View] = field(default_factory=list)
    edits: dict[str, Edit] = field(default_factory=dict)


def _no_study(*_asked: Any, **_options: Any) -> NoReturn:
    raise ConfigError("Activations can be captured where an analysis runs in a study, and not by its workers.")


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
        engine: Runs the work of each site, in this process or on workers.
        remote: The URL of the study's remote, for workers that do not see the folder of the activations; empty if there is none.
        inputs: What it declared to read besides (`Analysis.inputs`), by name.
        capture: Call with a model (or what `workbench.load_model` takes), sites, and any of ``dataset`` and the options of
            `workbench.activations.capture`, to get the activations of a model that the run itself trained or loads. They are the
            run's own and gone when it is finished; after a crash they are not captured again.
        once: Call with a name and a function that returns tensors and facts: they are kept in the study until the run is
            finished, so that after a crash the same call continues with them.
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
    inputs: dict[str, Any] = field(default_factory=dict)
    capture: Callable[..., ActivationSet] = _no_study
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
        inputs: What it reads besides activations: concepts of other runs, other activations, other data. They are given by name,
            like options, recorded with the run, and its parents in the history of the study.
        deterministic: Whether the same call gives the same bytes on the same machine.
        most_rows: The most rows that it holds in memory at once; None where it holds all that it is given.
        planted: The world with known truth in which `workbench.testing` runs it.
        reads_labels: Whether it reads labels. If not, a run is reused when only the labels of the data have changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ClassVar[str]
    title: ClassVar[str]
    method: ClassVar[str]
    version: ClassVar[int] = 1
    metrics: ClassVar[tuple[Metric, ...]] = ()
    one_site: ClassVar[bool] = False
    inputs: ClassVar[tuple[Input, ...]] = ()
    reads_labels: ClassVar[bool] = True
    deterministic: ClassVar[bool] = True
    most_rows: ClassVar[int | None] = None
    planted: ClassVar[Planted] = Planted()

    @abstractmethod
    def run(self, context: Context) -> Result:
        """Do the work. Raises a WorkbenchError when the input does not fit."""

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """Raise a WorkbenchError where the options name what is not there, or do not fit what is.

        It is called before a run is recorded, so that a typing error leaves no failed run behind. The default checks nothing.
        """

    @classmethod
    def split_options(cls, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was given by name, as options and as inputs."""
        names = {one.name for one in cls.inputs}
        return {k: v for k, v in given.items() if k not in names}, {k: v for k, v in given.items() if k in names}

    @classmethod
    def configured(cls, options: dict[str, Any]) -> Analysis:
        """An instance from options.

        Raises:
            ConfigError: An option is unknown or has a value that does not fit; all of them are named.
        """
        known = ", ".join(cls.model_fields)
        every = [*cls.model_fields, *(one.name for one in cls.inputs)]
        for name in options:
            if name in cls.model_fields:
                continue
            if name in (former := cls._former()):
                raise ConfigError(f"The option '{name}' of {cls.name} is called '{former[name]}' now.")
            close = difflib.get_close_matches(name, every, n=1, cutoff=0.5)
            meant = f" Did you mean '{close[0]}'?" if close else ""
            inputs = "".join(f", {one.name}" for one in cls.inputs)
            reads = f" Its inputs: {inputs[2:]}." if inputs else ""
            raise ConfigError(f"{cls.name} has no option '{name}'.{meant} Its options: {known or 'none'}.{reads}")
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


def register(analysis: type[Analysis]) -> type[Analysis]:
    """Offer an analysis that no installed package declares, from a notebook for instance. Usable as a decorator."""
    registry.add(analysis.name, analysis)
    return analysis


def find_analysis(name: str) -> type[Analysis]:
    """The analysis of that name.

    Raises:
        UnknownNameError: There is none.
    """
    found: type[Analysis] = registry.find(name)
    return found
