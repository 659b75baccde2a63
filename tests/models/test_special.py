"""Which tokens are special: the same for captures, edits, generated text and everything that is made of them."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch

from tests.models.tokenizers_of import HEADERS, KINDS, gpt2_kind, llama3_kind, own_unknown_kind, save_decoder
from workbench.activations import capture
from workbench.datasets import dataset_from_table
from workbench.edits import Edits, steer
from workbench.errors import DataError, WorkbenchWarning
from workbench.models import load_model
from workbench.models.text import Tokens, special_ids

# What of each kind is special, and what is not although the tokenizer lists it.
EXPECTED = {
    "gpt2": ({"<|endoftext|>"}, set()),
    "llama3": ({"<|begin_of_text|>", "<|end_of_text|>", *HEADERS}, set()),
    "bert": ({"[PAD]", "[CLS]", "[SEP]", "[MASK]"}, {"[UNK]"}),
    "own": ({"<pad>", "</s>"}, {"<unk>"}),
}


def table(texts):
    return dataset_from_table(pd.DataFrame({"text": texts}), text="text", labels=[])


@pytest.mark.parametrize("kind", KINDS)
def test_special_tokens_of_every_kind_of_tokenizer(kind):
    tokenizer = KINDS[kind]()
    special, ordinary = EXPECTED[kind]
    assert {tokenizer.convert_ids_to_tokens(number) for number in special_ids(tokenizer)} == special
    for token in ordinary:
        assert tokenizer.convert_tokens_to_ids(token) in tokenizer.all_special_ids


@pytest.mark.parametrize("kind", KINDS)
def test_no_special_token_is_kept_and_unknown_words_are(kind):
    tokens = Tokens(KINDS[kind](), 32, bos=True)
    batch = tokens.batch(["the cat zzz", "the"])
    special, _ = EXPECTED[kind]
    kept = set(batch.pieces[batch.keep.numpy()].tolist())
    assert not kept & special
    assert batch.keep[0].sum() >= 3
    if kind in {"bert", "own"}:
        # An unknown word is shown as it stands in the text.
        assert [batch.pieces[0][i] for i in batch.keep[0].nonzero()[:, 0].tolist()][-1] == "zzz"
    if kind in {"gpt2", "llama3"}:
        assert batch.attention[:, 0].all()
        assert not batch.keep[:, 0].any()


@pytest.fixture(scope="module")
def gpt2_like(tmp_path_factory):
    return load_model(save_decoder(tmp_path_factory.mktemp("gpt2-like"), gpt2_kind()))


def test_a_capture_has_no_row_of_the_token_that_was_put_first(gpt2_like, tmp_path):
    acts = capture(gpt2_like, table([f"the cat {n}" for n in range(20)]), sites="resid_post.0", folder=tmp_path)
    assert acts.index["position"].min() == 1
    assert "<|endoftext|>" not in set(acts.index["token"])
    # The very rows: those of the model at these positions.
    batch = gpt2_like.batch(["the cat 0"])
    rows = gpt2_like.activations(batch, ["resid_post.0"])[gpt2_like.site("resid_post.0")][0, 1:]
    torch.testing.assert_close(torch.from_numpy(acts.read(slice(0, len(rows)))), rows, atol=1e-2, rtol=1e-2)


def test_a_set_of_the_old_special_tokens_is_not_taken_for_one_of_these(gpt2_like, tmp_path):
    assert "special_ids" in gpt2_like.input_options()
    assert "special_ids" in Tokens(llama3_kind(), 32, bos=True).options()
    # Where nothing changed, sets that were captured before are still found.
    for name in ("bert", "own"):
        assert "special_ids" not in Tokens(KINDS[name](), 32, bos=False).options()
    assert "special_ids" not in load_model("scribe").input_options()


def test_edits_and_generated_text_know_the_same_special_tokens(gpt2_like):
    tokens = gpt2_like.tokens
    assert tokens.text([0, *tokens.prompt("the cat")[0, 1:].tolist(), 0]) == "the cat"
    ordinary = Tokens(own_unknown_kind(), 32, bos=False)
    # An unknown word counts as a token everywhere, so it is seen in text as well.
    assert ordinary.text([3, 2, 1, 0]).split() == ["the", "<unk>"]
    edit = steer("resid_post.0", torch.ones(32), 50.0)
    batch = gpt2_like.batch(["the cat"])
    site = gpt2_like.site("resid_post.0")
    before = gpt2_like.activations(batch, [site])[site]
    with gpt2_like.edited(edit.at("content")):
        after = gpt2_like.activations(batch, [site])[site]
    moved = (after - before).abs().amax(-1) > 0
    assert torch.equal(moved, batch.keep)


def test_text_ends_at_every_end_token(tmp_path):
    tokenizer = llama3_kind()
    turn = tokenizer.convert_tokens_to_ids("<|eot_id|>")
    folder = save_decoder(tmp_path, tokenizer)
    model = load_model(folder)
    free = list(model.stream("the", max_new_tokens=6))
    # What the model says third becomes an end token, beside two others.
    third = free[2].tokens[0]
    config = json.loads((folder / "generation_config.json").read_text())
    (folder / "generation_config.json").write_text(json.dumps(config | {"eos_token_id": [1, turn, third]}))
    again = load_model(folder)
    assert again.tokens.ends == {1, turn, third}
    said = again.generate("the", [Edits()], max_new_tokens=6)
    first = [step.tokens[0] for step in free].index(third)
    assert said.tokens[0] == [step.tokens[0] for step in free[: first + 1]]
    assert said.text == "".join(step.pieces[0] for step in free[:first])


def test_a_token_that_the_model_has_no_embedding_for_is_named(tmp_path):
    tokenizer = gpt2_kind()
    known = len(tokenizer)
    tokenizer.add_tokens(["<more>"])
    model = load_model(save_decoder(tmp_path, tokenizer, vocab_size=known))
    assert model.batch(["the cat"]).keep.any()
    with pytest.raises(
        DataError, match=f"Row 1 has the token '<more>', number {known} of the tokenizer, and the model has {known}"
    ):
        model.batch(["the cat", "the <more> cat"])
    with pytest.raises(DataError, match="The prompt has the token '<more>'"):
        model.generate("the <more>")


def test_one_sentence_says_how_many_texts_were_cut(tmp_path):
    model = load_model(save_decoder(tmp_path / "model", gpt2_kind()), max_length=12)
    texts = table(["the cat", "x" * 11, "x" * 12, "x" * 40])
    # One token is the first one, so that eleven of a text are read.
    with pytest.warns(WorkbenchWarning, match=r"^2 of 4 texts are longer than the 12 tokens .* 30 tokens were cut off\."):
        acts = capture(model, texts, sites="resid_post.0", folder=tmp_path / "acts")
    assert (acts.manifest.cut_texts, acts.manifest.lost_tokens) == (2, 30)
    with pytest.warns(WorkbenchWarning, match="2 of 4"):
        capture(model, texts, sites="resid_post.0", folder=tmp_path / "acts")


def test_the_lens_says_what_it_does_not_read(gpt2_like):
    from workbench.tokens.direct import logit_lens

    with pytest.warns(WorkbenchWarning, match="^1 of 1 texts is longer than the 128 tokens .* 73 tokens were cut off"):
        logit_lens(gpt2_like, "x" * 200, "resid_post.1")
    # Most of a very long text is not tokenised: the rest is counted by its characters.
    assert gpt2_like.coded(["x" * 1_000_000]).cut == (1, 1_000_000 - 127 + round(974_400 / 25_600))


def test_what_was_cut_is_counted_over_a_capture_that_was_stopped(tmp_path):
    model = load_model(save_decoder(tmp_path / "model", gpt2_kind()), max_length=8)
    texts = table(["x" * (n % 12 + 1) for n in range(300)])

    def stop(done, _total, _info):
        if done > 260:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capture(model, texts, sites="resid_post.0", folder=tmp_path / "acts", progress=stop)
    with pytest.warns(WorkbenchWarning):
        acts = capture(model, texts, sites="resid_post.0", folder=tmp_path / "acts")
    lengths = [n % 12 + 1 for n in range(300)]
    assert acts.manifest.cut_texts == sum(length > 7 for length in lengths)
    assert acts.manifest.lost_tokens == sum(max(length - 7, 0) for length in lengths)
