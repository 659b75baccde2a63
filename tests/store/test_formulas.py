"""A table that is opened in a spreadsheet runs nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from workbench.store.exchange import without_formulas, write_frame

FORMULAS = ["=cmd|' /C calc'!A0", "+1+1", "-1+cmd", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "-", "+a", " =1"]
PLAIN = ["-1.5", "+3e4", "-inf", "=".join("ab"), "a-b", "'", "", "x@y", "٣"]


def test_no_text_of_a_csv_is_a_formula_unless_it_is_asked_for(tmp_path: Path) -> None:
    every = [*FORMULAS, *PLAIN]
    frame = pd.DataFrame({"=name": every, "number": -np.arange(len(every)) - 0.5, "kind": pd.Categorical(every)})
    safe = pd.read_csv(write_frame(frame, tmp_path / "safe.csv"), keep_default_na=False, dtype={"'=name": str, "kind": str})
    assert safe["'=name"].tolist() == [*[f"'{text}" for text in FORMULAS], *PLAIN]
    assert safe["kind"].tolist() == safe["'=name"].tolist()
    assert safe["number"].tolist() == frame["number"].tolist()
    raw = pd.read_csv(write_frame(frame, tmp_path / "raw.csv", raw=True), keep_default_na=False, dtype={"=name": str})
    assert raw["=name"].tolist() == every
    assert pd.read_parquet(write_frame(frame, tmp_path / "table.parquet"))["=name"].tolist() == every


@given(st.text(max_size=20))
def test_whatever_the_text_its_cell_is_no_formula_and_can_be_had_back(text: str) -> None:
    cell = without_formulas(pd.DataFrame({"c": [text]}))["c"].iloc[0]
    assert cell in {text, f"'{text}"}
    assert not cell.startswith(("=", "@", "\t", "\r", "\n"))
    if cell.startswith(("+", "-")):
        assert isinstance(float(cell), float)
