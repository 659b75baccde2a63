"""Labels of columns whose names or values hold a "=" are those of any other column."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import workbench as wb
from workbench.activations.labels import choose_labels
from workbench.testing.worlds import planted_table, word_index, write_activations

RENAMED = {"topic": "q=topic", "colour": "q=colour"}


def _table() -> pd.DataFrame:
    table = planted_table(240, 0).drop(columns=["spans", "kind"])
    rng = np.random.default_rng(0)
    return table.assign(topic=rng.choice(["a", "b=c", "d"], 240), colour=rng.choice(["red", "green", "blue"], 240))


def _study(folder, table: pd.DataFrame, columns: list[str]):
    data = wb.dataset_from_table(table, text="text", labels=columns, split="split", group="group", name="columns")
    study = wb.open_study(folder)
    study.catalog.set_info("model", '{"name": "planted", "kind": "module", "weights_hash": "' + "0" * 64 + '", "source": {}}')
    study.use_dataset(data)
    (study.folder / "activations").mkdir()
    index = word_index(data.inputs())
    rows = np.random.default_rng(1).normal(size=(len(index), 12)).astype(np.float32)
    topic = pd.Categorical(table["topic" if "topic" in table else "q=topic"]).codes
    rows[np.arange(len(rows)), topic[index["example"]]] += 4
    return study, write_activations(study.folder / "activations", data, {"resid_post.0": rows}, index)


def test_a_sign_of_equality_in_a_name_changes_no_number(tmp_path) -> None:
    plain, acts = _study(tmp_path / "plain", _table(), ["topic", "colour"])
    named, same = _study(tmp_path / "named", _table().rename(columns=RENAMED), list(RENAMED.values()))
    for analysis, options in (
        ("linear_probe", {}),
        ("mutual_information", {"permutations": 19, "dimensions": 3}),
        ("concept_activation", {"random_sets": 19}),
    ):
        tables = []
        for study, of_study in ((plain, acts), (named, same)):
            study.run(analysis, of_study, **options)
            table = study.get_run(analysis).metrics[["metric", "label", "value"]]
            label = table["label"].fillna("").replace(RENAMED, regex=True) if study is plain else table["label"].fillna("")
            tables.append(table.assign(label=label).sort_values(["metric", "label"]).reset_index(drop=True))
        pd.testing.assert_frame_equal(*tables)
    accuracy = named.get_run("linear_probe").metrics.query("metric == 'probe.column'").set_index("label")["value"]
    assert set(accuracy.index) == set(RENAMED.values())
    assert accuracy["q=topic"] > 0.9
    assert accuracy["q=colour"] < 0.6
    plain.close()
    named.close()


def test_a_label_and_a_column_are_chosen_by_their_whole_names() -> None:
    table = _table().rename(columns=RENAMED)
    data = wb.dataset_from_table(table, text="text", labels=list(RENAMED.values()), split="split", name="columns")
    assert choose_labels(data, "q=topic") == ["q=topic=a", "q=topic=b=c", "q=topic=d"]
    assert choose_labels(data, "q=topic=b=c") == ["q=topic=b=c"]
    with pytest.raises(wb.errors.DataError, match="has no label 'q'"):
        choose_labels(data, "q")


def test_two_labels_of_one_name_and_names_of_spans_are_refused() -> None:
    table = _table().assign(**{"q": "topic=a", "q=topic": "a"})
    table.loc[::2, ["q", "q=topic"]] = ["other", "b"]
    with pytest.raises(wb.errors.DataError, match="'q' and 'q=topic' have a label of one name, 'q=topic=a': rename one"):
        wb.dataset_from_table(table, text="text", labels=["q", "q=topic"], name="columns")
    with pytest.raises(wb.errors.DataError, match="'token:x' cannot be a label: labels of spans are called so"):
        wb.dataset_from_table(table.rename(columns={"colour": "token:x"}), text="text", labels=["token:x"], name="columns")


def test_a_column_that_is_called_as_a_label_of_spans_is_no_label_unless_it_is_asked_for() -> None:
    table = _table().rename(columns={"colour": "token:x"})
    data = wb.dataset_from_table(table, text="text", split="split", name="columns")
    assert "topic" in {label.name for label in data.example_labels}
    assert "token:x" not in {label.name for label in data.example_labels}
    assert "token:x" in data.table
