"""What an analysis returns is checked before it is recorded: nothing is accepted that would be lost or be taken for another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from tests.analyses.returning import Returns
from workbench.analysis import Result
from workbench.concepts import ConceptSet, DictionaryConcepts, LinearConcepts
from workbench.edits import Edit, fit_eraser, set_latent, steer
from workbench.sites import Site
from workbench.store.kinds import MADE

DIRECTION = torch.eye(24)[:1]


def _metrics(**row: object) -> Result:
    return Result(metrics=pd.DataFrame([row]))


@pytest.mark.parametrize(
    ("result", "said"),
    [
        *(
            (lambda name=name: Result(tables={name: pd.DataFrame({"a": [1]})}), f"the table name '{name}'")
            for name in sorted(MADE)
        ),
        (lambda: Result(tables={"../a": pd.DataFrame()}), "a table is called '../a'"),
        (lambda: Result(tensors={".hidden": torch.ones(1)}), "a tensor is called '.hidden'"),
        (lambda: Result(figures={"a/b": None}), "a figure is called 'a/b'"),
        (
            lambda: _metrics(metric="returns.other", value=1.0),
            "its metrics 'returns.other' are not among the metrics that",
        ),
        (lambda: _metrics(value=1.0), "lack the column 'metric'"),
        (lambda: Result(concepts=[LinearConcepts("resid_post.7", DIRECTION)]), "concepts at resid_post.7, which it did not read"),
        (
            lambda: Result(concepts=[LinearConcepts("resid_post.0", DIRECTION, level="word")]),
            "is 'word', not 'token' or 'example'",
        ),
        (lambda: Result(tables={"mine": pd.DataFrame({"a": [object()]})}), "The table 'mine' cannot be kept as Parquet"),
    ],
)
def test_what_cannot_be_recorded_is_refused_by_name(planted, result: Callable[[], Result], said: str) -> None:
    study, acts, _, _ = planted()
    Returns.result = staticmethod(result)
    with pytest.raises(wb.errors.ConfigError) as refused:
        study.run("returns", acts)
    assert said in str(refused.value)
    assert study.runs(status="failed")["analysis"].tolist() == ["returns"]
    assert study.verify()["state"].ne("broken").all()


def test_everything_that_is_wrong_is_named_at_once(planted) -> None:
    study, acts, _, _ = planted()
    table = pd.DataFrame({"a": [1]})
    Returns.result = staticmethod(lambda: Result(tables={"summary": table, "a:b": table}))
    with pytest.raises(wb.errors.ConfigError, match=r"'summary'.*'a:b'"):
        study.run("returns", acts)


@pytest.mark.parametrize("name", ["sparse_autoencoder", "pretrained_dictionary"])
def test_an_analysis_of_one_site_says_so_before_anything_is_recorded(planted, tmp_path, name: str) -> None:
    study, acts, _, _ = planted()
    several = acts.select([])
    options = {"folder": str(tmp_path)} if name == "pretrained_dictionary" else {}
    with pytest.raises(wb.errors.ConfigError, match=r"reads one site, and these activations have"):
        study.run(name, several, **options)
    assert study.runs(status=None).empty


def test_two_kinds_of_one_name_are_refused_and_one_that_is_defined_again_is_not() -> None:
    def make(qualname: str) -> type[ConceptSet]:
        return type("Kind", (LinearConcepts,), {"kind": "of a test", "__qualname__": qualname})

    make("First")
    make("First")
    with pytest.raises(wb.errors.ConfigError, match="The kind of concept set 'of a test' is"):
        make("Second")


@pytest.mark.parametrize("kind", ["isotropic", "covariance"])
def test_concepts_that_mean_nothing_are_read_as_those_that_do(kind: str) -> None:
    rng = np.random.default_rng(0)
    rows = torch.from_numpy(rng.normal(size=(500, 24)) * np.array([10.0] + [1.0] * 23)).float()
    real = LinearConcepts("resid_post.0", torch.eye(24)[:5])
    null = real.null_like(kind, 0, rows)
    assert len(null) == 5
    assert torch.allclose(null.directions().norm(dim=1), torch.ones(5))
    assert len(real.null_like(kind, 0, rows, most=3)) == 3
    many = LinearConcepts("resid_post.0", torch.randn(400, 24)).null_like(kind, 1, rows)
    share = many.directions()[:, 0].square().mean()
    # One of 24 coordinates, or the one that holds 100 of 123 parts of the variance.
    assert (share < 0.08) if kind == "isotropic" else (share > 0.5)
    with pytest.raises(wb.errors.ConfigError, match="cannot be fitted anew"):
        real.null_like("refit", 0, rows)


TENSORS = {"W_enc": torch.eye(24), "W_dec": torch.eye(24), "b_enc": torch.zeros(24), "b_dec": torch.zeros(24)}
DICTIONARY = DictionaryConcepts("resid_post.0", TENSORS, {"architecture": "standard"})
WIDE = LinearConcepts("resid_post.0", torch.eye(30)[:1])


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (
            lambda: _metrics(metric="returns.known", value="high"),
            "the column 'value' of its metrics holds what is no finite number",
        ),
        (lambda: _metrics(metric="returns.known", value=float("inf")), "holds what is no finite number"),
        (
            lambda: _metrics(metric="returns.known", value=float("nan")),
            "a row of its metrics has no value, and its",
        ),
        (
            lambda: _metrics(metric="returns.known", value=1.0, p=7.0),
            "the column 'p' of its metrics holds what is no probability",
        ),
        (lambda: _metrics(metric="returns.known", value=1.0, p_corrected=-1.0), "holds what is no probability"),
        (lambda: _metrics(metric="returns.known", value=1.0, low=3.0, high=-3.0), "an interval of its metrics ends below"),
        (lambda: _metrics(metric="returns.known", value=1.0, n=-4), "the column 'n' of its metrics holds a count below 0"),
        (lambda: _metrics(metric="returns.known", value=1.0, status="great"), "a status of its metrics is 'great'"),
        (lambda: _metrics(metric="returns.known", value=1.0, site="resid_post.99"), "a metric is of resid_post.99"),
        (lambda: Result(concepts=[WIDE]), "its concepts at resid_post.0 are 30 wide, and the activations 24"),
        (lambda: Result(concepts=[LinearConcepts("resid_post.0", DIRECTION * float("nan"))]), "is not finite"),
        (lambda: Result(concepts=[LinearConcepts("resid_post.0", DIRECTION[:0])]), "has no concepts"),
        (lambda: Result(tables={"mine": {"a": 1}}), "the table 'mine' is a dict"),  # type: ignore[dict-item]
        (lambda: Result(tables={"Metrics": pd.DataFrame()}), "the table name 'Metrics' is taken"),
        (lambda: Result(tables={"aa": pd.DataFrame(), "AA": pd.DataFrame()}), "two tables are called 'AA'"),
        (lambda: Result(tensors={"t": np.ones(3)}), "the tensor 't' is a ndarray"),  # type: ignore[dict-item]
        (lambda: Result(figures={"f": "text"}), "the figure 'f' is a str"),
        (lambda: Result(edits={"../e": steer("resid_post.0", DIRECTION[0])}), "a fitted edit is called '../e'"),
        (lambda: Result(edits={"e": torch.ones(3)}), "the fitted edit 'e' is a Tensor"),  # type: ignore[dict-item]
        (lambda: Result(edits={"e": Edit(Site("resid_post", 0), torch.zeros_like)}), "the edit 'e' is made from a function"),
        (lambda: Result(edits={"e": steer("resid_post.9", DIRECTION[0])}), "the edit 'e' is at resid_post.9, which it did not"),
        (lambda: Result(edits={"e": steer("resid_post.0", torch.ones(30))}), "The edit has 30 numbers and the site 24"),
        (lambda: Result(edits={"e": steer("resid_post.0", DIRECTION[0], float("inf"))}), "does not give finite rows"),
        (lambda: Result(edits={"e": set_latent("resid_post.0", DICTIONARY, 0, 1.0)}), "holds other arguments than tensors"),
        (lambda: None, "is no Result but a NoneType"),
    ],
)
def test_what_nobody_could_read_again_is_refused(planted, result: Callable[[], Result], said: str) -> None:
    test_what_cannot_be_recorded_is_refused_by_name(planted, result, said)


def test_a_fitted_edit_is_kept_with_its_run_and_made_again_by_a_repetition(planted, tmp_path) -> None:
    study, acts, data, (omega, _) = planted()
    rows = torch.from_numpy(acts.read(acts.rows("train", data)))
    eraser = fit_eraser(rows, rows @ torch.from_numpy(omega))
    Returns.result = staticmethod(lambda: Result(edits={"eraser": eraser.at("resid_post.0")}))
    run = study.run("returns", acts)
    assert repr(run.edits) == "<FittedEdits: eraser (erase)>"
    assert "0 concepts, 1 fitted edit, done" in repr(run)
    # What is left does not vary along what was erased.
    along = torch.from_numpy(omega)
    assert (run.edits["eraser"](rows[None])[0] @ along).std() < 0.01 * (rows @ along).std()
    assert torch.equal(run.edits["eraser"](rows[None]), eraser.at("resid_post.0")(rows[None]))
    again = study.repeat(run)
    assert again.agrees
    assert {part.split(":")[0] for part in again.table["part"]} == {"edits/eraser.safetensors"}
    assert study.verify().empty
    assert "Fitted edits: eraser (erase at resid_post.0)." in study.report(tmp_path / "r.html", runs=[run.id]).read_text()
    assert study.get_run(run.id).edits["eraser"].record()["source"] == {"run": run.id, "edit": "eraser"}
