"""Make data/common-words.parquet from data/brown.parquet, data/sotu.parquet and Debian `wordnet-base`
1:3.0-37.

--source is WordNet's folder. The 5,000 words most often met in Brown and the State of the Union addresses
that are lemmas of nouns, verbs or adjectives in WordNet, inflected forms counted with their lemma: word,
per_million (a mean, Brown's modern prose weighing three times the addresses). Most frequent first.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from common import DATA, main, write
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

WORDS = 5000
_KINDS = ("noun", "verb", "adj")
_ENDINGS = {
    "noun": (
        ("ies", "y"),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("s", ""),
    ),
    "verb": (
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("s", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ),
    "adj": (("er", ""), ("est", ""), ("er", "e"), ("est", "e")),
}
_NO_NAMES = {
    *(
        "mr",
        "mrs",
        "ms",
        "dr",
        "etc",
        "upon",
        "said",
        "thus",
        "shall",
        "may",
        "can",
        "will",
        "would",
        "could",
        "should",
        "must",
    ),
    *(
        "might",
        "however",
        "therefore",
        "among",
        "within",
        "without",
        "toward",
        "towards",
        "there",
        "here",
        "not",
        "yet",
        "till",
    ),
}


def lemmas(source: Path) -> tuple[dict[str, set[str]], dict[str, str]]:
    """The lemmas of each kind, and the irregular forms with their lemma."""
    known: dict[str, set[str]] = {}
    irregular: dict[str, str] = {}
    for kind in _KINDS:
        lines = (source / f"index.{kind}").read_text(encoding="utf-8").splitlines()
        known[kind] = {line.split()[0] for line in lines if not line.startswith("  ")}
        for line in (source / f"{kind}.exc").read_text(encoding="utf-8").splitlines():
            form, lemma = line.split()[:2]
            irregular.setdefault(form, lemma)
    return known, irregular


def lemma_of(word: str, known: dict[str, set[str]], irregular: dict[str, str]) -> str | None:
    """The dictionary form of a word, or None where WordNet has none."""
    if word in irregular:
        return irregular[word]
    for kind in _KINDS:
        for ending, instead in _ENDINGS[kind]:
            stem = word[: len(word) - len(ending)] + instead
            if word.endswith(ending) and len(stem) > 2 and stem in known[kind] and not word.endswith("ss"):
                return stem
            undoubled = word[: -len(ending) - 1]
            if (
                ending in {"ed", "ing"}
                and word.endswith(ending)
                and word[-len(ending) - 2 : -len(ending) - 1] == word[-len(ending) - 1 : -len(ending)]
                and undoubled in known["verb"]
            ):
                return undoubled
    return word if any(word in names for names in known.values()) else None


def build(source: Path) -> None:
    known, irregular = lemmas(source)
    seen: Counter[str] = Counter()
    capital: Counter[str] = Counter()
    share: Counter[str] = Counter()
    for file, weight in (("brown", 0.75), ("sotu", 0.25)):
        here: Counter[str] = Counter()
        for text in pq.read_table(DATA / f"{file}.parquet", columns=["text"])["text"].to_pylist():
            for match in re.finditer(r"(?<![\w'])[A-Za-z]{3,}(?![\w'])", text):
                here[match[0].lower()] += 1
                capital[match[0].lower()] += match[0][0].isupper()
        seen += here
        for word, times in here.items():
            share[word] += weight * 1e6 * times / here.total()
    total: dict[str, float] = defaultdict(float)
    for word, times in seen.items():
        lemma = lemma_of(word, known, irregular)
        bare = {word, lemma} & (ENGLISH_STOP_WORDS | _NO_NAMES)
        if lemma and not bare and len(lemma) > 2 and lemma.isalpha() and capital[word] < 0.6 * times:
            total[lemma] += share[word]
    top = sorted(total.items(), key=lambda item: (-item[1], item[0]))[:WORDS]
    write(
        pa.table({"word": [word for word, _ in top], "per_million": pa.array([n for _, n in top], pa.float32())}),
        "common-words",
    )


if __name__ == "__main__":
    main(build, __doc__)
