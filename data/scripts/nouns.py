"""Make data/nouns.parquet from Debian `wordnet-base` 1:3.0-37 (WordNet 3.0).

--source is the folder with index.noun, data.noun and cntlist.rev. One row a noun that WordNet's tagged texts
use, whose first sense is by far its most used: word, class (the lexicographer's file of that sense: animal,
artifact, food ...), gloss, group, split.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pyarrow as pa
from common import main, write

from workbench.datasets.splits import assign_splits

MOST_A_CLASS = 300
CLASSES = {
    **{
        4: "act",
        5: "animal",
        6: "artifact",
        7: "attribute",
        8: "body",
        9: "cognition",
        10: "communication",
        11: "event",
    },
    **{
        12: "feeling",
        13: "food",
        14: "group",
        15: "location",
        16: "motive",
        17: "object",
        18: "person",
        19: "phenomenon",
    },
    **{
        20: "plant",
        21: "possession",
        22: "process",
        23: "quantity",
        24: "relation",
        25: "shape",
        26: "state",
    },
    **{27: "substance", 28: "time"},
}


def counts(source: Path) -> dict[str, dict[int, int]]:
    """How often each sense of a noun was met in WordNet's tagged texts: word -> sense number -> times."""
    found: dict[str, dict[int, int]] = defaultdict(dict)
    for line in (source / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        key, sense, times = line.split()
        lemma, _, rest = key.partition("%")
        if rest.startswith("1:"):
            found[lemma][int(sense)] = int(times)
    return found


def synsets(source: Path) -> dict[str, tuple[int, str]]:
    """The lexicographer's file and the gloss of each synset, by its offset."""
    found = {}
    for line in (source / "data.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields, _, gloss = line.partition(" | ")
            found[fields[:8]] = (int(fields[9:11]), gloss.split('; "')[0].strip())
    return found


def build(source: Path) -> None:
    met, known = counts(source), synsets(source)
    by_class: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    for line in (source / "index.noun").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        word = fields[0]
        if line.startswith("  ") or not word.isalpha() or len(word) < 3:
            continue
        senses = int(fields[2])
        number, gloss = known[fields[-senses]]
        times = met.get(word, {})
        clear = senses == 1 or times.get(1, 0) >= 2 * sum(n for sense, n in times.items() if sense != 1) + 1
        # Instances (Paris, Shakespeare) are proper names, not nouns of a class; their glosses give dates and
        # places.
        if number in CLASSES and times and clear and not any(c.isdigit() for c in gloss):
            by_class[CLASSES[number]].append((-times.get(1, 0), word, gloss))
    proper = proper_names(source)
    rows = []
    for name, words in sorted(by_class.items()):
        kept = sorted(row for row in words if row[1] not in proper)[:MOST_A_CLASS]
        rows += [{"word": word, "class": name, "gloss": gloss} for _, word, gloss in sorted(kept, key=lambda row: row[1])]
    splits = assign_splits((row["word"] for row in rows), salt="nouns")
    write(pa.Table.from_pylist([{**row, "split": splits[row["word"]]} for row in rows]), "nouns")


def proper_names(source: Path) -> set[str]:
    """Words that WordNet writes with a capital."""
    found = set()
    for line in (source / "data.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith("  "):
            fields = line.split()
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            found |= {word.lower() for word in words if word != word.lower()}
    return found


if __name__ == "__main__":
    main(build, __doc__)
