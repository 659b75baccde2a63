"""Readers of the sources of the language model "scribe": each yields documents, with the text in plain paragraphs.

A document is a chapter, a speech, a section of a long text, or a page of dictionary entries. Paragraphs are lines.
"""

from __future__ import annotations

import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sotu import paragraphs as speech_paragraphs

LAST_YEAR = 1929  # later books may still be under copyright
FEWEST_WORDS, MOST_WORDS = 400, 4000
ENTRIES_A_PAGE = 30
# Also among the novels, in an edition with paragraphs.
DOUBLED = {"chesterton-thursday", "bible-kjv"}
VERSE = {"blake-poems", "milton-paradise", "whitman-leaves", "shakespeare-caesar", "shakespeare-hamlet", "shakespeare-macbeth"}
FICTION = {"arthur-conan-doyle", "edgar-allan-poe", "leo-tolstoy"}

_PLAIN = str.maketrans(
    {
        **{"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2032": "'", "\u2033": '"', "`": "'"},
        **{"\u2014": "--", "\u2013": "-", "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2e3a": "----", "\u2026": "..."},
        **{"\u2060": None, "\ufeff": None, "\u200b": None, "\u00ad": None, "_": None},
    }
)
_HEADING = re.compile(
    r"\s*((chapter|book|part|volume|canto|actus|act|scena|scoena|letter|section|phase|stave)\b.{0,60}"
    r"|[ivxlc]{1,8}\.?|\d{1,3}\.?|prologue|epilogue|preface)\s*",
    re.IGNORECASE,
)
_NOT_TEXT = re.compile(r"(colophon|uncopyright|titlepage|imprint|halftitlepage|endnotes|loi|toc|dedication|epigraph)")


@dataclass(frozen=True)
class Document:
    """One document: where it comes from, what it is, and its paragraphs, one a line."""

    source: str
    kind: str
    work: str
    number: int
    year: int | None
    text: str

    @property
    def key(self) -> str:
        """The name by which it is put into a split."""
        return f"{self.work}#{self.number}"


def tidy(text: str) -> str:
    """Plain quotes, dashes and spaces; no control characters; no space before a comma."""
    text = unicodedata.normalize("NFC", text).translate(_PLAIN)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r" +([,;:.?!])(?=\s|$|['\"])", r"\1", text)


def lines_of(path: Path) -> list[str]:
    """The lines of a text file, in UTF-8 or else in Latin-1."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    return text.replace("\r\n", "\n").split("\n")


def unwrapped(lines: list[str], verse: bool = False) -> Iterator[str]:
    """Paragraphs out of wrapped lines. A blank line ends one; in a file without blank lines, so does a short line that
    ends a sentence; verse keeps its lines.
    """
    if verse:
        yield from filter(None, map(tidy, lines))
        return
    lengths = sorted(len(line) for line in lines if line.strip())
    wide = lengths[len(lengths) // 2]
    if wide > 120:
        yield from filter(None, map(tidy, lines))
        return
    spaced = sum(not line.strip() for line in lines) > len(lines) / 50
    held: list[str] = []
    for line in [*lines, ""]:
        heading = bool(_HEADING.fullmatch(line)) and len(line) < 60
        if held and (not line.strip() or (heading and not spaced)):
            yield tidy(" ".join(held))
            held = []
        if line.strip():
            held.append(line)
            short = len(line) < 0.85 * wide and line.rstrip()[-1:] in ".?!\"'"
            if not spaced and (short or heading):
                yield tidy(" ".join(held))
                held = []


def sections(paragraphs: Iterable[str]) -> Iterator[str]:
    """Chapters, by their headings; short ones are joined to the next, long ones cut between paragraphs."""
    held: list[str] = []
    words = 0
    for paragraph in paragraphs:
        heading = len(paragraph) < 70 and bool(_HEADING.fullmatch(paragraph))
        if held and ((heading and words >= FEWEST_WORDS) or words >= MOST_WORDS):
            yield "\n".join(held)
            held, words = [], 0
        held.append(paragraph)
        words += paragraph.count(" ") + 1
    if held:
        yield "\n".join(held)


def _documents(source: str, kind: str, work: str, year: int | None, texts: Iterable[str]) -> Iterator[Document]:
    for number, text in enumerate(texts):
        yield Document(source, kind, work, number, year, text)


def novels(folder: Path) -> Iterator[Document]:
    """100 English Novels: files named Author_Title_Year.txt."""
    for path in sorted((folder / "corpus").glob("*.txt")):
        year = int(path.stem.rsplit("_", 1)[1])
        if year <= LAST_YEAR:
            yield from _documents("100-english-novels", "fiction", path.stem, year, sections(unwrapped(lines_of(path))))


def gutenberg(folder: Path) -> Iterator[Document]:
    """The Project Gutenberg selection that NLTK uses: prose, verse and plays. The Bible has its own reader."""
    for path in sorted((folder / "gutenberg").glob("*.txt")):
        if path.stem not in DOUBLED:
            verse = path.stem in VERSE
            body = lines_of(path)[1:]  # the first line is the title in brackets
            texts = sections(unwrapped(body, verse))
            yield from _documents("gutenberg-selection", "verse" if verse else "fiction", path.stem, None, texts)


def bible(folder: Path) -> Iterator[Document]:
    """The King James Bible, a document a chapter, without the numbers of the verses."""
    text = " ".join(lines_of(folder / "gutenberg" / "bible-kjv.txt"))
    parts = re.split(r"(\d+):(\d+) ", text)
    chapters: list[list[str]] = []
    for verse, words in zip(parts[2::3], parts[3::3], strict=True):
        if verse == "1" or not chapters:
            chapters.append([])
        # What follows a double gap is the heading of the next book.
        chapters[-1].append(tidy(re.split(r"\s{3,}", words)[0]))
    yield from _documents("gutenberg-selection", "scripture", "bible-kjv", 1611, ("\n".join(c) for c in chapters))


def ebooks(folder: Path) -> Iterator[Document]:
    """Standard Ebooks: a folder for each book, a page of XHTML for each chapter. Notes are left out."""
    for book in sorted(path for path in folder.iterdir() if path.is_dir()):
        pages = sorted((book / "src" / "epub" / "text").glob("*.xhtml"))
        kept = [page for page in pages if not _NOT_TEXT.search(page.stem)]
        kind = "fiction" if book.name.split("_")[0] in FICTION else "non-fiction"
        paragraphs = (_page(page.read_text(encoding="utf-8")) for page in kept)
        texts = (text for page in paragraphs for text in sections(page))
        yield from _documents("standard-ebooks", kind, book.name, None, texts)


def _page(text: str) -> list[str]:
    text = re.sub(r"<a [^>]*noteref[^>]*>.*?</a>", "", text)
    text = re.sub(r"<span class=\"timeline\">.*?</span>", "", text)
    found = re.findall(r"<(p|h2|h3)\b[^>]*>(.*?)</\1>", text, re.DOTALL)
    # Lines of verse are spans, one after another.
    plain = (html.unescape(re.sub(r"<[^>]+>", " " if "</span>\n" in body else "", body)) for _, body in found)
    return [line for line in map(tidy, plain) if line]


def speeches(folder: Path) -> Iterator[Document]:
    """State of the Union addresses, in the paragraphs of data/sotu.parquet, a document each."""
    for path in sorted((folder / "data").glob("[0-9]*.json")):
        speech = json.loads(path.read_text(encoding="utf-8"))
        text = "\n".join(tidy(line) for line in speech_paragraphs(speech["text"]))
        yield Document("state-of-the-union", "speech", path.stem, 0, int(speech["year"]), text)


def wordnet(folder: Path) -> Iterator[Document]:
    """WordNet as a dictionary: the words of each synset, what they mean and examples, thirty entries a page."""
    for part in ("noun", "verb", "adj", "adv"):
        entries = []
        for line in (folder / f"data.{part}").read_text(encoding="utf-8").splitlines():
            if not line.startswith("  "):
                head, _, gloss = line.partition(" | ")
                fields = head.split()
                words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                names = ", ".join(re.sub(r"\(\w+\)$", "", word.replace("_", " ")) for word in words[:4])
                entries.append(tidy(f"{names}: {gloss}"))
        pages = ("\n".join(entries[i : i + ENTRIES_A_PAGE]) for i in range(0, len(entries), ENTRIES_A_PAGE))
        yield from _documents("wordnet", "dictionary", f"wordnet-{part}", None, pages)
