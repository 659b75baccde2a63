"""One of a crowd: a process that writes into a study that others write into, or reads it meanwhile.

``member.py found|write|read|fill FOLDER NUMBER ROWS [CATALOG]``: it says that it is ready by a file ``FOLDER.readyNUMBER``,
begins when ``FOLDER.go`` is there, and prints one line of JSON. It must stay light: the crowd starts many of it.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import sqlalchemy as sa

import tests.store.clock  # noqa: F401
from workbench.errors import WorkbenchError
from workbench.opening import open_study
from workbench.store import tables
from workbench.study import Study


def evidence_row(concept: str, label: str, run: str) -> dict[str, object]:
    blank = dict.fromkeys(tables.EVIDENCE_COLUMNS)
    known = {"concept": concept, "metric": "detects.auroc", "label": label, "status": "ok", "value": 0.5}
    return blank | known | {"dataset": "crowd", "run": run}


def write(study: Study, number: int, rows: int) -> dict[str, object]:
    """Rows one by one, as a person or an examination enters them: names, notes and evidence in turn."""
    longest, every = 0.0, study.concepts().ids
    for row in range(rows):
        concept = study.concept(every[row % len(every)])
        text, since = f"{number}.{row}", time.perf_counter()
        if row % 3 == 0:
            concept.rename(text, f"writer {number}")
        elif row % 3 == 1:
            concept.note(text, f"writer {number}")
        else:
            study.catalog.insert(tables.evidence, [evidence_row(concept.id, text, "crowd-0")])
        longest = max(longest, time.perf_counter() - since)
    return {"longest": longest}


def fill(folder: Path, number: int, rows: int) -> dict[str, object]:
    """Notes until the disk is full; those that were taken, and what was said in the end."""
    taken: list[str] = []
    try:
        with open_study(folder) as study:
            concept = study.concept(study.concepts().ids[0])
            for row in range(rows):
                concept.note(f"{number}.{row} " + "x" * 2000, "ada")
                taken.append(f"{number}.{row}")
    except WorkbenchError as error:
        return {"taken": taken, "said": str(error)}
    return {"taken": taken, "said": ""}


def read(study: Study, stop: Path) -> dict[str, object]:
    """Read until told to stop: what was there once is there ever after, and every name is one of a whole chain."""
    counts, looks = [0, 0, 0], 0
    while not stop.exists() or not looks:
        names = study.catalog.names()
        notes = study.catalog.frame(sa.select(tables.notes))
        evidence = study.catalog.frame(sa.select(tables.evidence))
        now = [len(names), len(notes), len(evidence)]
        if any(later < earlier for later, earlier in zip(now, counts, strict=True)):
            raise AssertionError(f"{now} rows after {counts}")
        counts, looks = now, looks + 1
        study.concepts().table()
        time.sleep(0.05)
    return {"looks": looks}


def rename(arguments: tuple[str, str, int]) -> None:
    """Ten names for one concept."""
    folder, concept, writer = arguments
    with open_study(folder) as study:
        for number in range(10):
            study.concept(concept).rename(f"name {writer}.{number}", f"writer {writer}")


def main() -> None:
    what, folder, number, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    Path(f"{folder}.ready{number}").touch()
    while not Path(f"{folder}.go").exists():
        time.sleep(0.005)
    said: dict[str, object] = {}
    if what == "fill":
        print(json.dumps(fill(folder, number, rows)))
        return
    with open_study(folder, catalog=next(iter(sys.argv[5:]), None)) as study:
        if what == "write":
            said = write(study, number, rows)
        elif what == "read":
            said = read(study, Path(f"{folder}.stop"))
    print(json.dumps(said))


if __name__ == "__main__":
    main()
