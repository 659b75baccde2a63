"""Every built-in analysis passes the checks of `workbench.testing`, and each check fails for an analysis that is wrong there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import torch

from workbench import registry
from workbench.analysis import Analysis, Context, Metric, Planted, Result
from workbench.concepts import LinearConcepts
from workbench.reports import export_run
from workbench.statistics.rows import Null, row
from workbench.testing import CHECKS, Conformance, check_analysis

# These take longest: in `make test-full`.
LONG = {"stays_at_its_null", "bounds_its_memory"}
WITHOUT = set() if "WORKBENCH_FULL" in os.environ else LONG


@pytest.mark.full
@pytest.mark.parametrize("name", ["linear_probe", "concept_activation", "mutual_information", "sparse_autoencoder"])
def test_a_built_in_analysis_conforms(name: str, tmp_path: Path) -> None:
    table = check_analysis(name, tmp_path, without=WITHOUT)
    assert set(table["check"]) == set(CHECKS) - WITHOUT


@pytest.mark.full
def test_a_dictionary_from_a_folder_conforms(tmp_path: Path) -> None:
    trained = Conformance("sparse_autoencoder", tmp_path / "trained")
    export_run(trained.found[1], tmp_path / "exported")
    [folder] = {path.parent for path in (tmp_path / "exported").rglob("cfg.json")}
    options = {"folder": str(folder), "other_site": True}
    trial = Conformance("pretrained_dictionary", tmp_path / "read", options)
    trial.planted = trained.planted
    for name, check in CHECKS.items():
        if name not in WITHOUT:
            check(trial)


class Mean(Analysis):
    """The difference of the means of the two kinds of texts."""

    name: ClassVar[str] = "mean_for_conformance"
    title: ClassVar[str] = "Mean difference"
    method: ClassVar[str] = "mean"
    planted: ClassVar[Planted] = Planted(
        score=lambda run, world: float(abs(run.sets[0].directions()[0].numpy() @ world.directions[1]))
    )
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("mean.gap", "Gap", "A number."),)

    def run(self, context: Context) -> Result:
        """Subtract."""
        acts = context.activations
        rows, left = acts.read(), context.dataset.table["kind"].eq("left").to_numpy()[acts.index["example"]]
        context.progress(0, 1, "means")
        return self.result(rows[left].mean(0) - rows[~left].mean(0), context)

    def result(self, direction: np.ndarray, context: Context) -> Result:
        """What is returned."""
        return Result([LinearConcepts("resid_post.0", torch.from_numpy(direction)[None])])


class Undescribed(Mean):
    scale: float = 1.0


Undescribed.__doc__ = ""


class Wrong(Mean):
    """Returns a coordinate, whatever there is."""

    def result(self, direction: np.ndarray, context: Context) -> Result:
        """Another direction."""
        return super().result(np.eye(len(direction), dtype=np.float32)[0], context)


class Certain(Mean):
    """Is sure of everything."""

    def result(self, direction: np.ndarray, context: Context) -> Result:
        """With p values that are too small."""
        rows = [row("mean.gap", 1.0, Null(0.0, 0.5, 0.001, "none", 0.01), n=1, label=str(number)) for number in range(50)]
        return Result(super().result(direction, context).concepts, pd.DataFrame(rows))


class Random(Mean):
    """Draws without the seed."""

    def result(self, direction: np.ndarray, context: Context) -> Result:
        """The direction, and noise."""
        return super().result(direction + 0.01 * np.random.default_rng().normal(size=direction.shape).astype(np.float32), context)


class Curious(Mean):
    """Reads the catalog of the study."""

    def result(self, direction: np.ndarray, context: Context) -> Result:
        """The direction, after a look at what it did not declare."""
        (context.activations.folder.parents[1] / "catalog.db").read_bytes()
        return super().result(direction, context)


class Labelled(Mean):
    """Reads labels, and declares that it reads none."""

    reads_labels: ClassVar[bool] = False


class Silent(Mean):
    """Shows no progress, and takes long."""

    def run(self, context: Context) -> Result:
        """Wait."""
        import time

        time.sleep(5.2)
        return Result([LinearConcepts("resid_post.0", torch.eye(24)[:1])])


@pytest.mark.parametrize(
    ("kind", "check", "said"),
    [
        (Undescribed, "describes_itself", "no docstring"),
        (Wrong, "finds_what_is_planted", "it declares at least 0.8"),
        (Certain, "stays_at_its_null", "of tests of nothing|tests of nothing have p <= 0.05"),
        (Random, "gives_the_same_bytes", "differ in a second study"),
        (Curious, "reads_what_it_declares", r"it opened catalog\.db"),
        (Labelled, "reads_what_it_declares", "depend on labels, and reads_labels is False"),
        (Silent, "can_be_stopped", "before it showed any progress at which it could be stopped"),
    ],
)
def test_each_check_fails_for_an_analysis_that_is_wrong_there_and_not_for_a_right_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: type[Analysis], check: str, said: str
) -> None:
    monkeypatch.setitem(registry._registered, Mean.name, Mean)
    CHECKS[check](Conformance(Mean.name, tmp_path / "right"))
    monkeypatch.setitem(registry._registered, Mean.name, kind)
    with pytest.raises(AssertionError, match=said):
        CHECKS[check](Conformance(Mean.name, tmp_path / "wrong"))


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Both(Wrong, Random):
        pass

    Both.__doc__ = ""
    monkeypatch.setitem(registry._registered, Mean.name, Both)
    with pytest.raises(AssertionError) as error:
        check_analysis(Mean.name, tmp_path, without=LONG)
    for name in ("describes_itself", "finds_what_is_planted"):
        assert f"\n{name}: " in str(error.value)
