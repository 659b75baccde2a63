"""``load_dataset``: a bundled data set by its name, or a person's own by its path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.datasets.build import Choice, build, finish, spread
from workbench.datasets.columns import quote
from workbench.datasets.dataset import Dataset
from workbench.datasets.folders import is_hugging_face, read_folder, read_hugging_face
from workbench.datasets.readers import read_table
from workbench.errors import ConfigError, DataError, UnknownNameError

_IN_MEMORY = "memory:"


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
    image_folder: str | Path | None = None,
    rows: Sequence[int] | None = None,
    name: str | None = None,
) -> Dataset:
    """Load texts or images with their labels.

    ``name_or_path`` is a bundled name (topics, brown, sotu, spam, film, tweets, nouns, fashion) or a path: a
    .csv, .tsv, .jsonl or .parquet file, a folder of .txt files or images with their labels as sub-folders, or
    a folder that ``datasets.save_to_disk`` wrote. ``text`` or ``image``, ``labels``, ``split``, ``group``,
    ``spans`` and ``regions`` name columns; what is not named is guessed, and ``labels=[]`` means none.
    Without a split column whole groups are dealt out 70, 15 and 15 in a hundred, by a hash; without a group
    column each different text is its own group.

    ``limit`` keeps that many examples, evenly spread. ``encoding`` is that of a text file (UTF-8 otherwise).
    ``drop_blank`` drops rows without content instead of refusing them. ``image_folder`` is where image paths
    start (beside the table otherwise). ``rows`` keeps these examples of the result.

    Raises DataError, in one sentence that says what to do, for anything that cannot be used; UnknownNameError
    for a name that is neither bundled nor a path.
    """
    options = {
        "text": text,
        "image": image,
        "split": split,
        "group": group,
        "spans": spans,
        "regions": regions,
    }
    options |= {"encoding": encoding, "image_folder": None if image_folder is None else str(image_folder)}
    asked = (labels,) if isinstance(labels, str) else None if labels is None else tuple(labels)
    found = _bundled(str(name_or_path), options, asked, limit)
    if found is None:
        path = _existing(name_or_path)
        source: dict[str, Any] = {
            "name_or_path": str(path),
            **{key: value for key, value in options.items() if value is not None},
        }
        source |= {} if asked is None else {"labels": list(asked)}
        source |= {} if limit is None else {"limit": limit}
        source |= {"drop_blank": True} if drop_blank else {}
        source |= {} if name is None else {"name": name}
        folder = Path(image_folder) if image_folder is not None else path if path.is_dir() else path.parent
        choice = Choice(text, image, asked, split, group, spans, regions, limit, drop_blank, folder)
        frame, notes = _table(path, encoding)
        found = build(frame, choice, name=name or path.stem, source=source, notes=notes)
    return found if rows is None else found.subset(rows)


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
    image_folder: str | Path | None = None,
    name: str = "table",
) -> Dataset:
    """A data set of a DataFrame, for a notebook; the options are those of ``load_dataset``.

    Images may be arrays, PIL images, encoded bytes or paths. ``source`` cannot bring such a data set back:
    save it first.
    """
    asked = (labels,) if isinstance(labels, str) else None if labels is None else tuple(labels)
    folder = None if image_folder is None else Path(image_folder)
    choice = Choice(text, image, asked, split, group, spans, regions, limit, drop_blank, folder)
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
    if there:
        return path.resolve()
    if path.suffix or len(path.parts) > 1:
        raise DataError(f"There is no file {quote(text)}: check the path.")
    raise UnknownNameError("data set", text, BUNDLED, "Your own data needs the path of a file or folder.")


def _table(path: Path, encoding: str | None) -> tuple[pd.DataFrame, list[str]]:
    try:
        if not path.is_dir():
            return read_table(path, encoding), []
        if is_hugging_face(path):
            return read_hugging_face(path)
        return read_folder(path, encoding), []
    except PermissionError as error:
        raise DataError(f"{quote(path)} may not be read: change its permissions.") from error
