"""Rows of a frame as a page reads them."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from workbench.frames import records


@given(st.lists(st.one_of(st.none(), st.just(float("nan")), st.text(max_size=5)), min_size=1, max_size=6))
def test_a_text_that_is_missing_is_none_and_all_else_as_it_is(values: list) -> None:
    frame = pd.DataFrame({"text": pd.Series(values, dtype=object), "number": [float("nan"), *range(len(values) - 1)]})
    found = records(frame)
    assert [row["text"] for row in found] == [None if pd.isna(value) else value for value in values]
    assert pd.isna(found[0]["number"])
    assert [row["number"] for row in found[1:]] == list(range(len(values) - 1))
