"""Write a small study as the present code does, to be kept when the next version of the catalog comes: ``old_study.py FILE.zip``.

It is run once a version, and what it wrote is never written again: the files under ``old/`` show that studies of each version
open.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import workbench as wb

EXAMPLES, WIDTH = 160, 4


def write(path: Path) -> None:
    """A set of activations, a run on it, an examination, a name, a note, a collection."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "example": example,
            "position": place,
            "token": ("alpha", f"word{example}")[place],
            "kind": ("left", "right")[example % 2],
        }
        for example in range(EXAMPLES)
        for place in range(2)
    ]
    table = pd.DataFrame(rows)
    values = rng.normal(size=(len(table), WIDTH)).astype(np.float16)
    values[:, 0] += 4 * table["kind"].eq("left").to_numpy()
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "old"
        given.mkdir()
        np.save(given / "resid_post.0.npy", values)
        table.to_csv(given / "rows.csv", index=False)
        with wb.open_study(Path(folder) / "study") as study:
            run = study.run("linear_probe", study.import_activations(given), labels="kind")
            concept = run.concepts[0]
            concept.rename("what is left", "ada")
            concept.note("seen in every example", "ada")
            study.collections.add("kept", [concept.id], "ada")
            study.examine(run, families=("detects",))
            study.pack(path, activations=True)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
