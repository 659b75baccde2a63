"""Other labels, groups and splits for the same examples."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.datasets import dataset_from_table, load_dataset
from workbench.errors import DataError, UnknownNameError

LONG = 9_007_199_254_740_993


@pytest.fixture
def data():
    n = 40
    frame = pd.DataFrame({"id": [LONG + i for i in range(n)], "review": [f"text number {i}" for i in range(n)]})
    frame["topic"] = ["money", "nature"] * 20
    frame["author"] = [f"author {i % 8}" for i in range(n)]
    frame["year"] = [1900 + i for i in range(n)]
    return dataset_from_table(frame, text="review", labels="topic", group="author")


def test_any_kept_column_becomes_a_label_and_the_examples_stay(data) -> None:
    other = data.relabel(labels=["year"])
    assert [label.name for label in other.labels] == ["year"]
    assert other.label("year").kind == "class"
    assert other.content_hash == data.content_hash
    assert other.hash != data.hash
    assert other.earlier == (data.hash,)
    assert other.table["topic"].tolist() == data.table["topic"].tolist()
    back = other.relabel(labels=["topic"])
    assert back.hash == data.hash
    assert other.columns().set_index("column")["use"].to_dict() == {
        "split": "split", "group": "group", "topic": "kept", "id": "kept", "author": "kept", "year": "label",
    }  # fmt: skip
    with pytest.raises(DataError, match=r"There is no label column 'yeer'. Did you mean 'year'"):
        data.relabel(labels="yeer")


def test_labels_come_from_a_table_by_a_long_id(data, tmp_path) -> None:
    rows = [f"{LONG + i};{'happy' if i % 3 else 'sad'}" for i in reversed(range(30))]
    (tmp_path / "moods.csv").write_text("id;mood\n" + "\n".join([*rows, "5;happy"]) + "\n")
    found = data.relabel(tmp_path / "moods.csv", key="id")
    assert [label.name for label in found.labels] == ["topic", "mood"]
    assert found.table["mood"].tolist()[:4] == ["sad", "happy", "happy", "sad"]
    assert found.table["mood"].isna().sum() == 10
    assert any("10 of 40 examples have no row" in note for note in found.notes)
    assert any("1 row of 'moods.csv' match no example" in note for note in found.notes)


def test_labels_come_from_a_table_by_the_text(data) -> None:
    frame = pd.DataFrame({"text": data.inputs()[::-1], "mood": ["happy", "sad"] * 20})
    assert data.relabel(frame).table["mood"].tolist()[::-1] == frame["mood"].tolist()
    twice = pd.concat([frame, frame.iloc[:1].assign(mood="sad")])
    with pytest.raises(DataError, match="two rows for 'text number 39' that differ"):
        data.relabel(twice)
    with pytest.raises(DataError, match="Say with key= which column"):
        data.relabel(frame.drop(columns="text").assign(id=range(40)))
    with pytest.raises(DataError, match=r"No row of The table is of an example|none of its values"):
        data.relabel(pd.DataFrame({"id": [1], "mood": ["sad"]}), key="id")
    with pytest.raises(UnknownNameError, match="kept column"):
        data.relabel(pd.DataFrame({"nr": [1], "mood": ["sad"]}), key="nr")


def test_other_groups_keep_the_splits_unless_they_cut_a_group(data) -> None:
    finer = data.table["author"] + " " + (data.table["year"] % 2).astype(str)
    kept = data.relabel(pd.DataFrame({"text": data.inputs(), "desk": finer}), labels=["topic"], group="desk")
    assert kept.table["split"].tolist() == data.table["split"].tolist()
    assert kept.table["group"].tolist() == finer.tolist()
    coarse = data.relabel(pd.DataFrame({"text": data.inputs(), "era": ["old", "new", "mid", "far"] * 10}), group="era")
    assert coarse.table.groupby("era")["split"].nunique().max() == 1
    assert any("whole groups were dealt out anew" in note for note in coarse.notes)
    with pytest.raises(DataError, match="lies in both"):
        coarse.relabel(pd.DataFrame({"text": data.inputs(), "part": ["train"] * 20 + ["test"] * 20}), split="part")


def test_a_split_of_ones_own_is_taken_where_it_cuts_nothing(data) -> None:
    parts = pd.Series(["train", "dev", "test"])[data.table["author"].str[-1].astype(int) % 3].tolist()
    found = data.relabel(pd.DataFrame({"text": data.inputs(), "part": parts}), split="part")
    assert set(found.table["split"]) == {"train", "validation", "test"}
    assert [label.name for label in found.labels] == ["topic"]


def test_what_is_saved_keeps_every_column_and_which_are_labels(data, tmp_path) -> None:
    found = load_dataset(data.relabel(labels=["year"]).save(tmp_path / "mine.parquet"))
    assert found.hash == data.relabel(labels=["year"]).hash
    assert found.table["id"].tolist() == data.table["id"].tolist()
    assert found.relabel(labels=["topic"]).hash == data.hash
