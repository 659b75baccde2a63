"""Targets: scalars of a pass. Gradients are those of finite differences, and of closed forms where there is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from tests.models.test_transformer import TEXTS
from workbench.concepts import LinearConcepts
from workbench.edits import Edit, steer
from workbench.errors import ConfigError, UnknownNameError
from workbench.models import Site, load_model
from workbench.models.targets import ConceptCode, Difference, Logit, NextTokenLoss, ReadoutLogit, Target, find_target

SITE = Site("resid_post", 0)


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


READOUT = ReadoutLogit(["b"], ["a", "b"], draw(1, 2, 32), draw(2, 2))
CONCEPT = ConceptCode(LinearConcepts("resid_post.1", draw(3, 4, 32)), 2)
TARGETS: dict[str, Target] = {
    "token": Logit(70), "at a position": Logit(70, position=1), "two tokens": Difference(Logit(70), Logit(71)),
    "loss": NextTokenLoss(), "readout": READOUT, "concept": CONCEPT, "concept and logit": Difference(CONCEPT, Logit(7)),
}  # fmt: skip


def value(model: Any, batch: Any, target: Target) -> torch.Tensor:
    output, seen = model.forward(batch, [model.site(site) for site in target.sites], logits=target.logits)
    return target.of(output, seen, batch)


@pytest.mark.parametrize("name", TARGETS)
def test_gradients_are_those_of_finite_differences(name, tiny):
    model, target = load_model(tiny("llama")), TARGETS[name]
    batch, direction = model.batch(TEXTS), draw(5, 32)
    # Activations of random weights are small; with larger ones a step is small beside them.
    large = Edit(Site("embed"), lambda h: h + 3 * draw(8, *h.shape)).at(None, special=True)
    with model.edited(large):
        gradient = model.gradients(batch, [SITE], target)[SITE]
        assert gradient.shape == (2, *batch.keep.shape[1:], 32)
        slope, step, found = (gradient @ direction).sum(1), 1e-2, []
        for sign in (1, -1):
            with model.edited(steer(SITE, direction, sign * step).at(None, special=True)):
                found.append(value(model, batch, target))
    torch.testing.assert_close(slope, (found[0] - found[1]) / (2 * step), atol=2e-3, rtol=2e-2)
    assert json.loads(json.dumps(target.describe()))["kind"] == target.kind
    assert find_target(target.kind) is type(target)


def test_the_gradient_of_a_linear_concept_at_its_own_site_is_its_weight(tiny):
    model = load_model(tiny("gpt2"))
    batch = model.batch(TEXTS)
    gradient = model.gradients(batch, ["resid_post.1"], CONCEPT)[Site("resid_post", 1)]
    expected = batch.keep[..., None] / batch.keep.sum(1)[:, None, None] * CONCEPT.concepts.weights[2]
    torch.testing.assert_close(gradient, expected)


def test_frozen_gradients_are_constant_but_for_mlps(tiny):
    model = load_model(tiny("gpt2"))
    batch, site = model.batch(TEXTS), Site("attn_out", 1)
    shift = Edit(Site("mlp_out", 0), lambda h: h + 3 * draw(1, *h.shape)).at(None, special=True)
    with model.frozen(batch), model.edited(*(Edit(Site("mlp_out", 1), torch.zeros_like).at(None, special=True),)):
        gradients = []
        for edits in ((), (shift,)):
            with model.edited(*edits):
                gradients.append(model.gradients(batch, [site], TARGETS["two tokens"])[site])
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-4)


def test_what_a_model_does_not_have_is_refused(tiny):
    model, encoder = load_model(tiny("gpt2")), load_model(tiny("bert"))
    batch = model.batch(TEXTS)
    with pytest.raises(ConfigError, match=r"does not depend on resid_post\.1"):
        model.gradients(batch, ["resid_post.1"], ConceptCode(LinearConcepts("resid_post.0", draw(3, 4, 32)), 0))
    for target, said in ((Logit(3000), "has 300 logits"), (Logit(3, position=900), "positions")):
        with pytest.raises(ConfigError, match=said):
            model.gradients(batch, [SITE], target)
    for target in (Logit(3), NextTokenLoss()):
        with pytest.raises(ConfigError, match=r"The model has 0 logits|is of a causal language model"):
            encoder.gradients(encoder.batch(TEXTS), [SITE], target)
    with pytest.raises(ConfigError, match="concepts 0 to 3, not 4"):
        ConceptCode(CONCEPT.concepts, 4)
    with pytest.raises(UnknownNameError, match="no kind of target called 'nothing'"):
        find_target("nothing")
