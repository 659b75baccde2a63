"""What is read and kept when a model is large: captured examples only, a map to the vocabulary that is measured once."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.large_vocabulary import save_large_vocabulary
from workbench import readout
from workbench.cli import main
from workbench.store.captured import captured_examples


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A small causal model, 480 texts of which 240 were captured, and probes."""
    rng = np.random.default_rng(0)
    kinds = ["war", "sea"]
    texts = [" ".join(rng.choice([kind, "the", "of", "and"], 6)) for kind in kinds * 240]
    table = pd.DataFrame({"text": [f"{text} {i}" for i, text in enumerate(texts)], "kind": kinds * 240})
    table.loc[5, "kind"] = "rare"
    place = tmp_path_factory.mktemp("size")
    table.to_csv(place / "texts.csv", index=False)
    model = wb.load_model(save_large_vocabulary(place / "model", size=600, width=16))
    with wb.open_study(place / "study") as opened:
        texts = wb.load_dataset(place / "texts.csv", labels=["kind"])
        acts = opened.capture(model, texts, "resid_post.1", limit=240, sample_by="kind")
        opened.run("linear_probe", acts, controls=False)
        yield opened


def test_the_readout_reads_captured_examples_only(study, monkeypatch):
    texts = study.datasets()[0]
    captured = captured_examples(study, texts)
    assert len(captured) == 240 < len(texts)
    read: list[np.ndarray] = []
    whole = readout.pooled_outputs
    monkeypatch.setattr(readout, "pooled_outputs", lambda m, d, ids, *rest: read.append(ids) or whole(m, d, ids, *rest))
    found = study.readout(texts)
    assert set(np.concatenate(read)) <= set(captured.tolist())
    assert set(found.labels) >= {"kind=war", "kind=sea"}
    # It is kept for these examples.
    assert study.readout(texts).labels == found.labels
    assert len(read) == 1


def test_a_packed_study_knows_which_examples_were_captured(study, tmp_path):
    texts = study.datasets()[0]
    study.pack(tmp_path / "study.zip")
    with wb.unpack(tmp_path / "study.zip", tmp_path / "again") as again:
        assert again.activation_set().left_out
        assert np.array_equal(captured_examples(again, texts), captured_examples(study, texts))


def test_the_map_to_the_vocabulary_is_measured_once_and_kept(study, monkeypatch):
    """The run of the probes has measured it, for its table of effects."""
    (kept,) = (study.folder / "cache" / "maps").iterdir()
    written, told = kept.stat().st_mtime_ns, []
    first = study.concepts(output="a")
    with wb.open_study(study.folder) as again:
        monkeypatch.setattr("workbench.tokens.direct.direct_map", lambda *_a, **_o: pytest.fail("the map was measured again"))
        second = again.concepts(output="a", progress=lambda *step: told.append(step[2]))
    assert told == ["loading the model model", "map to the vocabulary", "map to the vocabulary"]
    assert kept.stat().st_mtime_ns == written
    assert second.ids == first.ids
    np.testing.assert_allclose(second.relevance, first.relevance, rtol=1e-5)
    # It does not grow with the vocabulary.
    assert kept.stat().st_size < 3 * 16 * 16 * 4 + 2000


def test_the_command_line_draws_names_what_it_skips_and_loads_in_half_precision(study, tmp_path, capsys):
    place = study.folder.parent
    source = ["--model", str(place / "model"), "--data", str(place / "texts.csv"), "--labels", "kind", "--sites", "embed"]
    drawn = ["--limit", "160", "--seed", "2", "--sample-by", "kind"]
    types = ["--dtype", "bfloat16", "--store-dtype", "bfloat16", "--max-length", "16"]
    with pytest.raises(SystemExit) as end:
        main(["capture", str(tmp_path / "s"), *source, *drawn, *types])
    assert not end.value.code
    assert "Note: An equal share of kind is 54 examples a value" in capsys.readouterr().err.replace("\n", " ")
    with wb.open_study(tmp_path / "s", create=False) as opened:
        acts = opened.activation_set()
        assert acts.manifest.request.inputs["max_length"] == 16
        assert (acts.manifest.request.dtype, acts.manifest.request.model_dtype) == ("bfloat16", "bfloat16")
        assert acts.manifest.sample == {"seed": 2, "by": "kind"}
        # Whoever opens the study gets the model as it was.
        assert opened.model.dtype == "bfloat16"
    with pytest.raises(SystemExit):
        main(["run", str(tmp_path / "s"), "linear_probe", "--set", "controls=false"])
    said = capsys.readouterr().out
    assert "Skipped: " in said
    assert "'kind=rare' has 1 training and 0 test rows with it, 77 and 27 without, and needs 20 and 8 of each" in said
