from __future__ import annotations

import pytest

from workbench.errors import DataError
from workbench.models import load_model

HOSTILE = "<script>alert(1)</script> \x00 \u202eevil\u202c \ud800 a"


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
    batch = minilm.batch(["a much longer text than the others", "one", "two words"])
    part = batch.select([2, 1])
    assert part.attention.shape == (2, 4)
    assert part.pieces[0].tolist() == ["[CLS]", "two", "words", "[SEP]"]
    assert part.spans.shape == (2, 4, 2)
