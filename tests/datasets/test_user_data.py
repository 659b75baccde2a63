"""A person's own data: every kind of file, every character kept, the same data set whichever file held it."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from workbench.datasets import dataset_from_table, load_dataset, load_vocabulary
from workbench.errors import DataError

HOSTILE = [
    "nul \0 inside",
    "\u202eright to left\u202c and \u200f mark",
    "<script>alert('x')</script> & \"quoted\", commas",
    "x" * 1_000_000,
    "line\none\r\ntwo\u2028three\x85four",
    "  spaces kept\t",
    "emoji \U0001f600 and é",
]


def frame(n=12):
    kinds = ["a", "b", "c"]
    return pd.DataFrame({"text": [f"text number {i}" for i in range(n)], "kind": [kinds[i % 3] for i in range(n)]})


def write_as(table, path):
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")), encoding="utf-8")
    elif path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        separator = "," if path.suffix == ".csv" else "\t"
        raw = table.to_csv(None, index=False, sep=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
        path.write_bytes(raw.encode())
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_hostile_texts_load_unchanged(tmp_path, suffix):
    table = pd.DataFrame({"text": HOSTILE, "label": ["a", "b"] * 3 + ["a"]})
    data = load_dataset(write_as(table, tmp_path / f"mine{suffix}"))
    assert data.inputs() == HOSTILE


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).filter(lambda t: t.strip())
rows = st.lists(st.tuples(texts, st.sampled_from(["yes", "no", ""]), st.integers(0, 3)), min_size=2, max_size=12)


@settings(max_examples=30)
@given(rows)
def test_every_kind_of_file_gives_the_same_data_set(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("files")
    # Two more rows make sure that each label has two classes.
    rows = [*rows, ("one more", "yes", 0), ("and one", "no", 1)]
    table = pd.DataFrame(rows, columns=["text", "answer", "number"])
    made = dataset_from_table(table, text="text", labels=["answer", "number"])
    for suffix in (".csv", ".tsv", ".jsonl", ".parquet"):
        path = write_as(table, folder / f"mine{suffix}")
        data = load_dataset(path, text="text", labels=["answer", "number"])
        assert data.hash == made.hash
        assert load_dataset(**data.source).hash == made.hash
    assert load_dataset(made.save(folder / "saved.parquet")).hash == made.hash


@settings(max_examples=50)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=60))
def test_a_split_never_cuts_a_group(groups):
    table = pd.DataFrame({"text": [f"text {i}" for i in range(len(groups))], "group": groups})
    data = dataset_from_table(table)
    assert data.table.groupby("group")["split"].nunique().max() == 1
    if len(set(groups)) >= 3:
        assert set(data.table["split"]) == {"train", "validation", "test"}
    again = dataset_from_table(table.iloc[::-1])
    sides = dict(zip(data.table["group"], data.table["split"], strict=True))
    assert sides == dict(zip(again.table["group"], again.table["split"], strict=True))


def test_copies_of_a_text_stay_on_one_side():
    table = pd.concat([frame(40), frame(40)])
    assert dataset_from_table(table).table.groupby("text")["split"].nunique().max() == 1


def spanned():
    table = frame(6).assign(split=["train", "dev", "test"] * 2)
    table["spans"] = [
        [{"start": 0, "end": 4, "label": "noun"}, {"start": 5, "end": 6, "label": "n"}],
        [],
        None,
    ] * 2
    return table


def test_the_hash_changes_with_text_label_split_and_span_and_with_nothing_else():
    base = dataset_from_table(spanned()).hash
    assert dataset_from_table(spanned()[["spans", "kind", "split", "text"]], name="other").hash == base
    turned = spanned()
    turned.at[0, "spans"] = turned.at[0, "spans"][::-1]
    assert dataset_from_table(turned).hash == base
    changes = {
        "text": "another text",
        "kind": "b",
        "split": "test",
        "spans": [{"start": 0, "end": 3, "label": "noun"}],
    }
    hashes = {base}
    for column, value in changes.items():
        changed = spanned()
        changed.at[0, column] = value
        hashes.add(dataset_from_table(changed).hash)
    unknown = spanned()
    unknown.at[1, "spans"] = None
    hashes.add(dataset_from_table(unknown).hash)
    assert len(hashes) == 6


def test_texts_cannot_run_together_into_one_hash():
    one = dataset_from_table(pd.DataFrame({"text": ["ab", "c"], "split": "train"}))
    two = dataset_from_table(pd.DataFrame({"text": ["a", "bc"], "split": "train"}))
    assert one.hash != two.hash


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_files_need_no_word_about_their_encoding(tmp_path, encoding):
    (tmp_path / "mine.csv").write_text("text,kind\nhéllo wörld,a\nsalut à tous,b\n", encoding=encoding)
    data = load_dataset(tmp_path / "mine.csv")
    assert data.inputs() == ["héllo wörld", "salut à tous"]
    assert data.label("kind").values == ("a", "b")


def test_another_encoding_is_named(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes("text,kind\nplain,a\ncafé,b\n".encode("cp1252"))
    with pytest.raises(DataError, match=r'line 3 .*encoding="cp1252"'):
        load_dataset(path)
    data = load_dataset(path, encoding="cp1252")
    assert data.inputs() == ["plain", "café"]
    assert load_dataset(**data.source).hash == data.hash
    with pytest.raises(DataError, match="There is no encoding 'klingon'"):
        load_dataset(path, encoding="klingon")


def test_spans_come_as_lists_or_as_json(tmp_path):
    table = spanned()
    data = dataset_from_table(table)
    assert data.span_scope.tolist() == [True, True, False] * 2
    assert data.spans["label"].tolist() == ["noun", "n"] * 2
    assert data.span_targets() == ["token:n", "token:noun"]
    table["spans"] = [None if s is None else json.dumps(s) for s in table["spans"]]
    assert load_dataset(write_as(table.fillna(""), tmp_path / "mine.csv")).hash == data.hash
    assert load_dataset(data.save(tmp_path / "saved.parquet")).hash == data.hash


def test_a_subset_takes_its_spans_along():
    data = dataset_from_table(spanned())
    part = data.subset([3, 1, 3])
    assert part.inputs() == [data.inputs()[i] for i in (3, 1, 3)]
    assert part.spans["example"].tolist() == [0, 0, 2, 2]
    assert part.span_scope.tolist() == [True, True, True]
    assert part.label("kind").values == ("a", "b", "c")
    assert part.label("kind").n == {"a": 2, "b": 1, "c": 0}
    with pytest.raises(DataError, match="There is no example 6"):
        data.subset([6])


def test_a_sample_can_be_balanced():
    table = pd.DataFrame({"text": [f"t {i}" for i in range(100)], "kind": ["rare"] * 5 + ["common"] * 95})
    data = dataset_from_table(table)
    assert data.sample(20, seed=1, by="kind").label("kind").n == {"common": 15, "rare": 5}
    assert data.sample(20, seed=1).hash == data.sample(20, seed=1).hash
    assert len(data.head(3)) == 3


def test_targets_are_one_zero_or_missing():
    table = pd.DataFrame({"text": list("wxyz"), "kind": ["a", "b", None, "a"], "ok": [True, False, True, None]})
    names, targets = dataset_from_table(table).example_targets()
    assert names == ["kind=a", "kind=b", "ok=false", "ok=true"]
    assert targets.dtype == np.float32
    nan = np.nan
    expected = [[1, 0, 0, 1], [0, 1, 1, 0], [nan, nan, 0, 1], [1, 0, nan, nan]]
    np.testing.assert_array_equal(targets, expected)


def test_numbers_are_classes_while_they_are_few():
    n = 120
    table = pd.DataFrame({"text": [f"t {i}" for i in range(n)], "stars": [i % 5 for i in range(n)]})
    table["score"] = np.linspace(0, 1, n)
    data = dataset_from_table(table)
    assert data.label("stars").values == ("0", "1", "2", "3", "4")
    assert data.label("score").kind == "numeric"
    assert data.table["score"].tolist() == table["score"].tolist()
    assert all(name.startswith("stars=") for name in data.example_targets()[0])


def test_a_folder_of_texts_has_its_labels_as_sub_folders(tmp_path):
    for split in ("train", "test"):
        for kind in ("cats", "dogs"):
            (tmp_path / split / kind).mkdir(parents=True)
            for i in range(2):
                (tmp_path / split / kind / f"{i}.txt").write_text(f"{kind} {i} in {split}\n")
    data = load_dataset(tmp_path)
    assert data.label("label").n == {"cats": 4, "dogs": 4}
    assert data.table["split"].tolist() == ["test"] * 4 + ["train"] * 4
    lines = "".join(
        f"{split}/{kind}/{i}.txt,{'hot' if i else 'cold'}\n"
        for split in ("train", "test")
        for kind in ("cats", "dogs")
        for i in range(2)
    )
    (tmp_path / "labels.csv").write_text("file,weather\n" + lines)
    assert load_dataset(tmp_path).label("weather").n == {"cold": 4, "hot": 4}
    (tmp_path / "labels.csv").write_text("file,weather\nlost.txt,hot\n")
    with pytest.raises(DataError, match=r"names 'lost.txt', which is not in the folder"):
        load_dataset(tmp_path)


def image(value, size=(6, 4), mode="RGB"):
    return Image.new(mode, size, value)


def test_a_folder_of_images_and_a_table_of_their_paths_agree(tmp_path):
    for kind, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        (tmp_path / "pictures" / kind).mkdir(parents=True)
        for i in range(2):
            image(colour, size=(6 + i, 4)).save(tmp_path / "pictures" / kind / f"{i}.png")
    by_folder = load_dataset(tmp_path / "pictures", labels="label")
    assert by_folder.modality == "image"
    assert [x.shape for x in by_folder.inputs()] == [(4, 6, 3), (4, 7, 3)] * 2
    paths = [f"pictures/{kind}/{i}.png" for kind in ("blue", "red") for i in range(2)]
    table = pd.DataFrame({"image": paths, "label": ["blue", "blue", "red", "red"]})
    by_table = load_dataset(write_as(table, tmp_path / "table.csv"))
    assert by_table.hash == by_folder.hash
    assert load_dataset(**by_table.source).hash == by_table.hash


def test_regions_are_boxes_in_pixels():
    boxes = [[{"x0": 0, "y0": 1, "x1": 6, "y1": 4, "label": "sleeve"}], []]
    data = dataset_from_table(pd.DataFrame({"image": [image((9, 9, 9)), image((1, 1, 1))], "regions": boxes}))
    assert data.span_targets() == ["region:sleeve"]
    assert data.spans.to_dict("records") == [{"example": 0, "x0": 0, "y0": 1, "x1": 6, "y1": 4, "label": "sleeve"}]
    boxes[0][0]["x1"] = 7
    with pytest.raises(DataError, match="lies outside its example of 6 by 4 pixels"):
        dataset_from_table(pd.DataFrame({"image": [image(0, mode="L"), image(1, mode="L")], "regions": boxes}))


def test_images_come_as_bytes_arrays_and_in_odd_modes():
    stored = io.BytesIO()
    image((1, 2, 3, 128), mode="RGBA").save(stored, "PNG")
    cells = [stored.getvalue(), np.zeros((4, 6), np.uint8), image(1, mode="1"), np.full((4, 6, 3), 0.5)]
    data = dataset_from_table(pd.DataFrame({"image": pd.Series(cells, dtype=object)}))
    assert [x.shape for x in data.inputs()] == [(4, 6, 3), (4, 6), (4, 6), (4, 6, 3)]
    assert all(x.dtype == np.uint8 for x in data.inputs())
    assert data.inputs()[3][0, 0, 0] == 128


def test_a_hugging_face_folder_keeps_its_splits(tmp_path):
    hub = pytest.importorskip("datasets")
    features = hub.Features({"text": hub.Value("string"), "label": hub.ClassLabel(names=["bad", "good"])})
    parts = {
        name: hub.Dataset.from_dict({"text": [f"{name} {i}" for i in range(4)], "label": [0, 1, 0, 1]}, features=features)
        for name in ("train", "test", "unsupervised")
    }
    hub.DatasetDict(parts).save_to_disk(str(tmp_path / "whole"))
    data = load_dataset(tmp_path / "whole")
    assert data.label("label").n == {"bad": 4, "good": 4}
    assert data.table["split"].tolist() == ["train"] * 4 + ["test"] * 4
    assert "unsupervised" in data.notes[0]
    parts["train"].save_to_disk(str(tmp_path / "one"))
    assert len(load_dataset(tmp_path / "one")) == 4


def test_what_is_shown_is_escaped():
    table = pd.DataFrame({"text": HOSTILE[:4], "<b>kind</b>": ["<script>", "\u202ex", "<script>", "\u202ex"]})
    data = dataset_from_table(table, name="<img src=x>")
    page = data._repr_html_()
    assert "<script>" not in page
    assert "<img" not in page
    assert "<b>" not in page
    assert "\u202e" not in page
    assert "\0" not in page + repr(data)
    assert len(page) < 5000
    json.dumps(data.describe())
    assert list(data.labels_table().columns) == ["label", "level", "value", "n", "share"]


def test_limit_takes_an_even_spread(tmp_path):
    data = load_dataset(write_as(frame(12), tmp_path / "mine.csv"), limit=4)
    assert data.inputs() == [f"text number {i}" for i in (0, 3, 6, 9)]
    assert load_dataset(**data.source).hash == data.hash


def test_a_vocabulary_of_ones_own(tmp_path):
    (tmp_path / "words.txt").write_text("sea\nhigh  tide\n\nsea\n")
    assert load_vocabulary(tmp_path / "words.txt") == ["sea", "high tide"]
    (tmp_path / "words.csv").write_text("n,word\n1,sea\n2,tide\n")
    assert load_vocabulary(tmp_path / "words.csv") == ["sea", "tide"]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(DataError, match="is empty"):
        load_vocabulary(tmp_path / "none.txt")
