"""Every architecture is read as Hugging Face computes it, or refused: a table of small models with random weights."""

from __future__ import annotations

import warnings

import pytest
import torch

from tests.models.architectures import CAUSAL, ENCODERS, save
from workbench.errors import ConfigError, WorkbenchWarning
from workbench.models import load_model
from workbench.models.transformer import TransformerModel

TEXTS = ["The cat sat on the mat, naive as ever indeed.", "Money!"]
PROMPT = "The cat sat on"
NEW_TOKENS = 20
# What refuses to be loaded, with the reason: what it computes for a text depends on the padding beside it.
PADDING_CHANGES_IT = {"convbert", "mobilebert", "nystromformer", "fnet"}
# What transformer-lens does not know, or computes otherwise: its modules are the sites.
PLAIN = {"phimoe", "cohere", "cohere2", "helium", "hunyuan_v1_dense", "openai-gpt", "biogpt", "ctrl", *ENCODERS} - {"bert"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def get(kind):
        if kind not in made:
            # What the tokenizer says of padding must not matter: every other one says left.
            side = ("right", "left")[[*CAUSAL, *ENCODERS].index(kind) % 2]
            made[kind] = save(kind, tmp_path_factory.mktemp(kind), side)
        return made[kind]

    return get


def original(kind, folder):
    from transformers import AutoModel, AutoModelForCausalLM

    return (AutoModelForCausalLM if kind in CAUSAL else AutoModel).from_pretrained(folder, dtype=torch.float32).eval()


def close(found, expected):
    return torch.allclose(found, expected, atol=1e-4 * float(expected.std()), rtol=1e-4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    # A check that was remembered from an earlier run of the tests would test nothing.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def load(folder):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = load_model(folder)
    notes = [str(warning.message) for warning in said if issubclass(warning.category, WorkbenchWarning)]
    assert notes == list(model.notes)
    return model


@pytest.mark.parametrize("kind", sorted({*CAUSAL, *ENCODERS} - PADDING_CHANGES_IT - {"xlnet"}))
def test_what_is_read_is_what_the_model_computes(kind, folder):
    model, reference = load(folder(kind)), original(kind, folder(kind))
    batch = model.batch(TEXTS)
    attended = batch.attention
    outputs = {}

    def keep(path, output):
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, torch.Tensor):
            outputs[path] = tensor.clone()  # Some modules work in place on what another put out.

    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: keep(path, output))
        for path, module in reference.named_modules()
    ]
    with torch.no_grad():
        expected = reference(**batch.inputs, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    seen = model.activations(batch, model.sites)
    wrapped = isinstance(model, TransformerModel)
    assert wrapped == (kind not in PLAIN)
    if wrapped:
        # Every hidden state that Hugging Face hands out is what some site has.
        for hidden in expected.hidden_states:
            assert any(rows.shape == hidden.shape and close(rows[attended], hidden[attended]) for rows in seen.values())
    else:
        for site, rows in seen.items():
            assert torch.equal(rows, outputs[site.path]), site
    # A text alone and beside a longer one.
    alone = model.batch(TEXTS[1:])
    assert not batch.inputs["attention_mask"][:, 0].eq(0).any()
    for site, one in model.activations(alone, model.match("resid_post.*" if wrapped else "layer:*")).items():
        if one.shape[:2] == alone.attention.shape:
            assert close(seen[site][1, : one.shape[1]], one[0]), site
    # No special token has a row.
    special = torch.tensor(model._tokens().tokenizer.all_special_ids)
    assert not torch.isin(batch.inputs["input_ids"][batch.keep], special).any()
    if kind in CAUSAL:
        check_causal(model, reference, batch, expected)


def check_causal(model, reference, batch, expected):
    attended = batch.attention
    output, _ = model.forward(batch)
    assert close(output.logits[attended], expected.logits[attended])
    ids = model._tokens().prompt(PROMPT)
    generated = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    wanted = generated[0, ids.shape[1] :].tolist()
    assert len(wanted) == NEW_TOKENS
    assert model.generate(PROMPT, max_new_tokens=NEW_TOKENS).tokens[0] == wanted
    last = [site for site in model.sites if site.kind == "resid_post"][-1:]
    if last:
        rows = model.activations(batch, last)[last[0]][attended]
        assert close(model.lens(rows), expected.logits[attended])
    else:
        with pytest.raises(ConfigError):
            model.lens(torch.zeros(1, 32))


def test_an_architecture_that_puts_positions_first_is_refused(folder):
    # XLNet's parts put out [t, b, d]: there is nothing that could be read as rows of an example.
    with pytest.raises(ConfigError, match="nothing to read"):
        load_model(folder("xlnet"))


@pytest.mark.parametrize("kind", sorted(PADDING_CHANGES_IT))
def test_what_depends_on_its_padding_is_refused(kind, folder):
    reference = original(kind, folder(kind))
    with pytest.raises(ConfigError, match="padding"):
        load_model(folder(kind))
    model = load_model(folder(kind), check=False)
    assert model.differences is None
    # The refusal is right: Hugging Face's own output changes with the padding.
    both, alone = model.batch(TEXTS), model.batch(TEXTS[1:])
    with torch.no_grad():
        padded, single = (reference(**b.inputs).last_hidden_state for b in (both, alone))
    assert not close(padded[1, : single.shape[1]], single[0])
