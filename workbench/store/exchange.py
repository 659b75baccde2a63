"""Importing activations into a study, and exporting its tables as plain files."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from workbench.errors import ConfigError, DataError, StudyError, UnknownNameError, disk_errors
from workbench.paths import inside
from workbench.store import tables
from workbench.store.deleted import finish_deletions, revive
from workbench.writing import file_beside

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset
    from workbench.models import Model
    from workbench.store.stored_study import StoredStudy

# Characters that begin a formula in a spreadsheet, or that it skips before one; full-width forms included.
_SIGNS = frozenset("=+-@")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.ASCII)
INDEX_COLUMNS = frozenset({"example", "position", "token", "start", "end", "text", "split", "group"})


def import_activations(
    study: StoredStudy,
    folder: Path,
    rows: str | Path | None = None,
    dataset: Dataset | None = None,
    model: Model | str | None = None,
    pool: str | None = None,
    store_dtype: str | None = None,
) -> ActivationSet:
    """Import activations into a study; the same folder again opens the set that is there.

    Args:
        study: The study; it holds one model.
        folder: Arrays and a table of rows, or a Hugging Face data set; see :mod:`workbench.activations.importing`.
        rows: The table of rows, when it is not in the folder.
        dataset: The data whose examples the table numbers. Without one, the study makes one: an example's text is the column
            ``text``, or its tokens with spaces between them; ``split`` and ``group`` are taken, and every further column is a
            label.
        model: The model that made them, or what to call it. Without one, it is the study's, or one called ``imported``.
        pool: How rows without positions came about: ``mean`` (when it is not said), ``max`` or ``last``.
        store_dtype: ``float16``, ``float32`` or ``bfloat16`` on disk; as they are, when it is not said.

    Raises:
        DataError: The folder or the table does not hold what it should.
        StudyError: The study is about another model.
        DiskFullError: There is no room.
    """
    from workbench.activations.importing import import_set, read_given

    study.require_writable("the study")
    given = read_given(folder, None if rows is None else Path(rows))
    if dataset is None:
        dataset, placed = _own_examples(given.rows, folder.name)
        given = type(given)(given.columns, placed)
    elif given.rows["example"].max() >= len(dataset):
        last = given.rows["example"].max()
        raise DataError(f"The table of rows has an example {last}, and {dataset.name} only {len(dataset)} of them, from 0 on.")
    described = _described(study, model, given.columns)
    home = inside(study.folder, "activations")
    with disk_errors("activations"):
        home.mkdir(exist_ok=True)
    study.keep_dataset(dataset)
    study.use_dataset(dataset)
    finish_deletions(study)
    return import_set(given, dataset, described, home, pool, store_dtype, begin=lambda folder: revive(study, folder.name))


def _described(study: StoredStudy, model: Model | str | None, columns: list[Any]) -> dict[str, Any]:
    """The record of the model for the catalog."""
    from workbench.store.model_record import require_same_model

    if model is not None and not isinstance(model, str):
        for column in columns:
            if (width := model.width(model.site(column.site))) != column.width:
                raise DataError(f"{column.site} has {column.width} numbers a row, and {width} in {model.name}.")
        study.use_model(model)
        return model.describe()
    record = study.known_model()
    if record is not None:
        if model in {None, record["name"]}:
            return record
        raise StudyError(f"Study '{study.name}' is about the model '{record['name']}': import into another study.")
    name = model or "imported"
    # The weights are not available, so the name is hashed in their place.
    digest = hashlib.sha256(f"imported {name}".encode()).hexdigest()
    described = {"name": name, "kind": "module", "weights_hash": digest, "source": {}}
    require_same_model(study, described)
    return described


def _own_examples(rows: pd.DataFrame, name: str) -> tuple[Dataset, pd.DataFrame]:
    """A data set made of the table of rows, and the table with characters in its texts."""
    from workbench.datasets import dataset_from_table

    order = rows.sort_values(["example", "position"], kind="stable")
    by_example = order.groupby("example", sort=True)
    numbers = np.array(list(by_example.groups))
    if not np.array_equal(numbers, np.arange(len(numbers))):
        raise DataError("The examples of the table of rows are not numbered from 0 without a gap: give the data set they are of.")
    one_each = order.drop_duplicates("example")
    frame = pd.DataFrame({"text": [f"example {number}" for number in numbers]})
    if "text" in order:
        frame["text"] = one_each["text"].to_numpy()
    elif "token" in order:
        tokens = order["token"]
        joined = tokens.groupby(order["example"]).agg(" ".join).reset_index(drop=True)
        frame["text"] = joined.where(joined.str.strip().ne(""), frame["text"])
        ends = ((tokens.str.len() + 1).groupby(order["example"]).cumsum() - 1).where(tokens.ne(""), 0)
        rows = rows.assign(start=ends - tokens.str.len(), end=ends)
    labels = [str(column) for column in order.columns if column not in INDEX_COLUMNS]
    for column in [*labels, *({"split", "group"} & set(order.columns))]:
        differing = by_example[column].nunique(dropna=False)
        if (differing > 1).any():
            raise DataError(f"The column '{column}' differs within example {differing.idxmax()}: it must be of whole examples.")
        # Row by row: `groupby(...).first()` would convert types and round long integers.
        frame[column] = one_each[column].reset_index(drop=True)
    split, group = (column if column in frame else None for column in ("split", "group"))
    return dataset_from_table(frame, text="text", labels=labels, split=split, group=group, name=name), rows


def table_names(study: StoredStudy) -> list[str]:
    """What :func:`export_table` can write."""
    own = ["collections", "concepts", "evidence", "names", "notes", "runs"]
    return own + [f"{run}.{name}" for run in study.runs()["id"] for name in study.get_run(run).tables]


def export_table(study: StoredStudy, table: str, path: Path, raw: bool = False) -> Path:
    """Write a table as one file.

    Args:
        study: The study.
        table: ``concepts``, ``names``, ``evidence``, ``notes``, ``collections`` or ``runs``; or a run's, such as
            ``linear_probe-1a2b3c4d.metrics``.
        path: Its ending decides: ``.csv`` or ``.parquet``.
        raw: See :func:`write_frame`.

    Raises:
        UnknownNameError: There is no such table.
        ConfigError: The file ends in something else.
    """
    if path.suffix not in {".csv", ".parquet"}:
        raise ConfigError(f"A table is written as .csv or .parquet, not as '{path.name}'.")
    return write_frame(_frame(study, table), path, raw)


def write_frame(frame: pd.DataFrame, path: Path, raw: bool = False) -> Path:
    """Write a table as CSV or Parquet, by the ending of the path.

    Args:
        frame: The table.
        path: The file.
        raw: Write every text of a CSV as it is. Otherwise one that a spreadsheet would run as a formula begins with an
            apostrophe, as in ``'=1+1``, which the spreadsheet does not show. Numbers and Parquet are always as they are.
    """
    with disk_errors("the table"), file_beside(path) as partial:
        if path.suffix == ".csv":
            safe = frame if raw else without_formulas(frame)
            # pandas quotes texts with a line feed only, and an unquoted carriage return would begin another row.
            texts = (text for name in safe for text in (name, *(safe[name] if safe[name].dtype.kind not in "biuf" else ())))
            parted = any(isinstance(text, str) and "\r" in text for text in texts)
            safe.to_csv(partial, index=False, quoting=csv.QUOTE_NONNUMERIC if parted else csv.QUOTE_MINIMAL)
        else:
            frame.to_parquet(partial, index=False, compression="zstd")
    return path


def without_formulas(frame: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts, and names of columns, no spreadsheet takes for formulas; texts that are numbers stay as they are."""
    texts = [column for column in frame if not pd.api.types.is_numeric_dtype(frame[column].dtype)]
    safe = frame.copy(deep=False)
    for column in texts:
        safe[column] = frame[column].astype(object).map(_no_formula)
    return safe.rename(columns=_no_formula)


def _no_formula(value: Any) -> Any:
    # Nested values are written as JSON, which begins with a bracket and is no formula.
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def _is_formula(text: str) -> bool:
    """Whether a spreadsheet may run a text as a formula: its first visible character begins one, in any width."""
    if text[:1] in {"\t", "\r", "\n"}:
        return True
    # Spreadsheets skip spaces of any kind and zero-width characters, such as U+200B and the byte order mark.
    first = next((sign for sign in text if unicodedata.category(sign)[0] not in "ZC"), "")
    return unicodedata.normalize("NFKC", first) in _SIGNS and not _NUMBER.fullmatch(text)


def _frame(study: StoredStudy, table: str) -> pd.DataFrame:
    from workbench.store.concept_list import concept_table

    if table == "concepts":
        return concept_table(study)
    if table in {"evidence", "names"}:
        return study.evidence() if table == "evidence" else study.catalog.names()
    if table in {"notes", "collections"}:
        rows = tables.metadata.tables[table]
        return study.catalog.frame(sa.select(rows).order_by(rows.c.id))
    if table == "runs":
        frame = study.runs(status=None)
        # Nested values as JSON, without the name of the machine.
        texts = {column: frame[column].map(json.dumps) for column in ("config", "inputs")}
        return frame.assign(**texts).drop(columns="provenance")
    run, _, name = table.rpartition(".")
    if table not in table_names(study):
        raise UnknownNameError("table", table, table_names(study))
    return study.get_run(run).tables[name]
