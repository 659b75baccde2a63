"""An analysis captures activations of a model of its own: of the run's data or of others, once, and nothing of them stays."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.analysis import Analysis, Context, Metric, Result, register
from workbench.statistics.rows import NoNull, row


@register
class Captures(Analysis):
    """Compares its own capture of the bundled model with what that model gives for one text; for tests."""

    name: ClassVar[str] = "captures_for_tests"
    title: ClassVar[str] = "Captures"
    method: ClassVar[str] = "none"
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("captures.off", "Off", "The largest difference."),)
    fails: ClassVar[list[bool]] = []
    written: ClassVar[list[Path]] = []

    def run(self, context: Context) -> Result:
        """Capture, and compare."""
        acts = context.capture("scribe", ["resid_post.0"], store_dtype="float32")
        self.written.append(acts.folder)
        if self.fails and self.fails.pop():
            raise wb.errors.DataError("cut short")
        few = context.capture("scribe", "resid_post.0", dataset=wb.load_dataset("topics", limit=4), pool="mean")
        model = wb.load_model("scribe")
        batch = model.batch([context.dataset.inputs([2])[0]])
        rows = model.activations(batch, [model.site("resid_post.0")])[model.site("resid_post.0")][batch.keep]
        off = np.abs(acts.read(np.flatnonzero(acts.index["example"].eq(2))) - rows.numpy()).max()
        return Result(metrics=pd.DataFrame([row("captures.off", float(off), NoNull("a difference"), n=few.n_examples)]))


def test_a_run_captures_its_own_activations_and_goes_on_with_them_after_a_crash(planted) -> None:
    study, acts, _, _ = planted(examples=24)
    Captures.fails[:], Captures.written[:] = [True], []
    with pytest.raises(wb.errors.DataError, match="cut short"):
        study.run("captures_for_tests", acts)
    [home] = Captures.written
    assert home.is_relative_to(study.folder / "cache")
    seen: list[str] = []
    run = study.run("captures_for_tests", acts, progress=lambda done, total, text: seen.append(text))
    assert run.metrics["value"].item() < 1e-4
    assert run.metrics["n"].item() == 4
    assert Captures.written == [home, home]
    # The first capture was there; the second one was made now.
    assert any(text.startswith("capturing 1 site, 4 of 4 examples") for text in seen)
    assert not any("of 24 examples" in text for text in seen)
    assert not home.exists()
    assert [one.id for one in study.activations()] == [acts.id]
    assert study.repeat(run).agrees
