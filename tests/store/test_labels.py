"""Labels, groups and splits of captured examples change without another capture, and runs keep those they were made with."""

from __future__ import annotations

import json
import shutil
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import workbench as wb
from workbench.activations.manifest import Request, parse_manifest
from workbench.analysis import Analysis, Context, Metric, Result, register
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError, DataError

SITE = "resid_post.0"


@register
class NoLabels(Analysis):
    """Reads the rows and no label."""

    name: ClassVar[str] = "no_labels_for_tests"
    title: ClassVar[str] = "No labels"
    method: ClassVar[str] = "none"
    metrics: ClassVar[tuple[Metric, ...]] = ()
    reads_labels: ClassVar[bool] = False

    def run(self, context: Context) -> Result:
        return Result(concepts=[LinearConcepts(SITE, torch.eye(context.activations.width())[:2])])


def table(n: int = 240) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    words = ["money", "bank", "river", "walk", "law", "sea", "army", "peace", "farm", "school"]
    found = list(dict.fromkeys(" ".join(rng.choice(words, size=6)) for _ in range(n + 20)))[:n]
    return pd.DataFrame(
        {
            "text": found,
            "topic": ["money" if "money" in text else "other" for text in found],
            "place": ["water" if "river" in text else "land" for text in found],
            "author": [10**18 + i % 30 for i in range(n)],
        }
    )


@pytest.fixture(scope="module")
def captured(tmp_path_factory, minilm):
    """A study of texts that were captured with the label topic; tests take copies."""
    home = tmp_path_factory.mktemp("labels")
    table().to_csv(home / "mine.csv", index=False)
    with wb.open_study(home / "study") as study:
        study.capture(minilm, wb.load_dataset(home / "mine.csv", labels="topic", group="author"), SITE, "mean")
    return home


@pytest.fixture
def study(captured, tmp_path):
    shutil.copytree(captured / "study", tmp_path / "study")
    with wb.open_study(tmp_path / "study", create=False) as opened:
        yield opened


def read_nothing(*_facts: Any) -> None:
    raise AssertionError("The model read texts again.")


def test_other_labels_groups_and_splits_are_no_other_capture(study, captured, minilm) -> None:
    acts = study.activation_set()
    other = wb.load_dataset(captured / "mine.csv", labels="place", name="renamed")
    again = study.capture(minilm, other, SITE, "mean", progress=read_nothing)
    assert again.id == acts.id
    assert len(study.activations()) == 1
    assert [label.name for label in study.dataset_of(acts).labels] == ["place"]
    assert len(acts.rows("train", other)) == (other.table["split"] == "train").sum()
    fewer = wb.load_dataset(captured / "mine.csv", labels="topic", limit=40)
    assert not acts.manifest.is_of(fewer)


def test_runs_record_their_labels_and_other_labels_are_another_run(study) -> None:
    acts = study.activation_set()
    first = study.run("linear_probe", acts, labels="topic", controls=False)
    before = study.dataset_of(acts)
    assert first.record["inputs"]["dataset_hash"] == before.hash
    assert study.run("linear_probe", acts, labels="topic", controls=False).id == first.id
    # A column that the study keeps, which was no label at the capture.
    kept = study.run("linear_probe", acts, labels="place", controls=False)
    assert {c.label for c in kept.concepts} == {"place=water"}
    assert study.dataset_of(acts).hash == before.hash
    assert [label.name for label in study.dataset_of_run(kept).labels] == ["topic", "place"]
    swapped = {"money": "other", "other": "money"}
    frame = pd.DataFrame({"text": before.inputs(), "topic": [swapped[v] for v in before.table["topic"]]})
    study.relabel(frame)
    turned = study.run("linear_probe", acts, labels="topic", controls=False)
    assert turned.id != first.id
    cosine = torch.nn.functional.cosine_similarity(turned.sets[0].weights, first.sets[0].weights).item()
    assert cosine < -0.99
    # The first run is repeated, and its concepts are tried, with the labels that it was made with.
    assert study.repeat(first.id).agrees
    assert study.dataset_for(first).hash == before.hash
    auroc = study.examine(first, families=("detects",)).query("metric == 'detects.auroc' and label == 'topic=other'")
    assert auroc["value"].max() > 0.9


def test_labels_outlive_the_file_that_they_came_from(study, captured, tmp_path) -> None:
    acts = study.activation_set()
    study.relabel(labels=["place"], group="author")
    changed = study.dataset_of(acts).hash
    study.pack(tmp_path / "packed.zip", activations=True)
    shutil.move(captured / "mine.csv", captured / "gone.csv")
    try:
        for folder in (study.folder, wb.unpack(tmp_path / "packed.zip", tmp_path / "unpacked").folder):
            with wb.open_study(folder, create=False) as opened:
                data = opened.dataset_of(opened.activation_set())
                assert data.hash == changed
                assert data.table["author"].tolist() == table()["author"].astype(str).tolist()
                assert opened.verify().empty
    finally:
        shutil.move(captured / "gone.csv", captured / "mine.csv")


def test_a_column_that_is_only_kept_is_there_when_the_study_is_opened_again(study, captured, minilm) -> None:
    first = study.dataset_of(study.activation_set())
    halves = pd.DataFrame({"text": table()["text"], "half": ["x", "y"] * 120})
    assert study.relabel(halves, labels=["topic"]).hash == first.hash
    # The file of the first capture does not have the column; it stays with the study.
    study.capture(minilm, wb.load_dataset(captured / "mine.csv", labels="topic", group="author"), SITE, "mean")
    study.relabel(labels=["half"])
    study.relabel(labels=["topic"])
    with wb.open_study(study.folder, create=False) as again:
        data = again.dataset_of(again.activation_set())
        assert data.hash == first.hash
        assert data.table["half"].tolist() == halves["half"].tolist()
        assert again.verify().empty


def test_what_reads_no_labels_is_not_run_again_for_other_labels(study) -> None:
    acts = study.activation_set()
    first = study.run("no_labels_for_tests", acts)
    study.relabel(labels=["place"])
    assert study.run("no_labels_for_tests", acts).id == first.id
    assert study.dataset_for(first).labels[0].name == "place"
    study.relabel(pd.DataFrame({"text": table()["text"], "half": ["x", "y"] * 120}), group="half")
    # Other splits: other rows are for training, so it is another run, and the first is tried on what it never saw.
    assert study.run("no_labels_for_tests", acts).id != first.id
    assert study.dataset_for(first).hash == first.record["inputs"]["dataset_hash"]


def as_format_1(study, data) -> str:
    """Write the study's set as the version before did: by the hash of the data set with its labels."""
    acts = study.activation_set()
    facts = json.loads((acts.folder / "manifest.json").read_text())
    facts["request"] |= {"format": 1, "dataset_hash": data.hash}
    del facts["labels_hash"]
    old = Request.model_validate(facts["request"])
    home = acts.folder.with_name(old.id)
    acts.folder.rename(home)
    (home / "manifest.json").write_text(json.dumps(facts))
    study.catalog.set_info(f"labels of {data.content_hash[:32]}", json.dumps(acts.dataset_record))
    return old.id


def test_a_set_of_the_version_before_is_found_and_can_have_other_labels(study, captured, minilm) -> None:
    data = wb.load_dataset(captured / "mine.csv", labels="topic", group="author")
    old = as_format_1(study, data)
    assert study.activation_set().id == old
    for labels in ("topic", "place"):
        again = wb.load_dataset(captured / "mine.csv", labels=labels, group="author")
        acts = study.capture(minilm, again, SITE, "mean", progress=read_nothing)
        assert acts.id == old
        assert parse_manifest(acts.folder).request.format == 1
        assert study.run("linear_probe", acts, labels=labels, controls=False).record["status"] == "done"
    assert study.relabel(labels=["topic", "place"]).hash == study.dataset_of(acts).hash
    # The rows were left out when the study was packed: they are made again under the same name.
    for path in acts.folder.glob("*.bin"):
        path.unlink()
    (acts.folder / "index.parquet").unlink()
    assert [made.id for made in study.recapture()] == [old]


def test_images_keep_the_columns_of_their_table(tmp_path) -> None:
    for number in range(12):
        Image.new("RGB", (8, 8), (20 * number, 0, 0)).save(tmp_path / f"{number}.png")
    files, cameras = [f"{n}.png" for n in range(12)], [10**18, 10**18 + 1] * 6
    frame = pd.DataFrame({"image": files, "shade": ["dark", "light"] * 6, "camera": cameras})
    frame.to_csv(tmp_path / "table.csv", index=False)
    data = wb.load_dataset(tmp_path / "table.csv", labels="shade")
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten())
    model = wb.load_model(
        net, preprocess=lambda image: torch.from_numpy(image.copy()).permute(2, 0, 1) / 255, example=data.inputs()[0]
    )
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(model, data, [str(model.sites[0])], "mean")
        moods = pd.DataFrame({"file": files, "mood": ["calm", "wild"] * 6})
        study.relabel(moods, key="file", labels=["camera", "mood"])
    with wb.open_study(tmp_path / "study", create=False) as study:
        again = study.dataset_of(study.activation_set(acts.id))
        assert again.label("camera").values == (str(10**18), str(10**18 + 1))
        assert again.label("mood").n == {"calm": 6, "wild": 6}
        np.testing.assert_array_equal(again.inputs()[3], data.inputs()[3])
        assert study.verify().empty


def test_options_are_named_in_one_way_and_the_nearest_is_said(study) -> None:
    acts = study.activation_set()
    for analysis, old in (("linear_probe", "target"), ("concept_activation", "concepts"), ("mutual_information", "target")):
        with pytest.raises(ConfigError, match=f"'{old}' of {analysis} is called 'labels' now"):
            study.run(analysis, acts, **{old: "topic"})
    with pytest.raises(ConfigError, match=r"no option 'lables'. Did you mean 'labels'"):
        study.run("linear_probe", acts, lables="topic")
    with pytest.raises(DataError, match=r"Did you mean 'place'.*Kept columns that can be labels: place, author"):
        study.run("linear_probe", acts, labels="plaice")


def test_words_for_missing_values_hold_when_the_study_is_opened_again(tmp_path, minilm) -> None:
    frame = table(60).assign(country=["NA", "DE", "FR"] * 20)
    home = tmp_path / "study"

    def countries(**options: Any) -> dict[str, int]:
        with wb.open_study(home) as study:
            return study.relabel(**options).label("country").n

    with wb.open_study(home) as study:
        study.capture(minilm, wb.dataset_from_table(frame, labels="topic"), "embed", "mean")
    assert countries(labels="country") == {"DE": 20, "FR": 20}
    with wb.open_study(home) as study:
        # Nothing that is a label now has such words: the labels are the same, and the words hold for later ones.
        before = study.relabel(labels="topic").hash
        assert study.relabel(missing=[]).hash == before
        assert study.relabel(labels="country").label("country").n == {"DE": 20, "FR": 20, "NA": 20}
        study.relabel(labels="topic", missing=["FR"])
    assert countries(labels="country") == {"DE": 20, "NA": 20}
    assert countries(missing=[]) == {"DE": 20, "FR": 20, "NA": 20}
