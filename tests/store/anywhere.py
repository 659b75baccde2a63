"""A small study's work in a process of its own, for the tests of odd places: ``anywhere.py FOLDER [make|more|all]``.

It must stay light: it captures nothing, and its activations are planted. It prints one line of JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

import tests.store.clock  # noqa: F401
import workbench as wb
from tests.store.axes import AXES
from workbench.errors import WorkbenchError
from workbench.store.texts import keep_texts
from workbench.testing.worlds import planted_table, word_index, write_activations


def make(folder: Path) -> None:
    """A study with a data set and a set of activations."""
    dataset = wb.dataset_from_table(
        planted_table(60, 0), text="text", labels=["kind"], spans="spans", split="split", group="group", name="planted"
    )
    index = word_index(dataset.inputs())
    rows = np.random.default_rng(0).normal(size=(len(index), 8)).astype(np.float32)
    with wb.open_study(folder) as study:
        study.catalog.set_info("model", json.dumps({"name": "planted", "kind": "module", "weights_hash": "0" * 64, "source": {}}))
        study.use_dataset(dataset)
        keep_texts(study.folder, dataset)
        (folder / "activations").mkdir(exist_ok=True)
        write_activations(folder / "activations", dataset, {"resid_post.0": rows}, index)


def more(folder: Path) -> None:
    """Runs, their trial, names, a report, a pack, and a deletion."""
    with wb.open_study(folder, create=False) as study:
        acts = study.activation_set()
        one, two = study.run(AXES, acts), study.run(AXES, acts, seed=1)
        study.examine(one, families=("detects",), replicate=False)
        one.concepts[0].rename("naïve – 概念", "ada")
        study.report(folder / "report.html", title="naïve – 概念")
        study.pack(folder / "packed.zip")
        wb.unpack(str(folder / "packed.zip"), folder.with_name("again")).close()
        study.usage()
        study.delete(two.id)


def main() -> None:
    """Do it; an error of the workbench is what it says, and any other ends the process."""
    folder, what = Path(sys.argv[1]), sys.argv[2]
    said = ""
    try:
        if what in {"make", "all"}:
            make(folder)
        if what in {"more", "all"}:
            more(folder)
    except WorkbenchError as error:
        said = str(error)
    print(json.dumps({"said": said}))


if __name__ == "__main__":
    main()
