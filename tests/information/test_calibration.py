"""A small part of the calibration: p values hold their level, and the interval covers, up to binomial error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibrate.information import EFFECTS, bound_interval, bound_p, ksg_p, table_p


def holds(p: np.ndarray, level: float) -> bool:
    """Whether as many p values are up to a level as could be if they hold it, but for one case in ten thousand."""
    return int((p <= level).sum()) <= binom.ppf(1 - 1e-4, len(p), level)


@pytest.mark.parametrize("setting", ["documents", "runs", "eight", "ragged"])
def test_the_p_value_of_the_bound_holds_its_level(setting: str) -> None:
    found = bound_p(100, 1, setting)
    assert holds(found["p"], 0.05)
    assert holds(found["p"], 0.01)
    ours, reference = found["power"][EFFECTS[-1]]
    if reference is not None:
        # Ours ends early and the reference does not: both are estimates of one number.
        assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean() > 0.5
        assert np.abs(found["p"] - found["p_reference"]).max() < 0.35


@pytest.mark.parametrize("setting", ["documents", "copies"])
def test_the_p_value_of_nearest_neighbours_holds_its_level(setting: str) -> None:
    found = ksg_p(60, 1, setting)
    assert holds(found["p"], 0.05)
    assert found["power"][EFFECTS[-1]][0].min() < 0.01


def test_the_p_value_of_a_table_holds_its_level_and_has_power() -> None:
    found = table_p(60, 1)
    assert holds(found["p"], 0.05)
    ours, reference = found["power"][EFFECTS[0]]
    assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean() > 0.5


@pytest.mark.parametrize("setting", ["documents", "runs", "copies"])
def test_the_interval_of_the_bound_covers(setting: str) -> None:
    covered = bound_interval(300, 1, setting)["covered"]
    assert covered.sum() >= binom.ppf(1e-4, len(covered), 0.95)
