"""The run that stability is measured by: the same analysis of the same activations with another seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from workbench.frames import records
from workbench.progress import Progress
from workbench.registry import migrated
from workbench.runner import execute
from workbench.store.runs import Run

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet
    from workbench.study import Study

# A set's site, level and how many of its run's sets of that site and level come before it.
Place = tuple[str, str, int]


def find_replica(study: Study, run: Run, sites: Sequence[str], make: bool, progress: Progress) -> str:
    """The id of the newest such run that has all the sites; one is made with the next seed where there is none and ``make`` is
    true, and otherwise the text is empty."""
    record = run.record
    found: Run | None = None
    for row in records(study.runs()):
        same = all(
            row["inputs"].get(k) == record["inputs"].get(k) for k in ("activations", "dataset_hash", "weights_hash", "read")
        )
        if (
            row["analysis"] == record["analysis"]
            and row["seed"] != record["seed"]
            and migrated(row["analysis"], row["config"]) == run.config
        ):
            found = Run(study, row) if same and set(sites) <= set(row["inputs"]["sites"]) else found
    if found is None and make:
        acts = study.activation_set(record["inputs"]["activations"]).select(list(sites))
        seed = int(record["seed"]) + 1
        dataset = study.dataset_of_run(run)
        found = execute(study, record["analysis"], acts, run.arguments, seed, progress=progress, dataset=dataset)
    return found.id if found else ""


def by_place(sets: Iterable[ConceptSet]) -> dict[Place, ConceptSet]:
    """The sets of a run by their places, which are the same in every replica."""
    before: Counter[tuple[str, str]] = Counter()
    found: dict[Place, ConceptSet] = {}
    for concepts in sets:
        where = (concepts.site, concepts.level)
        found[*where, before[where]] = concepts
        before[where] += 1
    return found
