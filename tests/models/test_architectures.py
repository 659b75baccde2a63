"""Every architecture is read as Hugging Face computes it, or refused: a table of small models with random weights."""

from __future__ import annotations

import re
import warnings

import pytest
import torch

from tests.models.architectures import CAUSAL, ENCODERS, VARIANTS, save
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
PLAIN |= {"gpt2 not scaled", "gpt_bigcode with all heads", "opt post-norm", "opt projected", "falcon alibi", "falcon new decoder"}


SIDES = ("right", "left")
# What the tokenizer says of padding must not matter: causal models with both, of the others every other one with each.
TABLE = [(name, side) for name in sorted(CAUSAL) for side in SIDES] + [
    (name, SIDES[number % 2])
    for number, name in enumerate(sorted({*ENCODERS, *VARIANTS} - PADDING_CHANGES_IT - {"xlnet"}))
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = {}

    def get(name, side="right"):
        if name not in made:
            made[name] = save(name, tmp_path_factory.mktemp("model"))
        # The tokenizer alone differs.
        _padding_on(side, made[name])
        return made[name]

    return get


def _padding_on(side, folder):
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(folder, padding_side=side).save_pretrained(folder)


def is_causal(name):
    return name in CAUSAL or name in VARIANTS


def original(name, folder, dtype=torch.float32):
    from transformers import AutoModel, AutoModelForCausalLM

    return (AutoModelForCausalLM if is_causal(name) else AutoModel).from_pretrained(folder, dtype=dtype).eval()


def ids_of(text, folder, longest):
    """A text as its own tokenizer has it, behind the token that texts begin with where that puts nothing there."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, truncation_side="right")
    begun = [] if tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"][0] else [tokenizer.bos_token_id]
    return torch.tensor([begun + tokenizer(text, truncation=True, max_length=longest - len(begun))["input_ids"]])


def close(found, expected):
    return torch.allclose(found, expected, atol=1e-4 * float(expected.std()), rtol=1e-4)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    # A check that was remembered from an earlier run of the tests would test nothing.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


def load(folder, **options):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model = load_model(folder, **options)
    notes = [str(warning.message) for warning in said if issubclass(warning.category, WorkbenchWarning)]
    assert notes == list(model.notes)
    return model


FEED_FORWARD = re.compile("mlp|ffn|feed_forward|fc|ff|intermediate|output|dense|proj|experts")


@pytest.mark.parametrize(("name", "side"), TABLE)
def test_what_is_read_is_what_the_model_computes(name, side, folder):
    place = folder(name, side)
    model, reference = load(place), original(name, place)
    with torch.no_grad():
        # Each text alone, without padding; what the workbench does has read others before.
        singles = [reference(ids_of(text, place, model.max_length)) for text in TEXTS]
    batch = model.batch(TEXTS)
    attended = batch.attention
    outputs, inputs = {}, {}

    def keep(path, given, output):
        if given and isinstance(given[0], torch.Tensor):
            inputs[path] = given[0].clone()
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, torch.Tensor):
            outputs[path] = tensor.clone()  # Some modules work in place on what another put out.

    handles = [
        module.register_forward_hook(lambda _module, given, output, path=path: keep(path, given, output))
        for path, module in reference.named_modules()
    ]
    with torch.no_grad():
        expected = reference(**batch.inputs, output_hidden_states=True)
    for handle in handles:
        handle.remove()
    seen = model.activations(batch, model.sites)
    wrapped = isinstance(model, TransformerModel)
    assert wrapped == (name not in PLAIN)
    if wrapped:
        # Every hidden state that Hugging Face hands out is what some site has.
        for hidden in expected.hidden_states:
            assert any(rows.shape == hidden.shape and close(rows[attended], hidden[attended]) for rows in seen.values())
        for site, rows in seen.items():
            if site.kind in {"mlp_in", "mlp_act"}:
                # Some module of the feed-forward part reads exactly that.
                flat = rows[attended].flatten()
                assert any(given.numel() == rows.numel() and close(given.reshape(rows.shape)[attended].flatten(), flat)
                           for path, given in inputs.items() if FEED_FORWARD.search(path)), site  # fmt: skip
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
    if is_causal(name):
        check_causal(model, reference, place, batch, [single.logits[0] for single in singles])
    else:
        means = torch.stack([single.last_hidden_state[0].mean(0) for single in singles])
        assert close(model.forward(batch)[0].pooled, means)


def check_causal(model, reference, place, batch, expected):
    output, _ = model.forward(batch)
    for found, attended, wanted in zip(output.logits, batch.attention, expected, strict=True):
        assert close(found[attended], wanted)
    ids = ids_of(PROMPT, place, model.max_length)
    count = min(NEW_TOKENS, model.max_length - ids.shape[1])
    generated = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False)
    assert generated.shape[1] == ids.shape[1] + count
    assert model.generate(PROMPT, max_new_tokens=NEW_TOKENS).tokens[0] == generated[0, ids.shape[1] :].tolist()
    last = [site for site in model.sites if site.kind == "resid_post"][-1:]
    if last:
        rows = model.activations(batch, last)[last[0]][batch.attention]
        assert close(model.lens(rows), torch.cat(expected))
    else:
        with pytest.raises(ConfigError):
            model.lens(torch.zeros(1, 32))


# What tokenizers put around a text themselves, and how many tokens of that a prompt begins with.
TEMPLATES = {
    "llama": ("<s> $A", 1),
    "xglm": ("</s> $A", 1),
    "glm": ("[gMASK] <sop> $A", 2),
    "olmo": ("$A </s>", 1),
    "mistral": ("<s> $A </s>", 1),
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", TEMPLATES)
def test_prompts_begin_as_inputs_do(name, side, tmp_path):
    template, begun = TEMPLATES[name]
    place = save(name, tmp_path, side, template)
    model, reference = load(place), original(name, place)
    ids, batch = ids_of(PROMPT, place, 64), model.batch([PROMPT])
    assert batch.inputs["input_ids"].tolist() == ids.tolist()
    prompt = ids[:, :-1] if template.endswith("</s>") else ids
    assert model._tokens().prompt(PROMPT).tolist() == prompt.tolist()
    # A row for each token of the text, and none for those around it.
    assert batch.keep[0].nonzero().flatten().tolist() == list(range(begun, prompt.shape[1]))
    assert model._tokens().kept(prompt)[0].nonzero().flatten().tolist() == list(range(begun, prompt.shape[1]))
    wanted = reference.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=8, do_sample=False)
    assert model.generate(PROMPT, max_new_tokens=8).tokens[0] == wanted[0, prompt.shape[1] :].tolist()
    with torch.no_grad():
        assert close(model.forward(batch)[0].logits, reference(ids).logits)


@pytest.mark.parametrize(("name", "longest"), [("phi3 longrope", 16), ("big_bird", 28)])
def test_a_length_beyond_which_a_text_changes_those_beside_it_is_refused(name, longest, folder):
    place = folder(name)
    assert load(place).max_length == longest
    with pytest.raises(ConfigError, match=f"4 to {longest} tokens for this model .*texts beside it.*not {longest + 1}"):
        load_model(place, max_length=longest + 1)
    # It is right to be: one text more, and Hugging Face's own output for the others is another.
    short = ids_of(TEXTS[1], place, longest)
    rows = []
    for width in (longest, longest + 1):
        ids = torch.full((1, width), 2)
        ids[0, : short.shape[1]] = short[0]
        with torch.no_grad():
            mask = (torch.arange(width) < short.shape[1])[None].long()
            made = original(name, place)(ids, attention_mask=mask, output_hidden_states=True)
        rows.append(made.hidden_states[-1][0, : short.shape[1]])
    assert not close(rows[1], rows[0])


@pytest.mark.parametrize(("name", "wrapped"), [("falcon alibi", False), ("codegen", False), ("mixtral", True), ("llama", True)])
def test_rounding_does_not_hide_what_is_computed_otherwise(name, wrapped, folder):
    place = folder(name)
    model, reference = load(place, dtype="bfloat16"), original(name, place, torch.bfloat16)
    assert isinstance(model, TransformerModel) == wrapped
    assert {what for what in model.differences if not what.endswith(" in float32")} == {
        what.removesuffix(" in float32") for what in model.differences if what.endswith(" in float32")
    }
    assert max(value for what, value in model.differences.items() if what.endswith(" in float32")) < 1e-4
    batch = model.batch(TEXTS)
    with torch.no_grad():
        expected = reference(**batch.inputs).logits[batch.attention].float()
    off = (model.forward(batch)[0].logits[batch.attention].float() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert float(off.median()) < 0.03
    assert model.dtype == "bfloat16"


def test_a_model_too_large_for_a_copy_in_float32_says_that_it_was_compared_in_its_own_type(folder, monkeypatch):
    from workbench.models import checks

    monkeypatch.setattr(checks, "free_memory", lambda _device: 0)
    model = load(folder("llama"), dtype="bfloat16")
    assert model.notes == (
        f"{model.name} was compared with the model that it wraps in bfloat16 only, as there is no memory for a copy in float32:"
        " differences up to 10% are not seen. Load it once where more is free.",
    )
    monkeypatch.undo()
    # Nor is it remembered as if it had been.
    assert load(folder("llama"), dtype="bfloat16").notes == ()


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
