"""The data sets that come with the workbench. Sources and terms: data/NOTICE.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from workbench.datasets.build import finish, objects
from workbench.datasets.columns import Label, class_label, missing
from workbench.datasets.dataset import Dataset
from workbench.datasets.paths import data_file
from workbench.datasets.spans import no_spans, span_frame
from workbench.datasets.splits import assign_splits, stable_digest
from workbench.shapes import parse_json

# The sample that `topics` takes: enough for a probe of every genre, small enough to capture in a minute or two.
TOPIC_SENTENCES_A_GENRE = 200
TOPIC_WORDS = (6, 40)
TOPIC_PARAGRAPHS_A_SPEECH = 2


def _read(name: str, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq

    return pq.ParquetFile(data_file(name)).read(columns=columns)


def _frame(table: Any, *, text: str, group: str | None = None, labels: tuple[str, ...] = ()) -> pd.DataFrame:
    columns = {"text": table[text].to_pylist(), "split": table["split"].to_pylist()}
    columns["group"] = table[group].to_pylist() if group else _by_content(columns["text"])
    return pd.DataFrame({**columns, **{x: table[x].to_pylist() for x in labels}}, dtype=object)


def _by_content(texts: list[str]) -> list[str]:
    return ["text " + stable_digest(text.lower())[:12] for text in texts]


def _classes(frame: pd.DataFrame, names: tuple[str, ...]) -> list[Label]:
    return [class_label(name, [v for v in frame[name] if not missing(v)]) for name in names]


def _plain(name: str, frame: pd.DataFrame, labels: list[Label]) -> Dataset:
    scope = np.zeros(len(frame), dtype=bool)
    return finish(name, "text", frame, no_spans("text"), scope, labels, {"name_or_path": name})


def _brown_table(table: Any) -> tuple[pd.DataFrame, pd.DataFrame, np.ndarray]:
    """The sentences, their labelled words, and which sentences are tagged throughout."""
    frame = _frame(table, text="text", group="group", labels=("genre",))
    codes = parse_json(table.schema.metadata[b"codes"])
    gaps, lengths, code = (table[x].combine_chunks() for x in ("gap", "length", "code"))
    bounds = gaps.offsets.to_numpy()
    counts = np.diff(bounds)
    gap, length, kind = (x.values.to_numpy().astype(np.int64) for x in (gaps, lengths, code))
    # Gaps and lengths run on from the end of the labelled word before, so their running sum is the end of
    # each word.
    end = np.cumsum(gap + length)
    before = np.concatenate([[0], end])[bounds[:-1]]
    end -= np.repeat(before, counts)
    word = pd.DataFrame({"example": np.repeat(np.arange(len(frame)), counts), "start": end - length, "end": end})
    many = np.array([len(labels) for labels in codes])[kind]
    spans = word.iloc[np.repeat(np.arange(len(word)), many)]
    first = np.concatenate([[0], np.cumsum([len(labels) for labels in codes])])
    flat = np.array([label for labels in codes for label in labels], dtype=object)
    step = np.arange(len(spans)) - np.repeat(np.cumsum(many) - many, many)
    names = flat[first[np.repeat(kind, many)] + step]
    places = {name: spans[name].to_numpy() for name in ("example", "start", "end")}
    return frame, span_frame("text", {**places, "label": names}), table["annotated"].to_numpy()


def _brown() -> Dataset:
    """57,159 sentences of American English of 1961: genre, and the class of every word (Brown corpus)."""
    frame, spans, scope = _brown_table(_read("brown"))
    return finish("brown", "text", frame, spans, scope, _classes(frame, ("genre",)), {"name_or_path": "brown"})


def _sotu() -> Dataset:
    """17,929 passages of the State of the Union addresses, 1790 to 2021: president, party, era, year."""
    table = _read("sotu")
    frame = _frame(table, text="text", group="group", labels=("president", "party", "era"))
    frame["year"] = table["year"].to_numpy().astype(np.float64)
    labels = _classes(frame, ("president", "party", "era"))
    return _plain("sotu", frame, [*labels, Label("year", "example", (), {}, "numeric")])


def _spam() -> Dataset:
    """3,298 e-mails: ham, hard ham or spam (SpamAssassin)."""
    frame = _frame(_read("spam"), text="text", group="group", labels=("kind",))
    return _plain("spam", frame, _classes(frame, ("kind",)))


def _rated(name: str) -> Dataset:
    table = _read(name)
    frame = _frame(table, text="text", labels=("sentiment",))
    frame["rating"] = table["rating"].to_numpy().astype(np.float64)
    return _plain(name, frame, [*_classes(frame, ("sentiment",)), Label("rating", "example", (), {}, "numeric")])


def _film() -> Dataset:
    """10,605 snippets of film reviews: sentiment, and the rating that it comes from (VADER)."""
    return _rated("film")


def _tweets() -> Dataset:
    """4,200 tweets: sentiment, and the rating that it comes from (VADER)."""
    return _rated("tweets")


def _nouns() -> Dataset:
    """4,143 English nouns with one clear sense: its class, and its gloss (WordNet)."""
    frame = _frame(_read("nouns"), text="word", group="word", labels=("class", "gloss"))
    return _plain("nouns", frame, _classes(frame, ("class",)))


def _heldout() -> Dataset:
    """400 passages that the bundled language model Scribe was not trained on: kind and source."""
    table = _read("scribe-heldout")
    labels = ("kind", "source")
    frame = pd.DataFrame({x: table[x].to_pylist() for x in ("text", "document", *labels)}, dtype=object)
    frame = frame.rename(columns={"document": "group"})
    # The model's own validation and test parts are both unseen text: what is fitted on its activations needs three parts.
    splits = assign_splits(frame["group"], salt="heldout")
    frame.insert(1, "split", objects([splits[group] for group in frame["group"]]))
    return _plain("heldout", frame, _classes(frame, labels))


def _fashion() -> Dataset:
    """4,000 grey images of clothes, 28 by 28 pixels, of ten items (Fashion-MNIST)."""
    table = _read("fashion")
    size = [int(table.schema.metadata[key]) for key in (b"height", b"width")]
    images = [np.frombuffer(raw, np.uint8).reshape(size) for raw in table["pixels"].to_pylist()]
    frame = pd.DataFrame({"image": objects(images), "split": table["split"].to_pylist()}, dtype=object)
    frame["group"] = objects([f"image {i}" for i in range(len(frame))])
    frame["item"] = objects(table["item"].to_pylist())
    scope = np.zeros(len(frame), dtype=bool)
    labels = _classes(frame, ("item",))
    return finish("fashion", "image", frame, no_spans("image"), scope, labels, {"name_or_path": "fashion"})


def _chosen(frame: pd.DataFrame, by: str, most: int, among: np.ndarray) -> np.ndarray:
    """At most ``most`` rows of each value of ``by``, by the digest of the text: the same rows everywhere."""
    pool = frame.loc[among, [by]].assign(digest=[stable_digest(text) for text in frame.loc[among, "text"]])
    pool = pool.sort_values("digest")
    return np.sort(pool[pool.groupby(by).cumcount() < most].index.to_numpy())


def _topics() -> Dataset:
    """3,466 sentences and passages of Brown and the State of the Union: topic, party, president, era, word classes."""
    table = _read("brown")
    sentences = _frame(table, text="text", group="group", labels=("genre",))
    words = sentences["text"].str.count(" ").to_numpy() + 1
    fit = (words >= TOPIC_WORDS[0]) & (words <= TOPIC_WORDS[1]) & table["annotated"].to_numpy()
    rows = _chosen(sentences, "genre", TOPIC_SENTENCES_A_GENRE, np.flatnonzero(fit))
    brown, spans, scope = _brown_table(table.take(rows))
    brown = brown.rename(columns={"genre": "topic"}).assign(source="brown")
    speeches = _read("sotu")
    sotu = _frame(speeches, text="text", group="group", labels=("party", "president", "era"))
    sotu = sotu.loc[_chosen(sotu, "group", TOPIC_PARAGRAPHS_A_SPEECH, np.arange(len(sotu)))]
    sotu = sotu.assign(topic="presidential address", source="sotu")
    names = ("topic", "party", "president", "era")
    both = pd.concat([brown, sotu], ignore_index=True)
    frame = both[["text", "split", "group", *names, "source"]].astype(object)
    frame = frame.where(frame.notna(), None)
    scope = np.concatenate([scope, np.zeros(len(sotu), dtype=bool)])
    return finish("topics", "text", frame, spans, scope, _classes(frame, names), {"name_or_path": "topics"})


BUNDLED: dict[str, Callable[[], Dataset]] = {
    "topics": _topics,
    "brown": _brown,
    "sotu": _sotu,
    "spam": _spam,
    "film": _film,
    "tweets": _tweets,
    "nouns": _nouns,
    "heldout": _heldout,
    "fashion": _fashion,
}
