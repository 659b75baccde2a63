"""Who steers: by a corrected p value, and nobody by one that was not corrected."""

from __future__ import annotations

import numpy as np
import pandas as pd

from workbench.evidence.steered import CHANCE, STEERS, UNCORRECTED, counts_of, judged


def table() -> pd.DataFrame:
    rows = [
        (5.0, 4.0, 6.0, 1.0, 0.01), (5.0, 4.0, 6.0, 1.0, 0.2), (5.0, 4.0, 6.0, 1.0, np.nan), (5.0, 0.5, 9.5, 1.0, 0.01),
        (-5.0, -6.0, -4.0, 1.0, 0.01), (-5.0, -6.0, -0.5, 1.0, np.nan),
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["odds", "odds_low", "odds_high", "null_high", "p_corrected"])


def test_a_p_value_that_was_not_corrected_makes_nobody_steer() -> None:
    found = table().assign(verdict=judged(table()))
    assert found["verdict"].tolist() == [STEERS, CHANCE, UNCORRECTED, CHANCE, STEERS, CHANCE]
    assert counts_of(found).startswith("2 of 6 concepts steer")
    assert "1 more lie beyond" in counts_of(found)
    corrected = found[found["p_corrected"].notna()]
    assert "not corrected" not in counts_of(corrected)
