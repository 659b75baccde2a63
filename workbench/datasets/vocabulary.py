"""Lists of words from which a concept can take its name."""

from __future__ import annotations

from pathlib import Path

from workbench.datasets.columns import quote
from workbench.datasets.paths import data_file
from workbench.datasets.readers import read_table, read_text
from workbench.errors import DataError, UnknownNameError

VOCABULARIES = ("common-words",)


def load_vocabulary(name_or_path: str | Path) -> list[str]:
    """The words of a vocabulary, each once, in order.

    "common-words" is bundled: 5,000 English nouns, verbs and adjectives in dictionary form, most frequent
    first. Otherwise the path of a .txt file with a word or phrase a line, or of a table (.csv, .tsv, .jsonl,
    .parquet) whose column "word", or else its first, holds them.
    """
    if str(name_or_path) in VOCABULARIES:
        path = data_file(str(name_or_path))
    else:
        path = Path(name_or_path).expanduser()
        if not path.suffix and len(path.parts) == 1 and not path.is_file():
            raise UnknownNameError("vocabulary", str(name_or_path), VOCABULARIES, "Your own needs the path of a file.")
        if not path.is_file():
            raise DataError(f"There is no file {quote(name_or_path)}: check the path.")
    if path.suffix.lower() == ".txt":
        lines: list[object] = list(read_text(path).split("\n"))
    else:
        table = read_table(path)
        lines = list(table["word" if "word" in table.columns else table.columns[0]])
    words = dict.fromkeys(" ".join(str(line).split()) for line in lines if line is not None)
    words.pop("", None)
    if not words:
        raise DataError(f"The vocabulary {quote(path.name)} is empty: write one word a line.")
    return list(words)
