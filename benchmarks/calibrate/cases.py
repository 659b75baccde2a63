"""Every case of the calibration, and which of them stands for which score of the product."""

from __future__ import annotations

from functools import cache

from benchmarks.calibrate import basics, causes, detection, evidence, information, tcav
from benchmarks.calibrate.trials import Case

SAME = {
    "probe.auroc": ("detects.auroc",),
    "probe.shuffled": ("detects.auroc",),
    "cav.auroc": ("detects.auroc",),
    "probe.accuracy": ("interval of a share",),
    "probe.column": ("interval of a share",),
    "probe.selectivity": ("interval of a mean",),
    "sae.fvu": ("interval of a ratio",),
    "sae.fvu_ordinary": ("interval of a ratio",),
    "sae.output_kept": ("interval of a ratio",),
    "sae.l0": ("interval of a mean",),
    "causes.cost": ("interval of a mean",),
    "sae.cosine": ("interval of a mean",),
}
"""Scores whose numbers are made by the same function as those of other cases."""
WITHOUT = {
    "detects.ap": "a description: neither interval nor p; its null is the share of positives",
    "probe.ap": "a description: neither interval nor p; its null is the share of positives",
    "probe.random": "the null of another score",
    "sae.dead": "a count",
    "sae.large_rows": "a count",
    "mi.entropy": "a description of the label",
    "causes.push": "a setting",
    "causes.dose": "a setting",
    "tcav.magnitude": "a description: its test is that of tcav.effect",
}
"""Scores that need no calibration, with why."""


@cache
def cases() -> list[Case]:
    """All of them, in the order of the table."""
    return [*detection.CASES, *evidence.CASES, *causes.CASES, *tcav.CASES, *information.CASES, *basics.CASES]
