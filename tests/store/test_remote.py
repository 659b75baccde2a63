"""Runs and activations on a bucket: what is there is whole, what comes back is what went, and nothing damaged is read."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import fsspec
import numpy as np
import pytest

import workbench as wb
from tests.analyses.every_part import every_part
from tests.analyses.returning import Returns
from tests.store.axes import AXES
from workbench.cli import main
from workbench.errors import ConfigError, StudyError
from workbench.store import study_file
from workbench.store.members import STUDY_FILE
from workbench.store.parts import problems
from workbench.store.texts import keep_texts
from workbench.writing import write_beside


@pytest.fixture
def away(planted, remote):
    """A study with a set, kept texts and a run, all of it at the remote; and the run."""
    study, _, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    with wb.open_study(study.folder, remote=remote) as shared:
        shared.push()
        yield shared, shared.run(AXES, shared.activation_set())


def elsewhere(study, folder):
    """The study on another machine: its catalog, and where the rest of it is."""
    folder.mkdir()
    for name in (STUDY_FILE, "catalog.db"):
        if (study.folder / name).exists():
            with study.catalog.engine.connect() as connection:
                connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
            shutil.copy(study.folder / name, folder / name)
    return wb.open_study(folder, create=False, trust=True)


def contents(folder) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_another_machine_sees_and_reads_all_of_it(away, tmp_path) -> None:
    study, run = away
    acts = study.activation_set()
    with elsewhere(study, tmp_path / "other") as other:
        hollow = other.activation_set(acts.id)
        assert hollow.left_out
        # Rows come when they are read, and by any view.
        assert np.array_equal(hollow.at("resid_post.0").read(), acts.at("resid_post.0").read())
        assert not hollow.left_out
        assert other.dataset_of(hollow).inputs() == study.dataset_of(acts).inputs()
        assert len(other.run(AXES, hollow).concepts) == 2
        assert other.get_run(run.id).tables["numbers"]["n"].sum() == 1999 * 1000
        for part in ("runs", "activations", "datasets"):
            assert contents(other.folder / part) == contents(study.folder / part)
        assert other.verify().empty
        assert other.push() == other.pull() == study.push() == []
        assert other.log()["id"].tolist() == [acts.id, run.id]


def test_what_another_machine_makes_comes_here(away, postgres, remote, tmp_path) -> None:
    study, _ = away
    study.pack(tmp_path / "packed.zip")
    wb.unpack(tmp_path / "packed.zip", tmp_path / "one", catalog=postgres).close()
    with wb.open_study(tmp_path / "one", remote=remote) as one:
        kept = json.loads((one.folder / STUDY_FILE).read_text())
        with wb.open_study(tmp_path / "two", catalog=kept["catalog"], remote=remote) as two:
            made = two.run(AXES, two.activation_set(), seed=3)
            made.concepts[0].rename("from afar", "ada")
            assert one.concepts("from afar").best().run.tables["numbers"].shape == (2000, 1)
            assert one.verify().empty


@pytest.mark.parametrize("stop", range(1, 6))
def test_what_is_cut_short_on_its_way_is_not_there(planted, remote, tmp_path, monkeypatch, stop) -> None:
    from workbench.store.remote import Remote

    study, _, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    run = study.run(AXES, study.activation_set())
    left = [stop]

    def counted(method):
        def until(self, *arguments):
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt
            return method(self, *arguments)

        return until

    with wb.open_study(study.folder, remote=remote) as shared:
        with monkeypatch.context() as patch:
            patch.setattr(Remote, "upload", counted(Remote.upload))
            patch.setattr(Remote, "write", counted(Remote.write))
            with pytest.raises(KeyboardInterrupt):
                shared.push()
        there = [f"{kind}/{name}" for kind in ("activations", "runs") for name in shared.remote.names(kind)]
        with elsewhere(shared, tmp_path / "before") as other:
            assert [f"activations/{acts.id}" for acts in other.activations()] == [n for n in there if n.startswith("act")]
            with pytest.raises(StudyError, match="push it from where it was made"):
                other.get_run(run.id)
            assert not (other.folder / "runs").exists()
        assert set(shared.push()) == {f"activations/{shared.activation_set().id}", f"runs/{run.id}"} - set(there)
        with elsewhere(shared, tmp_path / "after") as other:
            assert other.get_run(run.id).sets
            assert np.isfinite(other.activation_set().read()).all()


def damaged(remote: str, pattern: str) -> str:
    files, base = fsspec.core.url_to_fs(remote, use_listings_cache=False)
    path = files.glob(f"{base}/{pattern}")[0]
    content = bytearray(files.cat_file(path))
    content[len(content) // 2] ^= 1
    files.pipe_file(path, bytes(content))
    return path.rpartition("/")[2]


def test_a_set_that_was_left_out_is_known_elsewhere_until_it_is_there(away, bucket, tmp_path) -> None:
    study, _ = away
    study.pack(tmp_path / "packed.zip")
    wb.unpack(tmp_path / "packed.zip", tmp_path / "one").close()
    with wb.open_study(tmp_path / "one", remote=f"{bucket}/{uuid.uuid4().hex}") as one:
        one.push()
        with elsewhere(one, tmp_path / "two") as two:
            (hollow,) = two.activations()
            assert hollow.id == study.activation_set().id
            with pytest.raises(StudyError, match="left out"):
                hollow.read()
            assert two.dataset_of(hollow).hash == hollow.dataset_record["hash"]
            one.remote.folder = study.folder
            one.remote.put("activations", hollow.id)
            assert np.array_equal(hollow.read(), study.activation_set().read())


@pytest.mark.parametrize("pattern", ["activations/*/manifest.json", "runs/*/tables/numbers.parquet", "runs/*/checksums.json"])
def test_a_damaged_run_or_manifest_is_named_and_never_read(away, remote, tmp_path, pattern) -> None:
    study, run = away
    name = damaged(remote, pattern)
    with elsewhere(study, tmp_path / "other") as other:
        with pytest.raises(StudyError, match=f"{name} is damaged at|neither in"):
            _ = other.activations() if "manifest" in pattern else other.get_run(run.id)
        assert not (other.folder / "runs").exists()
        assert not list((other.folder / "cache").iterdir())


@pytest.mark.parametrize("pattern", ["activations/*/site000-00000.bin", "activations/*/index.parquet"])
def test_a_damaged_set_is_named_and_never_read(away, remote, tmp_path, pattern) -> None:
    study, _ = away
    name = damaged(remote, pattern)
    with elsewhere(study, tmp_path / "other") as other:
        acts = other.activation_set()
        with pytest.raises(StudyError, match=f"{name} is damaged at {remote}"):
            acts.read()
        assert acts.left_out
        assert [path.name for path in (other.folder / "activations").iterdir()] == [acts.id]


def test_a_run_that_is_damaged_here_is_brought_again(away) -> None:
    study, run = away
    table = run.folder / "tables" / "numbers.parquet"
    whole = table.read_bytes()
    table.write_bytes(whole[:-3])
    assert study.verify()["state"].tolist() == ["broken"]
    assert study.repair()["action"].str.contains("from the remote again").all()
    assert table.read_bytes() == whole
    assert study.verify().empty
    assert study.concepts().ids == [f"{run.id}.0", f"{run.id}.1"]


def test_a_run_does_not_write_outside(away, remote, tmp_path) -> None:
    study, run = away
    files, base = fsspec.core.url_to_fs(remote, use_listings_cache=False)
    files.pipe_file(f"{base}/runs/{run.id}/checksums.json", json.dumps({"../../../outside.txt": "0" * 64}).encode())
    with elsewhere(study, tmp_path / "other") as other, pytest.raises(StudyError, match="damaged"):
        other.get_run(run.id)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_capture_that_another_machine_made_is_brought(bucket, minilm, tmp_path) -> None:
    remote, texts = f"{bucket}/{uuid.uuid4().hex}", wb.load_dataset("film", limit=8)
    with wb.open_study(tmp_path / "one", remote=remote) as one:
        first = one.capture(minilm, texts, sites="resid_post.0")
    with wb.open_study(tmp_path / "two", remote=remote) as two:
        again = two.capture(minilm, texts, sites="resid_post.0", progress=lambda *_: pytest.fail("It was captured again."))
        assert np.array_equal(again.read(), first.read())


KILLED = """
import os, signal, sys, workbench as wb
from workbench.store.remote import Remote
write = Remote.write
def killed(self, path, content):
    if path.startswith("runs/"):
        with self._reaching() as (files, base):
            files.pipe_file(f"{base}/{path}.partial", content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)
    write(self, path, content)
Remote.write = killed
wb.open_study(sys.argv[1]).push()
"""


def test_a_process_that_is_killed_leaves_nothing_half(planted, bucket) -> None:
    study, _, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    run = study.run(AXES, study.activation_set())
    with wb.open_study(study.folder, remote=f"{bucket}/{uuid.uuid4().hex}") as shared:
        done = subprocess.run([sys.executable, "-c", KILLED, str(study.folder)], capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert shared.remote.names("activations") == [shared.activation_set().id]
        assert shared.remote.names("runs") == []
        assert shared.push() == [f"runs/{run.id}"]
        assert shared.remote.names("runs") == [run.id]


def test_what_is_damaged_here_does_not_go_there(away) -> None:
    study, run = away
    other = study.run(AXES, study.activation_set(), seed=5)
    remote = study.remote
    for one in (run, other):
        with remote._reaching() as (files, base):
            files.rm(f"{base}/runs/{one.id}/checksums.json")
    (run.folder / "tables" / "numbers.parquet").write_bytes(b"no table")
    with pytest.raises(StudyError, match=f"not copied: {run.id}"):
        study.push()
    assert remote.names("runs") == [other.id]


def test_what_is_made_is_kept_when_it_cannot_be_put(planted, tmp_path) -> None:
    study, acts, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    place = tmp_path / "elsewhere"
    with wb.open_study(study.folder, remote=f"file://{place}") as shared:
        place.write_text("in the way")
        with pytest.raises(StudyError):
            shared.run(AXES, acts)
        assert shared.runs()["status"].tolist() == ["done"]
        place.unlink()
        assert len(shared.push()) == 2


def test_a_study_that_gets_a_remote_is_known_to_whoever_opens_it_at_that_moment(planted, tmp_path, monkeypatch) -> None:
    study, *_ = planted()
    opened = []

    def written(target: Path, content: str) -> None:
        """Open it between the change of its file and whatever comes after."""
        write_beside(target, content)
        with wb.open_study(study.folder) as other:
            opened.append(other.remote.url)

    monkeypatch.setattr(study_file, "write_beside", written)
    url = f"file://{tmp_path}/there"
    wb.open_study(study.folder, remote=url).close()
    assert opened == [url]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("bucket/prefix", "A remote is a URL"), ("s3://", "A remote is a URL"), ("simplecache::s3://a/b", "A remote is a URL"),
        ("s3://key:secret@bucket/x", "Leave keys"), ("nosuch://bucket/x", "no file system"),
    ],
)  # fmt: skip
def test_a_remote_that_cannot_be_used_makes_no_study(url: str, words: str, tmp_path) -> None:
    with pytest.raises(ConfigError, match=words) as told:
        wb.open_study(tmp_path / "study", remote=url)
    assert "secret" not in str(told.value)
    assert not (tmp_path / "study").exists()


def test_by_commands(planted, bucket, tmp_path, capsys) -> None:
    study, _, dataset, _ = planted()
    keep_texts(study.folder, dataset)
    run, remote = study.run(AXES, study.activation_set()), f"{bucket}/{uuid.uuid4().hex}"

    def call(*arguments: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(list(arguments))
        return int(end.value.code or 0), capsys.readouterr().out

    assert call("study", "push", str(study.folder))[0] == 2
    code, out = call("study", "push", str(study.folder), "--remote", remote)
    assert (code, out.split()) == (0, [f"activations/{study.activation_set().id}", f"runs/{run.id}"])
    assert call("study", "push", str(study.folder)) == (0, "Everything is there already.\n")
    with wb.open_study(study.folder) as shared:
        elsewhere(shared, tmp_path / "other").close()
    code, out = call("--json", "study", "pull", str(tmp_path / "other"))
    assert len(json.loads(out)) == 2
    assert call("study", "verify", str(tmp_path / "other")) == (0, "Nothing is broken.\n")


def test_a_study_in_its_folder_looks_nowhere(tmp_path) -> None:
    code = "import sys, workbench as wb; wb.open_study(sys.argv[1]).activations(); print({'fsspec', 's3fs'} & set(sys.modules))"
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path / "study")], capture_output=True, text=True, check=True)
    assert out.stdout.strip() in {"set()", "{'fsspec'}"}


def test_graphs_heads_models_and_views_come_from_the_remote(away, tmp_path) -> None:
    study, _ = away
    Returns.result = staticmethod(every_part)
    run = study.run("returns", study.activation_set())
    study.push()
    with elsewhere(study, tmp_path / "other") as other:
        found = other.get_run(run.id)
        assert found.views == run.views
        assert (list(found.graphs), list(found.heads), list(found.models)) == (["circuit"], ["kind"], ["machine"])
        assert list(problems(found)) == []
        assert other.verify().empty
