"""Which rows of measurements a table shows, and what it says of them."""

from __future__ import annotations

import pandas as pd

from workbench.analysis import Metric
from workbench.measurements import clearest_first, corrections, first_of_each, shown_of
from workbench.numbers import clusters, corrected_p, interval

EFFECT = Metric("tcav.effect", "Effect", "", direction="none", chance=0.0)
SCORE = Metric("tcav.score", "Score", "", direction="none", chance=0.5)
LOSS = Metric("loss", "Loss", "", direction="down")
DECLARED = {metric.key: metric for metric in (EFFECT, SCORE, LOSS)}


def table() -> pd.DataFrame:
    rows = [
        ("loss", 0.2, None, None), ("loss", 0.9, None, None), ("tcav.score", 0.9, None, None), ("tcav.score", 0.0, None, None),
        ("tcav.effect", 3.0, 0.004, 0.012), ("tcav.effect", -7.0, 1e-6, 4e-6), ("tcav.effect", 2.0, 0.6, 1.0),
        ("tcav.effect", -2.5, 0.6, 1.0), ("other", 5.0, None, None),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["metric", "value", "p", "p_corrected"])


def test_a_large_negative_effect_comes_before_a_small_positive_one_and_units_are_not_mixed() -> None:
    ordered = clearest_first(table(), DECLARED)
    assert ordered["metric"].drop_duplicates().tolist() == ["tcav.effect", "tcav.score", "loss", "other"]
    assert ordered["value"].tolist() == [-7.0, 3.0, -2.5, 2.0, 0.0, 0.9, 0.2, 0.9, 5.0]


def test_what_is_shown_is_said_and_nothing_where_all_is() -> None:
    shown = first_of_each(table(), DECLARED, 2)
    assert shown["value"].tolist() == [-7.0, 3.0, 0.0, 0.9, 0.2, 0.9, 5.0]
    assert shown_of(table(), shown, DECLARED) == "Shown: 2 of 4 of Effect (the smallest corrected p first)."
    assert shown_of(table(), first_of_each(table(), DECLARED, 1), DECLARED) == (
        "Shown: 1 of 4 of Effect (the smallest corrected p first); 1 of 2 of Score (the furthest from 0.5 first);"
        " 1 of 2 of Loss (the smallest first)."
    )
    assert shown_of(table(), table(), DECLARED) == ""


def test_a_table_without_p_values_is_ordered_by_size() -> None:
    bare = table()[["metric", "value"]]
    assert clearest_first(bare, DECLARED)["value"].tolist()[:2] == [-7.0, 3.0]
    assert list(clearest_first(bare, DECLARED)) == ["metric", "value"]


def test_the_family_of_a_correction_is_said_once() -> None:
    tested = table().assign(family=["", "", None, "", *["4 tests of the run"] * 4, ""])
    assert corrections(tested, DECLARED) == ["Corrected p of Effect: Holm, over 4 tests of the run."]


def test_counts_are_counts_and_no_interval_is_none() -> None:
    assert clusters(31.0, 15.0) == "31 (15)"
    assert clusters(31.0, float("nan")) == "31"
    assert clusters(None, None) == "–"
    assert interval(None, float("nan")) == ""
    assert interval(0.5, 0.75) == "0.500 to 0.750"
    assert corrected_p(0.004, float("nan")) == "not corrected"
    assert corrected_p(0.004, 0.02) == "0.020"
    assert corrected_p(float("nan"), float("nan")) == "–"
