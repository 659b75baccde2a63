"""Data that cannot be used says so in one sentence that names what to do."""

import pandas as pd
import pytest

from workbench.datasets import dataset_from_table, load_dataset
from workbench.errors import DataError, WorkbenchWarning

GOOD = {"text": ["one text", "two texts", "three"], "kind": ["a", "b", "a"]}


def table(**columns):
    return pd.DataFrame({**GOOD, **columns})


def refused(message, *args, **options):
    with pytest.raises(DataError, match=message) as caught:
        (load_dataset if not isinstance(args[0], pd.DataFrame) else dataset_from_table)(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert len(text) < 400


@pytest.mark.parametrize("content", ["", "text,kind\n", " \n"])
def test_an_empty_file(tmp_path, content):
    (tmp_path / "mine.csv").write_text(content)
    refused("is empty", tmp_path / "mine.csv")


def test_other_empty_things(tmp_path):
    (tmp_path / "mine.jsonl").write_text("\n")
    refused("is empty", tmp_path / "mine.jsonl")
    (tmp_path / "folder").mkdir()
    refused("is empty", tmp_path / "folder")
    refused("is empty", pd.DataFrame({"text": []}))


@pytest.mark.parametrize("blank", ["", "  \n", None, float("nan")])
def test_a_blank_text(blank):
    refused(r"row 1 \(the first is 0\) is blank.*drop_blank=True", table(text=["one", blank, "three"]))
    with pytest.warns(WorkbenchWarning, match="1 blank of 3 rows were dropped"):
        data = dataset_from_table(table(text=["one", blank, "three"], kind=["a", "c", "b"]), drop_blank=True)
    assert data.inputs() == ["one", "three"]
    assert data.notes == ("1 blank of 3 rows were dropped.",)


def test_all_blank_texts():
    refused("The text column 'text' is empty in every row", table(text=[None, "", " "]))


def test_a_missing_column():
    refused(
        "There is no label column 'knd'. Did you mean 'kind'. The columns are 'text', 'kind'",
        table(),
        labels="knd",
    )
    refused("There is no text column 'words'", table(), text="words")
    refused("There is no split column 'part'", table(), split="part")
    refused("There is no group column 'author'", table(), group="author")


def test_no_column_that_reads_as_text():
    refused("Say which column holds the examples.*'a', 'b'", pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
    refused("holds no text but a int", pd.DataFrame({"a": [1, 2], "b": [3, 4]}), text="a")
    refused("not both", table(), text="text", image="kind")


def test_a_label_of_one_class():
    refused("'kind' has one class only, 'a'", table(kind=["a", "a", "a"]), labels="kind")
    refused("'label' has one class only", table(label=["a", None, "a"]))


def test_a_label_of_too_many_classes():
    many = pd.DataFrame({"text": [f"t {i}" for i in range(1500)], "kind": [f"k {i}" for i in range(1500)]})
    refused("1,500 different values", many, labels="kind")
    assert dataset_from_table(many).labels == []


def test_an_empty_label():
    refused("The label column 'kind' is empty in every row", table(kind=[None, None, None]), labels="kind")
    # An empty column that nobody named is no label, and refuses nothing.
    data = dataset_from_table(table(kind=[None, " ", ""]))
    assert data.labels == []
    assert data.notes == ("The column 'kind' is empty in every row, and is no label.",)
    assert dataset_from_table(table(other=[None, None, None]), labels="kind").label("kind").n == {
        "a": 2,
        "b": 1,
    }


def test_a_label_of_lists():
    refused("holds lists", table(kind=[["a"], ["b"], []]), labels="kind")


def test_a_label_with_a_name_that_is_taken():
    refused("cannot be called 'token'", table(token=["a", "b", "b"]), labels="token")
    refused("already used", table(), labels="text")


def test_two_columns_of_one_name(tmp_path):
    (tmp_path / "mine.csv").write_text("text,kind,kind\na b,1,2\n")
    refused("two columns called 'kind'", tmp_path / "mine.csv")
    (tmp_path / "mine.jsonl").write_text('{"text": "a", "text": "b"}\n')
    refused("Line 1 .*the key 'text' stands twice", tmp_path / "mine.jsonl")
    refused("two columns called 'text'", pd.DataFrame([["a", "b"]], columns=["text", "text"]))


def test_no_such_file(tmp_path):
    refused("There is no file", tmp_path / "mine.csv")
    refused("There is no file", "no/such/place")
    refused("There is no file", "a\0b.csv")
    refused("There is no file", "x" * 5000 + ".csv")


def test_a_kind_of_file_that_cannot_be_read(tmp_path):
    (tmp_path / "mine.pkl").write_bytes(b"")
    refused("cannot be read: use .csv, .tsv, .parquet, .jsonl", tmp_path / "mine.pkl")


def test_damaged_files(tmp_path):
    (tmp_path / "mine.parquet").write_bytes(b"PAR1 and no more")
    refused("not a whole Parquet file", tmp_path / "mine.parquet")
    (tmp_path / "mine.jsonl").write_text('{"text": "a"}\n{"text": \n')
    refused("Line 2 .* is not JSON", tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").write_text('["a"]\n')
    refused("Line 1 .* no JSON object", tmp_path / "mine.jsonl")
    (tmp_path / "mine.jsonl").write_text('{"text": "\\ud800 half"}\n')
    refused("lone surrogate", tmp_path / "mine.jsonl")
    (tmp_path / "mine.csv").write_text("text,kind\na,b,c\n")
    refused("Line 2 .* 3 fields where the header has 2", tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_text('text,kind\n"never closed,b\n')
    refused("cannot be read", tmp_path / "mine.csv")


def test_mixed_bytes_name_the_line(tmp_path):
    (tmp_path / "mine.csv").write_bytes("text,kind\né,a\n".encode() + "é,b\n".encode("latin-1"))
    refused("line 3 holds a byte", tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ("not a list", "The spans of row 0 .* are not a list"),
        ({"start": 0, "end": 1, "label": "x"}, "are not a list"),
        (7, "are not a list"),
        ("[" * 100_000, "are not a list"),
        ([{"start": 0, "end": 1}], "with whole numbers and a label"),
        ([{"start": 0.5, "end": 1, "label": "x"}], "with whole numbers and a label"),
        ([3], "with whole numbers and a label"),
        ([{"start": 0, "end": 9, "label": "x"}], "lies outside its example of 8 characters"),
        ([{"start": -1, "end": 2, "label": "x"}], "lies outside"),
        ([{"start": 3, "end": 3, "label": "x"}], "is empty: count from 0"),
    ],
)
def test_spans_that_are_none(spans, message):
    refused(message, table(spans=pd.Series([spans, None, None], dtype=object)))


def test_a_split_that_is_none():
    refused("Row 1 .* says 'later'.*use train, validation or test", table(split=["train", "later", "test"]))


def test_a_split_that_cuts_a_group():
    refused("'g' lies in both train and test", table(split=["train", "test", "test"], group=["g", "g", "h"]))


def test_an_unreadable_image(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "mine.csv").write_text("image,kind\nbroken.png,a\n")
    refused("'broken.png' of row 0 .* cannot be read", tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_text("image,kind\nlost.png,a\n")
    refused("'lost.png' of row 0 .* is not there", tmp_path / "mine.csv")
    (tmp_path / "mine.csv").write_text("image,kind\n../../etc/hosts,a\n")
    refused("lies outside", tmp_path / "mine.csv")


def test_a_folder_of_two_kinds(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "b.png").write_bytes(b"")
    refused("holds texts and images", tmp_path)


def test_a_data_set_in_memory_cannot_be_loaded_again():
    data = dataset_from_table(table())
    refused("save it with Dataset.save", data.source["name_or_path"])


def test_a_limit_of_nothing():
    refused("leaves no examples", table(), limit=0)
    refused("leaves no examples", "topics", limit=0)
