"""What depends on what in a study: runs on activation sets and on other runs, sets on the runs whose edits they were captured
under, and words by people on the concepts of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa

from workbench.activations.manifest import parse_manifest
from workbench.errors import StudyError, UnknownNameError
from workbench.paths import inside_or_none, listed
from workbench.store import tables
from workbench.store.edited import parents_of
from workbench.store.run_record import require_records

if TYPE_CHECKING:
    from workbench.store.stored_study import StoredStudy

WORDS = {
    "names": "names by people",
    "notes": "notes",
    "collections": "places in collections",
    "interventions": "kept interventions",
}
"""What people write about concepts, by the table that holds it."""


@dataclass(frozen=True)
class Dependent:
    """Something that would be lost with what it depends on.

    Attributes:
        part: ``run``, ``activations``, or ``words`` for what people wrote.
        name: The id of the run or set; of words, what they are, such as ``names``.
        what: The analysis of a run, the kind of words and how many there are.
        why: How it depends on the other, in words.
        running: Whether it is a run that is being made now.
    """

    part: Literal["run", "activations", "words"]
    name: str
    what: str
    why: str
    running: bool = False


class Needs:
    """What depends on each run and set of a study, read from its catalog once.

    Args:
        study: The study.
        connection: Read in this transaction, so that nothing changes between the check and the deletion.
    """

    def __init__(self, study: StoredStudy, connection: sa.Connection | None = None) -> None:
        if connection is None:
            with study.catalog.engine.connect() as own:
                self._read(own, study.catalog.called)
        else:
            self._read(connection, study.catalog.called)
        sets = listed(study.folder, "activations", partial=False) if inside_or_none(study.folder, "activations") else []
        self.sets = [folder.name for folder in sets]
        self._under: dict[str, list[str]] = {}
        for folder in sets:
            with suppress(StudyError):
                self._under[folder.name] = parents_of(parse_manifest(folder).request.edits)

    def _read(self, connection: sa.Connection, called: str) -> None:
        self.runs = {str(row["id"]): dict(row) for row in connection.execute(sa.select(tables.runs)).mappings()}
        require_records(self.runs.values(), called)
        self._words: dict[str, dict[str, int]] = {}
        human = sa.select(tables.names.c.concept).where(tables.names.c.source == "human")
        for kind, query in {"names": human, "notes": sa.select(tables.notes.c.concept)}.items():
            self._count(kind, connection.execute(query).scalars())
        entries = tables.collections.c
        newest = {
            (name, concept): kept
            for name, concept, kept in connection.execute(
                sa.select(entries.name, entries.concept, entries.kept).order_by(entries.id)
            )
        }
        self._count("collections", [concept for (_, concept), kept in newest.items() if kept])
        for recipe in connection.execute(sa.select(tables.interventions.c.recipe)).scalars():
            # A recipe that changes two concepts of a run counts once.
            self._count("interventions", {run_of(concept): concept for concept in concepts_of(recipe)}.values())

    def _count(self, kind: str, concepts: Iterable[str]) -> None:
        for run, count in Counter(map(run_of, concepts)).items():
            self._words.setdefault(run, {})[kind] = self._words.get(run, {}).get(kind, 0) + count

    def found(self, identifier: str) -> tuple[Literal["run", "activations"], str]:
        """The run or set of an id, or of the first characters of one.

        Raises:
            UnknownNameError: There is none.
            StudyError: There are several.
        """
        there = {name: "run" for name, row in self.runs.items() if row["status"] != "deleted"}
        there |= dict.fromkeys(self.sets, "activations")
        matching = [identifier] if identifier in there else sorted(name for name in there if name.startswith(identifier))
        if not matching or not identifier:
            raise UnknownNameError("run or set of activations", identifier, there)
        if len(matching) > 1:
            raise StudyError(
                f"{identifier!r} is the beginning of {_listed(matching)}: give more of the id of the one that is meant."
            )
        return ("run" if there[matching[0]] == "run" else "activations"), matching[0]

    def of(self, name: str) -> list[Dependent]:
        """What depends directly on a run or a set."""
        found = []
        for other, row in self.runs.items():
            if row["status"] in {"done", "running"} and (why := _reads(row, name)):
                found.append(Dependent("run", other, str(row["analysis"]), why, row["status"] == "running"))
        for other, runs in self._under.items():
            if name in runs:
                found.append(Dependent("activations", other, "activations", f"were captured under an edit of {name}"))
        for kind, count in self._words.get(name, {}).items():
            found.append(Dependent("words", f"{kind} of {name}", f"{count} {WORDS[kind]}", f"on concepts of {name}"))
        return found


def run_of(concept: str | None) -> str:
    """The run of a concept, which its id begins with; empty in a row that is about none."""
    return (concept or "").rpartition(".")[0]


def concepts_of(recipe: Any) -> set[str]:
    """The ids of the concepts that a stored recipe changes."""
    steps = recipe.get("steps") if isinstance(recipe, dict) else None
    named = [step.get("concept") for step in steps if isinstance(step, dict)] if isinstance(steps, list | tuple) else []
    return {concept for concept in named if isinstance(concept, str)}


def _reads(row: dict[str, Any], name: str) -> str:
    inputs = row["inputs"]
    if name == inputs.get("activations"):
        return f"reads {name}"
    if name in (inputs.get("parents") or []):
        return f"was made from {name}"
    return f"repeats {name}" if name == row["provenance"].get("repeats") else ""


def _listed(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
