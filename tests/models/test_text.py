from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.errors import DataError
from workbench.models import load_model
from workbench.models.coded import _SPACE, _trim

HOSTILE = "<script>alert(1)</script> \x00 \u202eevil\u202c \ud800 a"
ODD = [
    HOSTILE,
    "  spaces before and after \t\n ",
    "\u3000wide\u2003spaces\u00a0 \x1c\x85 \u2028 and\u200bnone",
    "e\u0301clair, Üni\u0308code ſ ﬁ İstanbul",
    "日本語のテキスト 한국어 ไทย हिन्दी",
    "שלום עולם مرحبا",
    "👩\u200d👩\u200d👧 family 🙂🙂 🇩🇪",
    "ᚠᛇ 𝔘𝔫𝔦 ꙮ \ufffd",
    "<|endoftext|> [CLS] in [UNK] a [SEP] text <s>",
    "word " * 400,
    "x" * 3000,
    "The quick 🦊 jumps. " * 50_000,
    "don't 3.14 $5,000",
    "a",
]


def test_spans_point_at_the_words(minilm):
    text = "Unbelievably,  the Café sold   🙂 to Paris."
    batch = minilm.batch([text, "x"])
    kept = [j for j in range(batch.keep.shape[1]) if batch.keep[0, j]]
    words = [text[slice(*batch.spans[0, j])] for j in kept]
    assert "".join(words) == text.replace(" ", "")
    assert "Paris" in words
    assert batch.pieces[0][kept[words.index("Paris")]] == "paris"
    assert batch.pieces[0][0] == "[CLS]"
    assert batch.spans[0, 0].tolist() == [0, 0]
    assert batch.keep[1].sum() == 1


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_decoder_reads_bos_but_does_not_keep_it(kind, tiny):
    model = load_model(tiny(kind))
    text = "In the café 🙂"
    batch = model.batch([text, "ab"])
    assert batch.pieces[0][0] == "<s>"
    assert batch.attention[:, 0].all()
    assert not batch.keep[:, 0].any()
    assert batch.pieces[0][3] == " the"
    assert text[slice(*batch.spans[0, 3])] == "the"
    assert batch.pieces[0][-1] == "🙂"
    assert text[slice(*batch.spans[0, -1])] == "🙂"
    assert batch.attention.sum(1).tolist() == batch.keep.sum(1).add(1).tolist()
    without = load_model(tiny(kind), bos=False).batch([text])
    assert without.keep.all()


@pytest.mark.parametrize("name", ["minilm", "scribe"])
def test_special_tokens_are_kept_by_choice(name):
    usual, model = load_model(name), load_model(name, special=True)
    without, batch = usual.batch(ODD), model.batch(ODD)
    assert torch.equal(batch.keep, batch.attention)
    assert torch.equal(batch.inputs["input_ids"], without.inputs["input_ids"])
    own = without.keep.numpy()
    assert (batch.pieces == without.pieces).all()
    assert (batch.spans[own] == without.spans[own]).all()
    for row, (text, keep) in enumerate(zip(ODD, batch.keep.numpy(), strict=True)):
        spans, special = batch.spans[row][keep], ~own[row][keep]
        assert (spans[special, 0] == spans[special, 1]).all()
        # In order, so that rows can be looked up by the characters that they are of.
        assert (np.diff(spans, axis=0) >= 0).all()
        assert spans[0].tolist() == [0, 0]
        assert spans[:, 1].max() <= len(text)
        assert name == "scribe" or spans[-1].tolist() == [spans[:-1, 1].max()] * 2
    with pytest.raises(DataError, match="Row 1 "):
        model.batch(["fine", ""])
    assert model.input_options() == usual.input_options() | {"special": True}
    assert load_model(**model.source).input_options() == model.input_options()


def test_texts_are_cut_at_the_maximum_length(minilm, tiny):
    assert minilm.max_length == 128
    assert load_model(tiny("gpt2")).max_length == 64
    short = load_model(tiny("gpt2"), max_length=10)
    assert short.batch(["a" * 1_000_000]).attention.shape == (1, 10)
    assert minilm.batch(["word " * 500]).attention.shape == (1, 128)


def test_hostile_text_is_only_text(minilm, tiny):
    for model in (minilm, load_model(tiny("gpt2"))):
        batch = model.batch([HOSTILE, "fine"])
        for j in range(batch.keep.shape[1]):
            start, end = batch.spans[0, j]
            assert 0 <= start <= end <= len(HOSTILE)


@pytest.mark.parametrize("blank", ["", "   ", "\x00"])
def test_a_text_without_tokens_is_named_by_its_row(minilm, blank):
    with pytest.raises(DataError, match="Row 1 "):
        minilm.batch(["fine", blank, "fine"])
    with pytest.raises(DataError, match="Row 2 "):
        minilm.embed(["a longer text", "fine", blank])


def test_what_is_no_text_is_refused(minilm):
    with pytest.raises(DataError, match="Row 0 is float"):
        minilm.batch([float("nan")])
    with pytest.raises(DataError, match="at least one"):
        minilm.batch([])


def test_selecting_rows_drops_only_padding(minilm):
    texts = ["a much longer text than the others", "one", "two words"]
    part, alone = minilm.coded(texts).select([2, 1]), minilm.batch([texts[2], texts[1]])
    assert part.attention.shape == (2, 4)
    for name in ("input_ids", "attention_mask"):
        assert torch.equal(part.inputs[name], alone.inputs[name])
    assert torch.equal(part.keep, alone.keep)
    marks = minilm.coded(texts).marks()
    assert marks.pieces[-2:].tolist() == ["two", "words"]
    assert marks.spans[-2:].tolist() == [[0, 3], [4, 9]]
    assert marks.position[-3:].tolist() == [1, 1, 2]


def one_by_one(tokens, texts):
    """What a batch is to hold, found token by token: its id, piece and span, and whether it is kept."""
    tokenizer = tokens.tokenizer
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    for text in texts:
        clean = "".join("?" if "\ud800" <= character <= "\udfff" else character for character in text)
        clean = clean[: tokens.max_length * 200]
        coded = tokenizer(clean, truncation=True, max_length=tokens.max_length - tokens.bos, return_offsets_mapping=True)
        line = [(tokenizer.bos_token_id, tokenizer.bos_token, 0, 0, False)] * tokens.bos
        for number, span in zip(coded["input_ids"], coded["offset_mapping"], strict=True):
            raw = tokenizer.convert_ids_to_tokens(number)
            if number in special:
                line.append((number, raw, 0, 0, False))
                continue
            word = clean[slice(*span)]
            start = span[0] + (len(word) - len(word.lstrip()) if word.strip() else 0)
            piece = raw if raw.startswith("##") else tokenizer.decode([number])
            if word and (number == tokenizer.unk_token_id or "\ufffd" in piece):
                piece = clean[start : span[1]]
            line.append((number, piece, start, span[1], True))
        yield line


def read(tokens, texts):
    batch = tokens.batch(texts)
    assert batch.pieces.shape == batch.spans.shape[:2] == batch.keep.shape == batch.attention.shape
    assert not batch.keep[~batch.attention].any()
    assert not batch.spans[~batch.keep.numpy()].any()
    assert (batch.inputs["input_ids"][~batch.attention] == tokens.tokenizer.pad_token_id).all()
    for row, t in enumerate(batch.attention.sum(1).tolist()):
        assert batch.attention[row, :t].all()
        columns = batch.inputs["input_ids"], batch.pieces, batch.spans[..., 0], batch.spans[..., 1], batch.keep
        yield list(zip(*(column[row, :t].tolist() for column in columns), strict=True))


@pytest.fixture(scope="module")
def readers(minilm, tiny):
    models = {"minilm": minilm, "scribe": load_model("scribe"), "without": load_model("scribe", bos=False, max_length=9)}
    return {name: model.tokens for name, model in (models | {"gpt2": load_model(tiny("gpt2"))}).items()}


@pytest.mark.parametrize("name", ["minilm", "scribe", "without", "gpt2"])
def test_a_batch_is_what_reading_token_by_token_gives(readers, name):
    assert list(read(readers[name], ODD)) == list(one_by_one(readers[name], ODD))


# Every kind of character, and those that are met at the edges of tokens.
anything = st.text(st.one_of(st.characters(), st.sampled_from(" \t\n\u00a0\u3000é\u0301🙂漢#'aThe<|>[]_")), max_size=40)


@pytest.mark.parametrize("name", ["minilm", "scribe", "gpt2"])
@given(texts=st.lists(anything, min_size=1, max_size=5))
def test_whatever_the_text_a_batch_is_what_reading_token_by_token_gives(readers, name, texts):
    tokens, lines = readers[name], list(one_by_one(readers[name], texts))
    blank = [row for row, line in enumerate(lines) if not any(kept for *_, kept in line)]
    if blank:
        with pytest.raises(DataError, match=f"Row {blank[0]} "):
            tokens.batch(texts)
    else:
        assert list(read(tokens, texts)) == lines


@given(st.lists(st.text(" \t\u3000ab🙂", max_size=12), min_size=1, max_size=4), st.data())
def test_spans_are_trimmed_to_their_words(texts, data):
    places = [sorted(data.draw(st.lists(st.integers(0, len(text)), min_size=6, max_size=6))) for text in texts]
    spans = np.array(places, np.int64).reshape(len(texts), 3, 2)
    expected = spans.copy()
    for row, text in enumerate(texts):
        for span in expected[row]:
            word = text[slice(*span)]
            span[0] += len(word) - len(word.lstrip()) if word.strip() else 0
    read = spans.reshape(-1, 2)
    _trim(read, np.repeat(np.arange(len(texts)), 3), texts)
    assert np.array_equal(spans, expected)


def test_every_space_is_known():
    assert np.flatnonzero(_SPACE).tolist() == [code for code in range(sys.maxunicode + 1) if chr(code).isspace()]
    assert not _SPACE[-1]
