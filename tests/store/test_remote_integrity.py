"""What a study has at a remote is looked at and put right, never removed; what a killed fetch leaves goes with the next."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys

import fsspec
import pytest

import workbench as wb
from tests.store.axes import AXES
from workbench.cli import main
from workbench.store.members import STUDY_FILE
from workbench.store.scratch import leftovers, scratch
from workbench.store.texts import keep_texts

SHARD, TABLE = "activations/*/site000-00000.bin", "runs/*/tables/numbers.parquet"
EVERY = (SHARD, "activations/*/manifest.json", TABLE, "runs/*/checksums.json")


@pytest.fixture
def shared(planted, remote):
    """A study with a set, kept texts and a run, all of it at the remote."""
    study, _, dataset, _ = planted(examples=60)
    keep_texts(study.folder, dataset)
    with wb.open_study(study.folder, remote=remote) as opened:
        opened.push()
        opened.run(AXES, opened.activation_set())
        yield opened


@pytest.fixture
def place(remote):
    """The file system of the remote, and the path in it."""
    return fsspec.core.url_to_fs(remote, use_listings_cache=False)


def everything(place) -> dict[str, bytes]:
    files, base = place
    return {path.removeprefix(f"{base}/"): files.cat_file(path) for path in files.find(base)}


def another_machine(study, folder):
    folder.mkdir()
    with study.catalog.engine.connect() as connection:
        connection.exec_driver_sql("pragma wal_checkpoint(truncate)")
    for name in (STUDY_FILE, "catalog.db"):
        shutil.copy(study.folder / name, folder / name)
    return wb.open_study(folder, create=False, trust=True)


def parted(path: str) -> tuple[str, str]:
    """What a file belongs to, and its name in it."""
    kind, name, *rest = path.split("/")
    return (f"{kind}/{name}", "/".join(rest)) if rest else (f"{kind}/{name.partition('.')[0]}", name)


def found_there(study, **options) -> list[tuple[str, str]]:
    table = study.verify(**options)
    assert table["part"].eq("remote").all(), table
    assert table["state"].eq("broken").all(), table
    assert table["problem"].str.contains("remote|cannot be read|another set").all(), table
    return list(zip(table["name"], table["file"], strict=True))


@pytest.mark.parametrize(
    ("remote", "pattern"),
    [("file", pattern) for pattern in (*EVERY, "datasets/*.parquet")] + [("s3", SHARD), ("s3", EVERY[-1]), ("memory", TABLE)],
    indirect=["remote"],
)
def test_what_is_missing_or_cut_short_there_is_named_and_put_again(shared, place, pattern) -> None:
    files, base = place
    assert shared.verify(remote_content=True).empty
    whole, path = everything(place), files.glob(f"{base}/{pattern}")[0]
    name, file = parted(path.removeprefix(f"{base}/"))
    for content in (b"", None):
        files.pipe_file(path, content) if content is not None else files.rm(path)
        if content is None and file in {"manifest.json", "checksums.json"}:
            # What has no such file is not there: it is on its way.
            (row,) = shared.verify().to_dict("records")
            assert (row["name"], row["state"]) == (name, "unfinished")
            assert shared.repair().empty
            assert shared.push() == [name]
        else:
            assert found_there(shared) == [(name, file)]
            (row,) = shared.repair().to_dict("records")
            assert (row["part"], row["name"], row["mended"]) == ("remote", name, True)
        assert everything(place) == whole
        assert shared.verify(remote_content=True).empty


@pytest.mark.parametrize(("remote", "pattern"), [("file", SHARD), ("s3", TABLE)], indirect=["remote"])
def test_a_changed_byte_is_found_when_all_is_read(shared, place, pattern, tmp_path) -> None:
    files, base = place
    whole, path = everything(place), files.glob(f"{base}/{pattern}")[0]
    folder, file = parted(path.removeprefix(f"{base}/"))
    content = bytearray(files.cat_file(path))
    content[len(content) // 2] ^= 1
    files.pipe_file(path, bytes(content))
    hurt = everything(place)
    assert shared.verify().empty
    assert found_there(shared, remote_content=True) == [(folder, file)]
    # Who has it not can only name it, and takes nothing away.
    with another_machine(shared, tmp_path / "other") as other:
        assert found_there(other, remote_content=True) == [(folder, file)]
        (row,) = other.repair(remote_content=True).to_dict("records")
        assert not row["mended"]
        assert "push it from where it was made" in row["action"]
    assert everything(place) == hurt
    assert shared.repair(remote_content=True)["mended"].all()
    assert everything(place) == whole


@pytest.mark.parametrize("remote", ["file"], indirect=True)
def test_what_others_have_put_is_looked_at_and_kept(shared, place) -> None:
    files, base = place
    name = shared.get_run(AXES).id
    for path in files.find(f"{base}/runs/{name}"):
        shared.remote.write(path.removeprefix(f"{base}/").replace(name, "theirs-1"), files.cat_file(path))
    assert shared.verify(remote_content=True).empty
    files.rm(f"{base}/runs/theirs-1/tables/numbers.parquet")
    hurt = everything(place)
    assert found_there(shared) == [("runs/theirs-1", "tables/numbers.parquet")]
    assert not shared.repair()["mended"].any()
    assert everything(place) == hurt
    # Bytes of another capture of the same name do not take the place of theirs.
    acts = shared.activation_set()
    manifest = f"{base}/activations/{acts.id}/manifest.json"
    told = json.loads(files.cat_file(manifest))
    told["files"]["site000-00000.bin"]["sha256"] = "0" * 64
    files.pipe_file(manifest, json.dumps(told).encode())
    hurt = everything(place)
    assert (f"activations/{acts.id}", "site000-00000.bin") in found_there(shared, remote_content=True)
    assert not shared.repair(remote_content=True)["mended"].any()
    assert everything(place) == hurt


@pytest.mark.parametrize("remote", ["file"], indirect=True)
def test_what_is_damaged_here_is_not_put_there_nor_dropped_when_both_are(shared, place) -> None:
    files, base = place
    run = shared.get_run(AXES)
    table = run.folder / "tables" / "numbers.parquet"
    table.write_bytes(b"damaged")
    files.pipe_file(f"{base}/runs/{run.id}/tables/numbers.parquet", b"damaged too")
    hurt = everything(place)
    rows = shared.repair(remote_content=True).set_index("part")
    assert not rows["mended"].any()
    assert "It was left as it is" in rows.loc["run", "action"]
    assert everything(place) == hurt
    assert shared.runs()["status"].tolist() == ["done"]
    assert len(shared.concepts()) == 2


def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("remote", ["s3"], indirect=True)
def test_a_remote_that_is_not_reached_is_one_finding(shared, tmp_path, monkeypatch, capsys) -> None:
    run = shared.get_run(AXES)
    with another_machine(shared, tmp_path / "other") as other:
        other.pull()
        (other.folder / "runs" / run.id / "config.json").unlink()
        shutil.rmtree(other.folder / "activations")
        before = other.runs().to_json()
        fsspec.filesystem("s3").clear_instance_cache()
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused_port()}")
    with wb.open_study(tmp_path / "other") as other:
        found = other.verify()
        (row,) = found[found["part"].eq("remote")].to_dict("records")
        assert (row["name"], row["state"]) == (other.remote.url, "unchecked")
        assert "What is there was not looked at." in row["problem"]
        assert found.loc[found["state"].eq("broken"), "part"].tolist() == ["run"]
        # It may be whole there, so it is not given up.
        (row,) = other.repair().to_dict("records")
        assert not row["mended"]
        assert other.runs().to_json() == before
        shutil.rmtree(other.folder / "runs")
        assert other.verify()["state"].tolist() == ["unchecked"]
    with pytest.raises(SystemExit) as end:
        main(["study", "verify", str(tmp_path / "other"), "--remote-content"])
    assert (end.value.code or 0) == 0
    assert "was not looked at" in capsys.readouterr().out
    fsspec.filesystem("s3").clear_instance_cache()


KILLED = """
import os, signal, sys, workbench as wb
from workbench.store.remote import Remote
download = Remote.download
def killed(self, path, target):
    download(self, path, target)
    if path.endswith(".bin") or path.endswith("numbers.parquet"):
        if sys.argv[2] == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        print("here", flush=True)
        sys.stdin.readline()
Remote.download = killed
with wb.open_study(sys.argv[1]) as study:
    study.activation_set().read() if sys.argv[3] == "set" else study.get_run("remote_axes_for_tests")
"""


def fetching(folder, how: str, what: str) -> subprocess.Popen:
    command = [sys.executable, "-c", KILLED, str(folder), how, what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("remote", ["file"], indirect=True)
@pytest.mark.parametrize("what", ["set", "run"])
def test_what_a_killed_fetch_leaves_goes_with_the_next(shared, tmp_path, what) -> None:
    with another_machine(shared, tmp_path / "other") as other:
        acts = other.activation_set()
        for mend in (other.repair, lambda: other.remote.fetch_texts(acts.dataset_record)):
            assert fetching(other.folder, "killed", what).wait() == -signal.SIGKILL
            (rest,) = leftovers(other.folder)
            assert rest.name in set(other.verify()["name"])
            shutil.rmtree(other.folder / "datasets", ignore_errors=True)
            mend()
            assert list((other.folder / "cache").iterdir()) == []
        assert acts.read().shape == shared.activation_set().read().shape
        other.pull()
        assert list((other.folder / "cache").iterdir()) == []
        assert other.verify().empty


@pytest.mark.parametrize("remote", ["file"], indirect=True)
def test_what_a_living_process_fetches_is_left_to_it(shared, tmp_path) -> None:
    with another_machine(shared, tmp_path / "other") as other:
        with fetching(other.folder, "slow", "run") as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n"
            names = {path.name for path in (other.folder / "cache").iterdir()}
            assert len(names) == 2
            assert leftovers(other.folder) == []
            assert other.verify().empty
            assert other.repair().empty
            with scratch(other.folder) as mine:
                assert mine.is_dir()
            assert {path.name for path in (other.folder / "cache").iterdir()} == names
            process.communicate("\n")
        assert process.returncode == 0
        assert (other.folder / "runs" / shared.get_run(AXES).id).is_dir()
        assert list((other.folder / "cache").iterdir()) == []
