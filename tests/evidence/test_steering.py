"""Steering and the vocabulary: planted directions, closed forms, and controls that do not move."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import ConfigError
from workbench.evidence import steering
from workbench.evidence.control_readings import read_controls
from workbench.evidence.controls import Controls
from workbench.evidence.steering_rows import COST, dose_table, recommended, steering_rows
from workbench.models import load_model
from workbench.tokens.direct import direct_map, effects_table, logit_lens
from workbench.tokens.own_tokens import log_odds_z

TEXTS = [
    "The people of the United States have reason to be thankful for the peace that they enjoy.",
    "She looked at him quietly, and for a moment neither of them said a word.",
    "It is the duty of the government to protect the commerce of the country on every sea.",
    "The ship had left the harbour before the morning came, and nobody had seen it go.",
]
MORE_TEXTS = [
    "The committee has considered the bill and reports that the money should be granted for another year.",
    "There were many people in the street, and all of them looked up when the window was opened.",
    "Our relations with the other nations of the world continue to be friendly and of advantage to all.",
    "He had been in the army for three years before he came back to the farm of his father.",
]
"""With these there are eight documents, the least for an interval."""


@pytest.fixture(scope="module")
def scribe():
    return load_model("scribe")


@pytest.fixture(scope="module")
def passages(scribe):
    return steering.read_passages(scribe, TEXTS)


def test_the_direct_map_is_the_slope_of_the_lens(scribe):
    site = scribe.site("resid_post.7")
    batch = scribe.batch(TEXTS)
    rows = scribe.activations(batch, [site])[site][batch.keep][:6]
    push = torch.randn(scribe.width(site), generator=torch.Generator().manual_seed(0))
    slope = (scribe.lens(rows + 1e-2 * push) - scribe.lens(rows - 1e-2 * push)).mean(0) / 2e-2
    mapping = direct_map(scribe, TEXTS, rows=6)
    every = torch.arange(len(scribe.unembedding()))
    torch.testing.assert_close(mapping.rows(every) @ push, slope, atol=2e-2, rtol=1e-2)
    effects = mapping.effects(push[None])[0]
    torch.testing.assert_close(effects, slope - slope.mean(), atol=2e-2, rtol=1e-2)
    torch.testing.assert_close(mapping.effects(push[None], every[7:9])[0], effects[7:9])
    # How widely the effects spread, without looking at all of them.
    assert float(mapping.spread(push[None])) == pytest.approx(float(effects.std()), rel=1e-3)


def test_effects_name_the_tokens_that_a_direction_was_made_of(scribe):
    mapping = direct_map(scribe, TEXTS)
    wanted = scribe.token_ids("government")[0]
    direction = torch.nn.functional.normalize(mapping.rows(torch.tensor([wanted]))[0] - mapping.mean, dim=0)
    table = effects_table(mapping, torch.stack([direction, -direction]), scribe.vocabulary(), first_number=7)
    assert table.query("number == 7 and side == 'raises' and rank == 0")["id"].item() == wanted
    assert table.query("number == 8 and side == 'lowers' and rank == 0")["id"].item() == wanted
    assert mapping.effects(direction[None]).mean().abs() < 1e-4
    assert set(table["number"]) == {7, 8}


def test_the_lens_ends_at_what_the_model_says(scribe):
    table = logit_lens(scribe, TEXTS[0])
    last = table[table["site"].eq("resid_post.7")]
    said = scribe.forward(scribe.batch([TEXTS[0]]))[0].logits[0].softmax(-1)
    np.testing.assert_allclose(last["probability"], said.max(-1).values.numpy(), atol=1e-4)
    # Deeper layers know the next word better than shallow ones.
    known = table[table["true_rank"].notna()].groupby("site")["true_rank"].median()
    assert known["resid_post.7"] < known["resid_post.0"]
    with pytest.raises(ConfigError, match="residual stream"):
        logit_lens(scribe, "a", "mlp_out.*")


def test_encoders_have_no_vocabulary_to_write_to(minilm):
    with pytest.raises(ConfigError, match="causal language model"):
        direct_map(minilm, ["a"])
    with pytest.raises(ConfigError, match="no causal language model"):
        minilm.lens(torch.zeros(1, 384))


def test_no_dose_changes_nothing_and_readings_equal_a_pass_by_hand(scribe, passages):
    site = scribe.site("resid_post.4")
    push = torch.nn.functional.normalize(torch.randn(1, 256, generator=torch.Generator().manual_seed(1)))
    own = [torch.tensor(scribe.token_ids("peace"))]
    reading = steering.steer_passages(scribe, site, push, (0.0, 0.5), 20.0, passages, own)
    for values in (reading.odds[0, 0], reading.loss[0, 0], reading.divergence[0, 0]):
        np.testing.assert_allclose(values, 0, atol=1e-5)
    from workbench.edits import steer

    batch = scribe.batch([TEXTS[1]])
    with scribe.edited(steer(site, push[0], 10.0)):
        edited = scribe.forward(batch)[0].logits[0].log_softmax(-1)
    base = scribe.forward(batch)[0].logits[0].log_softmax(-1)
    ids = batch.inputs["input_ids"][0]
    loss = lambda scores: -scores[:-1].gather(-1, ids[1:, None]).mean()  # noqa: E731
    assert reading.loss[0, 1, 1] == pytest.approx(float(loss(edited) - loss(base)), abs=1e-4)
    joint = lambda scores: scores[:-1, own[0]].logsumexp(-1)  # noqa: E731
    odds = lambda scores: (joint(scores) - (1 - joint(scores).exp()).log()).mean()  # noqa: E731
    assert reading.odds[0, 1, 1, 0] == pytest.approx(float(odds(edited) - odds(base)), abs=1e-3)
    assert reading.divergence[0, 1, 1] == pytest.approx(float((base.exp() * (base - edited)).sum(-1)[:-1].mean()), abs=1e-4)


@pytest.mark.slow
def test_a_direction_made_of_its_tokens_passes_and_one_of_other_tokens_fails(scribe):
    passages = steering.read_passages(scribe, TEXTS + MORE_TEXTS)
    site = scribe.site("resid_post.7")
    mapping = direct_map(scribe, TEXTS)
    nations = torch.tensor([i for w in ("nation", "people", "government") for i in scribe.token_ids(w)])
    planted = torch.nn.functional.normalize(mapping.rows(nations).mean(0) - mapping.mean, dim=0)
    other = torch.randn(256, generator=torch.Generator().manual_seed(4))
    other = torch.nn.functional.normalize(other - (other @ planted) * planted, dim=0)
    rows = scribe.activations(passages.batch, [site])[site][passages.batch.keep]
    rows = rows.numpy()
    unit = float(np.sqrt(np.square(rows - rows.mean(0)).sum(1).mean()))
    controls, found, tables = Controls.drawn(steering.RANDOM, 256, rows, 0), {}, {}
    doses = steering.language_doses(scribe, site, controls, unit, passages)
    for name, direction in (("planted", planted), ("other", other)):
        arms = steering.steer_arms(scribe, site, direction, doses, passages, nations, 0)
        judged = [recommended(arms.concept, passages, doses.curve)]
        control = read_controls(scribe, site, controls, doses, judged, passages, [nations])
        tables[name] = dose_table(arms, control, 0, passages, doses)
        rows_found, dose = steering_rows(arms, control, 0, passages, doses)
        found[name] = {row["metric"]: row for row in rows_found}
        if name == "planted":
            chosen = dose
    spoken, cost = found["planted"]["causes.tokens"], found["planted"]["causes.cost"]
    # Directions that vary as the activations do, the stricter of the two kinds, move these tokens more than uniform ones.
    assert spoken["value"] > 3 * spoken["null_high"]
    # A rank among 139 directions of each kind could not be below .007.
    assert spoken["p"] < 1e-3
    assert found["planted"]["causes.push"]["value"] == pytest.approx(chosen * unit)
    at = tables["planted"].query("arm == 'random' and dose == @chosen").iloc[0]
    assert at["odds_null"] == pytest.approx(spoken["null_high"])
    assert at["norm"] == pytest.approx(chosen * unit)
    assert cost["high"] < COST
    top = tables["planted"].query("dose == @chosen").set_index("arm")["odds"]
    assert top["flipped"] < 0 < top["concept"]
    assert abs(top["shuffled"]) < top["concept"] / 3
    missed = found["other"]["causes.tokens"]
    assert missed["status"] == "failed" or abs(missed["value"]) < 2 * missed["null_high"]


def test_a_dose_that_costs_too_much_is_never_recommended(passages):
    base = passages.loss.mean()

    def reading(cost: list[float]) -> steering.Reading:
        odds = np.array([0.5, 1, -2, 9, 9, 9], np.float32)[None, :, None, None].repeat(4, 2)
        loss = (np.array(cost, np.float32) * base)[None, :, None].repeat(4, 2)
        return steering.Reading(odds, loss, loss)

    doses = (0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    assert recommended(reading([0, 0.02, 0.05, 0.4, 0.5, 0.6]), passages, doses) == 0.35
    assert recommended(reading([0, 0.02, 0.11, 0.4, 0.5, 0.6]), passages, doses) == 0.2
    assert recommended(reading([0.2] * 6), passages, doses) is None


@settings(max_examples=60)
@given(st.integers(0, 10**6))
def test_log_odds_are_nought_for_a_fair_share_and_grow_with_the_count(seed):
    rng = np.random.default_rng(seed)
    total = rng.integers(20, 400, 12).astype(float)
    fair = log_odds_z((total / 4)[None], total)
    np.testing.assert_allclose(fair, 0, atol=1e-6)
    more = (total / 4)[None].copy()
    more[0, 3] += total[3] / 4
    assert log_odds_z(more, total)[0].argmax() == 3


def test_own_tokens_are_those_that_come_next(scribe, tmp_path):
    import workbench as wb
    from workbench.concepts import LinearConcepts
    from workbench.tokens.own_tokens import next_tokens, own_tokens

    rng = np.random.default_rng(0)
    words = [" house", " river", " morning", " father", " war"]
    draw = lambda: " dear friend" if rng.random() < 0.1 else str(rng.choice(words))  # noqa: E731
    texts = ["The" + "".join(draw() for _ in range(12)) for _ in range(60)]
    dataset = wb.dataset_from_table(pd.DataFrame({"text": texts, "kind": ["a", "b"] * 30}), text="text", labels=["kind"])
    with wb.open_study(tmp_path / "own") as study:
        acts = study.capture(scribe, dataset, sites="embed")
        rows = np.arange(acts.n_rows)
        following = next_tokens(scribe, dataset, acts, rows)
        index = acts.index.reset_index(drop=True)
        vocabulary = scribe.vocabulary()
        same = index["example"].eq(index["example"].shift(-1))
        assert [vocabulary[i] for i in following[same]] == index["token"].shift(-1)[same].tolist()
        assert (following[~same] == -1).all()
        at = index["token"].str.strip().eq("dear").to_numpy()
        row = torch.from_numpy(acts.read(rows[at][:1]))
        # A bias keeps it off everywhere but at the word itself.
        dear = LinearConcepts("embed", row, bias=-0.9 * row.square().sum(1))
        found = own_tokens(dear, acts, rows, following, vocabulary, first_number=5)
        assert found["token"].iloc[0] == " friend"
        assert set(found["number"]) == {5}
