"""p values and intervals of causes hold in every setting of their calibration, at a smaller number of draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibrate import causes
from benchmarks.calibrate.trials import Case

NULL = [case for case in causes.CASES if case.setting in {setting for setting, _ in causes.LAWS}]


@pytest.mark.parametrize("case", NULL, ids=lambda case: f"{case.metric} {case.setting}")
def test_unrelated_directions_are_rejected_no_more_often_than_said(case: Case) -> None:
    draws = 1000
    p = np.asarray(case.draw(draws, 1).p)
    for level in (0.05, 0.01, 0.001):
        # Simultaneous over the levels and settings of this file.
        assert (p <= level).sum() <= binom.ppf(1 - 0.05 / (3 * len(NULL)), draws, level)


@pytest.mark.parametrize("metric", list(causes.METRICS))
def test_what_is_planted_is_found(metric: str) -> None:
    case = next(case for case in causes.CASES if (case.metric, case.setting) == (metric, "data, planted"))
    ours, reference = case.draw(300, 1).power[f"cosine {causes.EFFECTS[-1]:g}"]
    assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean() > 0.4


@pytest.mark.parametrize("documents", [12, 4])
def test_intervals_over_documents_cover_the_mean(documents: int) -> None:
    covered = np.asarray(causes.covers(12, documents, 2000, 2).covered)
    assert abs(covered.mean() - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 2000)
