"""Tables from folders: text files or images with their labels as sub-folders, and Hugging Face data sets on
disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from workbench.conversations import is_conversation
from workbench.datasets.columns import IMAGE_SUFFIXES, listing, quote, require_column
from workbench.datasets.readers import EncodingError, read_table, read_text, table_of_records
from workbench.datasets.splits import split_name
from workbench.errors import DataError, MissingExtraError
from workbench.paths import walk
from workbench.shapes import ShapeError, parse_json

LABELS_FILE = "labels.csv"


def is_hugging_face(folder: Path) -> bool:
    """Whether ``datasets.save_to_disk`` wrote this folder."""
    return (folder / "dataset_dict.json").is_file() or (folder / "dataset_info.json").is_file()


def read_folder(
    folder: Path, encoding: str | None = None, drop_unreadable: bool = False, notes: list[str] | None = None
) -> pd.DataFrame:
    """One row a file: "text" or "image" (a path from the folder), "label" and "split" where sub-folders say
    them, "file".

    ``<label>/<file>`` or ``<split>/<label>/<file>``; the columns of a labels.csv with a column "file", in the
    folder or beside it, are added. ``drop_unreadable`` leaves out texts that are not in the encoding, and says so in ``notes``.
    """
    files = sorted(_files(folder))
    texts = [path for path in files if path.suffix.lower() in {".txt", ".json"}]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if texts and images:
        raise DataError(
            f"The folder {quote(folder.name)} holds texts and images ({texts[0].name}, {images[0].name}): keep one kind in it."
        )
    others = [path.relative_to(folder).as_posix() for path in files if path not in {*texts, *images} and path.name != LABELS_FILE]
    if not texts and not images:
        raise DataError(
            f"The folder {quote(folder.name)} is empty: put .txt files, .json files"
            f" of conversations or images ({IMAGE_SUFFIXES[0]} ...) in it."
        )
    records, lost = [], []
    for path in texts or images:
        relative = path.relative_to(folder)
        parents = list(relative.parts[:-1])
        split = split_name(parents[0]) if parents else None
        try:
            record: dict[str, str | None] = {"text": _content(path, encoding)} if texts else {"image": relative.as_posix()}
        except EncodingError:
            if not drop_unreadable:
                raise
            lost.append(relative.as_posix())
            continue
        rest = parents[1:] if split else parents
        record |= {"label": rest[0] if rest else None, "split": split, "file": relative.as_posix()}
        records.append(record)
    if others and notes is not None:
        count = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
        notes.append(f"{count} of a kind that is not read here, and left out: {listing(others)}.")
    if lost and notes is not None:
        notes.append(f"{len(lost):,} of {len(texts):,} files are not in the encoding and were left out: {listing(lost)}.")
    if not records:
        raise DataError(
            f"No text of {quote(folder.name)} can be read; the first is {quote(lost[0])}: say its encoding= (--encoding)."
        )
    if all(record["split"] for record in records):
        pass
    elif any(record["split"] for record in records):
        unsorted = next(record["file"] for record in records if not record["split"])
        raise DataError(f"Some files lie in a train or test folder but {quote(unsorted)} does not: put it in one of them.")
    frame = table_of_records(records)
    unused = [name for name in ("label", "split") if frame[name].isna().all()]
    return _with_labels(frame.drop(columns=unused), folder, encoding, lost, [] if notes is None else notes)


def _content(path: Path, encoding: str | None) -> str:
    """A text file's text, or the messages of a conversation as JSON: the file is a list of them, or holds one as "messages"
    (or as "conversations", as ShareGPT calls it).
    """
    text = read_text(path, encoding)
    if path.suffix.lower() != ".json":
        return text
    try:
        found = parse_json(text, numbers=False)
    except ShapeError as error:
        raise DataError(f"{quote(path.name)} cannot be read: {error}.") from error
    messages = found.get("messages", found.get("conversations")) if isinstance(found, dict) else found
    if not is_conversation(messages):
        raise DataError(
            f'{quote(path.name)} holds no conversation: write a list of {{"role": …, "content": …}}, or "messages": [...].'
        )
    return json.dumps(messages)


def _files(folder: Path) -> Iterator[Path]:
    """The files below a folder that are not hidden, also where links lead to them."""
    for root, folders, names in walk(folder, bounded=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (path for name in names if not name.startswith(".") and (path := root / name).is_file())


def _with_labels(frame: pd.DataFrame, folder: Path, encoding: str | None, left_out: list[str], notes: list[str]) -> pd.DataFrame:
    inside, beside = folder / LABELS_FILE, folder.with_name(LABELS_FILE)
    path = inside if inside.is_file() else beside
    if not path.is_file():
        return frame
    labels = read_table(path, encoding, notes)
    key = require_column(labels.columns, "file", "file")
    labels[key] = labels[key].map(lambda name: Path(str(name)).as_posix())
    if labels[key].duplicated().any():
        twice = labels.loc[labels[key].duplicated(), key].iloc[0]
        raise DataError(f"{LABELS_FILE} names {quote(twice)} twice: keep one row a file.")
    labels = labels[~labels[key].isin(left_out)]
    lost = sorted(set(labels[key]) - set(frame["file"]))
    if lost:
        raise DataError(f"{LABELS_FILE} names {quote(lost[0])}, which is not in the folder: correct the path or add the file.")
    both = (set(labels.columns) & set(frame.columns)) - {key}
    if both:
        raise DataError(f"Both {LABELS_FILE} and the sub-folders give {quote(min(both))}: rename the column.")
    return frame.merge(labels, on="file", how="left")


def read_hugging_face(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """The table of a data set that ``datasets.save_to_disk`` wrote, and what was left out of it.

    The splits of a DatasetDict become the column "split"; class numbers become their names.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "datasets", "Reading a Hugging Face data set") from error
    try:
        loaded = datasets.load_from_disk(str(folder))
    except (FileNotFoundError, ValueError, KeyError, OSError) as error:
        raise DataError(f"The Hugging Face data set in {quote(folder.name)} is not whole: save it to disk again.") from error
    if not isinstance(loaded, datasets.DatasetDict):
        return _hugging_face_table(loaded, datasets), []
    frames, notes = [], []
    for name, part in loaded.items():
        split = split_name(name)
        if split is None:
            notes.append(f"The split {name!r} was left out: it is none of train, validation and test.")
            continue
        frame = _hugging_face_table(part, datasets)
        frame["split"] = pd.Series([split] * len(frame), dtype=object)
        frames.append(frame)
    if not frames:
        raise DataError(f"No split of {quote(folder.name)} is train, validation or test: rename its splits.")
    return pd.concat(frames, ignore_index=True), notes


def _hugging_face_table(part: Any, package: Any) -> pd.DataFrame:
    columns = {}
    for name, feature in part.features.items():
        values = list(part.with_format(None)[name])
        if isinstance(feature, package.ClassLabel):
            values = [None if v is None or v < 0 else feature.int2str(v) for v in values]
        columns[name] = pd.Series(values, dtype=object)
    return pd.DataFrame(columns)
