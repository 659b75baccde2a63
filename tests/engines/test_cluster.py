"""Work on Ray gives what one process gives, though its workers are killed."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from functools import partial

import numpy as np
import psutil
import pytest
import torch

import workbench as wb
from tests.conftest import threads
from workbench.activations import capture, capturing
from workbench.cli import main
from workbench.engines import cluster
from workbench.errors import ClusterError, ConfigError, DataError
from workbench.models.batch import InputError

cloudpickle = pytest.importorskip("ray.cloudpickle")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def contents(run):
    """The checksum of every table and concept of a run."""
    files = [path for part in ("tables", "concepts", "figures") for path in (run / part).rglob("*") if path.is_file()]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def arguments(study, *more):
    return ["capture", str(study), "--data", "topics", "--model", "scribe", "--sites", "resid_post.4", "--limit", "700", *more]


def is_working(process):
    with suppress(psutil.Error):
        return "ray::_Worker.do" in " ".join(process.cmdline())
    return False


class Doubling:
    """Twice a number; what a piece says may go wrong goes wrong in the process that does it."""

    def __call__(self, piece):
        number, fault, _ = piece
        if fault == "error":
            raise InputError(number, "has no text")
        if fault == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * number, torch.get_num_threads(), np.full(1000, number), os.getpid()

    def elsewhere(self):
        return partial(Doubling)


@pytest.fixture(scope="module", autouse=True)
def known_to_workers():
    """A worker does not know where tests are."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.mark.slow
def test_pieces_come_in_order_and_few_are_under_way(ray):
    taken = []

    def pieces():
        for number in range(30):
            taken.append(number)
            yield number, "", np.zeros(10)

    with closing(ray.map(Doubling(), pieces())) as results:
        for number, (double, threads, rows, _) in enumerate(results):
            assert (double, threads, rows[-1]) == (2 * number, 1, number)
            assert len(taken) <= number + 1 + 2 * cluster.AHEAD


@pytest.mark.slow
def test_workers_are_kept_until_the_block_ends_and_forget_the_last_task(ray):
    def workers(count=8):
        return {worker for *_, worker in ray.map(Doubling(), [(number, "", None) for number in range(count)])}

    def both():
        # One may do everything while the other is still being made.
        found, end = workers(), time.monotonic() + 120
        while len(found) < 2 and time.monotonic() < end:
            found |= workers()
        assert len(found) == 2
        return found

    first = both()
    # One that has nothing to do is not lost, and one that ended meanwhile is replaced.
    assert workers(1) <= first
    assert both() == first
    os.kill(min(first), signal.SIGKILL)
    assert both() & first == {max(first)}
    with pytest.raises(ConfigError, match="one block at a time"), ray:
        pass


@pytest.mark.slow
def test_an_error_of_a_worker_is_the_error_that_it_was(ray):
    pieces = [(0, "", None), (7, "error", None), (2, "", None)]
    with pytest.raises(InputError, match="Row 7 has no text") as found:
        list(ray.map(Doubling(), pieces))
    assert found.value.row == 7
    assert isinstance(found.value, DataError)


@pytest.mark.slow
def test_work_that_kills_every_worker_is_given_up(ray):
    with pytest.raises(ClusterError, match=f"Workers ended {cluster.TRIES} times over the same piece"):
        list(ray.map(Doubling(), [(0, "", None), (1, "killed", None)]))
    # The cluster is as good as before.
    assert [double for double, *_ in ray.map(Doubling(), [(4, "", None)])] == [8]


@pytest.mark.slow
def test_a_capture_that_is_cut_short_goes_on_with_either_engine_and_its_model_stays_edited(ray, minilm, tmp_path, monkeypatch):
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 8)
    texts = wb.load_dataset("topics", limit=24)
    direction = torch.linspace(-1, 1, minilm.width("resid_post.0"))
    seen = []

    def cut_short(done, *_):
        seen.append(done)
        if done > 8:
            raise KeyboardInterrupt

    options = {"sites": "resid_post.2", "store_dtype": "float32"}
    with minilm.edited(wb.steer("resid_post.0", direction, 3.0)):
        here = capture(minilm, texts, folder=tmp_path / "here", **options)
        with pytest.raises(KeyboardInterrupt):
            capture(minilm, texts, folder=tmp_path / "there", engine=ray, progress=cut_short, **options)
        there = capture(minilm, texts, folder=tmp_path / "there", progress=lambda done, *_: seen.append(done), **options)
    # Each call first says where it begins. The chunk that it was cut short in is read again, and only that one and the next.
    assert seen == [0, 8, 16, 8, 16, 24]
    assert digests(here.folder) == digests(there.folder)


@pytest.mark.slow
def test_two_workers_one_killed_in_the_middle_write_the_bytes_of_one_process(tmp_path, capsys):
    start = [sys.executable, "-c", "from workbench.cli import main; main()"]
    there = [*start, *arguments(tmp_path / "there", "--engine", "ray", "--workers", "2")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    job = subprocess.Popen(there, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    known, killed = set(), None
    while job.poll() is None and killed is None:
        known = set(psutil.Process(job.pid).children(recursive=True))
        killed = next((process for process in known if is_working(process)), None)
        # Looking through all processes takes a processor that they could use; a piece takes seconds.
        time.sleep(0.3)
    assert killed is not None, job.communicate()
    killed.kill()
    output, noise = job.communicate()
    assert job.returncode == 0, noise
    # Nothing but the steps that are under way; none of the worker that was killed.
    assert [line for line in noise.splitlines() if not re.search("loading the model|capturing", line)] == []
    with threads(1), pytest.raises(SystemExit) as end:
        main(arguments(tmp_path / "here"))
    assert not end.value.code
    assert capsys.readouterr().out == output
    folders = [next((tmp_path / name / "activations").iterdir()) for name in ("here", "there")]
    assert folders[0].name == folders[1].name
    assert digests(folders[0]) == digests(folders[1])
    assert psutil.wait_procs(known, timeout=60)[1] == []


@pytest.mark.slow
def test_sites_that_are_shared_out_give_the_run_of_one_process(ray, minilm, tmp_path):
    analyses = {
        "linear_probe": {"labels": "tokens", "controls": False},
        "concept_activation": {"labels": "tokens", "per_class": 10},
        "mutual_information": {"labels": "tokens", "permutations": 19, "max_rows": 1000},
    }
    with wb.open_study(tmp_path / "study") as study:
        acts = study.capture(minilm, wb.load_dataset("brown", limit=300), ["resid_post.1", "resid_post.2", "resid_post.3"])
        # A view of some sites, in an order of its own.
        some = acts.select(["resid_post.3", "resid_post.1"])
        for name, options in analyses.items():
            here = study.run(name, some, **options)
            there = study.run(name, some, force=True, engine=ray, **options)
            assert there.id == f"{here.id}-2"
            assert contents(study.folder / "runs" / here.id) == contents(study.folder / "runs" / there.id)
        with pytest.raises(ConfigError, match="sparse_autoencoder is one piece of work"):
            study.run("sparse_autoencoder", acts.at("resid_post.1"), engine=ray)


@pytest.mark.slow
def test_a_process_that_is_on_one_cluster_is_not_sent_to_another(ray):
    with pytest.raises(ClusterError, match=r"connected to a Ray cluster already, .* not 127\.0\.0\.1:1: .*ray\.shutdown"):
        next(cluster.Ray("127.0.0.1:1").map(Doubling(), []))
