"""A worker that does not see the study's folder has the activations fetched from the remote, and finds the same."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import workbench as wb
from workbench.analysis import Context, SiteAnalysis
from workbench.analysis.sites import _AtSite
from workbench.errors import StudyError
from workbench.store.worker_cache import fetched

cloudpickle = pytest.importorskip("ray.cloudpickle")


class Norms(SiteAnalysis):
    """What tells the rows of a site; for tests."""

    name = "norms_for_tests"
    title = "Norms"
    method = "norms"

    def shared(self, context):
        """Nothing."""
        return 3.0

    def at_site(self, context, site, shared):
        """What tells its rows, and what it was given."""
        rows = context.activations.at(site).read()
        return [hashlib.sha256(rows.tobytes()).hexdigest(), shared, context.seed, len(context.dataset.table)]

    def joined(self, context, shared, parts):
        """Not asked for here."""
        raise NotImplementedError


# What a process of a cluster does with what it is sent, and nothing else: it is started anew, and the folder is not there.
WORKER = """
import json, sys
from ray import cloudpickle
from workbench.errors import WorkbenchError
maker = cloudpickle.loads(open(sys.argv[1], "rb").read())
try:
    print(json.dumps(maker()("resid_post.0")))
except WorkbenchError as error:
    print(json.dumps(str(error)))
"""


@pytest.fixture
def sent(planted, tmp_path, monkeypatch):
    """A study, and a maker of what is sent to a worker about it; from then on, the study's folder is somewhere else."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    study, acts, dataset, _ = planted(examples=60)
    wanted = [hashlib.sha256(acts.read().tobytes()).hexdigest(), 3.0, 7, 60]

    def make(remote: str) -> tuple[Path, _AtSite]:
        if remote:
            with wb.open_study(study.folder, remote=remote) as shared:
                shared.push()
        context = Context(acts, dataset, 7, *[lambda *_: None] * 4, remote=remote)
        path = tmp_path / "sent"
        task = _AtSite(Norms(), context, 3.0)
        path.write_bytes(cloudpickle.dumps(task.elsewhere()))
        study.close()
        study.folder.rename(tmp_path / "moved")
        return path, task

    yield make, wanted, acts
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def worker(path: Path, home: Path) -> subprocess.Popen:
    environment = os.environ | {"XDG_CACHE_HOME": str(home)}
    command = [sys.executable, "-c", WORKER, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def said(process: subprocess.Popen):
    output, noise = process.communicate()
    assert process.returncode == 0, noise
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_two_workers_without_the_folder_bring_the_set_once_and_find_the_same(sent, tmp_path) -> None:
    make, wanted, acts = sent
    path, _ = make(f"file://{tmp_path}/elsewhere")
    assert not acts.folder.exists()
    both = [worker(path, tmp_path / "cache") for _ in range(2)]
    assert [said(process) for process in both] == [wanted, wanted]
    (kept,) = (tmp_path / "cache" / "concept-workbench" / "sets").iterdir()
    assert [folder.name for folder in (kept / "activations").iterdir()] == [acts.id]
    assert list((kept / "cache").iterdir()) == []
    # From now on the remote is not asked for it.
    (tmp_path / "elsewhere").rename(tmp_path / "gone")
    assert said(worker(path, tmp_path / "cache")) == wanted


@pytest.mark.slow
def test_workers_of_a_cluster_do_so_too(ray, sets_home, sent, tmp_path) -> None:
    make, wanted, acts = sent
    _, task = make(f"file://{tmp_path}/elsewhere")
    assert list(ray.map(task, ["resid_post.0"] * 3)) == [wanted] * 3
    assert [folder.name for folder in sets_home.glob("concept-workbench/sets/*/activations/*")] == [acts.id]


def test_what_cannot_be_brought_is_said_in_a_sentence(sent, tmp_path) -> None:
    make, _, acts = sent
    path, _ = make("")
    assert said(worker(path, tmp_path / "cache")).startswith(f"A worker does not see {acts.folder}: put the study on a disk")


def test_what_is_damaged_or_another_set_is_not_read(sent, tmp_path, monkeypatch) -> None:
    make, _, acts = sent
    url = f"file://{tmp_path}/elsewhere"
    path, _ = make(url)
    shard = next((tmp_path / "elsewhere").glob("activations/*/site000-00000.bin"))
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert "site000-00000.bin is damaged at" in said(worker(path, tmp_path / "cache"))
    shard.write_bytes(whole)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    files = acts.manifest.files
    other = files | {"site000-00000.bin": files["site000-00000.bin"].model_copy(update={"sha256": "0" * 64})}
    with pytest.raises(StudyError, match="has other bytes than that of the study"):
        fetched(url, acts.id, other)
    home = fetched(url, acts.id, files)
    assert (home / "site000-00000.bin").read_bytes() == whole
