"""The four analyses where the truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.errors import ConfigError, DataError


def test_probes_find_what_was_planted_and_controls_find_nothing(planted) -> None:
    study, acts, _, directions = planted()
    run = study.run("linear_probe", acts)
    metrics = run.metrics.set_index(["metric", "label"])
    assert metrics.loc[("probe.auroc", "token:planted"), "value"] > 0.97
    assert metrics.loc[("probe.auroc", "kind=right"), "value"] > 0.97
    # Two values are one question, which has one direction and says what its other side is.
    assert ("probe.auroc", "kind=left") not in metrics.index
    assert {c.label: c.name for c in run.concepts}["kind=right"] == "kind: right (not left)"
    shuffled = metrics.loc["probe.shuffled"]
    assert (shuffled["low"] <= 0.5).all()
    assert (shuffled["high"] >= 0.5).all()
    accuracy = metrics.loc["probe.accuracy"]
    assert (accuracy["value"] > accuracy["null"]).all()
    concepts = {c.label: c for c in run.concepts}
    assert abs(float(concepts["token:planted"].direction @ torch.from_numpy(directions[0]))) > 0.9


def test_selectivity_is_low_where_a_word_gives_the_label_away(planted) -> None:
    # 'planted' is a function of the word and so is the control task; only the first has a direction in the activations. With this
    # seed some of the eight words have the other label in the control task.
    study, acts, _, _ = planted()
    metrics = study.run("linear_probe", acts, labels="planted", seed=2).metrics.set_index("metric")
    assert metrics.loc["probe.selectivity", "value"] > 0.05
    assert metrics.loc["probe.selectivity", "clusters"] == 100


def test_a_control_task_without_two_labels_has_no_selectivity(planted) -> None:
    study, acts, _, _ = planted()
    run = study.run("linear_probe", acts, labels="planted", seed=1)
    found = run.metrics.set_index("metric").loc["probe.selectivity"]
    assert found["status"] == "failed"
    assert "the 8 words of the training rows all drew the same label" in found["error"]
    assert any("another seed" in remark for remark in run.remarks)


def test_probes_of_pure_noise_are_at_chance(planted) -> None:
    study, acts, _, _ = planted(strength=0.0)
    metrics = study.run("linear_probe", acts).metrics
    areas = metrics[metrics["metric"].eq("probe.auroc")]
    assert (areas["low"] < 0.53).all()
    assert (areas["high"] > 0.47).all()


def test_information_is_found_where_it_was_planted_and_only_there(planted) -> None:
    strong, acts, _, _ = planted()
    found = strong.run("mutual_information", acts).metrics.set_index(["metric", "label"])
    noise_study, noise_acts, _, _ = planted(strength=0.0, seed=1)
    noise = noise_study.run("mutual_information", noise_acts).metrics.set_index(["metric", "label"])
    assert noise["p_corrected"].dropna().gt(0.05).all()
    for metric in ("mi.bound", "mi.ksg"):
        for label in ("token:planted", "kind"):
            assert found.loc[(metric, label), "p_corrected"] <= 0.01
            assert found.loc[(metric, label), "clusters"] >= found.loc[(metric, label), "clusters_positive"] >= 8
            # Only the bound has an interval: the neighbours' bias is in no sampling error.
            assert pd.isna(found.loc[(metric, label), "low"]) == (metric == "mi.ksg")
            assert found.loc[(metric, label), "value"] > found.loc[(metric, label), "null_high"] + 0.1
            assert found.loc[(metric, label), "value"] < found.loc[("mi.entropy", label), "value"] + 0.05
            assert noise.loc[(metric, label), "value"] < noise.loc[(metric, label), "null_high"] + 0.03


def test_principal_directions_are_concepts_like_any_other(planted) -> None:
    study, acts, _, directions = planted()
    run = study.run("mutual_information", acts, dimensions=3)
    assert len(run.concepts) == 3
    found = torch.stack([c.direction for c in run.concepts]).numpy()
    # The two planted directions have far more variance than the noise.
    np.testing.assert_allclose(np.linalg.norm(directions @ found.T, axis=1), 1.0, atol=0.1)


def dictionary_study(planted, atoms: int = 32, width: int = 16):
    """Rows that are sums of three of 32 atoms in 16 dimensions."""
    from workbench.testing.worlds import word_index, write_activations

    study, _, dataset, _ = planted(examples=1600)
    index = word_index(dataset.inputs())
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(atoms, width))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    codes = np.zeros((len(index), atoms))
    for row in codes:
        row[rng.choice(atoms, 3, replace=False)] = rng.uniform(1, 2, 3)
    acts = write_activations(
        study.folder / "activations", dataset, {"resid_post.7": (codes @ directions).astype(np.float32)}, index
    )
    return study, acts, directions


@pytest.mark.slow
def test_a_sparse_autoencoder_finds_a_planted_dictionary(planted, monkeypatch) -> None:
    study, acts, atoms = dictionary_study(planted)
    # The planted rows belong to no network, so nothing can be spliced into one.
    failed = {"metric": "sae.output_kept", "value": np.nan, "status": "failed", "error": "there is no network"}
    monkeypatch.setattr("analyses.dictionaries._shared.quality.spliced", lambda *_: failed)
    run = study.run("sparse_autoencoder", acts, d_sae=64, k=3, samples=600_000, batch_size=512, lr=2e-3)
    found = run.sets[0].directions().numpy()
    recovered = (atoms @ found.T).max(1).mean()
    random = np.random.default_rng(1).normal(size=(64, atoms.shape[1]))
    floor = (atoms @ (random / np.linalg.norm(random, axis=1, keepdims=True)).T).max(1).mean()
    print(f"mean best cosine {recovered:.3f}; of a random dictionary {floor:.3f}")
    assert recovered > 0.9 > floor
    metrics = run.metrics.set_index("metric")
    assert metrics.loc["sae.fvu", "value"] < 0.15 < metrics.loc["sae.fvu", "null"]


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("sparse_autoencoder", {"d_sae": 4, "k": 8}, ConfigError, "cannot be active in a dictionary of 4"),
        ("sparse_autoencoder", {"batch_size": 10**6}, ConfigError, "fewer than a batch"),
        ("sparse_autoencoder", {"d_sae": "many"}, ConfigError, "'d_sae'"),
        ("linear_probe", {"labels": "topic"}, DataError, "no label 'topic'"),
        ("linear_probe", {"C": -1}, ConfigError, "'C'"),
        ("mutual_information", {"dimensions": 50}, ConfigError, "'dimensions'"),
        ("concept_activation", {"random_sets": 5}, ConfigError, "'random_sets'"),
    ],
)
def test_options_that_do_not_fit_say_what_to_do(planted, name, options, error, text) -> None:
    study, acts, _, _ = planted(examples=120)
    with pytest.raises(error, match=text):
        study.run(name, acts, **options)
    assert len(study.runs()) == 0


def test_labels_with_too_few_examples_are_named_not_probed(tmp_path, minilm) -> None:
    table = pd.DataFrame({"text": [f"sentence number {i} about things" for i in range(40)], "rare": ["yes"] + ["no"] * 39})
    dataset = wb.dataset_from_table(table, text="text", labels=["rare"])
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(minilm, dataset, sites="resid_post.1")
        with pytest.raises(
            DataError,
            match=r"'rare=yes' has .* needs 20 and 8 of each \(of 19 of the 28 training examples, which a seed draws\)\. ",
        ) as found:
            study.run("linear_probe", acts)
    assert "group" not in str(found.value)


def test_groups_that_leave_a_class_to_one_split_are_named(tmp_path, minilm) -> None:
    table = pd.DataFrame({"text": [f"sentence number {i} about things" for i in range(120)]})
    table["book"], table["tone"] = [f"book {i % 3}" for i in range(120)], ["calm" if i % 3 else "loud" for i in range(120)]
    dataset = wb.dataset_from_table(table, text="text", labels=["tone"], group="book")
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(minilm, dataset, sites="resid_post.1")
        with pytest.raises(DataError, match=r"the 120 captured examples are in 3 groups, each of them whole in one split"):
            study.run("linear_probe", acts)
