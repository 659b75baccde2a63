"""Kinds of runs. Most are of an analysis, by whose name they go; three are made by the engine from runs that are there.

They are told apart by the column ``analysis`` of the catalog, and the column ``parents`` of their inputs names what they read.
"""

from __future__ import annotations

import pandas as pd

EXAMINATION = "examine"
"""Concepts of one run put on trial."""
COMPARISON = "counterparts"
"""Concepts of several runs held against each other."""
HEAD_EDIT = "edit_head"
"""A head of a run with other weights."""
OF_OTHER_RUNS = frozenset({EXAMINATION, COMPARISON, HEAD_EDIT})


def of_analyses(runs: pd.DataFrame) -> pd.Series:
    """Which of the runs, rows of the catalog, are of an analysis."""
    return ~runs["analysis"].isin(OF_OTHER_RUNS)
