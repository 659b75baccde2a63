"""What concepts are steered on: short texts of different documents, and fewer of them where a pass takes long."""

from __future__ import annotations

import pytest

import workbench as wb
from tests.large_vocabulary import save_large_vocabulary
from workbench.evidence import steered_inputs
from workbench.evidence.steered_inputs import CHARACTERS_A_TOKEN, FEWEST_TOKENS, INPUT_CHARACTERS, affordable, choose_inputs
from workbench.statistics.clusters import ENOUGH

TEXTS = [f"{name} was seen by nobody in the garden, where it had been raining since the morning. " * 4 for name in "ABCDEFGHIJKL"]


@pytest.fixture(scope="module")
def by_bytes(tmp_path_factory):
    """A model whose tokenizer makes a token of every byte of these texts."""
    return wb.load_model(save_large_vocabulary(tmp_path_factory.mktemp("bytes"), size=400, width=16), check=False)


def test_texts_of_which_a_tokenizer_makes_many_tokens_are_cut_further(by_bytes):
    site = by_bytes.site("resid_post.0")
    texts = [text[:INPUT_CHARACTERS] for text in TEXTS]
    assert by_bytes.batch(texts).keep.sum(1).tolist() == [INPUT_CHARACTERS] * len(texts)
    found = affordable(by_bytes, site, texts, INPUT_CHARACTERS)
    assert by_bytes.batch(found).keep.sum(1).tolist() == [INPUT_CHARACTERS // CHARACTERS_A_TOKEN] * len(texts)
    assert all(whole.startswith(part) for whole, part in zip(texts, found, strict=True))
    # Far more than the model reads of a text.
    assert by_bytes.batch(affordable(by_bytes, site, [TEXTS[0] * 20], 300)).keep.sum().item() <= 100


def test_a_small_model_reads_all_texts_and_a_large_one_the_starts_of_some(minilm, monkeypatch):
    site = minilm.site("resid_post.2")
    texts = [text[:INPUT_CHARACTERS] for text in TEXTS]
    assert affordable(minilm, site, texts, INPUT_CHARACTERS) == texts
    counts = minilm.batch(texts).keep.sum(1).tolist()
    above = sum(place.kind == "resid_post" for place in minilm.sites[minilm.sites.index(site) :])
    a_token = 12.0 * minilm.width(site) ** 2 * above
    # As long as eight whole ones can be read, none is cut.
    monkeypatch.setattr(steered_inputs, "PRODUCTS", a_token * (max(counts) * ENOUGH + 1))
    found = affordable(minilm, site, texts, INPUT_CHARACTERS)
    assert found == texts[: len(found)]
    assert ENOUGH <= len(found) < len(texts)
    for tokens in (100, 1):
        monkeypatch.setattr(steered_inputs, "PRODUCTS", a_token * tokens)
        found = affordable(minilm, site, texts, INPUT_CHARACTERS)
        assert len(found) == ENOUGH
        assert all(whole.startswith(part) and part for whole, part in zip(texts, found, strict=False))
        assert minilm.batch(found).keep.sum(1).max() <= max(FEWEST_TOKENS, tokens // ENOUGH)


def test_inputs_are_of_as_many_documents_as_there_are():
    dataset = wb.load_dataset("topics", limit=200)
    examples = dataset.table.index.to_numpy()
    documents = examples % 20
    found, clusters = choose_inputs(dataset, examples, documents, 0)
    assert len(found) == len(set(clusters)) == steered_inputs.INPUTS
    assert max(map(len, found)) <= INPUT_CHARACTERS
