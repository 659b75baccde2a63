"""A small part of the calibration: p values hold their level, and the interval covers, up to binomial error."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibrate.information import bound_interval, bound_p, ksg_p, table_p
from benchmarks.calibrate.trials import Trials


def holds(trials: Trials, level: float) -> bool:
    """Whether as many p values are up to a level as could be if they hold it, but for one case in ten thousand."""
    assert trials.p is not None
    return int((trials.p <= level).sum()) <= binom.ppf(1 - 1e-4, len(trials.p), level)


def finds(trials: Trials, effect: str) -> None:
    """At least four fifths as often as the reference, which finds more than half."""
    ours, reference = trials.power[effect]
    assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean() > 0.5 * 0.8


@pytest.mark.parametrize("setting", ["documents", "runs", "eight", "ragged"])
def test_the_p_value_of_the_bound_holds_its_level(setting: str) -> None:
    found = bound_p(100, 1, setting)
    assert holds(found, 0.05)
    assert holds(found, 0.01)


def test_the_p_value_of_the_bound_finds_what_brute_force_finds() -> None:
    finds(bound_p(60, 1, "runs", planted=True), "2 deviations")


@pytest.mark.parametrize("setting", ["documents", "copies"])
def test_the_p_value_of_nearest_neighbours_holds_its_level(setting: str) -> None:
    assert holds(ksg_p(60, 1, setting), 0.05)


def test_the_p_value_of_a_table_holds_its_level_and_has_power() -> None:
    assert holds(table_p(60, 1), 0.05)
    finds(table_p(60, 1, planted=True), "0.5 deviations")


@pytest.mark.parametrize("setting", ["documents", "runs", "copies"])
def test_the_interval_of_the_bound_covers(setting: str) -> None:
    covered = np.asarray(bound_interval(300, 1, setting).covered)
    assert covered.sum() >= binom.ppf(1e-4, len(covered), 0.95)
