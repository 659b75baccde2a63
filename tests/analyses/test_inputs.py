"""An analysis that reads more than activations: what it reads is found from objects and ids, recorded, kept and repeated."""

from __future__ import annotations

import json
from typing import ClassVar

import pandas as pd
import pytest
import torch

import workbench as wb
from workbench.analysis import Analysis, Context, Input, Metric, Result, register
from workbench.cli import main
from workbench.concepts import LinearConcepts, LinearHead
from workbench.statistics.rows import NoNull, row


@register
class Sum(Analysis):
    """The sum of all directions of other runs, as one concept; for tests."""

    name: ClassVar[str] = "sum_for_tests"
    title: ClassVar[str] = "Sum"
    method: ClassVar[str] = "sum"
    inputs: ClassVar[tuple[Input, ...]] = (
        Input("concepts", "concepts", "what is added", many=True),
        Input("base", "run", "whose rows are counted", optional=True),
        Input("others", "activations", "counted too", optional=True),
        Input("data", "dataset", "counted too", optional=True),
        Input("head", "head", "whose outputs are counted", optional=True),
    )
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("sum.rows", "Rows", "Rows of what else was read."),)

    scale: float = 1.0

    def run(self, context: Context) -> Result:
        """Add up."""
        read = context.inputs
        directions = torch.cat([one.directions() for concepts in read["concepts"] for one in concepts.sets])
        count = sum(len(one.metrics) for one in [read["base"]] if one is not None)
        count += sum(part.n_rows for part in [read["others"]] if part is not None)
        count += len(read["head"].facts.outputs) if read["head"] is not None else 0
        count += len(read["data"].table) if read["data"] is not None else 0
        rows = pd.DataFrame([row("sum.rows", count, NoNull("a count"), n=1)])
        return Result([LinearConcepts("resid_post.0", self.scale * directions.sum(0)[None])], rows)


@register
class Given(Analysis):
    """Coordinates of the seed; for tests."""

    name: ClassVar[str] = "axes_of_the_seed_for_tests"
    title: ClassVar[str] = "Given"
    method: ClassVar[str] = "given"

    def run(self, context: Context) -> Result:
        """Give them."""
        heads = {f"head{n}": LinearHead(list("abc"), torch.zeros(3, 2)) for n in range(1 + context.seed // 4)}
        return Result([LinearConcepts("resid_post.0", torch.eye(24)[context.seed : context.seed + 2])], heads=heads)


def test_what_is_read_is_found_recorded_repeated_and_kept(planted) -> None:
    study, acts, dataset, _ = planted(examples=40)
    first, second = (study.run("axes_of_the_seed_for_tests", acts, seed=seed) for seed in (0, 4))
    run = study.run("sum_for_tests", acts, concepts=[first, second.concepts], others=acts, data=dataset)
    assert torch.equal(run.sets[0].directions()[0].nonzero()[:, 0], torch.tensor([0, 1, 4, 5]))
    assert run.metrics["value"].item() == acts.n_rows + len(dataset.table)
    # The same by ids, or their beginnings, is the same call; without one of them it is another.
    assert study.run("sum_for_tests", acts, concepts=[first.id, second.id], others=acts.id[:6], data="planted").id == run.id
    one = study.run("sum_for_tests", acts, concepts=first)
    assert one.id != run.id
    assert study.repeat(run).agrees
    log = study.log().set_index("id")
    assert log.loc[run.id, "parents"] == [acts.id, first.id, second.id], "each once, though the activations are read twice"
    assert log.loc[run.id, "depth"] == log.loc[first.id, "depth"] == 1
    with pytest.raises(wb.errors.StudyError, match=f"{run.id}"):
        study.delete(second.id)
    study.delete(second.id, with_dependents=True)
    assert set(study.runs()["id"]) == {first.id, one.id}


def test_a_head_is_named_by_its_run(planted) -> None:
    study, acts, _, _ = planted(examples=40)
    first, second = (study.run("axes_of_the_seed_for_tests", acts, seed=seed) for seed in (0, 4))
    run = study.run("sum_for_tests", acts, concepts=first, head=first)
    assert run.metrics["value"].item() == 3
    assert run.arguments["head"] == f"{first.id}/head0"
    assert study.run("sum_for_tests", acts, concepts=first, head=f"{first.id[:30]}/head0").id == run.id
    other = study.run("sum_for_tests", acts, concepts=first, head=f"{second.id}/head1")
    assert other.record["inputs"]["parents"] == [acts.id, first.id, second.id]
    with pytest.raises(wb.errors.ConfigError, match=f"has 2 heads: give 'head' one of {second.id}/head0, {second.id}/head1"):
        study.run("sum_for_tests", acts, concepts=first, head=second)
    with pytest.raises(wb.errors.UnknownNameError, match="head7"):
        study.run("sum_for_tests", acts, concepts=first, head=f"{first.id}/head7")


def test_a_replica_reads_the_same(planted) -> None:
    study, acts, _, _ = planted(examples=40)
    first, second = (study.run("axes_of_the_seed_for_tests", acts, seed=seed) for seed in (0, 4))
    runs = [study.run("sum_for_tests", acts, concepts=one) for one in (first, second)]
    for run in runs:
        found = study.examine(run, families=("stable",))
        assert found[found["metric"].eq("stable.cosine")]["value"].item() == pytest.approx(1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "sum_for_tests reads the concepts of runs (concepts: what is added): give its id, concepts=…."),
        ({"concepts": "nothing"}, "nothing"),
        ({"concepts": 3}, "The input 'concepts' is the concepts of a run, and what was given is a int."),
        (
            {"concepts": "axes_of_the_seed_for_tests", "base": ["axes_of_the_seed_for_tests"] * 2},
            "reads one input 'base', and 2 were given",
        ),
        ({"concepts": "axes_of_the_seed_for_tests", "data": "elsewhere"}, "elsewhere"),
        ({"concepts": "axes_of_the_seed_for_tests", "others": "0000"}, "0000"),
        (
            {"concept": "axes_of_the_seed_for_tests"},
            "Did you mean 'concepts'? Its options: scale. Its inputs: concepts, base, others, data, head.",
        ),
    ],
)
def test_what_cannot_be_read_is_said_before_anything_is_recorded(planted, given: dict, said: str) -> None:
    study, acts, _, _ = planted(examples=40)
    study.run("axes_of_the_seed_for_tests", acts)
    with pytest.raises(wb.errors.WorkbenchError) as error:
        study.run("sum_for_tests", acts, **given)
    assert said in str(error.value)
    assert len(study.runs(None)) == 1


def test_the_command_line_and_a_job_take_ids(planted, capsys) -> None:
    study, acts, _, _ = planted(examples=40)
    first, second = (study.run("axes_of_the_seed_for_tests", acts, seed=seed) for seed in (0, 4))
    command = ["run", str(study.folder), "sum_for_tests", "--from", f"concepts={first.id}", "--from", f"concepts={second.id}"]
    with pytest.raises(SystemExit) as end:
        main(["--json", *command, "--set", "scale=2"])
    assert not end.value.code
    made = study.get_run(json.loads(capsys.readouterr().out)["run"])
    assert made.arguments == {"scale": 2.0, "concepts": [first.id, second.id]}
    with pytest.raises(SystemExit):
        main(["analyses", "sum_for_tests"])
    assert "the concepts of runs (concepts: what is added)" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(SystemExit) as end:
        main(["run", str(study.folder), "sum_for_tests", "--from", "concepts="])
    assert end.value.code
    assert "write --from name=id" in " ".join(capsys.readouterr().err.split())
    from workbench.jobs import start_job

    with pytest.raises(wb.errors.ConfigError, match="reads the concepts of runs"):
        start_job(study, "sum_for_tests", acts.id)
