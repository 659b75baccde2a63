"""Labels of probes: which rows each column knows, and what the classes are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from workbench.errors import DataError


@dataclass(frozen=True)
class Labels:
    """Labels coded as 1, 0 and nan.

    ``classes`` are the two original values of a single label; ``single`` says that Y had one dimension.
    """

    codes: Float[np.ndarray, "n c"]
    names: tuple[str, ...]
    classes: Shaped[np.ndarray, " two"]
    single: bool

    def describe(self, column: int) -> str:
        """Name a column for an error message: its number, and its name where it has one."""
        name = self.names[column] if self.names else ""
        return f"{column} ({name[:60]!r})" if name else str(column)

    def require_both_classes(self) -> None:
        """Raise DataError, naming the label, where a column lacks one of its classes."""
        for value, word in ((1, "positive"), (0, "negative")):
            missing = np.flatnonzero(~(self.codes == value).any(axis=0))
            if missing.size:
                more = f" (and {missing.size - 1} more)" if missing.size > 1 else ""
                raise DataError(
                    f"Label {self.describe(int(missing[0]))}{more} has no {word} row, only one class:"
                    " leave that label out or give rows of both classes."
                )

    def by_known_rows(self) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]]:
        """Yield (rows, columns) for labels that know the same rows."""
        return by_known_rows(~np.isnan(self.codes))


def by_known_rows(known: Bool[np.ndarray, "n c"]) -> Iterator[tuple[Int[np.ndarray, " k"], Int[np.ndarray, " m"]]]:
    """Yield (rows, columns) for columns that know the same rows."""
    groups: dict[bytes, list[int]] = {}
    for column, packed in enumerate(np.packbits(known, axis=0).T):
        groups.setdefault(packed.tobytes(), []).append(column)
    for columns in groups.values():
        yield np.flatnonzero(known[:, columns[0]]), np.array(columns)


def read_labels(Y: Any, names: Sequence[str] | None = None) -> Labels:
    """Read labels.

    Args:
        Y: ``[n]`` of any two values (the larger is the positive class), or ``[n, c]`` of 1, 0 and nan; an
            array, a tensor or a DataFrame, whose column names are taken. nan leaves the row out of that
            column.
        names: of the columns, for error messages.

    Raises:
        DataError: for another shape or other values, or names that do not fit.
    """
    if names is None and hasattr(Y, "columns"):
        names = [str(name) for name in Y.columns]
    if hasattr(Y, "detach"):
        Y = Y.detach().cpu().numpy()
    values = np.asarray(Y)
    if values.dtype == object:
        values = _without_objects(values)
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] == 0):
        raise DataError(f"Labels have the shape {values.shape}: pass one label [n] or several [n, c].")
    if values.dtype.kind == "c":
        raise DataError("Complex data not supported: labels are 1, 0 and nan.")
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise DataError("Input y contains infinity: code unknown labels as nan.")
    codes, classes = _coded_single(values) if values.ndim == 1 else (_coded_many(values), np.array([0, 1]))
    found = tuple(names) if names is not None else ()
    if found and len(found) != codes.shape[1]:
        raise DataError(f"There are {codes.shape[1]} labels and {len(found)} names: name each.")
    return Labels(codes, found, classes, values.ndim == 1)


def _without_objects(values: np.ndarray) -> np.ndarray:
    flat = values.ravel().tolist()
    whole = [isinstance(value, int) and not isinstance(value, bool) for value in flat]
    if all(whole):
        # By way of floats, long integers would become one another.
        return np.asarray(values.tolist())
    if any(is_int and abs(value) >= 2**53 for is_int, value in zip(whole, flat, strict=True)):
        raise DataError("Labels beyond 2^53 beside unknown ones cannot be told apart as numbers: give them as 1, 0 and nan.")
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError):
        return values.astype(str)


def _coded_single(values: Shaped[np.ndarray, " n"]) -> tuple[Float[np.ndarray, "n 1"], np.ndarray]:
    unknown = np.isnan(values) if values.dtype.kind == "f" else np.zeros(len(values), dtype=bool)
    classes = np.unique(values[~unknown])
    if len(classes) > 2:
        raise DataError(
            "Only binary classification is supported. The type of the target is "
            f"{'continuous' if _is_fractional(classes) else 'multiclass'}, with {len(classes)} values:"
            " pass one column of 1, 0 and nan for each class."
        )
    if set(classes.tolist()) <= {0, 1}:
        classes = np.array([0, 1]).astype(values.dtype if values.dtype.kind in "iub" else np.int64)
    codes = (values == classes[-1]).astype(np.float32) if len(classes) else np.zeros(len(values), np.float32)
    codes[unknown] = np.nan
    return codes[:, None], classes


def _is_fractional(classes: np.ndarray) -> bool:
    return classes.dtype.kind == "f" and bool((classes != np.round(classes)).any())


def _coded_many(values: Shaped[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
    try:
        codes = values.astype(np.float32)
    except (TypeError, ValueError) as error:
        raise DataError("Several labels are coded as 1, 0 and nan, not as text: code them first.") from error
    if not (np.isnan(codes) | (codes == 0) | (codes == 1)).all():
        raise DataError(
            "Labels hold values other than 1, 0 and nan (unknown label type): pass one column of 1, 0 and nan for each class."
        )
    return codes
