"""Files as programs write them: shortened identifiers, wide encodings, quotes, empty columns, columns of any JSON."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.test_tables import texts, write
from workbench.datasets import dataset_from_table, load_dataset
from workbench.errors import DataError


def lines_of(cells: list[str], mark: str = ",", decimal: str = ".") -> str:
    rows = [f"text number {i}{mark}{cell}{mark}{'ab'[i % 2]}" for i, cell in enumerate(cells)]
    return "\n".join([mark.join(("text", "author", "label")), *rows]).replace(".", decimal) + "\n"


@pytest.mark.parametrize(
    ("cell", "mark", "decimal"),
    [
        ("1.23457E+18", ",", "."),
        ("1.23457E+18", ";", ","),
        ("1E+18", ",", "."),
        ("1.23457E+11", ",", "."),
        ("1234567890123456768.0", ",", "."),
        ("1234567890123456768.0", ";", ","),
    ],
)
def test_identifiers_as_spreadsheets_shorten_them_are_refused(tmp_path, cell, mark, decimal) -> None:
    (tmp_path / "mine.csv").write_text(lines_of([cell] * 60, mark, decimal))
    for use in ({"group": "author"}, {"labels": "author"}):
        with pytest.raises(DataError, match="rounded when it was stored as a floating point number"):
            load_dataset(tmp_path / "mine.csv", **use)


def test_numbers_that_say_every_digit_are_no_shortened_identifiers(tmp_path) -> None:
    cells = ["1.5", "100000", "1e5", "1.25E+02", "12e4567", "9007199254740993"] * 10
    (tmp_path / "mine.csv").write_text(lines_of(cells))
    assert load_dataset(tmp_path / "mine.csv", group="author").table["group"].nunique() == 6
    # As numbers, codes such as 12e4567 would all be infinite.
    codes = ["12e4567", "13e4567", "14e4567"] * 20
    (tmp_path / "codes.csv").write_text(lines_of(codes))
    assert load_dataset(tmp_path / "codes.csv", labels="author").label("author").values == ("12e4567", "13e4567", "14e4567")


@pytest.mark.parametrize("digits", [300, 308, 309, 310, 400, 401, 4000])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_whole_numbers_of_any_length_are_classes_with_every_digit(tmp_path, digits: int, suffix: str) -> None:
    codes = [f"{number}{'7' * (digits - 1)}" for number in (1, 2, 3)]
    rows = [f'{{"text": "row {i}", "author": {codes[i % 3]}}}' for i in range(60)]
    path = tmp_path / f"mine{suffix}"
    path.write_text(lines_of(codes * 20) if suffix == ".csv" else "\n".join(rows))
    assert load_dataset(path, labels="author").label("author").values == tuple(codes)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_texts_that_parquet_holds_as_bytes_are_texts(tmp_path, kind) -> None:
    texts, tones = [f"row é {i}" for i in range(20)], ["calm", "loud"] * 10
    columns = {"text": [text.encode() for text in texts], "tone": [tone.encode() for tone in tones]}
    pq.write_table(pa.table({name: pa.array(values, kind) for name, values in columns.items()}), tmp_path / "mine.parquet")
    found = load_dataset(tmp_path / "mine.parquet", labels="tone")
    assert (found.inputs(), found.label("tone").values) == (texts, ("calm", "loud"))
    columns["text"][7] = "é".encode("latin-1")
    pq.write_table(pa.table({name: pa.array(values, kind) for name, values in columns.items()}), tmp_path / "mine.parquet")
    with pytest.raises(DataError, match="holds no text but a bytes"):
        load_dataset(tmp_path / "mine.parquet", labels="tone")


@pytest.mark.parametrize(("kind", "largest"), [(np.float16, 2**11), (np.float32, 2**24), (np.float64, 2**53)])
def test_identifiers_are_refused_from_where_their_floats_are_no_longer_exact(tmp_path, kind, largest) -> None:
    for size, exact in ((largest - 60, True), (largest, False)):
        authors = np.array([size + i // 2 * (2 if not exact else 1) for i in range(60)]).astype(kind)
        pq.write_table(pa.table({"text": texts(60), "author": pa.array(authors)}), tmp_path / "mine.parquet")
        frame = pd.DataFrame({"text": texts(60), "author": authors})
        if exact:
            assert load_dataset(tmp_path / "mine.parquet", group="author").table["group"].nunique() == 30
            assert dataset_from_table(frame, labels="author").label("author").values[0] == str(size)
            continue
        with pytest.raises(DataError, match="rounded when it was stored"):
            load_dataset(tmp_path / "mine.parquet", group="author")
        with pytest.raises(DataError, match="rounded when it was stored"):
            dataset_from_table(frame, labels="author")


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_classes_of_short_floats_read_as_they_were_written(kind) -> None:
    frame = pd.DataFrame({"text": texts(60), "label": np.array([0.1, 0.25, 3.0] * 20, kind)})
    assert dataset_from_table(frame).label("label").values == ("0.1", "0.25", "3")


def test_whole_numbers_are_one_identifier_with_and_without_a_fraction_of_zeros(tmp_path) -> None:
    (tmp_path / "mine.csv").write_text(lines_of(["12", "12.0", "7"] * 20))
    data = load_dataset(tmp_path / "mine.csv", group="author")
    assert sorted(data.table["group"].unique()) == ["12", "7"]
    # Numbers of sections are no whole numbers.
    (tmp_path / "mine.csv").write_text(lines_of(["1.1", "1.10", "2.0"] * 20))
    assert load_dataset(tmp_path / "mine.csv", group="author").table["group"].nunique() == 3
    keyed = data.relabel(pd.DataFrame({"author": ["12.0", "7.0"], "side": ["left", "right"]}), key="author")
    assert keyed.label("side").n == {"left": 40, "right": 20}


@pytest.mark.parametrize(("authors", "lacking"), [(["x"], "'validation', 'test'"), (["x", "y"], "'validation'")])
def test_too_few_groups_for_three_splits_are_told(authors, lacking) -> None:
    frame = pd.DataFrame({"text": texts(60), "author": (authors * 60)[:60]})
    told = [note for note in dataset_from_table(frame, group="author").notes if note.startswith("Groups: there")]
    assert len(told) == 1
    assert lacking in told[0]
    assert any("no example is in" in note for note in dataset_from_table(pd.DataFrame({"text": ["same"] * 60})).notes)


def test_a_split_column_without_a_test_part_is_told() -> None:
    data = dataset_from_table(pd.DataFrame({"text": texts(60), "split": ["train"] * 40 + ["dev"] * 20}))
    assert data.notes == ("Splits: the column 'split' puts no example in 'test': nothing can be measured there.",)
    assert dataset_from_table(pd.DataFrame({"text": texts(60), "split": ["train", "dev", "test"] * 20})).notes == ()


def test_a_first_line_that_names_the_separator_is_no_header(tmp_path) -> None:
    for mark in ";,\t~":
        (tmp_path / "mine.csv").write_text(f"sep={mark}\r\ntext{mark}kind\r\none, two{mark}a\r\n".replace(", ", " "))
        data = load_dataset(tmp_path / "mine.csv", labels=[])
        assert list(data.table.columns) == ["text", "split", "group", "kind"]
        assert data.table["kind"].tolist() == ["a"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "utf-8-sig"])
@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl"])
def test_wide_encodings_are_found_out_with_and_without_a_mark(tmp_path, encoding, suffix) -> None:
    columns = {"text": ["hawaiʻi ma\u0000re", "salut à tous"], "kind": ["a", "b"]}
    path = write(columns, tmp_path / f"plain{suffix}")
    found = tmp_path / f"mine{suffix}"
    found.write_bytes(path.read_text(encoding="utf-8").encode(encoding))
    assert load_dataset(found).inputs() == columns["text"]


def test_a_quote_at_the_beginning_of_a_text_between_tabs_is_a_character(tmp_path) -> None:
    rows = ['"Yes he is here\tpos', "No she is not\tneg", 'and then he said it"\tneg', *(f"cat {i}\tpos" for i in range(20))]
    (tmp_path / "mine.tsv").write_text("\n".join(["text\tlabel", *rows]) + "\n")
    data = load_dataset(tmp_path / "mine.tsv")
    assert data.inputs() == [row.split("\t")[0] for row in rows]
    assert any("Quotes in mine.tsv are read as characters" in note for note in data.notes)
    (tmp_path / "open.tsv").write_text('text\tlabel\n"Yes he is\tpos\n"No" she said\tneg\n')
    assert load_dataset(tmp_path / "open.tsv").inputs() == ['"Yes he is', '"No" she said']
    # Between commas a quote stands round a field, and what it takes in is told.
    (tmp_path / "mine.csv").write_text("\n".join(["text\tlabel", *rows]).replace("\t", ",") + "\n")
    data = load_dataset(tmp_path / "mine.csv")
    assert len(data) == 21
    assert any("takes in whole lines: 2 of 23 are in the field of another." in note for note in data.notes)


def test_a_quote_that_is_never_closed_is_said_to_be_one(tmp_path) -> None:
    (tmp_path / "own.csv").write_text('text,label\n"He said,a\nhello 1,b\nhello 2,a\n')
    with pytest.raises(DataError, match=r"'own\.csv' cannot be read: a quote in it is opened and never closed"):
        load_dataset(tmp_path / "own.csv")


def test_quotes_round_fields_may_hold_tabs_and_lines(tmp_path) -> None:
    (tmp_path / "mine.tsv").write_text('"text"\t"label"\n"one\ttwo\nthree"\t"a"\nfour\tb\n')
    data = load_dataset(tmp_path / "mine.tsv")
    assert data.inputs() == ["one\ttwo\nthree", "four"]
    # Each of these lines could stand by itself, so it is said how they were read.
    assert any("takes in whole lines: 1 of 3 are in the field of another." in note for note in data.notes)
    (tmp_path / "mine.tsv").write_text('text\tlabel\n"one\nthree\tand more"\ta\nfour\tb\n')
    data = load_dataset(tmp_path / "mine.tsv")
    assert data.inputs() == ["one\nthree\tand more", "four"]
    assert data.notes == ()


def test_blank_lines_before_the_header_are_none(tmp_path) -> None:
    (tmp_path / "mine.csv").write_text("\n \n,\ntext,kind\none,a\ntwo,b\n")
    assert load_dataset(tmp_path / "mine.csv").label("kind").values == ("a", "b")


def test_an_empty_column_is_told_and_refuses_nothing(tmp_path) -> None:
    (tmp_path / "mine.csv").write_text("text,label,notes,\n" + "".join(f"text {i},{'ab'[i % 2]},,\n" for i in range(20)))
    data = load_dataset(tmp_path / "mine.csv")
    assert [label.name for label in data.labels] == ["label"]
    assert data.notes == ("The column 'notes' is empty in every row, and is no label.",)
    other = data.relabel(pd.DataFrame({"text": data.inputs(), "empty": None, "mood": ["sad", "glad"] * 10}))
    assert [label.name for label in other.labels] == ["label", "mood"]


def test_columns_with_names_that_stand_for_something_else_are_kept() -> None:
    frame = pd.DataFrame({"review": texts(60), "text": ["a", "b"] * 30, "label": ["x", "y"] * 30})
    frame["group"], frame["split"] = [i % 9 for i in range(60)], ["early", "late"] * 30
    frame["desk"], frame["part"] = [f"desk {i % 12}" for i in range(60)], ["train", "dev", "test"] * 20
    frame["token"], frame["region"] = ["t", "u"] * 30, ["north", "south"] * 30
    data = dataset_from_table(frame, text="review", group="desk", split="part")
    assert [label.name for label in data.labels] == ["label"]
    assert data.table["group"].tolist() == frame["desk"].tolist()
    for column in ("text", "group", "split"):
        assert data.table[f"{column} column"].tolist() == frame[column].tolist()
        assert any(note.startswith(f"The column '{column}' is kept as '{column} column'") for note in data.notes)
    assert {"desk", "part", "token", "region"} <= set(data.table.columns)
    assert data.relabel(labels="text column").label("text column").n == {"a": 30, "b": 30}


def test_columns_of_numbers_for_names_are_called_by_their_digits() -> None:
    frame = pd.DataFrame({0: texts(60), 1: [i % 2 for i in range(60)]})
    for data in (dataset_from_table(frame), dataset_from_table(frame, text="0", labels="1")):
        assert data.label("1").n == {"0": 30, "1": 30}
    assert list(frame.columns) == [0, 1]
    assert data.relabel(pd.DataFrame({"text": texts(60), 2: ["a", "b"] * 30})).label("2").values == ("a", "b")


def test_copies_that_are_left_out_are_told_where_their_labels_differ() -> None:
    frame = pd.DataFrame({"text": [*texts(10), *texts(4)], "kind": [*"aabbaabbaa", "a", "b", "b", None]})
    notes = dataset_from_table(frame, labels="kind", drop_duplicates=True).notes
    assert "1 of the copies that were left out has another label than the first, in 'kind': that of the first is kept." in notes
    agreeing = dataset_from_table(frame.iloc[:11], labels="kind", drop_duplicates=True)
    assert not any("another label" in note for note in agreeing.notes)


ANYTHING = [
    {}, {"a": 1}, {"b": [1, {"c": None}]}, [], [1, "two", None], 2**200, -1, True, 0.5, "text", "half \ud83d", None,
    {"a": 2**70, "half \udc00": [True, 1]},
]  # fmt: skip


@settings(max_examples=40)
@given(st.lists(st.sampled_from(ANYTHING), min_size=1, max_size=6))
def test_kept_columns_of_any_json_come_back_as_they_were(tmp_path_factory, cells) -> None:
    rows = [{"text": f"text {i}", "meta": cells[i % len(cells)]} for i in range(6)]
    path = tmp_path_factory.mktemp("kept") / "mine.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = load_dataset(path, labels=[])
    again = load_dataset(data.save(path.with_name("saved.parquet"))).table["meta"]
    for one, other in zip((row["meta"] for row in rows), again, strict=True):
        if other is None or (isinstance(other, float) and np.isnan(other)):
            assert one is None
        else:
            assert one == other


def test_half_a_character_in_a_class_or_a_name_and_endless_numbers_are_refused(tmp_path) -> None:
    rows = [{"text": text, "kind": kind} for text, kind in zip(texts(4), ["a", "b", "half \ud83d", "a"], strict=True)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for use in ({"labels": "kind"}, {"group": "kind"}):
        with pytest.raises(DataError, match=r"column 'kind' holds 'half \\ud83d', with half of a character"):
            load_dataset(tmp_path / "mine.jsonl", **use)
    (tmp_path / "mine.jsonl").write_text('{"text": "one", "half \\ud83d": 1}\n')
    with pytest.raises(DataError, match=r"The name of the column 'half \\ud83d' holds half of a character"):
        load_dataset(tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").write_text('{"text": "one", "n": ' + "9" * 5000 + "}\n")
    with pytest.raises(DataError, match=r"Line 1 of 'mine.jsonl' cannot be read: it is not JSON"):
        load_dataset(tmp_path / "mine.jsonl")
