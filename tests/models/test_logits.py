"""Logits block by block: the same numbers as from whole arrays, in as much memory as there is."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import workbench as wb
from tests.large_vocabulary import save_large_vocabulary, save_model
from workbench.edits import steer
from workbench.evidence import steering
from workbench.evidence.causes import dose_response, random_directions
from workbench.memory import VARIABLE
from workbench.models.logits import TokenLogits, readings, shifts, thinned
from workbench.readout import Readout, fit_readout, output_gradients
from workbench.tokens.direct import direct_map, effects_table, logit_lens

TEXTS = ["The people of this country were counted.", "A ship left the harbour.", "Nobody had seen it go before the morning came."]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return wb.load_model(save_large_vocabulary(tmp_path_factory.mktemp("large")))


@given(st.integers(1, 9), st.integers(2, 40), st.integers(1, 3), st.integers(0, 2**31 - 1), st.sampled_from(["1", "3KB", "1GB"]))
@settings(max_examples=40)
def test_blocks_give_what_the_whole_array_gives(n, vocabulary, edits, seed, memory):
    generator = torch.Generator().manual_seed(seed)
    base, *edited = (5 * torch.randn(n, vocabulary, generator=generator) for _ in range(edits + 1))
    true = torch.randint(vocabulary, (n,), generator=generator)
    sets = [torch.tensor([0]), torch.tensor([vocabulary - 1, 0])]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, memory)
        found = shifts(TokenLogits.known(base), [TokenLogits.known(one) for one in edited], true, sets)
        loss, odds = readings(TokenLogits.known(base), true, sets)
    scores = base.log_softmax(-1)
    torch.testing.assert_close(loss, -scores.gather(-1, true[:, None])[:, 0], atol=1e-4, rtol=1e-4)
    for one, shift in zip(edited, found, strict=True):
        after = one.log_softmax(-1)
        torch.testing.assert_close(shift.divergence, (scores.exp() * (scores - after)).sum(-1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(shift.loss, -after.gather(-1, true[:, None])[:, 0], atol=1e-4, rtol=1e-4)
        # As probabilities: log odds of what is nearly certain have no digits left in float32.
        joint = torch.stack([after[:, ids].logsumexp(-1) for ids in sets], -1).exp()
        torch.testing.assert_close(shift.odds.sigmoid(), joint, atol=1e-4, rtol=0)
    assert odds.shape == (n, 2)


def configurations():
    from transformers import CohereConfig, Gemma2Config, GPT2Config, GraniteConfig, LlamaConfig

    common = {
        "vocab_size": 300, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 64, "head_dim": 8, "bos_token_id": 256, "eos_token_id": 257,
        "pad_token_id": 257,
    }  # fmt: skip
    return {
        "gpt2": GPT2Config(vocab_size=300, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=256, eos_token_id=257),
        "llama": LlamaConfig(**common),
        # A cap on the logits, a divisor, and a factor, all behind the unembedding.
        "gemma2": Gemma2Config(**common, final_logit_softcapping=0.5, sliding_window=32),
        "granite": GraniteConfig(**common, logits_scaling=3.0),
        "cohere": CohereConfig(**common, logit_scale=0.25),
    }


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "granite", "cohere"])
def test_a_pass_without_logits_ends_before_them_and_gives_them_when_they_are_read(name, tmp_path):
    # transformer-lens 3.9 rotates Cohere's heads otherwise, and is not used for it: what it does behind the unembedding is right.
    model = wb.load_model(save_model(tmp_path / name, configurations()[name], 300), check=name != "cohere")
    batch = model.batch(TEXTS)
    sites = ["resid_post.0", model.last_hidden]
    for edits in ([], [steer("resid_post.0", torch.ones(16))]):
        with model.edited(*edits):
            whole, seen = model.forward(batch, sites)
            cut, seen_too = model.forward(batch, sites, logits=False)
        assert cut.logits is None
        assert torch.equal(cut.pooled, whole.pooled)
        torch.testing.assert_close(cut.tokens.block(0, len(cut.tokens)), whole.logits.flatten(0, 1), atol=1e-5, rtol=1e-5)
        assert all(torch.equal(seen[site], seen_too[site]) for site in seen)
    # Where the last layer ends, the lens says what the model says.
    plain, last = model.forward(batch, ["resid_post.1"])
    rows = last[model.site("resid_post.1")]
    torch.testing.assert_close(model.lens(rows.flatten(0, 1)), plain.logits.flatten(0, 1), atol=1e-4, rtol=1e-4)
    assert not model.bridge.unembed._forward_pre_hooks


def test_a_prompt_makes_logits_of_its_last_position_only(large, rows_read):
    ids = large.tokens.prompt("The people of this country")
    logits, _ = large.next_logits(ids, 0, None)
    assert rows_read == [1]
    whole = large.forward(large.batch(["The people of this country"]))[0].logits
    torch.testing.assert_close(logits, whole[:, -1], atol=1e-5, rtol=1e-5)


def test_gradients_without_logits_are_those_of_a_whole_pass(large):
    batch, site = large.batch(TEXTS), large.site("resid_post.0")
    found = []
    for logits in (True, False):
        output, seen = large.forward(batch, [site], grad=True, logits=logits)
        found.append(torch.autograd.grad(output.pooled.square().sum(), seen[site])[0])
    assert torch.equal(*found)


@pytest.fixture
def rows_read(large, monkeypatch):
    """How many rows the unembedding of the large vocabulary has read at once, in a budget of 32 MB."""
    monkeypatch.setenv(VARIABLE, "32MB")
    seen: list[int] = []
    handle = large.bridge.unembed.register_forward_hook(lambda _m, inputs, _out: seen.append(inputs[0][..., 0].numel()))
    yield seen
    handle.remove()


def test_nothing_that_is_measured_makes_the_logits_of_a_whole_batch(large, rows_read):
    site = large.site("resid_post.0")
    directions = random_directions(2, large.width(site), 0)
    readout = Readout(["a"], torch.ones(1, large.width("final")), torch.zeros(1), np.ones(1), np.ones(1))
    response = dose_response(large, site, directions, TEXTS, readout, 2.0, (-0.5, 0.5))
    passages = steering.read_passages(large, TEXTS)
    reading = steering.steer_passages(large, site, directions, (0.5,), 2.0, passages, [torch.tensor([5, 6])])
    logit_lens(large, TEXTS[0])
    mapping = direct_map(large, TEXTS)
    effects_table(mapping, directions, [str(i) for i in range(65_536)])
    assert rows_read
    assert max(rows_read) * 65_536 * 4 <= 32e6
    # What comes of it is what whole logits give.
    batch = large.batch(TEXTS)
    with torch.no_grad():
        base = large.forward(batch)[0].logits.log_softmax(-1)
        with large.edited(steer(site, 1.0 * directions[0])):
            after = large.forward(batch)[0].logits.log_softmax(-1)
    divergence = (base.exp() * (base - after)).sum(-1)
    weights = batch.keep / batch.keep.sum(1, keepdim=True)
    np.testing.assert_allclose(response.output[0, 1], (divergence * weights).sum(1), atol=1e-5, rtol=1e-3)
    scored = batch.keep[:, 1:] & batch.attention[:, 1:]
    mean = (divergence[:, :-1] * scored).sum(1) / scored.sum(1)
    np.testing.assert_allclose(reading.divergence[0, 0], mean, atol=1e-5, rtol=1e-3)


def test_readout_and_gradients_never_reach_the_vocabulary(large, rows_read):
    words = [f"{['war', 'peace'][i % 2]} {i}" for i in range(240)]
    table = wb.dataset_from_table(
        pd.DataFrame({"text": words, "topic": [w.split()[0] for w in words]}), labels=["topic"], name="words"
    )
    readout = fit_readout(large, table)
    found = output_gradients(large, table, readout, [large.site("resid_post.0")], readout.labels, per_label=5)
    assert found["resid_post.0"]
    assert rows_read == []


def test_few_positions_of_a_large_vocabulary_are_evenly_spaced():
    chosen = torch.ones(4, 100, dtype=torch.bool)
    chosen[1, 3:] = False
    chosen[2, ::2] = False
    assert torch.equal(thinned(chosen, 8_000), chosen)
    few = thinned(chosen, 2**20 // 20)
    assert (few <= chosen).all()
    assert few.sum(1).tolist() == [20, 3, 20, 20]
    assert np.ptp(np.diff(few[0].nonzero()[:, 0])) <= 1
    assert np.ptp(np.diff(few[2].nonzero()[:, 0])) <= 2


def test_the_check_of_a_large_vocabulary_compares_some_positions_and_finds_as_much(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM

    from workbench.models import checks

    few = checks.logit_places(2, 128, 262_144).tolist()
    assert few[:5] == [0, 1, 2, 3, 4]
    assert few[-4:] == [124, 125, 126, 127]
    assert 24 <= len(few) <= 32
    assert checks.logit_places(2, 128, 50_257).tolist() == list(range(128))
    folder = save_large_vocabulary(tmp_path / "model", size=400, width=16)
    model = wb.load_model(folder)
    net = AutoModelForCausalLM.from_pretrained(folder).eval()
    whole = checks.compare(model, checks.reference(net, model.tokens, decoder=True))
    monkeypatch.setattr(checks, "_LOGITS", 1)
    expected = checks.reference(net, model.tokens, decoder=True)
    assert expected.logits.shape == (2, len(expected.places), 400)
    assert len(expected.places) < 20
    some = checks.compare(model, expected)
    assert set(some) == set(whole) == {"layers", "logits", "cache", "lens", "padding"}
    assert all(checks.agrees(some, what, torch.float32) for what in some)
    # What a softcap, a scale or another unembedding would do shows at every position.
    with torch.no_grad():
        net.lm_head.weight.mul_(1.3)
    wrong = checks.compare(model, checks.reference(net, model.tokens, decoder=True))
    assert wrong["logits"] == pytest.approx(0.3 / 1.3, abs=1e-3)


def test_a_module_that_is_no_bridge_ends_before_its_logits_as_well(tmp_path):
    from workbench.models.hugging_face import Loader, Placed
    from workbench.models.module import ModuleModel
    from workbench.models.text import Tokens

    folder = save_model(tmp_path / "llama", configurations()["llama"], 300)
    from transformers import AutoConfig, AutoTokenizer

    tokens = Tokens(AutoTokenizer.from_pretrained(folder), 32, bos=True)
    known = {"name": "plain", "kind": "decoder", "source": {}}
    model = Loader(str(folder), AutoConfig.from_pretrained(folder), tokens, Placed("cpu"), False, known).plain()
    assert isinstance(model, ModuleModel)
    batch = model.batch(TEXTS)
    with torch.no_grad():
        whole, cut = model.forward(batch)[0], model.forward(batch, logits=False)[0]
    assert cut.logits is None
    assert torch.equal(cut.pooled, whole.pooled)
    torch.testing.assert_close(cut.tokens.block(0, len(cut.tokens)), whole.logits.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_what_a_model_says_does_not_depend_on_the_memory(large, monkeypatch):
    found = []
    for memory in ("8MB", "1GB"):
        monkeypatch.setenv(VARIABLE, memory)
        passages = steering.read_passages(large, TEXTS)
        push = random_directions(1, large.width("resid_post.0"), 1)
        found.append(steering.steer_passages(large, large.site("resid_post.0"), push, (1.0,), 3.0, passages, []))
    np.testing.assert_allclose(found[0].divergence, found[1].divergence, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[0].loss, found[1].loss, atol=1e-5)
