"""A plug-in whose concepts are read at one site and written at another."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

import workbench as wb
from tests.plugins.installing import in_new_process, installed, workbench

TEXTS = [f"{who} {did} the {what} {when}" for who in ("She", "The clerk", "A child", "Nobody") for did in ("saw", "lost", "took")
         for what in ("money", "river", "train", "letter") for when in ("today", "in May", "at night")]  # fmt: skip

RUN = """
import torch, workbench as wb
from workbench.edits import reconstruct
with wb.open_study({folder!r}) as study:
    acts = study.activation_set()
    run = study.run("transcoder", acts, size=96)
    concepts = run.sets[0]
    fvu = run.metrics["value"].iloc[0]
    study.examine(run, families=("detects",))
    concept = run.concepts[5]
    shaded = concept.over_tokens(0)["value"]
    text = study.dataset_of(acts).inputs([0])[0]
    assert torch.allclose(torch.tensor(shaded.to_numpy()), torch.tensor(concept.on_text(text)["value"].to_numpy()), atol=1e-4)
    model = study.model
    batch = model.batch([text])
    here, there = model.site("mlp_out.3"), model.site("mlp_in.3")
    with model.edited(reconstruct(concepts)):
        seen = model.activations(batch, [there, here])
    keep = batch.keep
    assert torch.allclose(seen[here][keep], concepts.decode(concepts.encode(seen[there][keep])), atol=1e-4)
    with model.edited(concept.steer(3.0)):
        moved = model.activations(batch, [here])[here]
    plain = model.activations(batch, [here])[here]
    assert torch.allclose((moved - plain)[keep], 3.0 * concept.direction.expand(int(keep.sum()), -1), atol=1e-4)
    print(run.id, round(fvu, 3), len(study.concepts(fires_on="the river")), study.verify().empty)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed("transcoder", tmp_path_factory.mktemp("plugins") / "transcoder")


def test_concepts_that_read_one_site_and_write_another_go_everywhere(plugin: Path, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": TEXTS, "what": [text.split()[-3 if text.endswith(("May", "night")) else -2] for text in TEXTS]})
    data = wb.dataset_from_table(table, text="text", labels=["what"], name="sentences")
    with wb.open_study(tmp_path / "study") as study:
        study.capture(wb.load_model("scribe"), data, sites=["mlp_in.3", "mlp_out.3"])
    folder = str(tmp_path / "study")
    run, fvu, found, whole = in_new_process(RUN.format(folder=folder), plugin).split()[-4:]
    assert float(fvu) < 0.9
    assert int(found) > 0
    assert whole == "True"
    for command in (["show", folder], ["concept", folder, f"{run}.3"], ["report", folder, str(tmp_path / "r.html")]):
        code, out = workbench(*command, paths=(plugin,))
        assert code == 0, out
    assert "mlp_out.3" in (tmp_path / "r.html").read_text()


def test_an_edit_reads_only_what_comes_before_it() -> None:
    model = wb.load_model("scribe")
    late = wb.Edit(model.site("mlp_in.2"), lambda rows, seen: rows, reads=(model.site("mlp_out.2"),))
    with pytest.raises(wb.errors.ConfigError, match=r"reads mlp_out\.2, which a pass comes to later"), model.edited(late):
        model.activations(model.batch(["a b"]), [model.site("final")])


def test_an_edit_that_reads_is_the_same_alone_and_beside_another_and_while_text_is_generated() -> None:
    model = wb.load_model("scribe")
    read, write = model.site("mlp_in.2"), model.site("mlp_out.2")
    swap = wb.Edit(write, lambda rows, seen: 0.5 * seen[read], reads=(read,))
    batch = model.batch(["The people of this country"])
    with model.edited(swap):
        alone = model.activations(batch, [read, write])
        assert torch.allclose(alone[write][batch.keep], 0.5 * alone[read][batch.keep])
    twice = model.batch(["The people of this country"] * 2)
    with model.edited(wb.edits.side_by_side([swap, wb.edits.zero(write)])):
        both = model.activations(twice, [write])[write]
    assert torch.allclose(both[0], alone[write][0], atol=1e-5)
    assert both[1][twice.keep[1]].abs().max() == 0
    large = wb.Edit(write, lambda rows, seen: -40 * seen[read], reads=(read,))
    with model.edited(large):
        text = model.generate("The people of this country", max_new_tokens=8).text
    assert text != model.generate("The people of this country", max_new_tokens=8).text
