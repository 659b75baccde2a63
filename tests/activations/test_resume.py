"""A capture that was cut short, wherever, goes on and ends with the bytes of one that was not."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.activations import ActivationSet, capture, capturing, journal, writer
from workbench.activations.manifest import Request
from workbench.errors import StudyError
from workbench.processes import hold, identity

OPTIONS = {"sites": ["layer:0", "layer:1"], "pool": "spatial", "store_dtype": "float32", "batch_size": 2}
SHARD_ROWS = 50


@pytest.fixture(scope="module", autouse=True)
def small_chunks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(capturing, "_CHUNK_EXAMPLES", 2)
        patch.setattr(writer, "SHARD_BYTES", SHARD_ROWS * 4 * 4)
        yield


@pytest.fixture(scope="module")
def many(make_table):
    rng = np.random.default_rng(3)
    return make_table([rng.integers(0, 255, (4, 6)).astype(np.uint8) for _ in range(13)], "image")


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def undisturbed(vision, many, tmp_path_factory):
    made = capture(vision, many, folder=tmp_path_factory.mktemp("whole"), **OPTIONS)
    assert len(made.manifest.shards) > 3
    return made


def stop_after(examples, error=KeyboardInterrupt):
    def progress(done, total, info):
        if done > examples:
            raise error

    return progress


@pytest.fixture(scope="module")
def cut_short(vision, many, undisturbed, tmp_path_factory):
    """A partial folder in which five of the seven chunks are whole."""
    home = tmp_path_factory.mktemp("cut")
    with pytest.raises(KeyboardInterrupt):
        capture(vision, many, folder=home, progress=stop_after(10), **OPTIONS)
    partial = home / f"{undisturbed.id}.partial"
    assert list(home.iterdir()) == [partial]
    return partial


def resumed(vision, many, partial, folder):
    """What comes of a partial folder, and how many examples it still had to read."""
    folder.mkdir(exist_ok=True)
    shutil.copytree(partial, folder / partial.name)
    seen = []
    made = capture(vision, many, folder=folder, progress=lambda done, *_: seen.append(done), **OPTIONS)
    assert [path.name for path in folder.iterdir()] == [made.id]
    # The first says where it goes on.
    return made, len(seen) - 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
def test_what_was_whole_is_not_read_again(vision, many, undisturbed, tmp_path, error):
    with pytest.raises(error):
        capture(vision, many, folder=tmp_path, progress=stop_after(6, error), **OPTIONS)
    seen = []
    made = capture(vision, many, folder=tmp_path, progress=lambda done, *_: seen.append(done), **OPTIONS)
    # The first says where it goes on.
    assert seen == [6, 8, 10, 12, 13]
    assert digests(made.folder) == digests(undisturbed.folder)


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_cut_at_any_byte_of_any_file_it_ends_with_the_same_bytes(vision, many, undisturbed, cut_short, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("resumed")
    partial = shutil.copytree(cut_short, folder / "damaged" / cut_short.name)
    for path in data.draw(st.lists(st.sampled_from(sorted(partial.iterdir())), min_size=1, max_size=3, unique=True)):
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: data.draw(st.integers(0, size))])
    made, _ = resumed(vision, many, partial, folder / "again")
    assert digests(made.folder) == digests(undisturbed.folder)


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_damaged_byte_is_found_and_never_kept(vision, many, undisturbed, cut_short, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("resumed")
    partial = shutil.copytree(cut_short, folder / "damaged" / cut_short.name)
    path = data.draw(st.sampled_from(sorted(partial.iterdir())))
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    made, _ = resumed(vision, many, partial, folder / "again")
    assert digests(made.folder) == digests(undisturbed.folder)


def test_bytes_that_no_line_speaks_of_are_cut_off(vision, many, undisturbed, cut_short, tmp_path):
    partial = shutil.copytree(cut_short, tmp_path / "damaged" / cut_short.name)
    for path in partial.iterdir():
        path.write_bytes(path.read_bytes() + b"\0half a chunk")
    (partial / "site000-00077.bin").write_bytes(b"a shard that had just begun")
    (partial / "folder").mkdir()
    made, batches = resumed(vision, many, partial, tmp_path / "again")
    assert batches == 2
    assert digests(made.folder) == digests(undisturbed.folder)


def test_another_batch_size_or_format_starts_over(vision, many, undisturbed, cut_short, tmp_path, monkeypatch):
    partial = shutil.copytree(cut_short, tmp_path / "one" / cut_short.name)
    seen = []
    capture(vision, many, folder=tmp_path / "one", progress=lambda done, *_: seen.append(done), **OPTIONS | {"batch_size": 1})
    assert seen[:2] == [0, 1]
    monkeypatch.setattr(journal, "FORMAT", 2)
    made, batches = resumed(vision, many, cut_short, tmp_path / "two")
    assert batches == 7
    assert digests(made.folder) == digests(undisturbed.folder)
    assert not partial.exists()


def test_a_set_that_was_killed_before_it_got_its_name_is_given_it(vision, many, undisturbed, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(undisturbed.folder, folder / f"{undisturbed.id}.partial")
    (folder / f"{undisturbed.id}.partial" / writer.GROWING_INDEX).write_bytes(b"left over")
    seen = []
    made = capture(vision, many, folder=folder, progress=lambda *a: seen.append(a), **OPTIONS)
    assert seen == []
    assert digests(made.folder) == digests(undisturbed.folder)
    # One that is damaged is not.
    broken = shutil.copytree(undisturbed.folder, tmp_path / "third" / f"{undisturbed.id}.partial")
    (broken / "index.parquet").write_bytes(b"x" * (broken / "index.parquet").stat().st_size)
    capture(vision, many, folder=tmp_path / "third", progress=lambda *a: seen.append(a), **OPTIONS)
    assert len(seen) == 1 + 7
    assert digests(tmp_path / "third" / made.id) == digests(undisturbed.folder)


def test_a_journal_never_leads_out_of_its_folder(vision, many, undisturbed, cut_short, tmp_path):
    partial = shutil.copytree(cut_short, tmp_path / "damaged" / cut_short.name)
    victim = tmp_path / "damaged" / "letters.txt"
    victim.write_bytes(b"Dear Ada")
    lines = (partial / "journal.jsonl").read_text().splitlines()
    stored = [4, hashlib.sha256(b"Dear").hexdigest()]
    lines[1] = json.dumps(json.loads(lines[1]) | {"../letters.txt": stored})
    (partial / "journal.jsonl").write_text("\n".join(lines) + "\n")
    (partial / "site000-00000.bin").unlink()
    (partial / "site000-00000.bin").symlink_to(victim)
    with pytest.raises(StudyError, match=r"site000-00000\.bin', which is a symbolic link: it is not read"):
        capture(vision, many, folder=tmp_path / "damaged", **OPTIONS)
    (partial / "site000-00000.bin").unlink()
    capture(vision, many, folder=tmp_path / "damaged", **OPTIONS)
    assert victim.read_bytes() == b"Dear Ada"
    assert digests(tmp_path / "damaged" / undisturbed.id) == digests(undisturbed.folder)


def _hold(path, ready, end) -> None:
    with hold(path, "It"):
        ready.set()
        end.wait(60)


def test_two_at_once_do_not_write_one_set(vision, many, undisturbed, tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, end = context.Event(), context.Event()
    lock = tmp_path / f"{undisturbed.id}.lock"
    other = context.Process(target=_hold, args=(lock, ready, end))
    other.start()
    assert ready.wait(60)
    with pytest.raises(StudyError, match=f"being written by process {other.pid} on .*: wait until that is done"):
        capture(vision, many, folder=tmp_path, **OPTIONS)
    # Killed, it holds nothing any more, though its file is still there.
    other.kill()
    other.join()
    assert lock.exists()
    made = capture(vision, many, folder=tmp_path, **OPTIONS)
    assert digests(made.folder) == digests(undisturbed.folder)
    assert not lock.exists()


def test_a_lock_without_locks_goes_by_the_process_it_names(tmp_path, monkeypatch):
    import fcntl

    def none(*_):
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", none)
    lock = tmp_path / "set.lock"
    with hold(lock, "It"), pytest.raises(StudyError, match="It is being written by process"), hold(lock, "It"):
        pass
    lock.write_text(json.dumps(identity() | {"pid": 2**22 - 1}))
    with hold(lock, "It"):
        assert json.loads(lock.read_text()) == identity()
    assert not lock.exists()


def test_rows_of_chunks_come_in_the_order_in_which_they_were_appended(tmp_path):
    request = Request(
        model="m", model_kind="module", weights_hash="0", inputs={}, dataset="d", dataset_hash="0", sites=("layer:0",),
        widths=(3,), pool="token", dtype="float32",
    )  # fmt: skip
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    columns = {"position": np.zeros(5, int), "token": np.array(["é"] * 5), "start": np.zeros(5, int), "end": np.ones(5, int)}

    def one_chunk(start):
        with writer.writing(tmp_path / "set", request) as file:
            assert (file.chunks, sum(file.shards)) == (start // 5, start)
            file.append([rows[start : start + 5]], {"example": np.arange(start, start + 5)} | columns)
            raise InterruptedError

    for start in range(0, 20, 5):
        with pytest.raises(InterruptedError):
            one_chunk(start)
    with writer.writing(tmp_path / "set", request) as file:
        file.finish({}, {}, 20, None)
    made = ActivationSet.open(tmp_path / "set")
    assert np.array_equal(made.read(), rows)
    assert made.index["example"].tolist() == list(range(20))
