"""The calibration of TCAV at a smaller number of draws: seeds fixed, limits binomial."""

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibrate import tcav


def at_most(count: int, draws: int, level: float) -> bool:
    """Whether so many rejections of as many draws are no more than a level gives, but for one time in 10,000."""
    return bool(count <= binom.isf(1e-4, draws, level))


@pytest.mark.parametrize("kind", tcav.KINDS)
def test_concepts_that_are_nothing_are_rejected_at_the_nominal_rate(kind) -> None:
    p = tcav.false_positives(240, 3, kind)["p"]
    assert not np.isnan(p).any()
    for level in (0.05, 0.01):
        assert at_most((p <= level).sum(), len(p), level)


def test_the_tail_is_no_heavier_than_a_correction_needs_it_to_be() -> None:
    p = tcav.tail(4000, 5, "heavy tails", worlds=2)["p"]
    for level in (0.05, 0.01, 0.001):
        assert at_most((p <= level).sum(), len(p), level)


def test_families_of_twenty_hold_a_false_verdict_in_one_of_twenty_at_most() -> None:
    p = tcav.families(200, 4, "documents")["p"]
    assert at_most((p <= 0.05).sum(), len(p), 0.05)


def test_a_planted_concept_of_twenty_is_found_after_correction_with_thirty_sets() -> None:
    found = tcav.power(500, 4, "documents", effects=(4.5,), sets=30)
    assert (found["corrected"][4.5] <= 0.05).mean() >= 0.8


def test_power_is_near_that_of_the_exact_permutation_test() -> None:
    found = tcav.power(150, 4, "documents", effects=(3.0,))
    ours, reference = found["power"][3.0]
    assert (ours <= 0.05).mean() >= 0.8 * (reference <= 0.05).mean()


def test_p_values_agree_with_the_exact_permutation_test() -> None:
    # With 59 sets the deviation is known to a tenth, and p of .1 may read .07 or .14; with four times as many, to a twentieth.
    found = tcav.against_permutations(150, 4, "documents", sets=239)
    ours, reference = found["p"], found["p_reference"]
    assert np.median(np.abs(ours - reference)) < 0.03
    assert np.corrcoef(ours, reference)[0, 1] > 0.98


def test_the_interval_of_the_sign_count_covers() -> None:
    covered = tcav.intervals(1000, 1)["covered"]
    assert covered.mean() > 0.92
