from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pytest

from analyses.information._shared.rows import foresee
from workbench.errors import ConfigError, DataError, WorkbenchWarning
from workbench.information import Estimate, gaussian_logdet, mixed_ksg, plugin_discrete, with_null
from workbench.information.bias import with_moves
from workbench.information.mixed import mixed_ksg_tested


def test_a_dependent_feature_stands_above_its_null_and_an_independent_one_on_it() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    signal = rng.standard_normal(400) + 2 * y
    found = with_null(partial(mixed_ksg, k=4), signal, y, permutations=19, seed=1)
    assert found.above_null
    assert found.p == 1 / 20
    assert abs(found.null) < 0.03
    assert found.k == 4
    assert found == with_null(partial(mixed_ksg, k=4), signal, y, permutations=19, seed=1)
    noise = with_null(mixed_ksg, rng.standard_normal(400), y, permutations=39)
    assert abs(noise.value - noise.null) < 0.1
    assert noise.p > 0.05


def test_the_null_shows_the_bias_of_an_estimator() -> None:
    rng = np.random.default_rng(0)
    found = with_null(partial(plugin_discrete, correct=False), rng.integers(0, 30, 200), rng.integers(0, 5, 200), 39)
    assert found.null > 0.2
    assert found.value == pytest.approx(found.null, abs=0.1)
    assert found.p > 0.01


def test_permuting_documents_keeps_the_null_that_repetition_builds() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 30)
    X = rng.standard_normal(20)[clusters] + 0.01 * rng.standard_normal(600)
    y = np.repeat([0, 1], 10)[rng.permutation(20)][clusters]
    by_row = with_null(mixed_ksg, X, y, permutations=19)
    by_document = with_null(mixed_ksg, X, y, permutations=39, clusters=clusters)
    # Twenty documents tell any labels apart: rows alone would call that information.
    assert by_row.above_null
    assert by_document.null > 0.4
    assert by_document.p > 0.05
    assert by_document.clusters == 20


def test_few_documents_have_no_p_value_and_the_note_says_why() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(17), 20)
    X, y = rng.standard_normal(340), (clusters < 7).astype(int)
    for found in (
        with_null(mixed_ksg, X, y, 19, clusters=clusters),
        mixed_ksg_tested(X, y, 3, clusters, 19, 999),
    ):
        assert np.isnan(found.p)
        assert "7 clusters of a class, fewer than 8" in found.note
        assert np.isfinite(found.null_high)
    assert np.isfinite(with_null(mixed_ksg, X, (clusters < 8).astype(int), 19, clusters=clusters).p)


def test_one_search_of_neighbours_gives_the_null_of_estimates_made_one_by_one() -> None:
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 8)
    X = rng.standard_normal((240, 3)) + 0.5 * rng.standard_normal((30, 3))[clusters]
    for y in (rng.integers(0, 3, 30)[clusters], rng.integers(0, 2, 240), (rng.random(240) < 0.06).astype(int)):
        slow = with_null(partial(mixed_ksg, k=4, clusters=clusters), X, y, 40, seed=2, clusters=clusters)
        fast = mixed_ksg_tested(X, y, 4, clusters, 40, 40, seed=2)
        assert (fast.value, fast.null_high) == pytest.approx((slow.value, slow.null_high), abs=1e-9)
        assert fast.null == pytest.approx(slow.null, abs=1e-9)
        moves = with_moves(mixed_ksg, X, y, 4, clusters=clusters, seed=2)
        assert (fast.at_half_n, fast.at_twice_k) == pytest.approx((moves.at_half_n, moves.at_twice_k), nan_ok=True)


def test_labels_that_vary_inside_examples_keep_their_runs() -> None:
    seen: list[np.ndarray] = []

    def spy(X: np.ndarray, y: np.ndarray) -> Estimate:
        seen.append(y)
        return Estimate(0.0, "point", len(X))

    clusters = np.repeat(np.arange(30), 10)
    y = np.tile([0] * 5 + [1] * 5, 30)
    y[::10] = 2
    with_null(spy, np.zeros(300), y, permutations=19, clusters=clusters)
    for dealt in seen:
        np.testing.assert_array_equal(dealt, y)
    labels = np.random.default_rng(0).integers(0, 3, 300)
    seen.clear()
    with_null(spy, np.zeros(300), labels, permutations=19, clusters=clusters)
    blocks = {tuple(block) for block in labels.reshape(30, 10)}
    for dealt in seen[1:]:
        assert {tuple(block) for block in dealt.reshape(30, 10)} == blocks
        assert (dealt != labels).any()


def test_a_null_works_for_continuous_targets() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    found = with_null(gaussian_logdet, X, X[:, :2] + rng.standard_normal((300, 2)), 19)
    assert found.above_null
    assert abs(found.null) < 0.02


def test_wrong_nulls_are_refused() -> None:
    y = np.array([0, 1, 0, 1])
    with pytest.raises(ConfigError, match="at least 19"):
        with_null(plugin_discrete, y, y, permutations=1)
    with pytest.raises(DataError, match="one label a row"):
        with_null(plugin_discrete, y, y[:2])
    with pytest.raises(DataError, match="at least two"):
        with_null(plugin_discrete, y, y, clusters=np.zeros(4))
    with pytest.raises(DataError, match="one cluster a row"):
        with_null(plugin_discrete, y, y, clusters=np.zeros(3))


def test_an_estimate_that_moves_by_more_than_its_error_says_so() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 2000)
    easy = with_moves(mixed_ksg, rng.standard_normal(2000) + y, y, 3)
    assert not easy.moves
    assert easy.at_half_n == pytest.approx(easy.value, abs=easy.standard_error)
    # In ten dimensions 300 rows are far apart: the estimate is too low, and grows with the rows.
    wide = with_moves(mixed_ksg, rng.standard_normal((300, 10)) + 1.2 * y[:300, None], y[:300], 4)
    assert wide.moves
    assert wide.at_half_n < wide.value
    assert "bias is larger" in wide.note
    assert "too few rows for 10 dimensions" in wide.note
    assert "too few rows" not in easy.note


def test_more_tests_than_permutations_can_correct_are_told_before_the_run() -> None:
    columns = [f"column {number}={value}" for number in range(10) for value in range(30)]
    of = {name: name.partition("=")[0] for name in [*columns, "answer=no", "answer=yes"]}
    spans = [f"token:{number}" for number in range(250)]
    # A column has too many values to be one variable, and spans are no variables of pooled rows.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        foresee([*columns, *spans], of, 2, by_position=True)
        foresee(spans, {}, 9, by_position=False)
    with pytest.warns(WorkbenchWarning, match=r"up to 502 tests .* over more than 500 can be below \.05.*fewer labels .* sites"):
        foresee([*columns, *spans, "answer=no", "answer=yes"], of, 2, by_position=True)
