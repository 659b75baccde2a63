import numpy as np
import pytest

from workbench.statistics.dealing import arrangements, dealer, dealt_labels, whole_deal


def test_with_one_row_a_cluster_it_is_a_permutation_of_the_rows() -> None:
    labels = (np.arange(40) < 12).astype(float)
    found = dealt_labels(labels, None, 400, 0)
    assert (found.sum(axis=1) == 12).all()
    # Every row is as likely to be positive: 400 draws of a share of .3.
    np.testing.assert_allclose(found.mean(axis=0), 0.3, atol=0.1)
    np.testing.assert_array_equal(found, dealt_labels(labels, None, 400, 0))


def test_clusters_whose_rows_agree_give_and_get_labels_that_agree() -> None:
    clusters = np.repeat([5, 9, 2, 7, 1, 3], [3, 8, 5, 4, 6, 4])
    labels = np.isin(clusters, [9, 2, 1]).astype(float)
    for found in dealt_labels(labels, clusters, 50, 1):
        by_cluster = [set(found[clusters == c]) for c in np.unique(clusters)]
        assert all(len(values) == 1 for values in by_cluster)
        assert sum(values == {1.0} for values in by_cluster) == 3


def test_runs_keep_their_order_within_a_cluster_and_rows_need_not_be_sorted() -> None:
    clusters = np.tile(np.arange(10), 6)
    place = np.repeat(np.arange(6), 10)
    labels = ((place >= 3) & (clusters < 5)).astype(float)
    for found in dealt_labels(labels, clusters, 20, 2):
        assert found.sum() == 15
        assert (found[place < 3] == 0).all()


def test_the_number_of_positives_stays_near_where_clusters_differ_in_length() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), rng.integers(2, 20, 40))
    labels = np.isin(clusters, rng.permutation(40)[:15]).astype(float)
    off = dealt_labels(labels, clusters, 100, 0).sum(axis=1) - labels.sum()
    assert np.abs(off).mean() < 0.1 * labels.sum()


def test_arrangements_are_counted_where_labels_follow_clusters() -> None:
    clusters = np.repeat(np.arange(15), 4)
    assert arrangements((clusters < 7).astype(float), clusters) == 6435
    assert arrangements((np.arange(60) % 4 == 0).astype(float), clusters) == np.inf
    assert arrangements((np.arange(5000) < 2500).astype(float), None) == pytest.approx(np.inf)


def test_a_rare_value_is_in_every_deal_that_something_is_fitted_to() -> None:
    """One cluster of 20 has the only positives, so that three deals of eight or so leave them out."""
    clusters = np.repeat(np.arange(20), np.arange(20, 40))
    labels = np.zeros(len(clusters), dtype=int)
    labels[np.flatnonzero(clusters == 19)[:3]] = 1
    deal, rng = dealer(labels, clusters), np.random.default_rng(0)
    assert 0.1 < np.mean([labels[deal(rng)].max() == 0 for _ in range(200)]) < 0.9
    assert all(whole_deal(labels, deal, rng).max() == 1 for _ in range(100))
    assert (dealt_labels(labels, clusters, 100, 0).max(axis=1) == 1).all()
    assert whole_deal(labels, lambda _: np.zeros(len(labels), dtype=int), rng) is None
