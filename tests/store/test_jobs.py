"""Runs in a process of their own: they end, fail, are stopped or die, and in no case is half a run left."""

import time
from pathlib import Path

import psutil
import pytest

from workbench.errors import ConfigError, UnknownNameError
from workbench.jobs import cancel_job, find_job, jobs, start_job
from workbench.processes import find_process, has_ended, identity
from workbench.store.ended import sweep
from workbench.store.texts import keep_texts

ENDLESS = {"d_sae": 64, "k": 4, "samples": 500_000_000, "batch_size": 64}


@pytest.fixture
def study(planted):
    made, _, dataset, _ = planted()
    # The worker has no data set object in memory: it reads the study's own copy.
    keep_texts(made.folder, dataset)
    return made


def until(study, job, done, seconds: float = 120):
    end = time.monotonic() + seconds
    while not done(found := find_job(study, job.id)):
        assert time.monotonic() < end, found.log()
        time.sleep(0.1)
    return found


def left(study) -> list[str]:
    return [path.name for path in (study.folder / "runs").iterdir()]


@pytest.mark.slow
def test_a_job_makes_a_run_and_the_same_job_finds_it(study) -> None:
    acts = study.activation_set()
    job = start_job(study, "linear_probe", acts.id, ["resid_post.0"], {"controls": False, "labels": "kind"})
    assert job.status == "running"
    done = until(study, job, lambda j: j.status != "running")
    assert done.status == "done", done.log()
    assert study.runs()["id"].tolist() == [done.run]
    assert done.done == done.total
    again = study.run("linear_probe", acts, controls=False, labels="kind")
    assert again.id == done.run


@pytest.mark.slow
def test_a_stopped_job_leaves_only_the_record_that_it_was_stopped(study) -> None:
    job = start_job(study, "sparse_autoencoder", study.activation_set().id, [], ENDLESS)
    until(study, job, lambda j: j.done > 0)
    assert len(study.runs("running")) == 1
    stopped = cancel_job(study, job.id)
    assert stopped.status == "cancelled"
    assert study.runs(None)["status"].tolist() == ["cancelled"]
    assert "stopped" in study.runs(None)["error"].iloc[0]
    assert left(study) == []
    assert len(study.concepts()) == 0


@pytest.mark.slow
def test_a_job_that_dies_without_a_word_is_recorded_as_failed(study) -> None:
    job = start_job(study, "sparse_autoencoder", study.activation_set().id, [], ENDLESS)
    until(study, job, lambda j: j.done > 0)
    process = find_process(study.runs("running")["provenance"].iloc[0]["process"])
    assert process is not None
    process.kill()
    found = until(study, job, lambda j: j.status != "running")
    assert found.status == "failed"
    assert "process ended" in found.error
    assert study.runs(None)["status"].tolist() == ["failed"]
    assert left(study) == []


@pytest.mark.slow
def test_what_the_analysis_refuses_is_the_jobs_error(study) -> None:
    job = start_job(study, "linear_probe", study.activation_set().id, [], {"labels": "nothing of the kind"})
    found = until(study, job, lambda j: j.status != "running")
    assert found.status == "failed"
    assert "no label 'nothing of the kind'" in found.error


def test_a_wrong_question_is_refused_before_anything_starts(study) -> None:
    acts = study.activation_set().id
    with pytest.raises(ConfigError, match="greater than 0"):
        start_job(study, "linear_probe", acts, [], {"C": 0})
    with pytest.raises(UnknownNameError):
        start_job(study, "linear_prob", acts)
    with pytest.raises(UnknownNameError):
        start_job(study, "linear_probe", acts, ["resid_post.9"])
    assert jobs(study) == []


@pytest.mark.parametrize("name", ["../../etc", "", "/", "none"])
def test_a_jobs_id_is_never_a_path(study, name: str) -> None:
    with pytest.raises(UnknownNameError):
        find_job(study, name)


def test_sweeping_leaves_alone_what_is_alive_or_elsewhere(study) -> None:
    from workbench.store import tables

    row = {"analysis": "x", "status": "running", "config": {}, "seed": 0, "inputs": {}, "started": tables.now()}
    dead = identity() | {"pid": 2**22 - 1}
    processes = {"alive": identity(), "elsewhere": dead | {"host": "other"}, "old": {}, "dead": dead}
    study.catalog.insert(tables.runs, [row | {"id": k, "provenance": {"process": v}} for k, v in processes.items()])
    (Path(study.folder) / "runs" / "dead.partial").mkdir()
    assert sweep(study) == ["dead"]
    assert left(study) == []
    assert study.catalog.run("dead")["status"] == "failed"


def test_a_number_given_again_is_another_process() -> None:
    known = identity()
    assert find_process(known) == psutil.Process()
    assert has_ended(known | {"created": known["created"] - 1000})
