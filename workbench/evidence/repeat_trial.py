"""Repeating examinations and comparisons of methods, on the runs, names and activations that the first ones read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from workbench.errors import ConfigError
from workbench.evidence.counterparts import compare_again
from workbench.evidence.trial import Trial, TrialOptions, names_hash, names_of
from workbench.progress import Progress
from workbench.store.run_kinds import COMPARISON, EXAMINATION

if TYPE_CHECKING:
    import pandas as pd

    from workbench.store.runs import Run
    from workbench.study import Study

ANEW = {EXAMINATION: "examine the concepts anew", COMPARISON: "compare the methods anew"}


def examine_again(study: Study, first: Run, progress: Progress) -> tuple[Run, list[str]]:
    """Do an examination again. Its evidence is in its own tables; the catalog keeps that of the first one.

    Names are never overwritten, so those that the concepts had then are scored, whatever they are called by now.

    Returns:
        The new run, and sentences on what could not be, or is no longer, as it was.

    Raises:
        ConfigError: A run that it read no longer exists.
    """
    config, inputs = first.config, first.record["inputs"]
    run, beside = _read(study, first, config["run"]), inputs.get("beside")
    for other in [(beside or {}).get("replica"), *(beside or {}).get("watched", [])]:
        if other:
            _read(study, first, other)
    names, remarks = _names(study, run, config["families"], inputs["names"])
    if beside is None:
        remarks.append(
            f"{first.id} is of a version that did not keep which other runs an examination read, so that those of today were"
            " taken: where runs came since, stability and what fires beside may differ for that reason."
        )
    options = TrialOptions(**{field.name: config[field.name] for field in fields(TrialOptions)})
    acts, data = study.activation_set(inputs["activations"]), study.dataset_of_run(first)
    trial = Trial(study, run, acts, data, options, int(first.record["seed"]), progress, beside)
    return trial.execute(repeats=first.id, names=names), remarks


def counterparts_again(study: Study, first: Run, progress: Progress) -> tuple[Run, list[str]]:
    """Compare the same runs again, whatever is the newest of each method by now.

    Raises:
        ConfigError: One of them no longer exists.
    """
    runs = [_read(study, first, name) for name in first.config["runs"]]
    return compare_again(study, first, runs, progress), []


def _read(study: Study, first: Run, name: str) -> Run:
    found = study.catalog.run(name)
    if found is None or found["status"] != "done":
        raise ConfigError(f"{first.id} read the run {name}, which is no more: {ANEW[first.analysis]} instead.")
    return study.get_run(name)


def _names(study: Study, run: Run, families: list[str], known: str) -> tuple[dict[str, str], list[str]]:
    """The names that an examination scored, and remarks if they have changed since."""
    if "named" not in families:
        return {}, []
    every = study.catalog.names()
    now = names_of(run, every)
    if names_hash(now) == known:
        return now, []
    changed = f"Concepts of {run.id} have other names by now"
    for earlier in _backwards(every[every["concept"].str.startswith(f"{run.id}.")]):
        then = names_of(run, earlier)
        if names_hash(then) == known:
            return then, [f"{changed}: the repetition scored those that they had when {run.id} was examined."]
    return now, [f"{changed}, and those that they had are not kept: evidence of the family named differs for that reason."]


def _backwards(names: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Earlier states of the names, newest first."""
    rows = list(names[["source", "author", "at"]].itertuples(index=False, name=None))
    for count in range(len(rows) - 1, 0, -1):
        # A method adds all its names at once, so states in between do not count.
        if rows[count][0] == "human" or rows[count] != rows[count - 1]:
            yield names.head(count)
    yield names.head(0)
