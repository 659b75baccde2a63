"""Repeating a run, and comparing the results table by table and tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.errors import ConfigError
from workbench.head_edits import edit_again
from workbench.parquet import read_parquet
from workbench.paths import child, files_below
from workbench.shapes import read_tensors
from workbench.store.run_kinds import EXAMINATION, HEAD_EDIT, OF_OTHER_RUNS
from workbench.store.runs import VERIFY

if TYPE_CHECKING:
    from workbench.store.runs import Run
    from workbench.study import Study

COMPARED = {".parquet", ".safetensors"}


@dataclass(frozen=True)
class Part:
    """A table or a tensor of the first run beside that of the repetition.

    Attributes:
        part: The file in the run's folder, and the tensor in it.
        agrees: Whether every number is within the tolerance and all else is equal.
        exact: Whether nothing differs at all.
        difference: The largest absolute difference of two numbers; NaN if the parts cannot be compared.
        share: That difference as a share of the largest magnitude in the first run's column or tensor.
        where: The column and row, or the place in the tensor, of the largest share; or what else differs.
    """

    part: str
    agrees: bool
    exact: bool
    difference: float
    share: float
    where: str


@dataclass(frozen=True)
class Repetition:
    """The result of repeating a run.

    Attributes:
        first: The run that was repeated.
        run: The new run.
        tolerance: The largest share that may differ.
        table: One row a :class:`Part`.
        remarks: Sentences on what could not be, or is no longer, as it was when the run was first done.
    """

    first: Run
    run: Run
    tolerance: float
    table: pd.DataFrame
    remarks: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether all parts agree."""
        return bool(self.table["agrees"].all())

    def __repr__(self) -> str:
        return f"<Repetition {self.run.id} of {self.first.id}: {agreement(self.table, self.tolerance)}>"


def agreement(table: pd.DataFrame, tolerance: float) -> str:
    """How far a repetition agrees, in words."""
    within = "exactly" if not tolerance else f"within {tolerance:g} of their largest magnitude"
    return f"{int(table['agrees'].sum())} of {len(table)} tables and tensors agree {within}"


def repeat(study: Study, first: Run, tolerance: float, progress: Callable[[int, int, str], None]) -> Repetition:
    """Do a run again with its own options, seed, activations and sites, as a run of its own, and compare.

    What is measured of the model once a session is measured again. The evidence of an examination that is repeated is in the
    repetition's own tables; the catalog keeps that of the first one.

    Args:
        study: The study of the run.
        first: A finished run.
        tolerance: How far a number may be from the first one, as a share of the largest magnitude in its column or tensor. With 0
            every bit counts, save the sign of a zero.
        progress: Called with ``(done, total, text)``.

    Raises:
        ConfigError: The run is not finished, or a run that it was made of is no more, or the tolerance is no share.
        StudyError: The data set or the model has changed, or the activations were left out.
    """
    require_repeatable(first, tolerance)
    measured, study.shared = study.shared, {}
    try:
        again, remarks = _done_again(study, first, progress)
    finally:
        study.shared = measured
    return Repetition(first, again, tolerance, compared(first, again, tolerance), tuple(remarks))


def require_repeatable(first: Run, tolerance: float) -> None:
    """See that a run can be repeated, before anything is done.

    Raises:
        ConfigError: It is not finished, or the tolerance is no share.
    """
    if not 0 <= tolerance < np.inf:
        raise ConfigError("The tolerance is a share, such as 0.001, and not negative.")
    if first.record["status"] != "done":
        raise ConfigError(f"Run {first.id} did not finish ({first.record['status']}): repeat one that did.")


def _done_again(study: Study, first: Run, progress: Callable[[int, int, str], None]) -> tuple[Run, list[str]]:
    if first.analysis == HEAD_EDIT:
        return edit_again(study, first), []
    if first.analysis in OF_OTHER_RUNS:
        from workbench.evidence.repeat_trial import counterparts_again, examine_again

        return (examine_again if first.analysis == EXAMINATION else counterparts_again)(study, first, progress)
    from workbench.runner import execute

    inputs = first.record["inputs"]
    acts = study.activation_set(inputs["activations"]).select(inputs["sites"])
    seed = int(first.record["seed"])
    data = study.dataset_of_run(first)
    again = execute(study, first.analysis, acts, first.arguments, seed, progress=progress, repeats=first.id, dataset=data)
    then, now = (run.record["provenance"].get("version") for run in (first, again))
    remarks = []
    if None not in {then, now} and then != now:
        remarks.append(f"{first.id} was made by version {then} of {first.analysis}, and this is version {now}: they may differ.")
    return again, remarks


def compared(first: Run, again: Run, tolerance: float) -> pd.DataFrame:
    """One row a :class:`Part`: every table and tensor that one of two runs has."""
    names = {
        path.relative_to(run.folder).as_posix()
        for run in (first, again)
        for path in files_below(run.folder)
        if path.suffix in COMPARED
    }
    parts: list[Part] = []
    for name in sorted(names):
        one, two = child(first.folder, name), child(again.folder, name)
        if not (one.exists() and two.exists()):
            parts.append(_apart(name, f"only the {'first' if one.exists() else 'repeated'} run has it"))
        elif one.suffix == ".parquet":
            called = (first.id, again.id)
            parts.append(_table(name, read_parquet(one), read_parquet(two), called, tolerance))
        else:
            parts.extend(_tensors(name, one, two, tolerance))
    return pd.DataFrame([asdict(part) for part in parts], columns=list(Part.__dataclass_fields__))


def _apart(name: str, where: str) -> Part:
    return Part(name, False, False, np.nan, np.nan, where)


def _table(name: str, one: pd.DataFrame, two: pd.DataFrame, called: tuple[str, str], tolerance: float) -> Part:
    if list(one.columns) != list(two.columns):
        return _apart(name, "its columns differ")
    if len(one) != len(two):
        return _apart(name, f"it has {len(two)} rows instead of {len(one)}")
    worst = Part(name, True, True, 0.0, 0.0, "")
    for column in one.columns:
        left, right = one[column], two[column]
        if pd.api.types.is_numeric_dtype(left) and pd.api.types.is_numeric_dtype(right):
            found = _numbers(name, left.to_numpy(float, na_value=np.nan), right.to_numpy(float, na_value=np.nan), tolerance)
        else:
            found = _texts(name, left, right, called)
        where = f"{column}, {found.where}" if found.where else ""
        worst = _worse(worst, Part(name, found.agrees, found.exact, found.difference, found.share, where))
    return worst


def _texts(name: str, left: pd.Series, right: pd.Series, called: tuple[str, str]) -> Part:
    """Compare values that are not numbers, with the repetition's run id in concept ids replaced by that of the first run."""
    one = [_as_text(value) for value in left]
    two = [_as_text(value).replace(f"{called[1]}.", f"{called[0]}.") for value in right]
    differing = [row for row, (a, b) in enumerate(zip(one, two, strict=True)) if a != b]
    if not differing:
        return Part(name, True, True, 0.0, 0.0, "")
    return _apart(name, f"row {differing[0]}: {len(differing)} values differ")


def _as_text(value: Any) -> str:
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def _tensors(name: str, one: Path, two: Path, tolerance: float) -> Iterator[Part]:
    left, right = read_tensors(one, VERIFY), read_tensors(two, VERIFY)
    for key in sorted({*left, *right}):
        part = f"{name}: {key}"
        if key not in left or key not in right:
            yield _apart(part, f"only the {'first' if key in left else 'repeated'} run has it")
        elif left[key].shape != right[key].shape:
            yield _apart(part, f"its shape is {list(right[key].shape)} instead of {list(left[key].shape)}")
        else:
            yield _numbers(part, left[key].double().numpy(), right[key].double().numpy(), tolerance)


def _numbers(name: str, one: np.ndarray, two: np.ndarray, tolerance: float) -> Part:
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    if same.all():
        return Part(name, True, True, 0.0, 0.0, "")
    both = np.isfinite(one) & np.isfinite(two)
    if not (same | both).all():
        return _apart(name, f"row {_place(~(same | both))}: only one of the two is a finite number")
    with np.errstate(invalid="ignore"):
        far = np.where(same, 0.0, np.abs(two - one))
    largest, magnitude = float(far.max()), float(np.abs(one[both]).max())
    share = largest / magnitude if magnitude else np.inf
    return Part(name, share <= tolerance, False, largest, share, f"row {_place(far == far.max())}")


def _place(where: np.ndarray) -> str:
    return ", ".join(map(str, np.argwhere(where)[0].tolist()))


def _worse(one: Part, two: Part) -> Part:
    """Of two columns, the one that is further off; what cannot be compared is the furthest."""
    return two if np.nan_to_num(two.share, nan=np.inf) > np.nan_to_num(one.share, nan=np.inf) else one
