"""Deleting runs and activation sets. A record that they existed stays, and what depends on them is listed first.

A deletion is one transaction of the catalog: with it the concepts and evidence of a run are gone, and the run or set is recorded
as deleted. The files go after it; see :mod:`workbench.store.deleted` for those that a killed process leaves.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd
import sqlalchemy as sa

from workbench.activations.manifest import parse_manifest
from workbench.errors import StudyError, WorkbenchWarning
from workbench.memory import size_text
from workbench.paths import LOCK, inside, remove_tree
from workbench.processes import hold
from workbench.store import tables
from workbench.store.deleted import DELETED, SET_KEY, remove_deleted
from workbench.store.dependents import Dependent, Needs, concepts_of, run_of
from workbench.store.dropped import words_kept
from workbench.store.usage import folder_bytes

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

COLUMNS = ["part", "name", "what", "bytes", "why", "deleted"]
FOLDERS: dict[str, Literal["runs", "activations"]] = {"run": "runs", "activations": "activations"}


@dataclass(frozen=True)
class _Plan:
    """What a deletion takes: the runs and sets that were asked for, and all that depends on them."""

    asked: tuple[Dependent, ...]
    dependents: tuple[Dependent, ...]

    @property
    def files(self) -> list[Dependent]:
        """The runs and sets among them, which have files."""
        return [one for one in (*self.asked, *self.dependents) if one.part != "words"]

    @property
    def runs(self) -> list[str]:
        """The ids of the runs."""
        return [one.name for one in self.files if one.part == "run"]


def delete(study: StoredStudy, ids: Sequence[str], with_dependents: bool = False, dry_run: bool = False) -> pd.DataFrame:
    """Delete runs and sets of activations, and keep the record that they were.

    Names, notes, collections and interventions that people gave to concepts of a deleted run are first written to
    ``dropped-<time>.json`` in the study's folder. What is at the study's remote is deleted there too. A deleted run can be run
    again, and a deleted set captured again, as if it had never been.

    Args:
        study: The study.
        ids: Ids of runs and sets, or their first characters where no other begins with them.
        with_dependents: Delete as well what depends on them: runs that read them, were made from them or repeat them, and what
            people wrote about their concepts.
        dry_run: Delete nothing; what depends on them is listed and no error.

    Returns:
        ``part, name, what, bytes, why, deleted``, one row a run, set or kind of words, what was asked for first.

    Raises:
        UnknownNameError: There is no such run or set.
        StudyError: Something depends on them, or is still running; it is named, and nothing was deleted.
        DiskFullError: There is no room for the file with what people wrote; nothing was deleted.
    """
    plan = _planned(Needs(study), ids)
    sizes = {one.name: folder_bytes(_folder(study, one)) for one in plan.files}
    table = _table(plan, sizes, deleted=not dry_run)
    if dry_run:
        return table
    study.require_writable("the study")
    _require_free(plan, with_dependents)
    with ExitStack() as held:
        for one in plan.files:
            if one.part == "activations":
                lock = inside(study.folder, "activations", f"{one.name}{LOCK}")
                held.enter_context(hold(lock, f"The set of activations {one.name}"))
        with words_kept(study, _words(study, plan)):
            _record(study, plan, ids, sizes)
        for one in plan.files:
            remove_tree(_folder(study, one), ignore_errors=True)
            study._done.pop(one.name, None)
    if study.remote:
        try:
            remove_deleted(study)
        except StudyError as error:
            text = f"Deleted here, and not at the remote: {error} `workbench study push {study.name}` removes it there."
            warnings.warn(text, WorkbenchWarning, stacklevel=2)
    return table


def require_deletable(study: StoredStudy, ids: Sequence[str], with_dependents: bool = False) -> None:
    """`StudyError` where :func:`delete` would refuse, with what depends on them or is still running."""
    study.require_writable("the study")
    _require_free(_planned(Needs(study), ids), with_dependents)


def _planned(needs: Needs, ids: Sequence[str]) -> _Plan:
    """What was asked for, and below it everything that depends on it, each once."""
    asked: dict[str, Dependent] = {}
    for identifier in ids:
        part, name = needs.found(identifier)
        row = needs.runs[name] if part == "run" else {"analysis": "activations", "status": "done"}
        asked[name] = Dependent(part, name, str(row["analysis"]), "asked for", row["status"] == "running")
    below: dict[str, Dependent] = {}
    waiting = list(asked)
    while waiting:
        for one in needs.of(waiting.pop()):
            if one.name not in asked and one.name not in below:
                below[one.name] = one
                waiting += [one.name] if one.part != "words" else []
    return _Plan(tuple(asked.values()), tuple(below.values()))


def _require_free(plan: _Plan, with_dependents: bool) -> None:
    running = [one.name for one in plan.files if one.running]
    if running:
        raise StudyError(f"{', '.join(running)} is still running: wait until it is done, or stop it. Nothing was deleted.")
    if plan.dependents and not with_dependents:
        shown = [
            f"{one.what} {one.why}" if one.part == "words" else f"{one.name} ({one.what}, {one.why})" for one in plan.dependents
        ]
        more = f" and {len(shown) - 12} more" if len(shown) > 12 else ""
        raise StudyError(
            f"Nothing was deleted, since something depends on it: {'; '.join(shown[:12])}{more}. To delete that as well, say"
            " --with-dependents, or with_dependents=True in Python."
        )


def _words(study: StoredStudy, plan: _Plan) -> dict[sa.Table, sa.Select[Any]]:
    """Queries of what people wrote about the concepts that are deleted, by table."""
    mine = sa.select(tables.concepts.c.id).where(tables.concepts.c.run.in_(plan.runs))
    words: dict[sa.Table, sa.Select[Any]] = {
        table: sa.select(table).where(table.c.concept.in_(mine)) for table in (tables.names, tables.notes, tables.collections)
    }
    recipes = tables.interventions
    words[recipes] = sa.select(recipes).where(recipes.c.id.in_(_recipes(study.recipes(), plan.runs)))
    return words


def _recipes(recipes: pd.DataFrame, runs: Sequence[str]) -> list[int]:
    of_them = [any(run_of(concept) in set(runs) for concept in concepts_of(recipe)) for recipe in recipes["recipe"]]
    return [int(number) for number in recipes["id"][of_them]]


def _record(study: StoredStudy, plan: _Plan, ids: Sequence[str], sizes: dict[str, int]) -> None:
    """Delete everything from the catalog and record the deletion, in one transaction."""
    at, recipes = tables.now(), _recipes(study.recipes(), plan.runs)
    mine = sa.select(tables.concepts.c.id).where(tables.concepts.c.run.in_(plan.runs))
    with study.catalog.changing() as connection:
        if _planned(Needs(study, connection), ids) != plan:
            raise StudyError("Something was added to the study meanwhile, and nothing was deleted: do this again.")
        connection.execute(sa.delete(tables.evidence).where(tables.evidence.c.run.in_(plan.runs)))
        for table in tables.ABOUT_CONCEPTS:
            connection.execute(sa.delete(table).where(table.c.concept.in_(mine)))
        connection.execute(sa.delete(tables.concepts).where(tables.concepts.c.run.in_(plan.runs)))
        connection.execute(sa.delete(tables.interventions).where(tables.interventions.c.id.in_(recipes)))
        for one in plan.files:
            sentence = f"It was deleted at {at}; its files took {size_text(sizes[one.name])}."
            if one.part == "run":
                values = {"status": DELETED, "error": sentence}
                connection.execute(sa.update(tables.runs).where(tables.runs.c.id == one.name).values(**values))
            else:
                connection.execute(sa.delete(tables.info).where(tables.info.c.key == f"{SET_KEY}{one.name}"))
                about = json.dumps({"at": at, "data": _data(study, one.name), "said": sentence})
                connection.execute(sa.insert(tables.info).values(key=f"{SET_KEY}{one.name}", value=about))


def _data(study: StoredStudy, name: str) -> str:
    with suppress(StudyError):
        return parse_manifest(inside(study.folder, "activations", name)).request.dataset
    return ""


def _table(plan: _Plan, sizes: dict[str, int], deleted: bool) -> pd.DataFrame:
    rows = [
        {
            "part": one.part,
            "name": one.name,
            "what": one.what,
            "bytes": sizes.get(one.name, 0),
            "why": one.why,
            "deleted": deleted,
        }
        for one in (*plan.asked, *plan.dependents)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _folder(study: StoredStudy, one: Dependent) -> Any:
    return inside(study.folder, FOLDERS[one.part], one.name)
