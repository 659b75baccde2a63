"""Which examples are captured, in which type they are stored, and what is said before."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.activations import ActivationSet, capture
from workbench.activations.drawing import draw, warn_of_short_values
from workbench.activations.manifest import Request
from workbench.edits import steer
from workbench.errors import ConfigError, UnknownNameError, WorkbenchWarning

TOPICS = ["war"] * 60 + ["tax"] * 30 + ["sea"] * 6 + [None] * 24


@pytest.fixture(scope="module")
def table():
    texts = [f"number {i} of the people" for i in range(len(TOPICS))]
    return wb.dataset_from_table(pd.DataFrame({"text": texts, "topic": TOPICS}), labels=["topic"], name="topics of people")


def kinds(table, ids):
    return table.table["topic"].iloc[ids].fillna("none").value_counts().to_dict()


def test_a_limit_draws_from_everywhere_and_the_same_for_the_same_seed(table):
    drawn = draw(table, 40, 0)
    assert len(drawn.ids) == len(set(drawn.ids.tolist())) == 40
    assert (np.diff(drawn.ids) > 0).all()
    assert drawn.ids.max() > 80
    assert draw(table, 40, 0).digest == drawn.digest
    assert draw(table, 40, 1).digest != drawn.digest
    assert set(kinds(table, drawn.ids)) >= {"war", "tax", "none"}
    assert drawn.rule == {"seed": 0, "by": None}


def test_every_value_of_a_column_is_drawn_as_often_as_there_are(table):
    with pytest.warns(WorkbenchWarning, match=r"equal share of topic is 15 examples .* fewer.*: sea \(6\)"):
        warn_of_short_values(table, 45, "topic")
    drawn = draw(table, 45, 0, "topic")
    found = kinds(table, drawn.ids)
    assert found.pop("sea") == 6
    assert sorted(found.values()) == [19, 20]
    # Those without a value come when there is nothing else.
    assert kinds(table, draw(table, 100, 0, "topic").ids) == {"war": 60, "tax": 30, "sea": 6, "none": 4}


def test_blank_cells_and_words_for_missing_are_no_value_to_draw_by():
    kinds_of = ["a"] * 40 + ["b"] * 40 + [""] * 20 + ["NA"] * 20
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(120)], "kind": kinds_of, "label": ["x", "y"] * 60})
    kept = wb.dataset_from_table(frame, labels="label")
    labelled = wb.dataset_from_table(frame, labels="kind")
    for table in (kept, labelled):
        ids = draw(table, 30, 0, "kind").ids
        assert frame["kind"].iloc[ids].value_counts().to_dict() == {"a": 15, "b": 15}
    as_values = draw(wb.dataset_from_table(frame, labels="label", missing=[]), 30, 0, "kind").ids
    assert frame["kind"].iloc[as_values].value_counts().to_dict() == {"a": 10, "b": 10, "NA": 10}


def test_without_a_seed_they_are_the_first_and_without_a_limit_all(table):
    assert draw(table, 7, None).ids.tolist() == list(range(7))
    assert draw(table, 7, None).digest is None
    assert draw(table, None, 3).rule is draw(table, 500, 3).rule is None
    assert len(draw(table, 500, 3).ids) == len(TOPICS)


def test_what_cannot_be_drawn_is_refused(table):
    with pytest.raises(UnknownNameError, match="topic"):
        draw(table, 5, 0, "topics")
    for limit, seed, lacking in ((None, 0, r"give limit= \(--limit\) as well"), (5, None, "give a seed= as well")):
        with pytest.raises(ConfigError, match=rf"sample_by= \(--sample-by\) .* {lacking}"):
            draw(table, limit, seed, "topic")
    with pytest.raises(ConfigError, match="no example"):
        draw(table, 0, 0)


def test_a_capture_has_the_rows_of_the_drawn_examples_and_is_known_by_them(minilm, table, tmp_path):
    made = capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", limit=12, seed=4, store_dtype="float32")
    ids = draw(table, 12, 4).ids
    assert made.index["example"].tolist() == ids.tolist()
    everything = capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", store_dtype="float32")
    np.testing.assert_allclose(made.read(), everything.read(ids), atol=1e-6)
    again = capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", limit=12, seed=4, store_dtype="float32")
    assert again.id == made.id
    assert made.manifest.sample == {"seed": 4, "by": None}
    others = {capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", limit=12, seed=s).id for s in (4, 5, None)}
    assert len(others | {made.id, everything.id}) == 5


def test_sets_from_before_keep_their_id_and_can_be_opened(minilm, table, tmp_path):
    old = {
        "model": "m", "model_kind": "encoder", "weights_hash": "0", "inputs": {"max_length": 128}, "edits": [], "dataset": "d",
        "dataset_hash": "1", "limit": 5, "sites": ["embed"], "widths": [3], "pool": "token", "dtype": "float16", "format": 1,
    }  # fmt: skip
    # As it was computed when these were all the fields.
    assert Request.model_validate(old).id == "d8617486452953a6"
    made = capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", limit=5, seed=None)
    manifest = made.folder / "manifest.json"
    kept = pd.read_json(manifest, typ="series").drop("sample")
    request = {k: v for k, v in kept["request"].items() if k not in {"drawn", "model_dtype"}}
    kept["request"] = request
    manifest.write_text(kept.to_json())
    assert ActivationSet.open(made.folder).id == made.id


def test_values_near_the_largest_of_float16_are_told_before_the_capture(minilm, table, tmp_path):
    push = torch.zeros(384)
    push[7] = 40_000
    with minilm.edited(steer("embed", push)):
        with pytest.warns(WorkbenchWarning, match=r"embed reach (39,99|40,00)\d.*65,504.*store_dtype='bfloat16'"):
            capture(minilm, table, sites="embed", folder=tmp_path, pool="mean")
        for stored in ("bfloat16", "float32"):
            capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", store_dtype=stored)


def test_the_longest_text_is_in_the_first_batch(minilm, tmp_path):
    """Among many texts one long one reaches high: it is in no sample, and is found for its length."""
    from workbench.activations.dtypes import warn_near_overflow

    read = []
    texts = [f"short text {i}" for i in range(600)]
    texts[317] = "a long text " * 40
    table = wb.dataset_from_table(pd.DataFrame({"text": texts}), name="one long")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "workbench.activations.capturing.warn_near_overflow",
            lambda model, inputs, *rest: (read.extend(inputs), warn_near_overflow(model, inputs, *rest)),
        )
        capture(minilm, table, sites="embed", folder=tmp_path, pool="mean", limit=600)
    assert texts[317] in read
    assert len(read) <= 32
