"""The trial on planted truth: what is there is found, what is not there is not, and every number has its null."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import binom

from workbench.activations.labels import choose_labels, example_means, row_targets
from workbench.analysis import Analysis, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import DataError, UnknownNameError
from workbench.evidence.corrections import correct
from workbench.evidence.detection import detect
from workbench.evidence.held_out import held_out
from workbench.evidence.informs import information
from workbench.evidence.location import locate
from workbench.evidence.metrics import BY_KEY
from workbench.evidence.verdict import verdict
from workbench.statistics.permutation import permuted_by_cluster
from workbench.statistics.rows import Null, row


class Given(Analysis):
    """Directions that the test gives; for tests."""

    name = "given_for_tests"
    title = "Given"
    method = "given"
    directions: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...] = ()

    def run(self, context):
        """Return them."""
        table = pd.DataFrame({"label": self.labels or [""] * len(self.directions)})
        noise = torch.randn(
            len(self.directions), context.activations.width(), generator=torch.Generator().manual_seed(context.seed)
        )
        # Another seed moves the directions a little, so that stability has something to measure.
        weights = torch.tensor(self.directions) + 0.02 * noise
        return Result(concepts=[LinearConcepts("resid_post.0", weights, table=table)])


register(Given)


def trial(planted, extra: int = 3):
    study, acts, _, directions = planted()
    rng = np.random.default_rng(5)
    others = rng.normal(size=(extra, directions.shape[1]))
    others -= others @ directions.T @ directions
    run = study.run("given_for_tests", acts, directions=np.concatenate([directions, others]).tolist())
    families = ("detects", "informs", "locates", "stable")
    rows = study.examine(run, families=families)
    return study, run, rows[rows["status"].eq("ok")]


def test_planted_concepts_are_found_and_noise_is_not(planted) -> None:
    _, run, rows = trial(planted)
    areas = rows[rows["metric"].eq("detects.auroc")].set_index(["concept", "label"])
    assert areas.loc[(f"{run.id}.0", "token:planted"), "value"] > 0.97
    assert areas.loc[(f"{run.id}.0", "token:planted"), "p"] < 1e-6
    left = areas.xs(f"{run.id}.1", level="concept")
    assert {"kind=left"} <= set(left.index)
    assert left.loc["kind=left", "value"] > 0.97
    for number in (2, 3, 4):
        noise = areas.xs(f"{run.id}.{number}", level="concept")
        assert (noise["low"] <= 0.56).all()
        assert (noise["p"] > 0.05).all()


def test_intervals_hold_their_values_and_nulls_stand_at_chance(planted) -> None:
    _, _, rows = trial(planted)
    ranged = rows.dropna(subset=["low", "high"])
    assert (ranged["low"] <= ranged["value"] + 1e-9).all()
    assert (ranged["value"] <= ranged["high"] + 1e-9).all()
    areas = rows[rows["metric"].eq("detects.auroc")]
    assert areas["null"].between(0.45, 0.55).all()
    assert (areas["null_high"] >= areas["null"]).all()
    assert (rows["n"] > 0).all()


def test_information_of_a_planted_concept_is_near_the_labels_entropy(planted) -> None:
    _, run, rows = trial(planted)
    bits = rows[rows["metric"].eq("informs.bits")].set_index(["concept", "label"])
    found = bits.loc[(f"{run.id}.0", "token:planted")]
    entropy = -(1 / 8) * np.log2(1 / 8) - (7 / 8) * np.log2(7 / 8)
    assert 0.6 * entropy < found["value"] <= entropy + 0.05
    assert found["null_high"] < 0.05


def test_a_planted_concept_peaks_inside_its_span(planted) -> None:
    _, run, rows = trial(planted)
    pointing = rows[rows["metric"].eq("locates.pointing")].set_index("concept")
    assert pointing.loc[f"{run.id}.0", "value"] > 0.9
    assert pointing.loc[f"{run.id}.0", "null"] < 0.35


def test_another_seed_finds_a_stable_concept_again(planted) -> None:
    _, run, rows = trial(planted)
    stable = rows[rows["metric"].eq("stable.cosine")].set_index("concept")
    assert stable.loc[f"{run.id}.0", "value"] > 0.95
    assert stable["null_high"].lt(0.8).all()


def test_a_supervised_concept_is_tried_on_its_own_label(planted) -> None:
    study, acts, _, directions = planted()
    run = study.run("given_for_tests", acts, directions=directions[::-1].tolist(), labels=("token:planted", "kind=left"))
    rows = study.examine(run, families=("detects",))
    areas = rows[rows["metric"].eq("detects.auroc")].set_index(["concept", "label"])["value"]
    # The labels are swapped on purpose: each stands trial for the label it claims, and fails there.
    assert areas[f"{run.id}.0", "token:planted"] < 0.6
    assert areas[f"{run.id}.1", "kind=left"] < 0.6


def test_the_same_examination_is_not_done_twice(planted) -> None:
    study, run, _ = trial(planted)
    before = len(study.runs())
    count = len(study.evidence())
    study.examine(run, families=("detects", "informs", "locates", "stable"))
    assert len(study.runs()) == before
    assert len(study.evidence()) == count


def test_concepts_are_given_themselves_or_by_their_ids(planted) -> None:
    study, run, _ = trial(planted)
    options = {"families": ("detects",), "replicate": False}
    some = study.examine([run.concepts[0], run.concepts[1]], **options)
    assert set(some["concept"]) == set(run.concepts.ids[:2])
    pd.testing.assert_frame_equal(study.examine(run.concepts.ids[:2], **options), some)
    assert set(study.examine(run.concepts.ids[1], **options)["concept"]) == {run.concepts.ids[1]}
    with pytest.raises(UnknownNameError, match="nowhere"):
        study.examine(["nowhere"], **options)


def test_unknown_families_sites_and_missing_splits_are_named(planted) -> None:
    study, run, _ = trial(planted)
    with pytest.raises(UnknownNameError, match=r"family of evidence called 'cause'.*Did you mean 'causes'"):
        study.examine(run, families=("cause",))
    with pytest.raises(UnknownNameError, match="site of run"):
        study.examine(run, sites=["resid_post.9"])
    acts = study.activations()[0]
    dataset = study.dataset_of(acts)
    dataset.table["split"] = "train"
    with pytest.raises(DataError, match="test split"):
        held_out(acts, dataset, "test", 100, 0)


def test_a_label_at_one_place_of_every_document_says_that_nothing_else_could_be_seen() -> None:
    first = np.tile([1.0] + [0.0] * 19, 30)[:, None]
    permuted = permuted_by_cluster(first, first, np.repeat(np.arange(30), 20))
    null = Null(permuted.mean[0], permuted.high[0], permuted.p[0], "all")
    said = verdict(row("detects.auroc", 1.0, null, n=600, note=permuted.remark(0)), BY_KEY["detects.auroc"])
    assert permuted.p[0] > 0.05
    assert not said.beyond
    assert "follow the place in the document" in said.sentence
    shuffled = np.random.default_rng(0).permutation(600)
    assert permuted_by_cluster(first[shuffled], first[shuffled], np.repeat(np.arange(30), 20)).remark(0) == ""


def test_span_labels_mark_exactly_the_words_they_cover(planted) -> None:
    _, acts, dataset, _ = planted(examples=60)
    targets = row_targets(acts, dataset)
    marked = targets.values[:, targets.names.index("token:planted")] == 1
    assert (acts.index["token"].eq("omega").to_numpy() == marked).all()


def test_rows_of_examples_that_nobody_annotated_are_unknown(planted) -> None:
    _, acts, dataset, _ = planted(examples=60)
    dataset.span_scope[:10] = False
    values = row_targets(acts, dataset).only(["token:planted"]).values[:, 0]
    unknown = acts.index["example"].to_numpy() < 10
    assert np.isnan(values[unknown]).all()
    assert not np.isnan(values[~unknown]).any()


def test_example_means_are_the_means_of_their_rows(planted) -> None:
    _, acts, _, _ = planted(examples=60)
    means = example_means(acts, np.array([7, 3, 59]), chunk=2)
    example = acts.index["example"].to_numpy()
    for mean, number in zip(means, (7, 3, 59), strict=True):
        np.testing.assert_allclose(mean, acts.read(np.flatnonzero(example == number)).mean(0), atol=1e-5)


def test_labels_are_chosen_by_name_column_or_kind(planted) -> None:
    _, _, dataset, _ = planted(examples=60)
    assert choose_labels(dataset, "planted") == ["token:planted"]
    assert choose_labels(dataset, ["kind", "tokens"]) == ["kind=left", "kind=right", "token:planted"]
    with pytest.raises(DataError, match=r"no label 'topc'.*kind"):
        choose_labels(dataset, "topc")


def test_information_of_independent_codes_is_at_its_null() -> None:
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(4000, 20)), (rng.random((4000, 20)) < 0.3).astype(float)
    found = information(z, y, np.arange(4000), seed=0)
    assert np.abs(found.value).max() < 0.01
    assert np.abs(found.value.mean()) < 0.001
    assert (found.value <= found.null_high).mean() > 0.75
    assert (found.low <= 0).mean() > 0.8


def test_information_of_a_copy_is_the_entropy() -> None:
    y = (np.random.default_rng(0).random((5000, 1)) < 0.25).astype(float)
    found = information(y * 3.0, y, np.arange(5000), seed=0)
    share = y.mean()
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    # Less a bias of (bins - 1) / (2 n ln 2) bits.
    assert found.value[0] == pytest.approx(entropy, abs=5e-4)
    assert found.low[0] < found.value[0] < found.high[0]


@pytest.mark.parametrize("follows", ["documents", "rows"])
def test_information_covers_the_truth_and_nothing_where_there_is_none(follows: str) -> None:
    rng = np.random.default_rng(4)
    documents = np.repeat(np.arange(40), 15)
    covered = []
    for _ in range(12):
        label = (rng.random((40, 25)) < 0.4)[documents] if follows == "documents" else rng.random((600, 25)) < 0.2
        score = rng.normal(size=(40, 25))[documents] + rng.normal(size=(600, 25))
        found = information(score, label.astype(float), documents, seed=1)
        covered.append((found.low <= 0)[np.isfinite(found.low)])
    assert binom.cdf(np.concatenate(covered).sum(), np.concatenate(covered).size, 0.95) > 0.001


def test_p_and_corrected_p_are_both_kept_and_the_family_is_named() -> None:
    rows = [{"metric": "causes.output", "p": p} for p in (0.04, 0.001, 0.5, 0.02)] + [{"metric": "causes.output", "p": None}]
    correct(rows, concepts=100)
    assert [row["p_corrected"] for row in rows[:4]] == pytest.approx([0.08, 0.004, 0.5, 0.06])
    assert [row["p"] for row in rows] == [0.04, 0.001, 0.5, 0.02, None]
    assert rows[0]["family"].endswith("(4 tests)")
    assert "p_corrected" not in rows[4]


def test_a_list_of_concepts_has_the_false_discovery_rate(planted) -> None:
    _, run, rows = trial(planted)
    table = run.concepts.table().set_index("id")
    raw = rows[rows["metric"].eq("detects.auroc") & rows["value"].gt(0.5)].sort_values("value").groupby("concept").tail(1)
    q = table["detects.q"].dropna()
    assert q[f"{run.id}.0"] < 1e-5
    assert (q >= raw.set_index("concept")["p"][q.index] - 1e-12).all()


def test_trying_few_of_many_corrects_for_the_many() -> None:
    rows = [{"metric": "detects.auroc", "p": 0.01}, {"metric": "detects.auroc", "p": 0.002}]
    correct(rows, concepts=20)
    assert [row["p_corrected"] for row in rows] == pytest.approx([0.19, 0.04])


def test_a_flat_concept_points_no_better_than_chance(planted) -> None:
    _, acts, dataset, _ = planted()
    test = held_out(acts, dataset, "test", 10_000, 0)
    rows = locate(1, np.zeros((len(test.rows), 1), dtype=np.float32), ["token:planted"], test)
    pointing = next(r for r in rows if r["metric"] == "locates.pointing")
    assert pointing["value"] == pytest.approx(pointing["null"])
    assert next(r for r in rows if r["metric"] == "locates.overlap")["status"] == "failed"


def test_the_label_of_a_discovered_concept_is_chosen_without_the_test_split(planted) -> None:
    _, acts, dataset, directions = planted()
    validation, test = (held_out(acts, dataset, split, 10_000, 0) for split in ("validation", "test"))
    concepts = LinearConcepts("resid_post.0", torch.from_numpy(directions))
    chosen = detect(concepts, validation, test, 0).choice
    test.tokens.values[:] = np.random.default_rng(0).integers(0, 2, test.tokens.values.shape)
    assert detect(concepts, validation, test, 0).choice == chosen


def test_a_name_is_scored_against_the_names_of_the_whole_run(planted) -> None:
    study, acts, _, directions = planted()
    noise = np.random.default_rng(6).normal(size=(8, directions.shape[1]))
    run = study.run("given_for_tests", acts, directions=np.concatenate([directions, noise]).tolist())
    words = ("omega", "left", "alpha", "beta", "gamma", "delta", "kappa", "sigma", "theta", "money")
    for concept, word in zip(run.concepts, words, strict=True):
        concept.rename(word, "test")
    whole = study.examine(run, families=("named",)).set_index("concept")
    two = study.examine([run.concepts[0], run.concepts[3]], families=("named",)).set_index("concept")
    assert two["status"].eq("ok").all()
    assert two.loc[f"{run.id}.0", "value"] > 0.9
    columns = ["value", "low", "high", "null", "null_high", "p"]
    pd.testing.assert_frame_equal(two[columns], whole.loc[two.index, columns])
