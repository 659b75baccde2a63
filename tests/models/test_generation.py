"""Text from causal models: the cache changes nothing, edits apply at their positions, and nothing stays behind."""

from __future__ import annotations

import pytest
import torch

from workbench.edits import Edits, scale_latent, steer, zero
from workbench.errors import ConfigError, DataError, UnknownNameError
from workbench.models import Batch, load_model

PROMPT = "The people of the"


def hooks(model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.bridge.modules())


def kept(model, ids):
    keep = model.tokens.kept(ids)
    return Batch({"input_ids": ids}, torch.ones_like(keep), keep)


def slowly(model, prompt, edits, count):
    """Greedy text by a whole pass a token, and the logits it was chosen from."""
    ids, said, seen = model.tokens.prompt(prompt), [], []
    for _ in range(count):
        with model.edited(*edits), model._recording([], False, stop=False, batch=kept(model, ids)):
            logits = model.bridge(ids)[:, -1]
        seen.append(logits[0])
        said.append(int(logits.argmax()))
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return said, torch.stack(seen)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma3"])
def test_the_cache_changes_nothing(kind, tiny):
    model = load_model(tiny(kind))
    edit = steer("resid_post.0", torch.randn(model.width("resid_post.0"), generator=torch.Generator().manual_seed(0)), 5.0)
    several = [Edits(), Edits([edit]), Edits([edit.at(slice(6, None))]), Edits([edit.at([0, 1])])]
    steps = list(model.stream(PROMPT, several, max_new_tokens=8))
    for number, edits in enumerate(several):
        said, logits = slowly(model, PROMPT, edits, 8)
        torch.testing.assert_close(torch.stack([s.logits[number] for s in steps]), logits, atol=1e-4, rtol=1e-4)
        assert [s.tokens[number] for s in steps][:4] == said[:4]
    assert not torch.allclose(steps[-1].logits[0], steps[-1].logits[1])


def test_a_context_and_an_alternative_are_the_same(tiny):
    model = load_model(tiny("llama"))
    edit = steer("resid_post.0", torch.ones(32), 3.0)
    before = hooks(model)
    with model.edited(edit):
        inside = model.generate(PROMPT, max_new_tokens=6)
    outside = model.generate(PROMPT, [edit], max_new_tokens=6)
    assert inside.texts == outside.texts
    assert hooks(model) == before
    assert outside.log_probs[0] == pytest.approx(inside.log_probs[0], abs=1e-5)
    assert all(value <= 0 for value in outside.log_probs[0])


def test_no_hook_stays_between_steps_after_a_stop_or_an_error(tiny):
    model = load_model(tiny("llama"))
    before = hooks(model)
    steps = model.stream(PROMPT, [zero("mlp_out.1")], max_new_tokens=5)
    next(steps)
    assert hooks(model) == before
    steps.close()
    assert hooks(model) == before
    bad = steer("resid_post.0", torch.ones(7))
    with pytest.raises(ConfigError, match="numbers"):
        model.generate(PROMPT, [bad])
    assert hooks(model) == before
    assert not model.active_edits


def test_drawing_is_repeatable_and_shared_by_the_alternatives(tiny):
    model = load_model(tiny("llama"))
    options = {"max_new_tokens": 12, "temperature": 1.0}
    one = model.generate(PROMPT, [Edits(), Edits()], seed=3, **options)
    assert one.texts[0] == one.texts[1]
    assert one.tokens == model.generate(PROMPT, [Edits(), Edits()], seed=3, **options).tokens
    assert one.tokens != model.generate(PROMPT, [Edits(), Edits()], seed=4, **options).tokens
    greedy = model.generate(PROMPT, max_new_tokens=12)
    assert model.generate(PROMPT, top_k=1, temperature=2.0, seed=9, max_new_tokens=12).tokens == greedy.tokens


def test_draws_follow_the_probabilities(tiny):
    model = load_model(tiny("llama"))
    drawn = [model.generate("a", max_new_tokens=1, temperature=0.3, seed=seed).tokens[0] for seed in range(400)]
    steps = next(model.stream("a", max_new_tokens=1))
    p = (steps.logits[0] / 0.3).softmax(-1)
    top = int(p.argmax())
    share = sum(d == [top] for d in drawn) / 400
    assert abs(share - float(p[top])) < 4 * float((p[top] * (1 - p[top]) / 400).sqrt()) + 1e-9


def test_bad_requests_are_one_clear_sentence(tiny, minilm):
    model = load_model(tiny("llama"))
    with pytest.raises(ConfigError, match="no causal language model"):
        minilm.generate("a")
    with pytest.raises(ConfigError, match="shorten it"):
        model.generate("word " * 100)
    with pytest.raises(ConfigError, match="temperature is 0"):
        model.generate("a", temperature=-1)
    with pytest.raises(ConfigError, match="max_new_tokens"):
        model.generate("a", max_new_tokens=0)
    with pytest.raises(UnknownNameError, match="resid_post"):
        model.generate("a", [steer("resid_post.9", torch.ones(32))])
    with pytest.raises(DataError, match="not text"):
        model.generate(None)


def test_text_ends_where_the_context_does(tiny):
    model = load_model(tiny("llama"), max_length=16)
    found = model.generate("The people", max_new_tokens=500)
    assert len(found.tokens[0]) + model.tokens.prompt("The people").shape[1] <= 16
    assert model.generate("", max_new_tokens=3).tokens[0]


def test_a_latent_can_be_scaled_while_text_is_generated(tiny):
    from workbench.concepts.dictionary import DictionaryConcepts

    model = load_model(tiny("llama"))
    rng = torch.Generator().manual_seed(0)
    tensors = {n: torch.randn(*s, generator=rng) for n, s in {"W_enc": (32, 64), "W_dec": (64, 32), "b_dec": (32,)}.items()}
    sae = DictionaryConcepts("resid_post.0", tensors, {"architecture": "topk", "k": 8})
    same = model.generate(PROMPT, [Edits(), scale_latent("resid_post.0", sae, 3, 1.0)], max_new_tokens=10)
    assert same.texts[0] == same.texts[1]
