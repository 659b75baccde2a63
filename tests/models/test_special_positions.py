"""Edits leave what a capture leaves out as it is, special tokens and padding, unless they take them in."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.edits import (
    Edit,
    Edits,
    ablate,
    clamp,
    erase,
    mean,
    patch,
    project_out,
    resample,
    scale_latent,
    set_latent,
    side_by_side,
    steer,
    zero,
)
from workbench.models import load_model
from workbench.recipes import Recipe

SITE, D = "resid_post.0", 32
TEXTS = ["the people of the country", "the end"]
PROMPT = "the people"


def draw(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def dictionary() -> DictionaryConcepts:
    tensors = {"W_enc": draw(1, D, 64), "W_dec": draw(2, 64, D), "b_enc": draw(3, 64), "b_dec": draw(4, D)}
    return DictionaryConcepts(SITE, tensors, {"architecture": "topk", "k": 8})


EDITS = {
    "steer": lambda: steer(SITE, draw(0, D), 3.0),
    "clamp": lambda: clamp(SITE, draw(0, D), 3.0),
    "ablate": lambda: ablate(SITE, draw(0, D)),
    "project_out": lambda: project_out(SITE, draw(0, 2, D)),
    "zero": lambda: zero(SITE),
    "mean": lambda: mean(SITE, draw(0, D)),
    "patch": lambda: patch(SITE, draw(0, 40, D)),
    "resample": lambda: resample(SITE, draw(0, 9, D)),
    "erase": lambda: erase(SITE, draw(0, D, 1), draw(1, 1, D), draw(2, D)),
    "set_latent": lambda: set_latent(SITE, dictionary(), 7, 9.0),
    "set_latent without its error": lambda: set_latent(SITE, dictionary(), 7, 9.0, keep_error=False),
    "scale_latent": lambda: scale_latent(SITE, dictionary(), 7, 9.0, keep_error=False),
    "stand-in": lambda: Edit(SITE, lambda h: dictionary().reconstruct(h.flatten(0, 1)).view_as(h)),
}


@pytest.mark.parametrize("kind", EDITS)
def test_every_kind_of_edit_leaves_special_tokens_and_padding(kind: str, tiny) -> None:
    model, edit = load_model(tiny("gpt2")), EDITS[kind]()
    batch = model.batch(TEXTS)
    site = model.site(SITE)
    assert not bool(batch.keep[:, 0].any()), "the first token is the one that the model puts there"
    assert not bool(batch.attention.all()), "the shorter text is padded"
    base = model.activations(batch, [site])[site]
    for several in ([edit], side_by_side([edit, Edits()])):
        with model.edited(*several):
            seen = model.activations(batch, [site])[site]
        assert torch.equal(seen[~batch.keep], base[~batch.keep])
        assert not torch.allclose(seen[0][batch.keep[0]], base[0][batch.keep[0]])
    with model.edited(edit.at(None, special=True)):
        everywhere = model.activations(batch, [site])[site]
    torch.testing.assert_close(everywhere, edit(base), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(everywhere[:, 0], base[:, 0])


def test_positions_by_number_are_edited_whatever_stands_there_and_a_slice_is_not(tiny) -> None:
    model = load_model(tiny("llama"))
    batch, site = model.batch(TEXTS[:1]), model.site(SITE)
    base = model.activations(batch, [site])[site]

    def changed(edit) -> list[int]:
        with model.edited(edit):
            seen = model.activations(batch, [site])[site]
        return torch.nonzero((seen != base).any(-1)[0])[:, 0].tolist()

    plain = steer(site, torch.ones(D))
    assert changed(plain.at([0, 2])) == [0, 2]
    assert changed(plain.at(slice(0, 3))) == [1, 2]
    assert changed(plain.at(slice(0, 3), special=True)) == [0, 1, 2]
    assert changed(plain.at(None, special=True).strength(2.0).at(slice(0, 2))) == [0, 1]


def test_the_first_token_of_a_prompt_is_not_steered_and_the_cache_agrees() -> None:
    model = load_model("scribe")
    edit = steer("resid_post.2", draw(5, 256), 4.0)
    ids = model.tokens.prompt(PROMPT)
    assert model.tokens.kept(ids)[0].tolist() == [False, *[True] * (ids.shape[1] - 1)]
    found = model.generate(PROMPT, [edit, edit.at(None, special=True)], max_new_tokens=2)
    expected = []
    for positions in (slice(1, None), slice(0, None)):
        with model.edited(edit.at(positions, special=True)):
            logits = model.forward(model.batch([PROMPT]))[0].logits[0, -1]
        expected.append(float(logits.float().log_softmax(-1).max()))
    assert abs(expected[0] - expected[1]) > 0.01
    assert [log_probs[0] for log_probs in found.log_probs] == pytest.approx(expected, abs=1e-3)


def test_a_model_that_keeps_special_tokens_has_them_edited(tiny) -> None:
    model = load_model(tiny("gpt2"), special=True)
    batch, site = model.batch(TEXTS[:1]), model.site(SITE)
    base = model.activations(batch, [site])[site]
    with model.edited(steer(site, torch.ones(D))):
        torch.testing.assert_close(model.activations(batch, [site])[site], base + 1)
    assert bool(model.tokens.kept(model.tokens.prompt(PROMPT)).all())


def test_every_position_of_an_image_is_edited(efficientnet) -> None:
    batch = efficientnet.batch([torch.zeros(224, 224, 3, dtype=torch.uint8).numpy()])
    site = efficientnet.sites[3]
    base = efficientnet.activations(batch, [site])[site]
    with efficientnet.edited(steer(site, torch.ones(base.shape[-1]))):
        torch.testing.assert_close(efficientnet.activations(batch, [site])[site], base + 1)


def test_what_was_written_down_before_there_was_a_choice_changes_special_tokens() -> None:
    edit = steer(SITE, torch.ones(2)).at(slice(0, 4))
    assert Edit.from_dict(edit.to_dict()) == edit
    assert not Edit.from_dict(edit.to_dict()).special
    before = {key: value for key, value in edit.to_dict().items() if key != "special"}
    assert Edit.from_dict(before).special
    step = '{"concept": "a.1", "amount": 2}'
    assert Recipe.parse(f'{{"steps": [{step}], "format": 1}}').steps[0].special
    now = Recipe.parse(f'{{"steps": [{step}]}}')
    assert not now.steps[0].special
    assert Recipe.parse(now.to_json()) == now


def test_the_shift_of_the_output_is_of_the_rows_that_a_capture_takes(tiny) -> None:
    from types import SimpleNamespace

    from analyses.dictionaries._shared.quality import spliced
    from workbench.evidence.shifts import output_shift
    from workbench.progress import silent

    model, read = load_model(tiny("gpt2")), dictionary()
    texts = wb.dataset_from_table(
        pd.DataFrame({"text": [f"the people {i}" for i in range(40)], "kind": ["a", "b"] * 20}), text="text", labels=["kind"]
    )
    average = draw(8, D)
    context = SimpleNamespace(
        model=lambda: model, dataset=texts, seed=0, activations=SimpleNamespace(positions="content"), progress=silent
    )
    row = spliced(read, average, SITE, context)
    held = texts.inputs([i for i, split in enumerate(texts.table["split"]) if split == "test"])
    batch = model.batch(held)
    base, block = model.forward(batch)[0], model._hook_points[model.site(SITE)].module
    shifts = []
    for stand_in in (lambda h: read.reconstruct(h.flatten(0, 1)).view_as(h), average.expand_as):

        def by_hand(_module, _inputs, output, stand_in=stand_in):
            h = output[0] if isinstance(output, tuple) else output
            new = h.clone()
            new[:, 1:] = stand_in(h)[:, 1:]
            return (new, *output[1:]) if isinstance(output, tuple) else new

        handle = block.register_forward_hook(by_hand)
        shifts.append(float(output_shift(base, model.forward(batch)[0], batch.keep).sum()))
        handle.remove()
    assert row["value"] == pytest.approx(1 - shifts[0] / shifts[1], abs=1e-4)


def test_where_even_the_mean_changes_nothing_there_is_no_share_to_report(tmp_path) -> None:
    from types import SimpleNamespace

    from transformers import LlamaConfig, LlamaForCausalLM

    from analyses.dictionaries._shared.quality import spliced
    from tests.models.architectures import CAUSAL, save_tokenizer
    from workbench.errors import DataError
    from workbench.progress import silent

    net = LlamaForCausalLM(LlamaConfig(**CAUSAL["llama"]))
    torch.nn.init.zeros_(net.lm_head.weight)
    net.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    texts = wb.dataset_from_table(pd.DataFrame({"text": [f"the people {i}" for i in range(40)]}), text="text", labels=[])
    context = SimpleNamespace(
        model=lambda: load_model(tmp_path),
        dataset=texts,
        seed=0,
        activations=SimpleNamespace(positions="content"),
        progress=silent,
    )
    with pytest.raises(DataError, match="nothing to keep"):
        spliced(dictionary(), draw(8, D), SITE, context)
