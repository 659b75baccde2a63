"""A person's own table from shell alone: captured once, grouped, split without leaks, labels changed afterwards."""

from __future__ import annotations

import json
import random

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from tests.cli.test_commands import call
from workbench.cli.console import STATE, show_table
from workbench.cli.options import many

LONG = 1_844_674_407_370_955_161


@pytest.fixture
def reviews(tmp_path):
    """Semicolons, ids of 19 digits, copies, nulls and five columns of labels."""
    rng = random.Random(0)
    words = ["money", "bank", "river", "walk", "law", "sea", "army", "peace", "farm", "school"]
    lines = ["id;author;review;topic;mood;era;stars;answer;half"]
    for i in range(240):
        text = " ".join(rng.choice(words) for _ in range(8))
        text = lines[-3].split(";")[2].strip('"') if i % 12 == 11 else text
        author = "" if i % 40 == 0 else LONG + i % 30
        topic = "money" if "money" in text else "other"
        cells = [
            LONG + i,
            author,
            f'"{text}"',
            topic,
            ["calm", "wild", "NaN"][i % 3],
            ["old", "new"][i % 2],
            i % 5,
            "NA" if i % 9 == 0 else i % 2,
        ]
        lines.append(";".join(map(str, [*cells, "law" if "law" in text else "none"])))
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def told(capsys, *arguments: str):
    code, out, err = call(capsys, "--json", *arguments)
    assert code == 0, out + err
    return json.loads(out)


def test_the_whole_way_from_a_table_with_long_ids(reviews, tmp_path, capsys) -> None:
    study = str(tmp_path / "study")
    data = [
        "--data",
        str(reviews),
        "--text",
        "review",
        "--group",
        "author",
        "--sites",
        "resid_post.0,resid_post.1",
        "--pool",
        "mean",
    ]
    first = told(capsys, "capture", study, *data)
    assert first["new"]
    assert first["sites"] == ["resid_post.0", "resid_post.1"]
    said = " ".join(first["notes"])
    for part in (
        "separated by semicolons",
        "20 of 240 texts are copies",
        "'NA', 'NaN'",
        "so that no copies fall into two splits",
    ):
        assert part in said

    shown = told(capsys, "labels", study)
    use = {row["column"]: row["use"] for row in shown["columns"]}
    assert {"topic", "mood", "era", "stars", "half"} <= {name for name, kind in use.items() if kind == "label"}
    assert use["author"] == use["id"] == "kept"
    assert {row["column"]: row["values"] for row in shown["columns"]}["author"] == 30
    assert min(shown["splits"].values()) > 20

    runs = [told(capsys, "run", study, "linear_probe", "--labels", labels, "--sites", "resid_post.1", "--set", "controls=false")
            for labels in ("topic", "half,topic", "topic")]  # fmt: skip
    assert runs[0]["run"] == runs[2]["run"] != runs[1]["run"]
    assert {row["label"] for row in runs[1]["metrics"]} == {"half=none", "topic=other"}

    # Other labels from a file, by an id that a float cannot tell from its neighbours.
    lines = [f"{LONG + i},{'up' if i < 120 else 'down'}" for i in range(240)]
    (tmp_path / "trend.csv").write_text("id,trend\n" + "\n".join(lines) + "\n")
    changed = told(capsys, "labels", study, str(tmp_path / "trend.csv"), "--key", "id", "--labels", "trend,topic")
    assert changed["hash"] != shown["hash"]
    assert changed["splits"] == shown["splits"]
    assert told(capsys, "run", study, "linear_probe", "--labels", "trend", "--sites", "resid_post.1", "--set", "controls=false")
    again = told(capsys, "capture", study, *data, "--labels", "era", "--labels", "stars")
    assert not again["new"]
    assert again["activations"] == first["activations"]
    assert len(told(capsys, "show", study)["activations"]) == 1


def test_columns_of_any_kind_are_captured_and_become_labels_as_they_were_written(tmp_path, capsys) -> None:
    rows = [
        {"text": f"the cat number {i} sat on the mat", "id": i, "label": i % 2, "country": ["NA", "DE", "FR"][i % 3],
         "year": 1900 + i % 60, "meta": {}, "uuid": 2**127 + i, "note": "half \ud83d"}
        for i in range(180)
    ]  # fmt: skip
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    study = str(tmp_path / "study")
    told(capsys, "capture", study, "--data", str(tmp_path / "mine.jsonl"), "--sites", "embed", "--pool", "mean", "--missing", "")
    use = {row["column"]: (row["use"], row["values"]) for row in told(capsys, "labels", study)["columns"]}
    assert use["year"] == ("quantity", 60)
    assert use["meta"] == ("kept", 1)
    assert use["uuid"] == ("kept", 180)
    named = told(capsys, "labels", study, "--labels", "label,country,year")
    use = {row["column"]: (row["use"], row["values"]) for row in named["columns"]}
    assert use["country"] == ("label", 3)
    assert use["year"] == ("label", 60)
    words = told(capsys, "labels", study, "--missing", "NA")
    assert "60 cells say 'NA' in 'country', and count as missing" in " ".join(words["notes"])
    assert {row["column"]: row["values"] for row in words["columns"]}["country"] == 2
    again = told(capsys, "labels", study, "--missing", "", "--labels", "label,country")
    assert {row["column"]: row["values"] for row in again["columns"]}["country"] == 3
    ran = told(capsys, "run", study, "linear_probe", "--labels", "country", "--set", "controls=false")
    assert {row["label"] for row in ran["metrics"]} | {row["label"] for row in ran["skipped"]} == {
        "country=DE", "country=FR", "country=NA",
    }  # fmt: skip
    # A split that nobody asked for is kept beside, and one that is asked for is checked.
    lines = [f"{i},{'up' if i % 2 else 'down'},{['dev', 'test'][i % 2]}" for i in range(45)]
    (tmp_path / "trend.csv").write_text("id,trend,split\n" + "\n".join(lines) + "\n")
    more = told(capsys, "labels", study, str(tmp_path / "trend.csv"), "--key", "id", "--labels", "trend")
    assert more["splits"] == again["splits"]
    assert any("'split' of 'trend.csv' is kept as 'split column'" in note for note in more["notes"])
    code, out, _ = call(capsys, "--json", "labels", study, str(tmp_path / "trend.csv"), "--key", "id", "--split", "split")
    assert code == 2
    assert "Row 45" in json.loads(out)["error"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--limit", "30", "--seed", "-1"), "A seed is a whole number from 0 to 2,000,000,000, not -1."),
        (("--sample-by", "topic"), "give limit= (--limit) as well"),
    ],
)
def test_a_drawing_that_cannot_be_is_refused_in_a_sentence(tmp_path, capsys, arguments, words) -> None:
    code, out, _ = call(capsys, "--json", "capture", str(tmp_path / "s"), "--data", "topics", "--sites", "embed", *arguments)
    assert code == 2
    assert words in json.loads(out)["error"]


def test_a_study_without_activations_says_so(tmp_path, capsys) -> None:
    wb.open_study(tmp_path / "empty")
    code, out, _ = call(capsys, "--json", "run", str(tmp_path / "empty"), "linear_probe")
    assert code == 2
    assert json.loads(out)["error"] == "The study 'empty' has no activations yet: capture some first (workbench capture)."


def test_options_of_data_are_those_of_python(capsys, reviews) -> None:
    found = told(
        capsys, "data", str(reviews), "--text", "review", "--labels", "topic", "--group", "author", "--drop-duplicates",
        "--missing", "NaN", "--encoding", "utf-8",
    )  # fmt: skip
    assert found["n"] == 220
    assert found["source"]["missing"] == ["NaN"]
    assert found["source"]["drop_duplicates"]
    _, out, _ = call(capsys, "capture", "--help")
    for option in (
        "text", "image", "labels", "group", "split", "spans", "regions", "missing", "encoding", "drop-blank", "drop-duplicates",
        "drop-unreadable", "image-folder",
    ):  # fmt: skip
        assert f"--{option}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("capture", "s", "--data", "x", "--label", "a"), "--label of capture is called --labels now"),
        (("run", "s", "linear_probe", "--at", "a"), "--at of run is called --sites now"),
        (("export-activations", "s", "f", "--at", "a"), "--at of export-activations is called --sites now"),
        (("examine", "s", "r", "--family", "a"), "--family of examine is called --families now"),
        (("report", "s", "--section", "a"), "--section of report is called --sections now"),
        (("capture", "s", "--data", "x", "--drop-duplicate"), "Did you mean --drop-duplicates?"),
        (("capture", "s", "--data", "x", "--grop", "a"), "Did you mean --group?"),
    ],
)
def test_an_unknown_option_is_answered_with_what_it_is_called(capsys, arguments, words) -> None:
    code, out, _ = call(capsys, "--json", *arguments)
    assert code == 2
    assert words in json.loads(out)["error"]


def test_lists_come_by_commas_or_by_giving_the_option_again() -> None:
    assert many(["a,b", "c"]) == ["a", "b", "c"]
    assert many([r"one\, two", "c"]) == ["one, two", "c"]
    assert many([""]) == []
    assert many(None) is None


def test_counts_are_whole_and_no_p_is_zero(capsys) -> None:
    frame = pd.DataFrame({"n": [225.0, np.nan, 47.0], "p": [0.0002, 0.05, np.nan], "value": [225.0, 0.00012, 0.5]})
    STATE.reset()
    show_table(frame)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == [["225", "<0.001", "225"], ["–", "0.050", "0.00012"], ["47", "–", "0.500"]]


def test_ids_stand_on_one_line_where_a_table_is_too_wide(capsys) -> None:
    ids = [f"concept_activation-{i:08x}.{i}" for i in range(3)]
    wide = {f"name {k}": ["a long name of a concept, which goes over several lines"] * 3 for k in range(4)}
    STATE.reset()
    show_table(pd.DataFrame(wide | {"concept": ids, "other": ids[::-1]}))
    out = capsys.readouterr().out
    assert all(out.count(name) == 2 for name in ids)


def test_sites_have_one_line_for_the_heads_of_a_layer_and_data_says_what_it_is(capsys) -> None:
    _, out, _ = call(capsys, "sites", "minilm")
    assert out.count("head_out") == 6
    assert "head_out.0.*" in out
    assert "12 heads" in out
    assert len(told(capsys, "sites", "minilm")) == 2 + 6 * 9 + 6 * 12
    assert all(row["what"] for row in told(capsys, "data"))
