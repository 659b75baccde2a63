"""Activations from elsewhere, whose model nobody has: what needs it is a failed row with the reason, and the work is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from analyses.dictionaries._shared.large_rows import of_large_norm
from workbench.analysis import Analysis, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.errors import ConfigError
from workbench.store.unfinished import Unfinished

EXAMPLES, WIDTH = 240, 16
REASON = "model 'imported'"
TRAINING = {"d_sae": 24, "k": 4, "samples": 3000, "batch_size": 100}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows of another program: a direction on every 'omega', and one in examples of kind left."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        [
            {"example": example, "position": position, "token": str(rng.choice(["alpha", "beta", "omega"]))}
            for example in range(EXAMPLES)
            for position in range(rng.integers(3, 9))
        ]
    )
    table["kind"] = rng.choice(["left", "right"], EXAMPLES)[table["example"]]
    values = rng.normal(size=(len(table), WIDTH)).astype(np.float32)
    values[:, 0] += 6 * table["kind"].eq("left").to_numpy()
    values[:, 1] += 6 * table["token"].eq("omega").to_numpy()
    place = tmp_path_factory.mktemp("given")
    np.save(place / "resid_post.1.npy", values)
    table.to_csv(place / "rows.csv", index=False)
    return place


@pytest.fixture(scope="module")
def imported(folder, tmp_path_factory):
    with wb.open_study(tmp_path_factory.mktemp("studies") / "study") as study:
        yield study, study.import_activations(folder)


@pytest.fixture(scope="module")
def trained(imported):
    study, acts = imported
    return study.run("sparse_autoencoder", acts, **TRAINING)


def failed(metrics: pd.DataFrame) -> pd.DataFrame:
    return metrics[metrics["status"].eq("failed")] if "status" in metrics else metrics.head(0)


def test_a_sparse_autoencoder_is_trained_and_kept_with_one_failed_row(trained, imported, tmp_path) -> None:
    study, _ = imported
    lost = failed(trained.metrics)
    assert lost["metric"].tolist() == ["sae.output_kept"]
    assert REASON in lost["error"].iloc[0]
    kept = trained.metrics.dropna(subset="value").set_index("metric")["value"]
    assert {"sae.fvu", "sae.fvu_ordinary", "sae.large_rows", "sae.l0", "sae.dead", "sae.cosine"} <= set(kept.index)
    assert 0 < kept["sae.fvu"] < 1
    assert len(trained.sets[0]) == 24
    assert len(trained.tables["losses"])
    assert not (study.folder / "cache" / "unfinished").is_dir() or not list((study.folder / "cache" / "unfinished").iterdir())
    assert any(REASON in remark and "Output kept" in remark for remark in trained.remarks)
    page = study.report(tmp_path / "report.html")
    assert "could not be measured" in page.read_text()
    assert study.verify().empty


def test_the_reason_is_said_on_the_command_line(trained, imported, capsys) -> None:
    study, acts = imported
    options = [f"--set={key}={value}" for key, value in TRAINING.items()]
    with pytest.raises(SystemExit) as end:
        main(["run", str(study.folder), "sparse_autoencoder", "--acts", acts.id, *options])
    assert not end.value.code
    assert "Output kept at resid_post.1 could not be measured" in " ".join(capsys.readouterr().out.split())


def test_a_dictionary_from_a_folder_is_kept_too(trained, imported) -> None:
    study, acts = imported
    run = study.run("pretrained_dictionary", acts, folder=str(trained.folder / "concepts" / "0"))
    assert failed(run.metrics)["metric"].tolist() == ["sae.output_kept"]
    assert torch.equal(run.sets[0].W_dec, trained.sets[0].W_dec)


def test_a_dictionary_of_another_site_is_refused_unless_asked_for(trained, imported, tmp_path) -> None:
    study, acts = imported
    trained.sets[0].save(tmp_path / "other")
    config = json.loads((tmp_path / "other" / "cfg.json").read_text())
    config["metadata"]["hook_name"] = "blocks.7.hook_resid_pre"
    (tmp_path / "other" / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"trained at resid_pre.7 \(blocks.7.hook_resid_pre\).*resid_post.1"):
        study.run("pretrained_dictionary", acts, folder=str(tmp_path / "other"))
    assert len(study.run("pretrained_dictionary", acts, folder=str(tmp_path / "other"), other_site=True).concepts) == 24


def test_vectors_are_fitted_and_only_their_scores_fail(imported) -> None:
    study, acts = imported
    run = study.run("concept_activation", acts, per_side=20)
    assert set(failed(run.metrics)["metric"]) == {"tcav.effect", "tcav.score", "tcav.magnitude"}
    areas = run.metrics[run.metrics["metric"].eq("cav.auroc")].set_index("label")["value"]
    assert areas.filter(like="kind").item() > 0.9
    assert len(run.concepts) == len(areas)


def test_what_needs_no_model_has_no_failed_row(imported) -> None:
    study, acts = imported
    for name in ("linear_probe", "mutual_information"):
        run = study.run(name, acts, labels="kind")
        assert failed(run.metrics).empty
        # What the neighbour estimate says of its own bias is no failure.
        assert [remark for remark in run.remarks if not remark.startswith("Nearest neighbours")] == []


def test_the_trial_keeps_what_it_found_when_causes_cannot_be_measured(trained, imported) -> None:
    study, _ = imported
    rows = study.examine(trained, families=("detects", "causes", "stable"), steer=3)
    lost = rows[rows["status"].eq("failed") & rows["metric"].str.startswith("causes.")]
    assert set(lost["metric"]) == {"causes.sensitivity", "causes.readout", "causes.output"}
    assert lost["error"].str.contains(REASON).all()
    assert len(lost[lost["metric"].eq("causes.output")]) == 3
    found = rows[rows["metric"].eq("detects.auroc") & rows["status"].eq("ok")]
    assert found["value"].max() > 0.9
    assert rows[rows["metric"].eq("stable.cosine")]["status"].eq("ok").any()


def test_an_examination_on_the_command_line_says_why_what_failed_did(trained, imported, capsys) -> None:
    study, _ = imported
    with pytest.raises(SystemExit) as ended:
        main(["--quiet", "examine", str(study.folder), trained.id, "--families", "causes,detects", "--no-replicate"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "detects.auroc" in out
    assert "Failed: causes.sensitivity of 24 of the concepts: " in out
    assert REASON in out


def test_a_decoder_that_is_gone_leaves_a_run_without_tokens_and_the_reason(folder, tmp_path) -> None:
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(folder)
        record = study.model_record() | {"kind": "decoder", "source": {"spec": "no/gone"}}
        study.catalog.set_info("model", json.dumps(record))
        run = study.run("linear_probe", acts, labels="kind")
        assert "tokens" not in run.tables
        assert run.tables["failed"]["what"].tolist() == ["tokens of the concepts"]
        assert any("gone" in remark for remark in run.remarks)
        rows = study.examine(run, families=("detects", "causes"))
        lost = rows[rows["metric"].eq("causes.tokens")]
        assert len(lost)
        assert lost["status"].eq("failed").all()
        assert lost["error"].str.contains("tokens of its concepts").all()


class Fragile(Analysis):
    """Makes something once, and cannot go on the first time; for tests."""

    name = "fragile_for_tests"
    title = "Fragile"
    method = "given"
    made: tuple[str, ...] = ()

    def run(self, context):
        """Make it, then fail where the file of the test says so."""
        log, broken = self.made

        def make():
            with open(log, "a") as file:
                file.write("made\n")
            return {"weights": torch.ones(1, context.activations.width())}, {"losses": [0.1, 1 / 3]}

        tensors, facts = context.once("trained", make)
        assert facts == {"losses": [0.1, 1 / 3]}
        if Path(broken).exists():
            raise KeyError("a fault of the code that measures")
        return Result(concepts=[LinearConcepts("resid_post.1", tensors["weights"])])


register(Fragile)


def test_what_was_trained_survives_a_crash_of_what_comes_after_it(folder, tmp_path) -> None:
    log, broken = tmp_path / "log", tmp_path / "broken"
    broken.touch()
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(folder)
        options = {"made": (str(log), str(broken))}
        with pytest.raises(KeyError):
            study.run("fragile_for_tests", acts, **options)
        assert log.read_text() == "made\n"
        broken.unlink()
        run = study.run("fragile_for_tests", acts, **options)
        assert len(run.concepts) == 1
        assert log.read_text() == "made\n"
        assert list((study.folder / "cache" / "unfinished").iterdir()) == []
        # A repetition does everything again.
        assert study.repeat(run).agrees
        assert log.read_text() == "made\nmade\n"


def test_an_intermediate_result_that_is_not_whole_is_made_again(tmp_path) -> None:
    kept, made = Unfinished(tmp_path / "run"), []

    def make():
        made.append(1)
        return {"a": torch.arange(3.0)}, {"b": 2}

    for _ in range(2):
        tensors, facts = kept.once("trained", make)
        assert (tensors["a"].tolist(), facts) == ([0.0, 1.0, 2.0], {"b": 2})
    (tmp_path / "run" / "trained" / "facts.json").write_text("{")
    assert kept.once("trained", make)[1] == {"b": 2}
    assert len(made) == 2
    kept.clear()
    assert not (tmp_path / "run").exists()


def test_rows_of_huge_norm_are_counted_and_the_variance_is_said_without_them(folder, tmp_path) -> None:
    place = tmp_path / "given"
    place.mkdir()
    values, table = np.load(folder / "resid_post.1.npy"), pd.read_csv(folder / "rows.csv")
    values[table["position"].eq(0) & table["example"].mod(5).eq(0)] = 500 * np.eye(WIDTH, dtype=np.float32)[3]
    np.save(place / "resid_post.1.npy", values)
    table.to_csv(place / "rows.csv", index=False)
    # A dictionary that knows the huge direction and nothing else.
    one = torch.eye(WIDTH)[3:4]
    tensors = {"W_enc": one.T.clone(), "W_dec": one, "b_enc": torch.zeros(1), "b_dec": torch.zeros(WIDTH)}
    read = DictionaryConcepts("resid_post.1", tensors, {"architecture": "standard", "metadata": {}})
    read.config |= {"d_in": WIDTH, "d_sae": 1, "dtype": "float32", "metadata": {"sae_lens_version": "6.20.0"}}
    read.save(tmp_path / "sae")
    with wb.open_study(tmp_path / "study") as study:
        acts = study.import_activations(place)
        run = study.run("pretrained_dictionary", acts, folder=str(tmp_path / "sae"))
        metrics = run.metrics.set_index("metric")
        split = study.dataset_of(acts).table["split"].eq("test").to_numpy()[acts.index["example"]]
    x, ordinary = acts.read()[split], np.linalg.norm(acts.read()[split], axis=1) < 100
    assert metrics.loc["sae.large_rows", "value"] == (~ordinary).sum() > 0
    assert metrics.loc["sae.large_rows", "n"] == len(x)
    assert metrics.loc["sae.fvu_ordinary", "n"] == ordinary.sum()
    assert metrics.loc["sae.fvu", "value"] < 0.02
    assert metrics.loc["sae.fvu_ordinary", "value"] > 0.9
    note = next(remark for remark in run.remarks if remark.startswith("Unexplained variance at resid_post.1:"))
    assert f"{(~ordinary).sum()} of {len(x)} rows have a norm above 3 times the median" in note


def test_rows_of_like_norm_are_all_ordinary_and_need_no_note(trained) -> None:
    metrics = trained.metrics.set_index("metric")
    assert metrics.loc["sae.large_rows", "value"] == 0
    assert metrics.loc["sae.fvu_ordinary", "value"] == pytest.approx(metrics.loc["sae.fvu", "value"])
    assert not any("norm" in remark for remark in trained.remarks)
    assert not bool(of_large_norm(torch.ones(5, 3)).any())
