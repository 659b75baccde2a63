"""Other labels, groups and splits for the same examples."""

from __future__ import annotations

import pandas as pd
import pytest

from workbench.datasets import dataset_from_table, load_dataset
from workbench.errors import DataError, UnknownNameError
from workbench.labelling import with_asked

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
    with pytest.raises(DataError, match=r"Say with key= \(--key\) which column"):
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


def test_columns_called_split_and_group_change_neither_unless_they_are_asked_for(data, tmp_path) -> None:
    lines = [f"{LONG + i},{'up' if i % 3 else 'down'},{['dev', 'test'][i % 2]},{i}" for i in range(30)]
    (tmp_path / "trend.csv").write_text("id,trend,split,group\n" + "\n".join(lines) + "\n")
    found = data.relabel(tmp_path / "trend.csv", key="id", labels="trend")
    assert found.table["split"].tolist() == data.table["split"].tolist()
    assert found.table["group"].tolist() == data.table["group"].tolist()
    assert found.table["split column"].tolist()[:3] == ["dev", "test", "dev"]
    assert found.table["group column"].isna().sum() == 10
    assert any("'split' of 'trend.csv' is kept as 'split column'" in note and "--split split" in note for note in found.notes)
    again = found.relabel(tmp_path / "trend.csv", key="id", labels="trend")
    assert list(again.table.columns) == list(found.table.columns)
    # Asked for, they are checked as those of a capture are.
    with pytest.raises(DataError, match=r"Row 30 .* of the split column"):
        data.relabel(tmp_path / "trend.csv", key="id", split="split")
    with pytest.raises(DataError, match=r"Row 30 .* of the split column"):
        found.relabel(split="split column")
    whole = pd.DataFrame({"text": data.inputs(), "split": ["train", "test"] * 20, "group": [f"desk {i % 10}" for i in range(40)]})
    with pytest.raises(DataError, match="lies in both"):
        data.relabel(whole.assign(split=["train"] * 20 + ["test"] * 20), split="split", group="group")
    taken = data.relabel(whole, split="split", group="group")
    assert taken.table["split"].tolist() == ["train", "test"] * 20
    assert taken.table["group"].tolist() == whole["group"].tolist()
    assert any("puts no example in 'validation'" in note for note in taken.notes)


@pytest.fixture
def countries():
    return pd.DataFrame({"text": [f"text {i}" for i in range(60)], "label": ["a", "b"] * 30, "country": ["NA", "DE", "FR"] * 20})


NAMIBIA = {"DE": 20, "FR": 20, "NA": 20}


def test_the_words_for_missing_are_those_of_the_data_set(countries, tmp_path) -> None:
    data = dataset_from_table(countries, labels="label", missing=[])
    saved = load_dataset(data.save(tmp_path / "saved.parquet"))
    for found in (data, saved, data.subset(range(60))):
        assert found.relabel(labels="country").label("country").n == NAMIBIA
    assert data.columns().set_index("column").loc["country", "missing"] == 0


def test_words_that_counted_as_missing_come_back_with_other_words(countries, tmp_path) -> None:
    data = dataset_from_table(countries, labels="label").relabel(labels=["label", "country"])
    assert data.label("country").n == {"DE": 20, "FR": 20}
    assert any(note.startswith("20 cells say 'NA' in 'country'") for note in data.notes)
    captured = dataset_from_table(countries, labels=["label", "country"])
    assert captured.hash == data.hash
    for found in (data, captured, load_dataset(data.save(tmp_path / "saved.parquet"))):
        other = found.relabel(labels="country", missing=[])
        assert other.label("country").n == NAMIBIA
        assert not any("'country'" in note for note in other.notes)
        assert found.relabel(missing=[]).label("country").n == NAMIBIA
        assert found.relabel(labels="label").table["country"].tolist() == countries["country"].tolist()
        assert found.subset(range(30)).relabel(labels="country", missing=[]).label("country").n == {"DE": 10, "FR": 10, "NA": 10}
        assert other.relabel(labels="country", missing=["FR"]).label("country").n == {"DE": 20, "NA": 20}
    assert captured.relabel(labels=["label", "country"], missing=[]).relabel(missing=["NA"]).label("country").n == data.label(
        "country"
    ).n  # fmt: skip


def test_a_quantity_that_is_named_has_classes() -> None:
    frame = pd.DataFrame({"text": [f"text {i}" for i in range(160)], "label": ["a", "b"] * 80})
    frame["year"], frame["pages"] = [1900 + i % 60 for i in range(160)], [i % 70 for i in range(160)]
    data = dataset_from_table(frame)
    assert [label.kind for label in data.labels] == ["class", "numeric", "numeric"]
    named = data.relabel(labels=["label", "year"])
    assert named.label("year").kind == "class"
    assert named.label("year").values[:2] == ("1900", "1901")
    assert named.hash == dataset_from_table(frame, labels=["label", "year"]).hash
    # Labels that nobody named stay what they are.
    assert [label.kind for label in data.relabel(missing=["-"]).labels] == ["class", "numeric", "numeric"]
    assert named.relabel(missing=["-"]).label("year").kind == "class"
    more = with_asked(data, ["year=1900"])
    assert {label.name: label.kind for label in more.labels} == {"label": "class", "year": "class", "pages": "numeric"}
    assert with_asked(data, ["label"]) is data


def test_keys_that_were_rounded_are_refused_on_either_side(data) -> None:
    table = pd.DataFrame({"id": [LONG + i for i in range(40)], "mood": ["happy", "sad"] * 20})
    with pytest.raises(DataError, match=r"key column 'id' holds .*rounded"):
        data.relabel(table.assign(id=table["id"].astype(float)), key="id")
    rounded = dataset_from_table(pd.DataFrame({"id": table["id"].astype(float), "text": data.inputs()}), labels=[])
    with pytest.raises(DataError, match=r"key column 'id' holds .*rounded"):
        rounded.relabel(table, key="id")


def test_joined_groups_are_told_where_the_splits_stay() -> None:
    texts = [f"text {i // 2}" for i in range(40)]
    data = dataset_from_table(pd.DataFrame({"text": texts, "desk": [f"desk {i // 2 * 2 + i % 2}" for i in range(40)]}), labels=[])
    found = data.relabel(group="desk")
    assert found.table["split"].tolist() == data.table["split"].tolist()
    assert any("share copies of a text and were joined into 20" in note for note in found.notes)
