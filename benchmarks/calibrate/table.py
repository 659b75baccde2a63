"""Writes the calibration: a page for people, and what the app shows of it beside a score."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.calibrate.cases import SAME
from benchmarks.calibrate.trials import COVERAGE, POWER, Judged

HEAD = """# Calibration

Whether the numbers hold: every p value, interval and threshold that the workbench shows, in worlds where the truth is known.
Written by `make bench NAME=calibration` on {date}; {held} of {every} numbers hold.

- **p <= .05, .01, .001**: how often a score that has nothing to find is called significant at that level. The limit is the upper
  end of what chance gives at the nominal rate, simultaneously over the whole table at 95%.
- **above the 95th percentile**: how often such a score lies above the null's 95th percentile that stands beside it; limit as
above. - **interval covers**: how often a 95% interval holds the truth; at least {coverage:.0%}. - **power**: how often
something planted is significant at 5%, beside a reference test on the same draws; at least {power:g} of it. - **family-wise
error**: how often Holm's correction rejects any of a family in which there is nothing.

Settings: documents of several examples of several tokens share a part of their scores. *documents*: the label follows the
document. *runs*: labels come in runs. *rare label*, *sparse codes*, *heavy tails* say what they are. *eight positive
documents*: the least for which there is a p value. *copies*: every text three times. *unequal documents*: some are ten times as
long as others.

"""


def write(found: Sequence[Judged], root: Path) -> None:
    """Write ``docs/calibration.md`` and ``workbench/evidence/calibration.json``."""
    lines = [HEAD.format(date=dt.date.today(), held=sum(f.ok for f in found), every=len(found), coverage=COVERAGE, power=POWER)]
    for metric in dict.fromkeys(one.metric for one in found):
        lines += [f"## {metric}\n", "| setting | what | draws | measured | limit | |", "|---|---|---|---|---|---|"]
        for one in found:
            if one.metric == metric:
                fails = "" if one.ok else "**does not hold**"
                lines.append(f"| {one.setting} | {one.what} | {one.draws:,} | {one.value:.4f} | {one.limit:.4f} | {fails} |")
        lines.append("")
    same = [f"- {score}: as {' and '.join(of)}." for score, of in SAME.items()]
    lines += ["## Scores made by the same functions\n", *same, ""]
    (root / "docs" / "calibration.md").write_text("\n".join(lines))
    (root / "workbench" / "evidence" / "calibration.json").write_text(json.dumps(summary(found), indent=1) + "\n")


def summary(found: Sequence[Judged]) -> dict[str, dict[str, float | int]]:
    """By score: the largest false positive rate at 5% and the least coverage over the settings, and how many numbers hold."""
    parts: dict[str, list[Judged]] = {}
    for one in found:
        parts.setdefault(one.metric, []).append(one)
    for score, others in SAME.items():
        parts[score] = [one for other in others for one in parts.get(other, [])]
    table: dict[str, dict[str, float | int]] = {}
    for score, rows in parts.items():
        if not rows:
            continue
        table[score] = {"numbers": len(rows), "hold": sum(one.ok for one in rows)}
        rates = [one.value for one in rows if one.what == "p <= 0.05"]
        covers = [one.value for one in rows if one.what == "interval covers"]
        table[score] |= {"p_05_most": round(max(rates), 4)} if rates else {}
        table[score] |= {"covers_least": round(min(covers), 4)} if covers else {}
    return table
