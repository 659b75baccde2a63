import numpy as np
import pytest
from scipy.stats import ttest_1samp

from workbench.statistics.few_draws import few_draws_p, rank_or_tail_p
from workbench.statistics.nulls import t_tail_p


def test_it_keeps_its_level_whatever_the_draws_are() -> None:
    """A two-point null that a tail of Student's t takes for significance: one draw of eleven is far out."""
    rng = np.random.default_rng(0)
    draws = (rng.random((40, 20_000)) < 1 / 11).astype(float) + 1e-6 * rng.normal(size=(40, 20_000))
    p = few_draws_p(draws[0], draws[1:])
    assert (p <= 0.05).mean() <= 0.05
    assert (t_tail_p(draws[0], draws[1:]) <= 0.01).mean() > 0.05


def test_beyond_all_draws_it_is_the_tail_and_among_them_at_least_the_rank() -> None:
    null = np.linspace(-1, 1, 39)
    far = few_draws_p(9.0, null)
    assert far == t_tail_p(9.0, null) < 1e-10
    assert few_draws_p(-9.0, null) == pytest.approx(float(far))
    assert few_draws_p(0.97, null) >= 3 / 40
    assert few_draws_p(0.0, null) == pytest.approx(1.0)


def test_at_the_level_of_few_draws_it_is_the_rank_and_below_it_the_tail() -> None:
    """Of 99 draws, the five smallest ranks are .05 together, whatever the tail says of them; with one draw, .01."""
    beyond, tail = np.arange(8), np.array([0.3, 1e-6, 0.001, 0.2, 0.04, 1e-6, 1e-6, np.nan])
    np.testing.assert_allclose(rank_or_tail_p(beyond, 99, tail, 5), [0.05, 1e-6, 0.001, 0.05, 0.04, 0.06, 0.07, 0.08])
    np.testing.assert_allclose(rank_or_tail_p(beyond, 99, tail)[:2], [0.01, 0.02])
    assert rank_or_tail_p(np.array(0), 99, np.nan, 5) == 0.01


def test_draws_that_do_nothing_at_all_give_a_rank() -> None:
    """The deviation of the draws is zero: no tail can be fitted, and p is not zero."""
    assert few_draws_p(1.0, np.zeros(39)) == 1 / 40
    assert few_draws_p(0.0, np.zeros(39)) == 1.0


def test_the_tail_is_that_of_the_prediction_of_a_normal_sample() -> None:
    rng = np.random.default_rng(3)
    # As many draws as make a prediction and a test of the mean the same: the value is known without error.
    null = rng.normal(size=2000)
    z = few_draws_p(4.0, null)
    assert z == pytest.approx(ttest_1samp((null - 4.0) / np.sqrt(2000), 0).pvalue, rel=0.2) or z < 2e-4
    uniform = few_draws_p(rng.normal(size=5000), rng.normal(size=(99, 5000)))
    np.testing.assert_allclose([(uniform <= level).mean() for level in (0.05, 0.2)], [0.05, 0.2], atol=0.02)
