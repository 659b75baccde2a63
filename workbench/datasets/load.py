"""``load_dataset``: a bundled data set by its name, or a person's own by its path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.datasets.build import Choice, build, finish, spread
from workbench.datasets.columns import MISSING_WORDS, quote
from workbench.datasets.dataset import Dataset
from workbench.datasets.folders import is_hugging_face, read_folder, read_hugging_face
from workbench.datasets.readers import read_table
from workbench.datasets.save import read_saved_table
from workbench.errors import ConfigError, DataError, UnknownNameError
from workbench.shapes import reading

_IN_MEMORY = "memory:"

# Options that leave the meaning of a saved file's columns as it is.
_RENAMED_ONLY = frozenset({"name_or_path", "name"})


def load_dataset(
    name_or_path: str | Path,
    *,
    text: str | None = None,
    image: str | None = None,
    labels: str | Sequence[str] | None = None,
    split: str | None = None,
    group: str | None = None,
    spans: str | None = None,
    regions: str | None = None,
    limit: int | None = None,
    encoding: str | None = None,
    drop_blank: bool = False,
    drop_duplicates: bool = False,
    drop_unreadable: bool = False,
    missing: Sequence[str] | None = None,
    image_folder: str | Path | None = None,
    rows: Sequence[int] | None = None,
    name: str | None = None,
) -> Dataset:
    """Load texts or images with their labels.

    ``name_or_path`` is a bundled name (topics, brown, sotu, spam, film, tweets, nouns, fashion) or a path: a
    .csv, .tsv, .jsonl or .parquet file, a folder of .txt files or images with their labels as sub-folders, or
    a folder that ``datasets.save_to_disk`` wrote. ``text`` or ``image``, ``labels``, ``split``, ``group``,
    ``spans`` and ``regions`` name columns; what is not named is guessed, and ``labels=[]`` means none. Every other
    column is kept in the table, and can be made a label, the group or the split later. Integers keep every digit.
    Without a split column whole groups are dealt out, 70, 15 and 15 in a hundred of the rows, by a hash; without a
    group column each different text is its own group. Copies of a text or image are always in one split: groups that
    share one are joined, and a split column that separates copies is refused.

    ``limit`` keeps that many examples, evenly spread. ``encoding`` is that of a text file (UTF-8 otherwise).
    ``drop_blank`` drops rows without content instead of refusing them, ``drop_duplicates`` all copies of a text or
    image but the first, ``drop_unreadable`` files that are missing or damaged. ``missing`` are the words that stand
    for no value in label and group columns (``MISSING_WORDS``: nan, None, NULL, NA, ...; ``[]`` for none), besides
    blank cells. ``image_folder`` is where image paths start (beside the table otherwise). ``rows`` keeps these
    examples of the result.

    Raises DataError, in one sentence that says what to do, for anything that cannot be used; UnknownNameError
    for a name that is neither bundled nor a path.
    """
    options: dict[str, Any] = {
        "text": text,
        "image": image,
        "split": split,
        "group": group,
        "spans": spans,
        "regions": regions,
    }
    options |= {"encoding": encoding, "image_folder": None if image_folder is None else str(image_folder)}
    options |= {"drop_blank": drop_blank or None, "drop_duplicates": drop_duplicates or None}
    options |= {"drop_unreadable": drop_unreadable or None, "missing": None if missing is None else list(missing)}
    asked = (labels,) if isinstance(labels, str) else None if labels is None else tuple(labels)
    found = _bundled(str(name_or_path), options, asked, limit)
    if found is None:
        path = _existing(name_or_path)
        source: dict[str, Any] = {"name_or_path": str(path), **{k: v for k, v in options.items() if v is not None}}
        source |= {} if asked is None else {"labels": list(asked)}
        source |= {} if limit is None else {"limit": limit}
        source |= {} if name is None else {"name": name}
        found = _own(path, source, rules=2)
    return found if rows is None else found.subset(rows)


def load_as_before(source: dict[str, Any]) -> Dataset:
    """The data set of a ``source``, by the rules that held before copies were kept out of different splits."""
    given = dict(source)
    rows = given.pop("rows", None)
    path = _existing(given["name_or_path"])
    found = _own(path, given, rules=1)
    return found if rows is None else found.subset(rows)


def _own(path: Path, source: dict[str, Any], rules: int) -> Dataset:
    """A person's own data set, from the options in its source."""
    if path.suffix.lower() == ".parquet" and (kept := _read_saved(path, source)) is not None:
        return kept
    columns = {key: source.get(key) for key in ("text", "image", "split", "group", "spans", "regions", "limit")}
    labels, folder, words = source.get("labels"), source.get("image_folder"), source.get("missing")
    choice = Choice(
        **columns,
        labels=None if labels is None else tuple(labels),
        drop_blank=bool(source.get("drop_blank")),
        drop_duplicates=bool(source.get("drop_duplicates")),
        drop_unreadable=bool(source.get("drop_unreadable")),
        missing=MISSING_WORDS if words is None else tuple(words),
        image_folder=Path(folder) if folder is not None else path if path.is_dir() else path.parent,
        rules=rules,
    )
    frame, notes = _table(path, source.get("encoding"), choice.drop_unreadable)
    return build(frame, choice, name=source.get("name") or path.stem, source=source, notes=notes)


def dataset_from_table(
    table: pd.DataFrame,
    *,
    text: str | None = None,
    image: str | None = None,
    labels: str | Sequence[str] | None = None,
    split: str | None = None,
    group: str | None = None,
    spans: str | None = None,
    regions: str | None = None,
    limit: int | None = None,
    drop_blank: bool = False,
    drop_duplicates: bool = False,
    drop_unreadable: bool = False,
    missing: Sequence[str] | None = None,
    image_folder: str | Path | None = None,
    name: str = "table",
) -> Dataset:
    """A data set of a DataFrame, for a notebook; the options are those of ``load_dataset``.

    Images may be arrays, PIL images, encoded bytes or paths. ``source`` cannot bring such a data set back:
    save it first.
    """
    asked = (labels,) if isinstance(labels, str) else None if labels is None else tuple(labels)
    folder = None if image_folder is None else Path(image_folder)
    words = MISSING_WORDS if missing is None else tuple(missing)
    choice = Choice(
        text, image, asked, split, group, spans, regions, limit, drop_blank, drop_duplicates, drop_unreadable, words, folder
    )
    return build(table, choice, name=name, source={"name_or_path": _IN_MEMORY + name})


def _bundled(name: str, options: dict[str, Any], labels: tuple[str, ...] | None, limit: int | None) -> Dataset | None:
    from workbench.datasets.bundled import BUNDLED

    if name not in BUNDLED:
        return None
    given = [key for key, value in options.items() if value is not None]
    if given:
        raise ConfigError(
            f"{quote(name)} is a bundled data set, so {given[0]}= does not apply: to read a file of that name, write ./{name}."
        )
    data = BUNDLED[name]()
    if labels is not None:
        chosen = tuple(_known_label(data, label) for label in labels)
        data = replace(data, example_labels=chosen, source={**data.source, "labels": list(labels)})
    if limit is None:
        return data
    part = data.subset(spread(len(data), limit))
    source = {**data.source, "limit": limit}
    return finish(name, part.modality, part.table, part.spans, part.span_scope, part.example_labels, source, data.notes)


def _known_label(data: Dataset, name: str) -> Any:
    known = {label.name: label for label in data.example_labels}
    if name not in known:
        raise UnknownNameError(f"label of {data.name}", name, known)
    return known[name]


def _existing(name_or_path: str | Path) -> Path:
    from workbench.datasets.bundled import BUNDLED

    text = str(name_or_path)
    if text.startswith(_IN_MEMORY):
        raise DataError(
            f"The data set {quote(text[len(_IN_MEMORY) :])} was made from a table in memory:"
            " save it with Dataset.save, and load the file."
        )
    path = Path(name_or_path).expanduser()
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        there = False
    if there and not (path.is_file() or path.is_dir()):
        raise DataError(f"{quote(text)} is neither a file nor a folder: give one.")
    if there:
        return path.resolve()
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"There is no file {quote(text)}: check the path.")
    raise UnknownNameError("data set", text, BUNDLED, "Your own data needs the path of a file or folder.")


def _table(path: Path, encoding: str | None, drop_unreadable: bool) -> tuple[pd.DataFrame, list[str]]:
    notes: list[str] = []
    try:
        if not path.is_dir():
            return read_table(path, encoding, notes), notes
        if is_hugging_face(path):
            return read_hugging_face(path)
        return read_folder(path, encoding, drop_unreadable, notes), notes
    except PermissionError as error:
        raise DataError(f"{quote(path)} may not be read: change its permissions.") from error


def _read_saved(path: Path, source: dict[str, Any]) -> Dataset | None:
    """The data set of a file that `Dataset.save` wrote; None for any other file, or if options choose columns."""
    if not set(source) <= _RENAMED_ONLY or (saved := read_saved_table(path)) is None or saved.about["modality"] != "text":
        return None
    name, about = source.get("name") or saved.about["name"], saved.about
    with reading(f"'{path.name}'", "A data set was saved in it, which is not whole.", DataError):
        found = finish(
            name, "text", saved.table, saved.spans, saved.span_scope, saved.labels, source, about["notes"], saved.missing,
            saved.given,
        )  # fmt: skip
        return found.with_earlier(about["earlier"])
