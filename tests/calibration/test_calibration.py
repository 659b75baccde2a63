"""Every score that the product shows is calibrated, and a small calibration holds on every run of the tests."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import workbench as wb
from benchmarks.calibrate.cases import SAME, WITHOUT, cases
from benchmarks.calibrate.table import write
from benchmarks.calibrate.trials import Case, Judged, Trials, joined, judge, load, save
from workbench.analysis import find_analysis
from workbench.errors import UnknownNameError
from workbench.evidence.calibration import sentence
from workbench.evidence.metrics import TRIAL
from workbench.registry import analysis_names

DRAWS = 400
ROOT = Path(__file__).parents[2]


def shown() -> set[str]:
    built_in = [find_analysis(name) for name in analysis_names()]
    ours = [one for one in built_in if one.__module__.startswith("analyses.")]
    return {metric.key for metric in TRIAL} | {metric.key for one in ours for metric in one.metrics}


def test_a_score_without_a_row_in_the_calibration_is_seen() -> None:
    calibrated = {case.metric for case in cases()}
    assert shown() - calibrated - set(SAME) - set(WITHOUT) == set()
    assert {of for others in SAME.values() for of in others} <= calibrated
    assert not set(WITHOUT) & (calibrated | set(SAME))


def test_the_table_that_is_shown_has_every_case() -> None:
    table = wb.calibration()
    assert {(case.metric, case.setting) for case in cases()} == set(zip(table["metric"], table["setting"], strict=True))
    assert (table["draws"] >= 2000)[table["what"].eq("p <= 0.05")].all()
    page = (ROOT / "docs" / "calibration.md").read_text()
    for metric in dict.fromkeys(table["metric"]):
        assert f"## {metric}" in page
    assert "holds the truth" in sentence("detects.auroc") or "hold the truth" in sentence("detects.auroc")
    assert len(wb.calibration("probe.auroc")) == len(wb.calibration("detects.auroc"))
    with pytest.raises(UnknownNameError, match="calibrated score"):
        wb.calibration("detects.auroc2")


FULL = "WORKBENCH_FULL" in os.environ
# The first setting of every score each time; all of them in the full tests.
EVERY = [case for number, case in enumerate(cases()) if FULL or case.metric not in {c.metric for c in cases()[:number]}]


@pytest.mark.full
@pytest.mark.parametrize("case", EVERY, ids=lambda case: f"{case.metric} {case.setting}")
def test_a_small_calibration_holds(case: Case) -> None:
    held(case, 2000 if FULL else DRAWS)


def held(case: Case, draws: int) -> None:
    found = judge(case, case.draw(draws, 5), 200)
    assert found, "nothing was judged"
    for one in found:
        # Few draws leave more room to a coverage than the table does; the power of few is not compared.
        room = 4 * np.sqrt(one.limit * (1 - one.limit) / one.draws) if one.what == "interval covers" else 0
        if not one.what.startswith("power"):
            assert one.ok or one.value >= one.limit - room > 0, one


def test_the_limits_are_those_of_chance_over_the_whole_table() -> None:
    rng = np.random.default_rng(0)
    case = Case("a.b", "fair", lambda draws, seed: Trials(p=rng.random(draws)))
    fair = [judge(case, Trials(p=rng.random(2000)), 200)[0].ok for _ in range(300)]
    assert np.mean(fair) > 0.98
    biased = judge(case, Trials(p=rng.random(2000) ** 1.3), 200)[0]
    assert not biased.ok
    assert not judge(case, Trials(covered=rng.random(4000) < 0.9), 200)[0].ok
    strong, weak = np.zeros(50), np.ones(50)
    assert not judge(case, Trials(power={"1": (weak, strong)}), 200)[0].ok


def test_draws_are_kept_and_joined(tmp_path) -> None:
    trials = Trials(
        np.array([0.1, np.nan]), covered=np.array([1.0, 0.0]), power={"1 deviation": (np.ones(2), np.zeros(2))}, reference="x"
    )
    save(trials, tmp_path / "one.npz")
    again = joined([load(tmp_path / "one.npz")] * 2)
    assert again.p is not None
    assert again.above is None
    assert len(again.p) == 4
    assert again.reference == "x"
    assert len(again.power["1 deviation"][1]) == 4


def test_the_table_is_written_for_people_and_for_the_app(tmp_path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "workbench" / "evidence").mkdir(parents=True)
    write(
        [Judged("detects.auroc", "documents", "p <= 0.05", 2000, 0.04, 0.07, True), Judged("a", "b", "c", 1, 0.5, 0.4, False)],
        tmp_path,
    )
    page = (tmp_path / "docs" / "calibration.md").read_text()
    assert "1 of 2 numbers hold" in page
    assert "**does not hold**" in page
    assert "0.04" in (tmp_path / "workbench" / "evidence" / "calibration.json").read_text()
