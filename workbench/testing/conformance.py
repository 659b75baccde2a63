"""What is asked of every analysis, whoever wrote it: truth found, nulls that hold, the same bytes, nothing undeclared."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binom

from workbench.analysis import Analysis, find_analysis
from workbench.paths import child, files_below, listed
from workbench.repeating import compared
from workbench.store.runs import Run
from workbench.testing import processes
from workbench.testing.worlds import WORLDS, World

if TYPE_CHECKING:
    from workbench.progress import Progress

NOISE_TESTS = 200
"""Tests of nothing, of which at most 5% may be significant within what chance gives."""
NOISE_WORLDS = 250
LEVEL = 0.05
BOUND = 0.999
SILENT_SECONDS = 5.0
"""A run that takes longer has to show its progress, and can be stopped there."""
KINDS_OF_FILES = frozenset({".json", ".parquet", ".safetensors"})


class Conformance:
    """An analysis on trial; worlds and runs are made once for all checks.

    Args:
        name: Of the analysis.
        folder: Where studies are made.
        options: In place of those that the analysis declares for its planted world.
    """

    def __init__(self, name: str, folder: Path, options: dict[str, Any] | None = None) -> None:
        self.name, self.folder = name, folder
        self.kind: type[Analysis] = find_analysis(name)
        self.planted = self.kind.planted
        self.options = dict(self.planted.options if options is None else options)
        self._worlds = 0

    def world(self, called: str, **how: Any) -> World:
        """Make the analysis's world in a folder that begins with that name."""
        self._worlds += 1
        make = WORLDS[self.planted.world] if isinstance(self.planted.world, str) else self.planted.world
        return make(child(self.folder, f"{called}-{self._worlds}"), **how)

    def run(self, world: World, seed: int = 0, progress: Progress | None = None, **options: Any) -> Run:
        """Run the analysis in a world."""
        return world.study.run(self.name, world.activations, seed=seed, progress=progress, **self.options, **options)

    @cached_property
    def found(self) -> tuple[World, Run]:
        """The planted world and the run in it."""
        world = self.world("planted")
        return world, self.run(world)


Check = Callable[[Conformance], None]


def check_analysis(
    name: str, folder: Path, options: dict[str, Any] | None = None, without: Collection[str] = ()
) -> pd.DataFrame:  # fmt: skip
    """Run an analysis through every check.

    Args:
        name: Of the analysis. One that an installed package offers is also read in new processes.
        folder: An empty folder, where studies are made.
        options: In place of those that it declares (`Analysis.planted`).
        without: Names of checks that are left out, such as those that take longest, ``stays_at_its_null`` and
            ``bounds_its_memory``.

    Returns:
        A row a check: ``check, seconds``.

    Raises:
        AssertionError: Some fail; all are named, each with what is wrong.
    """
    trial, rows, wrong = Conformance(name, folder, options), [], []
    for called, check in CHECKS.items():
        if called in without:
            continue
        started = time.monotonic()
        try:
            check(trial)
        except Exception as error:
            wrong.append(f"{called}: {type(error).__name__}: {error}")
        rows.append({"check": called, "seconds": time.monotonic() - started})
    if wrong:
        raise AssertionError(f"{name} fails {len(wrong)} of {len(rows)} checks:\n" + "\n".join(wrong))
    return pd.DataFrame(rows)


def describes_itself(trial: Conformance) -> None:
    """It has a docstring, a title and a method, and every option a description."""
    kind = trial.kind
    require(bool((kind.__doc__ or "").strip()), "it has no docstring: that is its description in the app.")
    require(bool(kind.title and kind.method), "it has no title, or no method that its concepts are called by.")
    bare = [name for name, field in kind.model_fields.items() if not field.description]
    require(not bare, f"its options {', '.join(bare)} have no description.")
    made = kind.configured(kind.split_options(trial.options)[0])
    require(kind.configured(made.model_dump(mode="json")) == made, "its options are others after they were stored and read.")


def finds_what_is_planted(trial: Conformance) -> None:
    """In its world its score is at least what it declares."""
    world, run = trial.found
    score = (trial.planted.score or mean_cosine)(run, world)
    require(score >= trial.planted.least, f"its score is {score:.3f}, and it declares at least {trial.planted.least:g}.")


def mean_cosine(run: Run, world: World) -> float:
    """The mean over the planted directions of the largest absolute cosine with a direction of the run."""
    found = np.concatenate([one.directions().numpy() for one in run.sets])
    return float(np.abs(world.directions @ found.T).max(1).mean())


def stays_at_its_null(trial: Conformance) -> None:
    """Where there is nothing, at most 5% of its tests are significant, within what chance gives over 200 of them.

    Its own p values count where it has some; else how often its values pass the 95th percentile of their nulls; else the p values
    of the trial's detection of its concepts. What has none of these passes.
    """
    options = trial.options if trial.planted.in_noise is None else dict(trial.planted.in_noise)
    p: list[float] = []
    for number in range(NOISE_WORLDS):
        world = trial.world(f"noise{number}", seed=100 + number, strength=0.0)
        run = world.study.run(trial.name, world.activations, seed=number, **options)
        own = _p_values(run.metrics)
        if own.empty and len(run.concepts):
            found = world.study.examine(run, families=("detects",), replicate=False)
            own = found.loc[found["metric"].eq("detects.auroc"), "p"].dropna()
        p += own.tolist()
        world.study.close()
        if not (len(run.concepts) or p):
            # It gives no concepts, and numbers that are held against nothing: it claims nothing that could be false.
            return
        if len(p) >= NOISE_TESTS:
            break
    require(len(p) >= NOISE_TESTS, f"{NOISE_WORLDS} worlds of noise gave {len(p)} tests; {NOISE_TESTS} are needed.")
    share, most = float(np.mean(np.array(p) <= LEVEL)), binom.ppf(BOUND, len(p), LEVEL) / len(p)
    require(share <= most, f"{share:.1%} of {len(p)} tests of nothing have p <= {LEVEL}; chance gives at most {most:.1%}.")


def _p_values(metrics: pd.DataFrame) -> pd.Series:
    """The p values of a run's metrics; where they have none, 0 for what passes its null's 95th percentile, else 1."""
    table = metrics.reindex(columns=["value", "p", "null_high"]).astype(float)
    known = table.dropna(subset=["value", "null_high"])
    return table["p"].dropna() if table["p"].notna().any() else (known["value"] <= known["null_high"]).astype(float)


def gives_the_same_bytes(trial: Conformance) -> None:
    """The same call in another study gives the same tables and tensors, bit by bit."""
    if not trial.kind.deterministic:
        return
    world = trial.world("again")
    table = compared(trial.found[1], trial.run(world), 0.0)
    wrong = table[~table["exact"]]
    require(wrong.empty, f"{', '.join(wrong['part'])} differ in a second study ({', '.join(wrong['where'])}).")


def is_read_by_another_process(trial: Conformance) -> None:
    """A process that only has its package reads, verifies, repeats, reports and exports the run."""
    world, run = trial.found
    tolerance = 0.0 if trial.kind.deterministic else np.inf
    world.study.close()
    processes.read_elsewhere(world.study.folder, run.id, trial.folder, tolerance)


def writes_plain_files(trial: Conformance) -> None:
    """A run is JSON, Parquet and safetensors, and nothing that is executed when it is read."""
    _, run = trial.found
    strange = [path.name for path in files_below(run.folder) if path.suffix not in KINDS_OF_FILES]
    require(not strange, f"it wrote {', '.join(strange)}.")


def reads_what_it_declares(trial: Conformance) -> None:
    """It opens no file of the study but activations, data and the runs that are its inputs; labels that it does not declare to
    read change nothing."""
    world = trial.world("read")
    opened = processes.opened_by(trial.kind, world.study.folder, lambda: trial.run(world))
    require(not opened, f"it opened {', '.join(map(str, opened))}: what it reads has to be declared as an input.")
    if trial.kind.reads_labels or not trial.kind.deterministic:
        return
    names = [label.name for label in world.dataset.example_labels]
    table = world.dataset.table.assign(**{name: world.dataset.table[name].to_numpy()[::-1] for name in names})
    world.study.use_dataset(replace(world.dataset, table=table))
    again = world.study.run(trial.name, world.activations, force=True, **trial.options)
    wrong = compared(trial.found[1], again, 0.0).query("not exact")["part"].tolist()
    require(not wrong, f"{', '.join(wrong)} depend on labels, and reads_labels is False.")


def can_be_stopped(trial: Conformance) -> None:
    """Stopped where it shows its progress, it leaves a run that was cancelled and nothing else; then it runs."""
    world = trial.world("stopped")
    started, waited = time.monotonic(), []

    def stop(_done: int, _total: int, _text: str) -> None:
        waited.append(time.monotonic() - started)
        raise KeyboardInterrupt

    with suppress(KeyboardInterrupt):
        trial.run(world, progress=stop)
    # The profile of the concepts shows progress for every analysis.
    took = waited[0] if waited else time.monotonic() - started
    require(took < SILENT_SECONDS, f"it took {took:.0f} s before it showed any progress at which it could be stopped.")
    states = world.study.runs(None).query("analysis == @trial.name")["status"].tolist()
    require(states == ["cancelled" if waited else "done"], f"its run is recorded as {', '.join(states)}.")
    left = [path.name for path in listed(world.study.folder, "runs")]
    done = world.study.runs()["id"].tolist()
    require(set(left) <= set(done), f"it left {', '.join(left)}.")
    require(trial.run(world).record["status"] == "done", "it does not run after it was stopped.")


def bounds_its_memory(trial: Conformance) -> None:
    """With more rows than it declares to hold (`Analysis.most_rows`), its memory does not grow with their number."""
    processes.memory_is_bounded(trial)


def require(holds: bool, otherwise: str) -> None:
    """Raise an AssertionError with a sentence where something does not hold."""
    if not holds:
        raise AssertionError(otherwise)


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        describes_itself, finds_what_is_planted, stays_at_its_null, gives_the_same_bytes, is_read_by_another_process,
        writes_plain_files, reads_what_it_declares, can_be_stopped, bounds_its_memory,
    )
}  # fmt: skip
"""Every check by its name."""
