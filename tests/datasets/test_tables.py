"""Tables as people have them: long ids, missing values in words, copies, other delimiters, broken and turned images."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workbench.datasets import dataset_from_table, load_dataset
from workbench.datasets.groups import copies
from workbench.datasets.readers import read_table
from workbench.datasets.splits import assign_splits, deal_out
from workbench.errors import DataError, WorkbenchWarning
from workbench.models.images import rgb

# Neighbours beyond 2^53: as floats all of them are one number.
IDS = [1844674407370955161, 1844674407370955162, 1844674407370955163]
SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")


def texts(n: int) -> list[str]:
    return [f"text number {i}" for i in range(n)]


def authored(n: int = 60) -> dict[str, list]:
    """Texts by three authors with long ids; of the last row nobody knows the author."""
    authors: list = [IDS[i % 3] for i in range(n)]
    authors[-1] = None
    return {"text": texts(n), "author": authors, "kind": [("a", "b")[i % 2] for i in range(n)]}


def nullable() -> pd.DataFrame:
    return pd.DataFrame(authored() | {"author": pd.array(authored()["author"], dtype="Int64")})


def write(columns: dict[str, list], path):
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(columns), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        lines = [columns, *([("" if v is None else str(v)) for v in row.values()] for row in rows)]
        path.write_text("".join(separator.join(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_identifiers_keep_every_digit_as_groups_labels_and_kept_columns(tmp_path, suffix) -> None:
    path = write(authored(), tmp_path / f"mine{suffix}")
    grouped = load_dataset(path, group="author")
    assert set(grouped.table["group"][:-1]) == set(map(str, IDS))
    assert grouped.table["group"].value_counts()[str(IDS[0])] == 20
    labelled = load_dataset(path, labels=["author"])
    assert labelled.label("author").n == {str(IDS[0]): 20, str(IDS[1]): 20, str(IDS[2]): 19}
    kept = load_dataset(path, labels=["kind"])
    assert [int(v) for v in kept.table["author"][:3]] == IDS
    again = load_dataset(kept.save(tmp_path / "saved.parquet"))
    assert [int(v) for v in again.table["author"][:3]] == IDS


def test_identifiers_of_a_hugging_face_set_and_of_a_nullable_column_keep_every_digit(tmp_path) -> None:
    assert dataset_from_table(nullable(), labels="author").label("author").values == tuple(map(str, IDS))
    hub = pytest.importorskip("datasets")
    hub.Dataset.from_dict(authored()).save_to_disk(str(tmp_path / "hub"))
    assert load_dataset(tmp_path / "hub", labels="author").label("author").values == tuple(map(str, IDS))


@pytest.mark.parametrize("rounded", [pd.Series([float(v) for v in IDS]), pd.Series([f"{v:.5e}" for v in IDS])])
def test_identifiers_that_were_rounded_before_are_refused(rounded) -> None:
    frame = pd.DataFrame({"text": texts(3), "author": rounded})
    for use in ({"group": "author"}, {"labels": "author"}):
        with pytest.raises(DataError, match="rounded when it was stored as a floating point number"):
            dataset_from_table(frame, **use)


def test_one_row_without_a_group_is_a_group_of_its_own_and_takes_no_split() -> None:
    table = dataset_from_table(nullable(), group="author").table
    assert table["group"].nunique() == 4
    assert sorted(table["split"].value_counts()) in ([19, 20, 21], [20, 20, 20])


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x", "y", "z", "u", "v", None])), min_size=1, max_size=40)
)
def test_no_copy_and_no_group_falls_into_two_splits(rows) -> None:
    frame = pd.DataFrame({"text": [f"text {t}" for t, _ in rows], "group": pd.Series([g for _, g in rows], dtype=object)})
    if frame["group"].isna().all():
        frame["group"] = "one"
    table = dataset_from_table(frame).table.assign(own=frame["group"])
    assert table.groupby("text")["split"].nunique().max() == 1
    assert table.groupby("own")["split"].nunique().max() == 1
    assert table.groupby("group")["split"].nunique().max() == 1
    turned = dataset_from_table(frame[::-1]).table
    assert dict(zip(table["text"], table["split"], strict=True)) == dict(zip(turned["text"], turned["split"], strict=True))


@settings(max_examples=60)
@given(st.integers(1, 60), st.integers(1, 4))
def test_groups_of_one_size_are_dealt_out_as_by_their_number(groups, size) -> None:
    names = [f"group {i % groups}" for i in range(groups * size)]
    expected = assign_splits(names)
    assert deal_out(names, [False] * len(names)) == [expected[name] for name in names]


def test_the_shares_of_groups_of_unequal_size_are_of_rows() -> None:
    rng = np.random.default_rng(0)
    names = [f"author {i}" for i in range(200) for _ in range(int(rng.pareto(1.5) * 4) + 1)]
    shares = pd.Series(deal_out(names, [False] * len(names))).value_counts(normalize=True)
    assert abs(shares["train"] - 0.7) < 0.05
    assert min(shares["validation"], shares["test"]) > 0.1
    large = ["whale"] * 56 + list("abcd")
    found = dict(zip(large, deal_out(large, [False] * 60), strict=True))
    assert found["whale"] == "train"
    assert set(found.values()) == {"train", "validation", "test"}


def test_copies_are_counted_and_left_out_when_asked() -> None:
    frame = pd.DataFrame({"text": [*texts(10), *texts(4)], "kind": list("ab") * 7})
    said = dataset_from_table(frame)
    assert any("4 of 14 texts are copies of an earlier one" in note for note in said.notes)
    once = dataset_from_table(frame, drop_duplicates=True)
    assert once.inputs() == texts(10)
    assert any("4 of 14 texts were copies of an earlier one and were left out" in note for note in once.notes)
    assert not copies(texts(10)).any()


def test_a_split_column_that_separates_copies_is_refused_by_row() -> None:
    frame = pd.DataFrame({"text": ["same", "other", "same", "third"], "split": ["train", "test", "test", "train"]})
    with pytest.raises(DataError, match=r"row 2 .*in test, is a copy of that of row 0, in train.*drop_duplicates=True"):
        dataset_from_table(frame)
    assert dataset_from_table(frame, drop_duplicates=True).inputs() == ["same", "other", "third"]


def test_copies_of_an_image_stay_on_one_side() -> None:
    shades = [np.full((2, 2), shade, np.uint8) for shade in range(12)]
    frame = pd.DataFrame({"image": pd.Series(shades * 3, dtype=object), "group": [f"album {i // 9}" for i in range(36)]})
    data = dataset_from_table(frame)
    sides = pd.Series([image.tobytes() for image in data.inputs()]).groupby(data.table["split"]).unique()
    assert sum(map(len, sides)) == 12
    assert len(dataset_from_table(frame[["image"]], drop_duplicates=True)) == 12


def test_what_a_person_names_as_a_label_has_classes() -> None:
    frame = pd.DataFrame(
        {"text": texts(160), "year": [1850 + i % 80 for i in range(160)], "share": [i / 160 for i in range(160)]}
    )
    frame["document"] = [10**15 + i for i in range(160)]
    frame["author_id"] = [i % 70 for i in range(160)]
    guessed = dataset_from_table(frame)
    assert {label.name: label.kind for label in guessed.labels} == {"year": "numeric", "share": "numeric", "document": "numeric"}
    named = dataset_from_table(frame, labels=["year", "share"])
    assert named.label("year").kind == "class"
    assert named.label("year").values[:2] == ("1850", "1851")
    assert len(named.label("year").values) == 80
    assert named.label("share").kind == "numeric"


WORDS = ["0", "1", "nan", "NaN", "None", "null", "NA", "N/A", "<NA>", "", "none", "1"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_words_for_missing_are_missing_and_are_counted(tmp_path, suffix) -> None:
    columns = {"text": texts(12), "answer": WORDS, "side": ["left", "NaN", "right"] * 4}
    path = write(columns, tmp_path / f"mine{suffix}")
    data = load_dataset(path)
    # A class spelled none in lower case is a class.
    assert data.label("answer").n == {"0": 1, "1": 2, "none": 1}
    assert data.label("side").n == {"left": 4, "right": 4}
    assert any(note.startswith("11 cells say") and "'answer', 'side'" in note for note in data.notes)
    kept = load_dataset(path, missing=["NA"], labels=["answer", "side"])
    assert {"None", "nan", "null"} <= set(kept.label("answer").values)
    assert "NA" not in kept.label("answer").values
    assert load_dataset(**kept.source).hash == kept.hash
    assert load_dataset(kept.save(tmp_path / "saved.parquet")).label("answer").n == kept.label("answer").n


def test_numbers_beside_words_for_missing_stay_numbers(tmp_path) -> None:
    path = write({"text": texts(4), "answer": ["0", "1", "nan", "10"]}, tmp_path / "mine.csv")
    assert load_dataset(path).label("answer").values == ("0", "1", "10")


@pytest.mark.parametrize(("mark", "called"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_the_delimiter_is_found_out(tmp_path, mark, called, encoding) -> None:
    lines = [["id", "text", "size", "kind"], ["1", "one, two", "3,5", "a"], ["2", f'"three{mark} four"', "4,25", "b"]]
    (tmp_path / "mine.csv").write_text("".join(mark.join(line) + "\n" for line in lines), encoding=encoding)
    data = load_dataset(tmp_path / "mine.csv", labels=["size", "kind"], encoding="utf-8")
    assert data.inputs() == ["one, two", f"three{mark} four"]
    # A decimal comma stays the text that it is.
    assert data.label("size").values == ("3,5", "4,25")
    assert f"The columns of mine.csv are separated by {called}." in data.notes
    assert list(data.table.columns) == ["text", "split", "group", "size", "kind", "id"]


def test_commas_stay_the_delimiter_where_they_give_columns(tmp_path) -> None:
    (tmp_path / "mine.csv").write_text("text,kind\na;b;c,x\nd;e;f,y\n")
    assert load_dataset(tmp_path / "mine.csv").inputs() == ["a;b;c", "d;e;f"]
    (tmp_path / "two.csv").write_text("text, raw|kind\none, two|x\nthree, four|y\n")
    data = load_dataset(tmp_path / "two.csv", text="text")
    assert "The columns of two.csv are separated by commas, though vertical bars would give columns as well." in data.notes
    (tmp_path / "one.csv").write_text("text\none|two\nthree\n")
    assert load_dataset(tmp_path / "one.csv", text="text").inputs() == ["one|two", "three"]


@pytest.mark.parametrize("mark", [";", "\t", "|"])
def test_one_row_that_is_too_short_or_too_long_does_not_hide_the_delimiter(tmp_path, mark) -> None:
    lines = ["text;kind;size", "one;a;1", "two;b;2", "three;a"]
    (tmp_path / "short.csv").write_text("\n".join(lines).replace(";", mark))
    assert list(read_table(tmp_path / "short.csv").columns) == ["text", "kind", "size"]
    assert read_table(tmp_path / "short.csv")["size"].tolist() == ["1", "2", None]
    (tmp_path / "long.csv").write_text("\n".join([*lines[:3], "three;a;3;4"]).replace(";", mark))
    with pytest.raises(DataError, match=r"Line 4 of 'long\.csv' has 4 fields where the header has 3"):
        read_table(tmp_path / "long.csv")
    # A header of one column that holds such a mark, over texts that do not.
    (tmp_path / "one.csv").write_text("text; as it was said\none\ntwo\nthree\n".replace(";", mark))
    assert read_table(tmp_path / "one.csv").shape == (3, 1)


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    for number, kind in enumerate("aabb"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (40 * number, 0, 0)).save(folder / kind / f"{number}.png")
    return folder


def test_one_broken_image_is_named_and_left_out_when_asked(pictures) -> None:
    whole = (pictures / "a" / "0.png").read_bytes()
    (pictures / "b" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"'b/cut.jpg' of row 4 .*cannot be read.*drop_unreadable=True"):
        load_dataset(pictures)
    with pytest.warns(WorkbenchWarning, match="1 of 5 images cannot be read and were left out: 'b/cut.jpg'"):
        data = load_dataset(pictures, drop_unreadable=True)
    assert len(data) == 4
    assert data.label("label").n == {"a": 2, "b": 2}
    assert load_dataset(pictures, limit=1).label("label").values == ("a", "b")
    assert data.table["file"].tolist() == ["a/0.png", "a/1.png", "b/2.png", "b/3.png"]
    with pytest.warns(WorkbenchWarning, match="cut.jpg"):
        assert load_dataset(**data.source).hash == data.hash


def test_a_text_in_another_encoding_is_left_out_when_asked(tmp_path) -> None:
    for name, raw in (("one", b"plain"), ("two", "caf\xe9".encode("latin-1")), ("three", b"also plain")):
        (tmp_path / f"{name}.txt").write_bytes(raw)
    with pytest.raises(DataError, match=r"'two.txt' is not UTF-8"):
        load_dataset(tmp_path)
    data = load_dataset(tmp_path, drop_unreadable=True)
    assert data.inputs() == ["plain", "also plain"]
    assert any("1 of 3 files are not in the encoding and were left out: 'two.txt'" in note for note in data.notes)


def test_a_picture_taken_on_its_side_is_upright_and_its_boxes_lie_in_it(tmp_path) -> None:
    upright = np.zeros((6, 4, 3), np.uint8)
    upright[:2, :, 0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned to the left: a viewer turns it to the right
    Image.fromarray(np.rot90(upright)).save(tmp_path / "side.png", exif=exif)
    Image.fromarray(upright).save(tmp_path / "up.png")
    boxes = [[{"x0": 0, "y0": 0, "x1": 4, "y1": 6, "label": "all"}]] * 2
    frame = pd.DataFrame({"image": ["side.png", "up.png"], "regions": boxes})
    data = dataset_from_table(frame, image_folder=tmp_path)
    np.testing.assert_array_equal(data.inputs()[0], data.inputs()[1])
    assert data.inputs()[0].shape == (6, 4, 3)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_pixels_are_white_and_not_what_they_hide(tmp_path, mode) -> None:
    hidden = np.zeros((2, 2, 4), np.uint8)
    hidden[..., 1] = 255
    hidden[0, :, 3] = 255
    picture = Image.fromarray(hidden)
    if mode == "P":
        picture = Image.fromarray(np.array([[1, 1], [0, 0]], np.uint8), "P")
        picture.putpalette([255, 0, 0, 0, 255, 0])
        picture.info["transparency"] = 0
    picture = picture if mode == "P" else picture.convert(mode)
    picture.save(tmp_path / "glass.png", **({"transparency": 0} if mode == "P" else {}))
    data = dataset_from_table(pd.DataFrame({"image": ["glass.png", "glass.png"]}), image_folder=tmp_path)
    image = data.inputs()[0]
    assert (image[1] == 255).all()
    assert not (image[0] == 255).all()
    if mode == "RGBA":
        array = dataset_from_table(pd.DataFrame({"image": pd.Series([hidden, hidden], dtype=object)}))
        np.testing.assert_array_equal(array.inputs()[0], image)


def ramp(kind) -> np.ndarray:
    return np.linspace(0, 65535, 2400).reshape(40, 60).astype(kind)


def test_a_transparent_value_of_sixteen_bits_is_white_and_the_others_stay(tmp_path) -> None:
    values = ramp(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    for clear in (0, int(values[20, 30])):
        Image.fromarray(values).save(tmp_path / "b.png", transparency=clear)
        frame = pd.DataFrame({"image": ["a.png", "b.png"], "kind": ["x", "y"]})
        plain, with_hole = dataset_from_table(frame, image_folder=tmp_path).inputs()
        np.testing.assert_array_equal(plain, values >> 8)
        np.testing.assert_array_equal(with_hole, np.where(values == clear, 255, values >> 8))


def test_wide_integers_of_a_data_set_have_one_scale(tmp_path) -> None:
    shades = [100, 200, 255, 256, 300, 60000]
    flat = [np.full((4, 4), shade) for shade in shades]
    bright = dataset_from_table(pd.DataFrame({"image": pd.Series(flat, dtype=object)})).inputs()
    assert [int(image[0, 0]) for image in bright] == [0, 0, 0, 1, 1, 234]
    dark = dataset_from_table(pd.DataFrame({"image": pd.Series(flat[:3], dtype=object)})).inputs()
    assert [int(image[0, 0]) for image in dark] == shades[:3]
    # A type that says its scale has it, whatever stands beside it.
    mixed = [np.full((4, 4), 200, np.uint8), np.full((4, 4), 200, np.uint16), np.full((4, 4), 200), np.full((4, 4), 40000)]
    found = dataset_from_table(pd.DataFrame({"image": pd.Series(mixed, dtype=object)})).inputs()
    assert [int(image[0, 0]) for image in found] == [200, 0, 0, 156]
    assert all(image.dtype == np.uint8 for image in found)
    for name, values in (("dark", ramp(np.int32) // 1024), ("bright", ramp(np.int32))):
        Image.fromarray(values).save(tmp_path / f"{name}.tif")
    found = load_dataset(tmp_path).inputs()
    np.testing.assert_array_equal(found[0], ramp(np.int32) >> 8)
    assert found[1].max() == 0


def test_files_that_are_not_read_are_named_and_jfif_is_read(pictures) -> None:
    Image.new("RGB", (6, 4)).save(pictures / "a" / "more.jfif", "JPEG")
    (pictures / "a" / "phone.heic").write_bytes(b"not read")
    (pictures / "notes.md").write_text("what these are")
    data = load_dataset(pictures)
    assert "a/more.jfif" in data.table["file"].tolist()
    assert data.notes[0] == "2 files are of a kind that is not read here, and left out: 'a/phone.heic', 'notes.md'."


def test_a_model_reads_an_image_as_a_data_set_does(tmp_path) -> None:
    glass = np.zeros((4, 6, 4), np.uint8)
    glass[..., 1], glass[:2, :, 3] = 255, 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(glass).save(tmp_path / "glass.png")
    Image.fromarray(glass[..., :3]).save(tmp_path / "side.png", exif=exif)
    names = ["deep.png", "glass.png", "side.png"]
    data = dataset_from_table(pd.DataFrame({"image": names}), image_folder=tmp_path)
    for name, image in zip(names, data.inputs(), strict=True):
        with Image.open(tmp_path / name) as opened:
            np.testing.assert_array_equal(np.asarray(rgb(opened)), np.asarray(rgb(image)))


def test_numbers_that_hardly_repeat_are_a_quantity_in_a_small_table_too() -> None:
    """48 scores with fractions in 60 rows are no 48 classes; half stars are, and what a person names is what it is named."""
    table = pd.DataFrame({"text": [f"text number {i}" for i in range(60)], "score": [i / 7 for i in range(48)] * 1 + [1.0] * 12})
    table["stars"] = [(i % 9) / 2 for i in range(60)]
    kinds = {label.name: label.kind for label in dataset_from_table(table, text="text").example_labels}
    assert kinds == {"score": "numeric", "stars": "class"}
    assert dataset_from_table(table, text="text", labels=["score"]).example_labels[0].kind == "class"
