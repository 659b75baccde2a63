"""A run that is repeated is a run of its own, and what differs is named."""

import json
import time

import numpy as np
import pandas as pd
import pytest
import torch

from workbench.analysis import Analysis, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts
from workbench.errors import ConfigError
from workbench.repeating import compared
from workbench.store.tables import runs


class Forgetful(Analysis):
    """A direction and a table that follow the seed, save a part that follows the clock; for tests."""

    name = "forgetful_for_tests"
    title = "Forgetful"
    method = "forgetful"
    noise: float = 0.0

    def run(self, context):
        """One concept, and a table of a hundred numbers."""
        rng = np.random.default_rng(context.seed)
        numbers = rng.normal(size=100)
        numbers[7] += self.noise * (time.perf_counter_ns() % 1000 + 1) / 1000
        table = pd.DataFrame({"word": ["a", "b"] * 50, "number": numbers})
        direction = torch.from_numpy(rng.normal(size=(1, context.activations.width()))).float()
        return Result(concepts=[LinearConcepts("resid_post.0", direction)], tables={"numbers": table})


register(Forgetful)


def test_a_repetition_is_a_new_run_that_finds_the_same(planted) -> None:
    study, acts, _, _ = planted()
    first = study.run("linear_probe", acts, seed=3)
    before = {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()}
    done = study.repeat(first)
    assert done.agrees
    assert done.table["exact"].all()
    assert {"tables/metrics.parquet", "tables/summary.parquet"} <= set(done.table["part"])
    assert any(part.startswith("concepts/0/") for part in done.table["part"])
    assert done.run.id != first.id
    assert done.run.config == first.config
    assert done.run.record["seed"] == 3
    assert {path: path.read_bytes() for path in first.folder.rglob("*") if path.is_file()} == before
    # Neither the plain call nor the first letters of the name stand for the repetition.
    assert study.run("linear_probe", acts, seed=3).id == first.id
    assert study.get_run("linear_probe").id == first.id
    log = study.log().set_index("id")
    assert log.loc[done.run.id, "parents"][0] == first.id
    assert log.loc[done.run.id, "what"] == "linear_probe, repeated"
    assert log.loc[done.run.id, "depth"] == log.loc[first.id, "depth"] + 1


def test_a_difference_is_named_and_a_tolerance_allows_it(planted) -> None:
    study, acts, _, _ = planted()
    first = study.run("forgetful_for_tests", acts, noise=1e-4)
    done = study.repeat(first.id)
    assert not done.agrees
    (row,) = done.table[~done.table["agrees"]].to_dict("records")
    assert row["part"] == "tables/numbers.parquet"
    assert row["where"] == "number, row 7"
    one, two = (run.tables["numbers"]["number"] for run in (done.first, done.run))
    assert row["difference"] == np.abs(one - two).max() > 0
    assert row["share"] == pytest.approx(row["difference"] / one.abs().max())
    assert compared(first, done.run, row["share"] * 1.01)["agrees"].all()
    assert not compared(first, done.run, row["share"] * 0.99)["agrees"].all()
    # What is equal within a tolerance is not called equal.
    assert not compared(first, done.run, 1.0)["exact"].all()


def test_other_rows_columns_shapes_and_words_do_not_agree(planted) -> None:
    study, acts, _, _ = planted()
    first, other = study.run("forgetful_for_tests", acts), study.run("forgetful_for_tests", acts, force=True)
    path, table = other.folder / "tables" / "numbers.parquet", first.tables["numbers"]
    for changed, where in [
        (table.head(99), "it has 99 rows instead of 100"),
        (table.rename(columns={"word": "w"}), "its columns differ"),
        (table.assign(word="a"), "word, row 1: 50 values differ"),
        (table.assign(number=table["number"].where(table.index != 4)), "number, row 4: only one of the two is a finite number"),
    ]:
        changed.to_parquet(path)
        found = compared(first, other, 10.0).set_index("part").loc["tables/numbers.parquet"]
        assert not found["agrees"]
        assert found["where"] == where
    path.unlink()
    assert "only the first run has it" in set(compared(first, other, 10.0)["where"])


def test_what_cannot_be_repeated_says_why(planted) -> None:
    study, acts, _, _ = planted()
    probe = study.run("linear_probe", acts)
    with study.catalog.changing() as connection:
        connection.execute(runs.insert().values(**probe.record | {"id": "failed-1", "status": "failed"}))
    with pytest.raises(ConfigError, match=r"did not finish \(failed\)"):
        study.repeat("failed-1")
    with pytest.raises(ConfigError, match="not negative"):
        study.repeat(probe, tolerance=-1)


def test_the_command_says_what_agrees_by_its_exit_code(planted, capsys) -> None:
    # A data set that was built in Python is known to this study object only.
    study, acts, dataset, _ = planted()
    from workbench.store.texts import keep_texts

    keep_texts(study.folder, dataset)
    same, other = study.run("forgetful_for_tests", acts), study.run("forgetful_for_tests", acts, noise=1.0)
    for run, tolerance, code in ((same, "0", 0), (other, "0", 1), (other, "1000", 0)):
        with pytest.raises(SystemExit) as end:
            main(["--json", "run", str(study.folder), "--from", run.id, "--tolerance", tolerance])
        said = json.loads(capsys.readouterr().out)
        assert (end.value.code or 0) == code
        assert said["agrees"] is (code == 0)
        assert said["repeats"] == run.id != said["run"]
    with pytest.raises(SystemExit) as end:
        main(["run", str(study.folder), "linear_probe", "--from", same.id])
    assert end.value.code == 2
    assert "give nothing but --tolerance" in capsys.readouterr().err
