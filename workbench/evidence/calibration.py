"""Whether the numbers hold: the results of `make bench NAME=calibration`, as shown beside the scores."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd

from workbench.errors import UnknownNameError
from workbench.numbers import counted
from workbench.shapes import read_shaped

FILE = Path(__file__).with_name("calibration.json")
COLUMNS = ("metric", "setting", "what", "draws", "value", "limit", "holds", "date")


@cache
def _kept() -> tuple[pd.DataFrame, dict[str, list[str]], str]:
    kept = read_shaped(FILE, dict[str, object])
    rows, same = kept["rows"], kept["same"]
    assert isinstance(rows, list)
    assert isinstance(same, dict)
    return pd.DataFrame(rows, columns=list(COLUMNS)), same, str(kept["date"])


def date() -> str:
    """The day on which it was measured."""
    return _kept()[2]


def calibration(metric: str | None = None) -> pd.DataFrame:
    """How often tests of nothing were significant, and intervals held the truth, in worlds where the truth is known.

    Args:
        metric: Of one score, such as ``detects.auroc``; all when left out.

    Returns:
        ``metric, setting, what, draws, value, limit, holds, date``; see ``docs/calibration.md``. Scores made by the same function
        share its rows.

    Raises:
        UnknownNameError: There is no such score in the calibration.
    """
    table, same, _ = _kept()
    if metric is None:
        return table.copy()
    found = table[table["metric"].isin(same.get(metric, [metric]))]
    if found.empty:
        raise UnknownNameError("calibrated score", metric, [*dict.fromkeys(table["metric"]), *same])
    return found.reset_index(drop=True)


def sentence(metric: str) -> str:
    """In a sentence how well a score's numbers hold; empty for one that has no calibration."""
    table, same, _ = _kept()
    found = table[table["metric"].isin(same.get(metric, [metric]))]
    if found.empty:
        return ""
    parts = []
    # Family-wise rates are not rates of single tests, and variants of a setting do not count as further settings.
    families = found["setting"].str.contains("families of")
    rates = found[found["what"].eq("p <= 0.05") & ~families]
    if len(rates):
        parts.append(f"with nothing to find, p <= .05 in at most {rates['value'].max():.1%}")
    covers = found[found["what"].eq("interval covers")]
    if len(covers):
        parts.append(f"95% intervals hold the truth in at least {covers['value'].min():.1%}")
    lost = int((~found["holds"]).sum())
    parts.append(f"{len(found) - lost} of {len(found)} numbers hold")
    settings = found.loc[~found["setting"].str.startswith("families of"), "setting"].str.split(", ").str[0].nunique()
    return f"Calibration: {'; '.join(parts)}, in {counted(settings, 'setting')}."
