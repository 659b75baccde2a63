"""Writes the calibration: a page for people, and what the app shows of it beside a score."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.calibrate.cases import SAME, cases
from benchmarks.calibrate.trials import COVERAGE, POWER, Judged, among

JSON = Path("workbench", "evidence", "calibration.json")

HEAD = """# Calibration

Whether the numbers hold: every p value, interval and threshold that the workbench shows, in worlds where the truth is known.
Written by `make bench NAME=calibration` on {date}; {held} of {every} numbers hold. Scores whose code changed are measured
again by themselves, so they can have other dates; limits are those of the whole table.

- **p <= .05, .01, .001**: how often a score that has nothing to find is called significant at that level. The limit is the upper
  end of what chance gives at the nominal rate, simultaneously over the whole table at 95%.
- **above the 95th percentile**: how often such a score lies above the null's 95th percentile beside it; limit as above.
- **interval covers**: how often a 95% interval holds the truth; at least {coverage:.0%}.
- **power**: how often what is planted is significant at 5%, and by a reference test on the same draws; {power:g} of it at least.
- **families**: how often Holm's correction rejects any of a family in which there is nothing.

Settings: documents of several examples of several tokens share a part of their scores. *documents*: the label follows the
document. *runs*: labels come in runs. *rare label*, *sparse codes*, *heavy tails* say what they are. *eight positive
documents*: the least for which there is a p value. *copies*: every text three times. *unequal documents*: some are ten times as
long as others. *few long documents*: five documents, ten times as long as the others, hold almost all positives.

"""


def together(found: Sequence[Judged], root: Path) -> list[Judged]:
    """New numbers with those of the table in the project that are of other cases; every limit is that of the whole."""
    kept = [Judged(*row) for row in json.loads((root / JSON).read_text())["rows"]]
    new, place = {(one.metric, one.setting) for one in found}, {(case.metric, case.setting): i for i, case in enumerate(cases())}
    old = [one for one in kept if (one.metric, one.setting) in place.keys() - new]
    every = sorted([*old, *found], key=lambda one: place[one.metric, one.setting])
    return [among(one, len(every)) for one in every]


def write(found: Sequence[Judged], root: Path) -> None:
    """Write ``docs/calibration.md`` and ``workbench/evidence/calibration.json``."""
    lines = [HEAD.format(date=dt.date.today(), held=sum(f.ok for f in found), every=len(found), coverage=COVERAGE, power=POWER)]
    for metric in dict.fromkeys(one.metric for one in found):
        dates = " and ".join(sorted({one.date for one in found if one.metric == metric}))
        lines += [
            f"## {metric}\n",
            f"Measured on {dates}.\n",
            "| setting | what | draws | measured | limit | |",
            "|---|---|---|---|---|---|",
        ]
        for one in found:
            if one.metric == metric:
                fails = "" if one.ok else "**does not hold**"
                lines.append(f"| {one.setting} | {one.what} | {one.draws:,} | {one.value:.4f} | {one.limit:.4f} | {fails} |")
        lines.append("")
    others = [f"- {score}: as {' and '.join(of)}." for score, of in SAME.items()]
    lines += ["## Scores made by the same functions\n", *others, ""]
    (root / "docs" / "calibration.md").write_text("\n".join(lines))
    rows = [[f.metric, f.setting, f.what, f.draws, round(f.value, 5), round(f.limit, 5), f.ok, f.date] for f in found]
    same = {score: list(of) for score, of in SAME.items()}
    # One row a line: a new measurement is a readable change.
    text = ",\n".join(json.dumps(one) for one in rows)
    kept = f'{{"date": "{dt.date.today()}", "same": {json.dumps(same)}, "rows": [\n{text}\n]}}\n'
    (root / JSON).write_text(kept)
