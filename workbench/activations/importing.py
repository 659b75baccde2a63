"""Activations that something else made, imported into a study: arrays, one a site, and a table of their rows.

A folder holds ``<site>.npy`` or ``<site>.safetensors`` (one tensor) for every site, each ``[n, d]``, and ``rows.csv`` or
``rows.parquet`` with a line for each of the ``n`` rows, in their order. Or it is a Hugging Face data set on disk with a line a
row, where the columns of lists are called as sites and hold the numbers. The table's columns:

``example``   the number of the example, from 0; needed
``position``  the row's place in its example; left out where an example has one row
``token``, ``start``, ``end``   its text, and its characters in the example's text; may be left out
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import numpy as np
import pandas as pd

from workbench.activations.dtypes import DTYPES, Dtype, packed
from workbench.activations.manifest import Pool, Request, known_request
from workbench.activations.store import ActivationSet
from workbench.activations.writer import claimed, whole, writing
from workbench.datasets.readers import read_table
from workbench.errors import ConfigError, DataError, disk_errors
from workbench.paths import child
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.activations.source import Examples

ROWS = "rows"
NUMBERS = ("example", "position", "start", "end")
_CHUNK_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Column:
    """The numbers of one site.

    Attributes:
        site: Its name.
        length: Rows.
        width: Numbers a row.
        dtype: ``float16``, ``float32`` or ``bfloat16``.
        read: Gives rows by their numbers, as float32.
    """

    site: str
    length: int
    width: int
    dtype: str
    read: Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Given:
    """What is to be imported: the numbers of each site, and the table of rows."""

    columns: list[Column]
    rows: pd.DataFrame


def read_given(folder: Path, rows: Path | None = None) -> Given:
    """Look at what is to be imported, without reading its numbers.

    Args:
        folder: Arrays, or a Hugging Face data set on disk.
        rows: The table of rows, when it is not in the folder.

    Raises:
        DataError: The folder does not hold what this module's description says.
    """
    from workbench.datasets.folders import is_hugging_face

    if not folder.is_dir():
        raise DataError(f"There is no folder {folder} with activations.")
    if is_hugging_face(folder):
        from workbench.activations.hub import read_hub

        columns, table = read_hub(folder)
    else:
        paths = sorted(path for path in folder.iterdir() if path.suffix in {".npy", ".safetensors"})
        columns, table = [_array(path) for path in paths], _table(folder, rows)
    if not columns:
        raise DataError(f"{folder} has no activations: it needs a file SITE.npy or SITE.safetensors for each site.")
    if len({column.site for column in columns}) < len(columns):
        raise DataError(f"{folder} has two files for one site: keep one of them.")
    for column in columns:
        if column.length != len(table) or not len(table):
            raise DataError(f"{column.site} has {column.length} rows and the table of rows {len(table)}: they must be the same.")
    return Given(columns, _checked_rows(table))


def site_of(name: str) -> str:
    """The site that a file or column is called after; ``%3A`` stands for a colon. `DataError` when it is none."""
    try:
        return str(Site.parse(unquote(name)))
    except ConfigError as error:
        raise DataError(f"'{name}' is not called as a site: {error}") from None


def _array(path: Path) -> Column:
    site = site_of(path.stem)
    try:
        if path.suffix == ".npy":
            shape, kind, read = _numpy(path)
        else:
            shape, kind, read = _tensor(path)
    except DataError:
        raise
    except Exception as error:
        # NumPy takes whatever it does not know for a pickle, and says how to open one.
        why = "it is not what NumPy writes for numbers" if "pickle" in str(error) else error
        raise DataError(f"{path.name} cannot be read as an array of numbers: {why}") from error
    if len(shape) != 2 or not shape[1]:
        raise DataError(f"{path.name} has the shape {list(shape)}: it must be [rows, width].")
    if not kind.lstrip("<>=").startswith(("float", "bfloat")):
        raise DataError(f"{path.name} holds {kind}, not floating point numbers.")
    return Column(site, shape[0], shape[1], kind if kind in DTYPES else "float32", read)


def _numpy(path: Path) -> tuple[tuple[int, ...], str, Callable[[np.ndarray], np.ndarray]]:
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.shape, str(array.dtype), lambda rows: np.asarray(array[rows], np.float32)


def _tensor(path: Path) -> tuple[tuple[int, ...], str, Callable[[np.ndarray], np.ndarray]]:
    from safetensors import safe_open

    file = safe_open(path, "pt")
    names = list(file.keys())
    if len(names) != 1:
        raise DataError(f"{path.name} holds {len(names)} tensors: it must hold one, the activations at its site.")
    part = file.get_slice(names[0])
    kinds = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}

    def read(rows: np.ndarray) -> np.ndarray:
        # A safetensors file gives ranges: take the one around the rows.
        first = int(rows.min())
        block: np.ndarray = part[first : int(rows.max()) + 1].float().numpy()
        return block[rows - first]

    return tuple(part.get_shape()), kinds.get(part.get_dtype(), part.get_dtype()), read


def _table(folder: Path, rows: Path | None) -> pd.DataFrame:
    found = [rows] if rows else [path for end in ("parquet", "csv") if (path := folder / f"{ROWS}.{end}").is_file()]
    if not found:
        raise DataError(f"{folder} has no table of rows: put rows.csv or rows.parquet there, or give one.")
    path = found[0]
    try:
        # As it is written: words such as NA are tokens, and identifiers keep every digit.
        table = read_table(path)
        for name in NUMBERS:
            if name in table and table[name].dtype == object:
                # What is no number stays as it is, and is refused below by the name of its column.
                with suppress(ValueError, TypeError):
                    table[name] = pd.to_numeric(table[name])
        return table
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"The table of rows {path.name} cannot be read: {error}") from error


def _checked_rows(table: pd.DataFrame) -> pd.DataFrame:
    if "example" not in table:
        raise DataError(f"The table of rows has no column 'example', only {', '.join(map(str, table.columns[:8]))}.")
    if "position" not in table:
        if table["example"].duplicated().any():
            raise DataError(
                "The table of rows has examples with more than one row: say where each stands in a column 'position'."
            )
        table = table.assign(position=-1)
    for name in NUMBERS:
        if name in table and not pd.api.types.is_integer_dtype(table[name]):
            raise DataError(f"The column '{name}' of the table of rows must hold whole numbers.")
    if table["position"].lt(0).any() and table["position"].ge(0).any():
        raise DataError("The column 'position' of the table of rows must hold numbers from 0 on, or -1 in every row.")
    if table["example"].min() < 0:
        raise DataError("The column 'example' of the table of rows must hold numbers from 0 on.")
    if table.duplicated(["example", "position"]).any():
        raise DataError("The table of rows has two rows for one position of one example.")
    if "token" in table:
        table = table.assign(token=table["token"].fillna("").astype(str))
    return table.reset_index(drop=True)


def import_set(
    given: Given,
    dataset: Examples,
    model: dict[str, Any],
    folder: Path,
    pool: str | None = None,
    dtype: str | None = None,
    begin: Callable[[Path], None] = lambda _: None,
) -> ActivationSet:
    """Write what was given as a set, or open it when it was imported before.

    Args:
        given: Its rows are put in the order of examples and positions.
        dataset: Its examples are those that the table numbers.
        model: The description of the model that made them.
        folder: Where the sets of the study lie.
        pool: How rows came about; ``token`` where they have positions, else ``mean``, when it is not said.
        dtype: How numbers lie on disk; as they were given, when it is not said and one holds for all.
        begin: Called with the folder of a set that is not there yet.

    Raises:
        DataError: A number is not finite, or does not fit the dtype.
        ConfigError: The pool or the dtype is none.
    """
    by_position = bool((given.rows["position"] >= 0).all())
    pool = pool or ("token" if by_position else "mean")
    kinds = {column.dtype for column in given.columns}
    dtype = dtype or (kinds.pop() if len(kinds) == 1 else "float32")
    if pool not in ({"token"} if by_position else {"mean", "max", "last"}):
        raise ConfigError(f"Rows {'with' if by_position else 'without'} positions cannot have the pool '{pool}'.")
    if dtype not in DTYPES:
        raise ConfigError(f"The dtype is {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not '{dtype}'.")
    order = given.rows.sort_values(["example", "position"], kind="stable").index.to_numpy()
    index = _index(given.rows.iloc[order])
    request = Request(
        model=model["name"], model_kind=model["kind"], weights_hash=model["weights_hash"],
        inputs={"imported": _digest(given, order, index)}, dataset=dataset.name, dataset_hash=dataset.content_hash,
        sites=tuple(column.site for column in given.columns), widths=tuple(column.width for column in given.columns),
        pool=cast(Pool, pool), dtype=cast(Dtype, dtype),
    )  # fmt: skip
    request = known_request(folder, request, dataset)
    home = child(folder, request.id)
    if not whole(home):
        begin(home)
    with disk_errors("activations"), claimed(home):
        if not whole(home):
            with writing(home, request, {"import": _CHUNK_BYTES}) as writer:
                for part in islice(_chunks(order, request.row_bytes), writer.chunks, None):
                    writer.append(
                        [packed(column.read(order[part]), dtype, column.site) for column in given.columns],
                        {str(name): index[name].to_numpy()[part] for name in index},
                    )
                writer.finish(model, dict(dataset.source), len(dataset), None, dataset.hash)
    return ActivationSet.open(home)


def _index(rows: pd.DataFrame) -> pd.DataFrame:
    blank = np.zeros(len(rows), np.int32)
    tokens = rows["token"].to_numpy(object) if "token" in rows else np.full(len(rows), "", object)
    numbers = {name: rows[name].to_numpy(np.int32) if name in rows else blank for name in NUMBERS}
    order = ("example", "position", "token", "start", "end")
    return pd.DataFrame({name: tokens if name == "token" else numbers[name] for name in order})


def _chunks(order: np.ndarray, row_bytes: int) -> Iterator[np.ndarray]:
    size = max(1, _CHUNK_BYTES // row_bytes)
    return (np.arange(start, min(start + size, len(order))) for start in range(0, len(order), size))


def _digest(given: Given, order: np.ndarray, index: pd.DataFrame) -> str:
    """SHA-256 over the rows in order, and their numbers; `DataError` when a number is not finite."""
    digest = hashlib.sha256(index.to_json(orient="split").encode())
    for column in given.columns:
        digest.update(column.site.encode())
        for part in _chunks(order, column.width * 4):
            rows = column.read(order[part])
            if not (finite := np.isfinite(rows).all(axis=1)).all():
                raise DataError(
                    f"Row {order[part][~finite][0]} (the first is 0) of the activations at {column.site} holds values that are"
                    " not finite numbers: leave such rows out, or save the activations in a wider type."
                )
            digest.update(rows.tobytes())
    return digest.hexdigest()
