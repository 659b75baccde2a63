"""Labels whose classes have too few rows: said before a run is recorded, and by what they have."""

import warnings

import numpy as np
import pytest

import workbench as wb
from workbench.activations.labels import choose_labels
from workbench.errors import DataError, WorkbenchWarning
from workbench.evidence.samples import require_fit
from workbench.testing.worlds import planted_table

LABELLED = ("linear_probe", "concept_activation", "mutual_information")


@pytest.fixture
def labelled(planted):
    """The planted study with more labels: 'rare' is yes in 8 of 400 examples, none of them a test one, 'many' has 30 values."""
    study, acts, _, _ = planted()
    table, numbers = planted_table(400, 0), np.arange(400)
    table = table.assign(rare=np.where(numbers % 50 == 0, "yes", "no"), many=[f"v{n % 30}" for n in numbers])
    study.use_dataset(
        wb.dataset_from_table(
            table, text="text", labels=["kind", "rare", "many"], spans="spans", split="split", group="group", name="planted"
        )
    )
    return study, acts


@pytest.mark.parametrize("analysis", LABELLED)
def test_a_label_with_too_few_rows_leaves_no_run(labelled, analysis):
    study, acts = labelled
    with pytest.raises(DataError, match=r"'rare=yes' has \d training and 0 test rows with it.* needs 20 and 8.*Capture or l"):
        study.run(analysis, acts, labels="rare")
    assert study.runs().empty


@pytest.mark.parametrize("analysis", LABELLED)
def test_a_named_label_with_too_few_rows_is_told_beside_one_that_has_enough(labelled, analysis):
    study, acts = labelled
    with pytest.warns(WorkbenchWarning, match=r"'rare' is left out: .*'rare=yes' has"):
        run = study.run(analysis, acts, labels=["kind", "rare"])
    assert run.tables["skipped"]["label"].str.startswith("rare").all()
    assert not run.concepts.table()["label"].str.startswith("rare").any()


def test_nothing_is_told_of_labels_that_were_not_named(labelled):
    study, acts = labelled
    with warnings.catch_warnings():
        warnings.simplefilter("error", WorkbenchWarning)
        assert set(study.run("linear_probe", acts).tables["skipped"]["label"]) >= {"rare=yes", "many=v1"}


def test_rows_that_are_drawn_can_be_too_few(labelled):
    study, acts = labelled
    with pytest.raises(DataError, match=r"'token:planted' has .*of 100 rows that are drawn: raise max_rows"):
        study.run("linear_probe", acts, labels="planted", max_rows=100)
    assert study.runs().empty


def test_a_column_of_classes_with_too_few_of_each_leaves_no_run(labelled):
    study, acts = labelled
    with pytest.raises(DataError, match="None of the values of classes='rare' has 15 training examples with it"):
        study.run("concept_activation", acts, labels="planted", classes="rare")
    assert study.runs().empty


def test_a_column_with_too_many_values_is_told_by_their_number(labelled, monkeypatch):
    study, acts = labelled
    monkeypatch.setattr("analyses.information._shared.variables.MAX_VALUES", 1)
    with pytest.raises(DataError, match="'kind' has 2 values with enough rows, and at most 1 can be told apart"):
        study.run("mutual_information", acts, labels="kind")
    run = study.run("mutual_information", acts, labels=["kind", "planted"])
    assert list(run.tables["skipped"]["label"]) == ["kind"]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_said_before_is_what_is_fitted(labelled, seed):
    """Which labels have rows depends on the seed, and on no activation."""
    study, acts = labelled
    data = study.dataset_of(acts)
    said = require_fit(acts, data, choose_labels(data, None), None, 40_000, seed)
    run = study.run("linear_probe", acts, seed=seed, controls=False)
    assert set(run.concepts.table()["label"]) == set(said) - {"kind=left", "rare=no"}
