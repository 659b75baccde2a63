"""Which p values of an examination are corrected together, and Holm's correction of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.numbers import counted
from workbench.statistics.correction import holm

ALL_TRIED = ("detects.auroc", "causes.sensitivity", "stable.cosine", "named.auroc")
"""Metrics that every concept of a run can be tried on: examining a few of them again must not make them look more significant."""


def correct(rows: list[dict[str, Any]], concepts: int) -> None:
    """Fill in ``p_corrected`` and ``family`` of evidence rows, in place: a metric's tests are one family.

    Args:
        rows: Of one examination.
        concepts: How many concepts the run has, whichever are examined.
    """
    for metric in dict.fromkeys(row["metric"] for row in rows):
        mine = [row for row in rows if row["metric"] == metric and row.get("p") is not None and np.isfinite(row["p"])]
        tests = max(len(mine), concepts if metric in ALL_TRIED else 0)
        for row, corrected in zip(mine, holm(np.array([row["p"] for row in mine], dtype=float), tests), strict=True):
            row["p_corrected"] = float(corrected)
            row["family"] = f"{row.get('family') or metric} ({counted(tests, 'test')})"
