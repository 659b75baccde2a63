"""How much memory hostile studies take: ``peaks.py HONEST PLACE NAME…`` does all that is done with a study, a process for each.

The processes are forks of one that has the libraries loaded. It prints JSON: the most memory in KiB that each took, those of the
honest folder and of the honest pack under ``honest folder`` and ``honest pack``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path

import workbench as wb
from tests.store.hostile import FOLDERS
from tests.store.hostile_packs import PACKS, packed
from tests.store.test_hostile import attempt, opened, use


def work(kind: str, name: str, honest: Path, place: Path) -> None:
    """Do to a study all that the tests of hostile ones do."""
    folder, own = Path(shutil.copytree(honest, place / "given")), place / "own"
    (own / "private").mkdir(parents=True)
    for file in ("victim.txt", "private/secret.txt", "private/labels.json"):
        (own / file).write_text("[]")
    if kind == "folder":
        FOLDERS.get(name, lambda *_: None)(folder, own)
        study = opened(folder)
    else:
        (place / "in").mkdir()
        PACKS.get(name, packed)(folder, place / "in" / "pack.zip")
        study = attempt(lambda: wb.unpack(place / "in" / "pack.zip", place / "made"))
    if study is not None:
        with study:
            use(study, place / "out")


def peak(kind: str, name: str, honest: Path, place: Path) -> int:
    """The most memory of one case in KiB, in a fork; -1 where it failed."""
    place.mkdir()
    child = os.fork()
    if child == 0:
        try:
            os.environ["XDG_CONFIG_HOME"] = str(place / "settings")
            work(kind, name, honest, place)
            os._exit(0)
        except BaseException as error:
            print(f"{kind} {name}: {error!r}", file=sys.stderr)
            os._exit(1)
    _, status, used = os.wait4(child, 0)
    shutil.rmtree(place, ignore_errors=True)
    return used.ru_maxrss if os.waitstatus_to_exitcode(status) == 0 else -1


def main() -> None:
    """Measure the honest ones and those that are named."""
    warnings.simplefilter("ignore")
    honest, place, names = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
    # What is imported on first use is imported before the forks.
    (place / "first").mkdir(parents=True)
    work("pack", "", honest, place / "first")
    cases = [("folder", ""), ("pack", ""), *(("folder" if name in FOLDERS else "pack", name) for name in names)]
    found = {}
    for number, (kind, name) in enumerate(cases):
        found[name or f"honest {kind}"] = peak(kind, name, honest, place / str(number))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
