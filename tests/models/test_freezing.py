"""With attention patterns and norms as constants and MLPs at zero, a transformer is an affine map."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from tests.models.architectures import save
from tests.models.test_transformer import TEXTS, hooks_left
from workbench.edits import Edit, side_by_side, steer, zero
from workbench.errors import ConfigError
from workbench.models import Site, load_model

KINDS = ["gpt2", "llama", "gemma3", "bert"]


def state(model):
    """Hooks of torch, and those that transformer_lens lists."""
    return hooks_left(model), sum(len(module.fwd_hooks) for module in model.bridge.modules() if hasattr(module, "fwd_hooks"))


def said(model, batch, delta, site="resid_pre.0"):
    """What the model says when something is added at every position of a site."""
    with model.edited(Edit(Site.parse(site), lambda h: h + delta).at(None, special=True)):
        output = model.forward(batch)[0]
    return output.pooled if output.logits is None else output.logits[batch.attention]


@pytest.mark.parametrize("kind", KINDS)
def test_without_mlps_a_frozen_model_is_affine_and_its_gradients_are_constant(kind, tiny):
    model = load_model(tiny(kind))
    batch, before = model.batch(TEXTS), state(model)
    draw = torch.Generator().manual_seed(0)
    site = Site("resid_pre", 0)
    shape = model.activations(batch, [site])[site].shape
    a, b = (3.0 * torch.randn(shape, generator=draw) for _ in range(2))
    with ExitStack() as contexts:
        contexts.enter_context(model.frozen(batch))
        for layer in range(2):
            contexts.enter_context(model.edited(zero(Site("mlp_out", layer)).at(None, special=True)))
        f = {name: said(model, batch, delta) for name, delta in {"0": 0 * a, "a": a, "b": b, "a+b": a + b}.items()}
        gradients = []
        for delta in (0 * a, a):
            with model.edited(Edit(site, lambda h, delta=delta: h + delta).at(None, special=True)):
                output, seen = model.forward(batch, [site], grad=True)
                value = output.pooled[0, 3] if output.logits is None else output.logits[0, 4, 7]
                gradients.append(torch.autograd.grad(value, seen[site])[0])
    scale = (f["a"] - f["0"]).abs().max()
    assert scale > 0.1
    assert ((f["a+b"] - f["a"]) - (f["b"] - f["0"])).abs().max() < 1e-4 * scale
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-4)
    step = f["b"] - f["0"]
    expected = step[0, 3] if kind == "bert" else step[4, 7]
    torch.testing.assert_close((gradients[0] * b).sum(), expected, atol=1e-3, rtol=1e-3)
    assert state(model) == before
    # Where nothing is frozen, it is no such map.
    with model.edited(*(zero(Site("mlp_out", layer)).at(None, special=True) for layer in range(2))):
        f = {name: said(model, batch, delta) for name, delta in {"0": 0 * a, "a": a, "b": b, "a+b": a + b}.items()}
    assert ((f["a+b"] - f["a"]) - (f["b"] - f["0"])).abs().max() > 0.1 * (f["a"] - f["0"]).abs().max()


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_passes_are_the_model_s_own_until_something_is_edited(kind, tiny):
    model = load_model(tiny(kind))
    batch, direction = model.batch(TEXTS), 4.0 * torch.randn(32, generator=torch.Generator().manual_seed(1))
    site, places = Site("resid_post", 0), [Site("attn_pattern", 1)] if kind != "bert" else []
    plain = model.activations(batch, [model.last_hidden, *places])
    with model.edited(steer(site, direction)):
        # The edit around does not change what is frozen.
        contexts = ExitStack()
        with contexts:
            contexts.enter_context(model.frozen(batch))
            edited = model.activations(batch, [model.last_hidden, *places])
    with model.frozen(batch):
        same = model.activations(batch, [model.last_hidden])
        twice = batch.repeat(2)
        with model.edited(side_by_side([steer(site, direction), steer(site, 0 * direction)])):
            both = model.activations(twice, [model.last_hidden])[model.last_hidden]
    keep = batch.attention
    torch.testing.assert_close(same[model.last_hidden][keep], plain[model.last_hidden][keep], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[:2][keep], edited[model.last_hidden][keep], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both[2:][keep], plain[model.last_hidden][keep], atol=1e-4, rtol=1e-4)
    for place in places:
        assert torch.equal(edited[place], plain[place])
    assert not torch.allclose(edited[model.last_hidden][keep], plain[model.last_hidden][keep], atol=0.1)


def test_one_of_the_two_can_be_frozen_alone(tiny):
    model = load_model(tiny("llama"))
    batch, pattern = model.batch(TEXTS), Site("attn_pattern", 1)
    push = steer("resid_post.0", 4.0 * torch.randn(32))
    plain = model.activations(batch, [pattern])[pattern]
    with model.edited(push):
        for attention, norms in ((True, False), (False, True)):
            with model.frozen(batch, attention=attention, norms=norms):
                assert torch.equal(model.activations(batch, [pattern])[pattern], plain) == attention


def test_nothing_is_left_frozen_after_an_error_and_other_batches_are_refused(tiny, minilm):
    model = load_model(tiny("gpt2"))
    batch, before = model.batch(TEXTS), state(model)
    with pytest.raises(RuntimeError, match="on purpose"), model.frozen(batch):
        raise RuntimeError("on purpose")
    with pytest.raises(ConfigError, match="frozen as they are in another batch"), model.frozen(batch):
        model.forward(model.batch(["Another text."]))
    with pytest.raises(ConfigError, match="text cannot be generated"), model.frozen(batch):
        model.generate("a b", max_new_tokens=2)
    with pytest.raises(ConfigError, match="frozen already"), model.frozen(batch), model.frozen(batch):
        pass
    assert state(model) == before
    assert torch.equal(model.forward(batch)[0].logits, load_model(tiny("gpt2")).forward(batch)[0].logits)
    read = minilm.batch(["A small test."])
    with minilm.frozen(read):
        pooled = minilm.forward(read)[0].pooled
    torch.testing.assert_close(pooled, minilm.forward(read)[0].pooled, atol=1e-4, rtol=1e-4)


def test_a_model_that_is_run_as_it_is_says_that_it_cannot_be_frozen():
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 2))
    model = load_model(net, example=np.zeros(4, np.float32))
    with pytest.raises(ConfigError, match="is run as it is, and has no places of its own"):
        model.frozen(model.batch([np.zeros(4, np.float32)]))


@pytest.mark.parametrize("name", ["gpt_neox", "opt", "bloom", "gemma2", "qwen3", "gpt_oss"])
def test_other_architectures_are_frozen(name, tmp_path):
    model = load_model(save(name, tmp_path / name), check=False)
    batch = model.batch(TEXTS)
    push = steer("resid_post.0", 4.0 * torch.randn(model.width("resid_post.0"), generator=torch.Generator().manual_seed(0)))
    last, heads = model.last_hidden, model.match("head_out.1.*")
    plain = model.activations(batch, [*heads, last])
    with model.frozen(batch):
        same = model.activations(batch, [last])
        with model.edited(push, zero("v.1").at(None, special=True)):
            cut = model.activations(batch, heads)
    torch.testing.assert_close(same[last][batch.attention], plain[last][batch.attention], atol=1e-3, rtol=1e-3)
    # What is attended are the values, which are edited, by the weights, which are not.
    assert max(float(cut[head][batch.attention].abs().max()) for head in heads) < 1e-6


@pytest.mark.parametrize("name", ["gptj", "nemotron", "olmo", "mamba", "lfm2"])
def test_architectures_that_depend_on_more_are_refused(name, tmp_path):
    model = load_model(save(name, tmp_path / name), check=False)
    before = state(model)
    with pytest.raises(ConfigError, match="frozen"), model.frozen(model.batch(TEXTS)):
        pass
    assert state(model) == before
