"""What an analysis reads besides the activations that it is run on: runs and their concepts, other activations, other data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.activations import ActivationSet
from workbench.concepts import Head
from workbench.datasets import Dataset
from workbench.errors import ConfigError, NotInstalledError, UnknownNameError
from workbench.numbers import counted
from workbench.store.concept_list import BoundConcepts
from workbench.store.runs import Run

if TYPE_CHECKING:
    from workbench.study import Study

    Recorded = dict[str, str | list[str]]


@dataclass(frozen=True)
class Input:
    """Something that an analysis reads besides its activations.

    Attributes:
        name: The keyword by which it is given to ``study.run``, and the key of ``context.inputs``.
        kind: ``run``, ``concepts`` (those of a run), ``head`` (one of a run, given as ``RUN/NAME``, or as the run where it has
            one alone), ``activations`` or ``dataset``.
        description: What it is for.
        many: Whether any number of them may be given, as a list.
        optional: Whether it may be left out: ``context.inputs`` then has None, or an empty list.
    """

    name: str
    kind: str
    description: str = ""
    many: bool = False
    optional: bool = False


@dataclass
class Inputs:
    """What the inputs of a call are.

    Attributes:
        values: What the analysis gets, by the inputs' names.
        recorded: Their ids, from which the same are found again.
        parents: The runs and activation sets among them.
    """

    values: dict[str, Any] = field(default_factory=dict)
    recorded: Recorded = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)


def find_inputs(study: Study, analysis: str, declared: Sequence[Input], given: Mapping[str, Any]) -> Inputs:
    """The inputs of a call, from objects or ids.

    Args:
        study: Where they are.
        analysis: The name of the analysis, for messages.
        declared: Its inputs.
        given: By name: an object, or an id or the first characters of one; a list where an input may be many.

    Raises:
        ConfigError: One is missing, or is of another kind than was declared.
        UnknownNameError: There is none of that id.
        NotInstalledError: It holds concepts of a kind that is not installed.
    """
    found = Inputs()
    for one in declared:
        items = given.get(one.name)
        items = [] if items is None else list(items) if isinstance(items, list | tuple) else [items]
        if not items and not one.optional:
            raise ConfigError(f"{analysis} reads {described(one)}: give its id, {one.name}=….")
        if len(items) > 1 and not one.many:
            raise ConfigError(f"{analysis} reads one input '{one.name}', and {len(items)} were given.")
        values, ids = [], []
        for item in items:
            value, identifier = KINDS[one.kind](study, item, one)
            values.append(value)
            ids.append(identifier)
        found.values[one.name] = values if one.many else next(iter(values), None)
        if ids:
            found.recorded[one.name] = ids if one.many else ids[0]
            of = [name.partition("/")[0] for name in ids if one.kind != "dataset"]
            found.parents += [name for name in dict.fromkeys(of) if name not in found.parents]
    return found


def described(one: Input) -> str:
    """An input in words, such as: the concepts of a run (concepts: what the bottleneck is made of)."""
    about = f"{one.name}: {one.description}" if one.description else one.name
    return f"{WORDS[one.kind][one.many]} ({about.rstrip('.')})"


def _run(study: Study, item: Any, one: Input) -> tuple[Run, str]:
    if isinstance(item, BoundConcepts):
        item = item.run
    run = item if isinstance(item, Run) else study.get_run(_text(item, one))
    if run.record["status"] != "done":
        raise ConfigError(f"Run {run.id} did not finish ({run.record['status']}): give '{one.name}' one that did.")
    if run.study.folder != study.folder:
        raise ConfigError(f"Run {run.id} is of the study {run.study.name}: give '{one.name}' a run of this one.")
    return run, run.id


def _concepts(study: Study, item: Any, one: Input) -> tuple[BoundConcepts, str]:
    run, identifier = _run(study, item, one)
    if not run.set_headers:
        raise ConfigError(f"Run {run.id} has no concepts: give '{one.name}' a run that has.")
    if reason := run.not_installed:
        raise NotInstalledError(reason)
    return run.concepts, identifier


def _head(study: Study, item: Any, one: Input) -> tuple[Head, str]:
    given, _, name = item.partition("/") if isinstance(item, str) else (item, "", "")
    run, identifier = _run(study, given, one)
    names = list(run.heads)
    if not name and len(names) != 1:
        known = ", ".join(f"{identifier}/{known}" for known in names) or "none"
        raise ConfigError(f"Run {run.id} has {counted(len(names), 'head')}: give '{one.name}' one of {known}.")
    chosen = name or names[0]
    return run.heads[chosen], f"{identifier}/{chosen}"


def _activations(study: Study, item: Any, one: Input) -> tuple[ActivationSet, str]:
    name = item.id if isinstance(item, ActivationSet) else _text(item, one)
    acts = study.activation_set(name)
    return (item if isinstance(item, ActivationSet) else acts), acts.id


def _dataset(study: Study, item: Any, one: Input) -> tuple[Dataset, str]:
    if isinstance(item, Dataset):
        study.keep_dataset(item)
        return item, item.hash
    wanted, known = _text(item, one), study.datasets()
    found = [data for data in known if data.name == wanted or data.hash.startswith(wanted)]
    if not found or not wanted:
        raise UnknownNameError("data set", wanted, [data.name for data in known])
    return found[-1], found[-1].hash


def _text(item: Any, one: Input) -> str:
    if isinstance(item, str):
        return item
    raise ConfigError(f"The input '{one.name}' is {WORDS[one.kind][False]}, and what was given is a {type(item).__name__}.")


KINDS: dict[str, Callable[[Study, Any, Input], tuple[Any, str]]] = {
    "run": _run, "concepts": _concepts, "head": _head, "activations": _activations, "dataset": _dataset,
}  # fmt: skip
WORDS = {
    "run": ("a run", "runs"),
    "concepts": ("the concepts of a run", "the concepts of runs"),
    "head": ("a head", "heads"),
    "activations": ("a set of activations", "sets of activations"),
    "dataset": ("a data set", "data sets"),
}
"""Each kind in words: one of it, and several."""
