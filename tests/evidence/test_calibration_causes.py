"""p values and intervals of causes hold in every setting of their calibration, at a smaller number of draws."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibrate import causes

P = [name for name in vars(causes) if name.startswith(("readout_", "output_", "tokens_", "sensitivity_"))]


@pytest.mark.parametrize("name", P)
def test_unrelated_directions_are_rejected_no_more_often_than_said(name: str) -> None:
    draws = 1000
    trials = getattr(causes, name)(draws, 1)
    for level in (0.05, 0.01, 0.001):
        # Simultaneous over the levels and settings of this file.
        most = binom.ppf(1 - 0.05 / (3 * len(P)), draws, level)
        assert (trials["p"] <= level).sum() <= most
    ours, reference = trials["power"][causes.EFFECTS[-1]]
    if not name.endswith("massive"):
        assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean()


@pytest.mark.parametrize("name", ["interval_documents", "interval_few"])
def test_intervals_over_documents_cover_the_mean(name: str) -> None:
    covered = getattr(causes, name)(2000, 2)["covered"]
    assert abs(np.mean(covered) - 0.95) < 4 * np.sqrt(0.05 * 0.95 / 2000)
