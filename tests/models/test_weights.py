"""The type, the place and the identity of weights."""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch

import workbench as wb
from tests.large_vocabulary import save_large_vocabulary
from workbench.activations import capture
from workbench.edits import steer
from workbench.errors import ConfigError, MissingExtraError
from workbench.evidence import steering
from workbench.evidence.causes import dose_response, random_directions
from workbench.models import hugging_face, pretrained, weights
from workbench.readout import Readout

TEXTS = ["The people of this country", "A ship left the harbour before the morning came."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_large_vocabulary(tmp_path_factory.mktemp("small"), size=400, width=16)


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for number, file in enumerate(made):
        file.write_bytes(bytes([number]) * 100)
    return made


def counted(digest="0" * 64):
    calls = []

    def compute():
        calls.append(digest)
        return digest

    return calls, compute


def test_a_hash_is_computed_once_for_files_that_stay_as_they_are(files, monkeypatch):
    monkeypatch.setattr(weights, "_SETTLED_S", -1.0)
    calls, compute = counted()
    for _ in range(3):
        assert weights.remembered_hash(files, "float32", compute) == "0" * 64
    assert len(calls) == 1
    # Another type, or another set of files, is another question.
    weights.remembered_hash(files, "bfloat16", compute)
    weights.remembered_hash(files[:1], "float32", compute)
    assert len(calls) == 3


def test_a_changed_file_is_read_again_even_of_the_same_length_and_time(files, monkeypatch):
    monkeypatch.setattr(weights, "_SETTLED_S", -1.0)
    calls, compute = counted()
    weights.remembered_hash(files, "float32", compute)
    before = files[0].stat()
    time.sleep(0.02)
    files[0].write_bytes(b"x" * 100)
    os.utime(files[0], ns=(before.st_atime_ns, before.st_mtime_ns))
    weights.remembered_hash(files, "float32", compute)
    assert len(calls) == 2


def test_files_that_were_written_a_moment_ago_are_not_remembered(files):
    calls, compute = counted()
    for _ in range(2):
        weights.remembered_hash(files, "float32", compute)
    assert len(calls) == 2


def test_a_damaged_memory_is_no_hash(files, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_SETTLED_S", -1.0)
    calls, compute = counted()
    weights.remembered_hash(files, "float32", compute)
    (entry,) = (tmp_path / "cache").rglob("*.json")
    known = json.loads(entry.read_text())
    for damaged in ("", "{}", "[1]", json.dumps(known | {"hash": "short"}), json.dumps(known | {"files": []})):
        entry.write_text(damaged)
        assert weights.remembered_hash(files, "float32", compute) == "0" * 64
    assert len(calls) == 6


def test_processes_that_remember_at_once_leave_one_whole_file(files, tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "_SETTLED_S", -1.0)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: weights.remembered_hash(files, "float32", counted()[1]), range(40)))
    assert set(found) == {"0" * 64}
    assert len(list((tmp_path / "cache").rglob("*"))) == len(["concept-workbench", "hashes", "entry"])


def test_a_model_is_hashed_once(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "_SETTLED_S", -1.0)
    first = wb.load_model(folder).weights_hash
    monkeypatch.setattr(hugging_face, "pretrained_hash", lambda *_a, **_k: pytest.fail("the weights were hashed again"))
    assert wb.load_model(folder).weights_hash == first


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_in_half_precision_is_read_edited_and_known_by_it(folder, tmp_path, dtype):
    exact, half = wb.load_model(folder), wb.load_model(folder, dtype=dtype)
    assert (exact.dtype, half.dtype) == ("float32", dtype)
    assert half.weights_hash != exact.weights_hash
    assert half.source["dtype"] == dtype
    batch = half.batch(TEXTS)
    rows = half.activations(batch, ["resid_post.1"])[half.site("resid_post.1")]
    assert rows.dtype == getattr(torch, dtype)
    wide = exact.activations(batch, ["resid_post.1"])[exact.site("resid_post.1")]
    torch.testing.assert_close(rows.float(), wide, atol=0.05, rtol=0.05)
    table = wb.dataset_from_table(pd.DataFrame({"text": TEXTS * 8}), name="texts")
    made = [capture(model, table, sites="resid_post.*", folder=tmp_path) for model in (exact, half)]
    assert made[0].id != made[1].id
    assert made[1].manifest.request.model_dtype == dtype
    assert made[0].manifest.request.model_dtype is None
    np.testing.assert_allclose(made[1].read(site="resid_post.1"), made[0].read(site="resid_post.1"), atol=0.05, rtol=0.05)
    # Everything that is measured of a model works in its type.
    site, push = half.site("resid_post.0"), random_directions(1, 16, 0)
    passages = steering.read_passages(half, TEXTS)
    reading = steering.steer_passages(half, site, push, (0.5,), 1.0, passages, [torch.tensor([3])])
    again = steering.steer_passages(
        exact, exact.site("resid_post.0"), push, (0.5,), 1.0, steering.read_passages(exact, TEXTS), []
    )
    np.testing.assert_allclose(reading.divergence, again.divergence, atol=0.02)
    readout = Readout(["a"], torch.ones(1, 16), torch.zeros(1), np.ones(1), np.ones(1))
    assert np.isfinite(dose_response(half, site, push, TEXTS, readout, 1.0, (0.5, 1.0)).readout).all()
    with half.edited(steer(site, push[0])):
        assert half.generate("The people", max_new_tokens=3).tokens


def test_an_unknown_type_is_refused(folder):
    with pytest.raises(ConfigError, match="float32, bfloat16 or float16, not 'int8'"):
        wb.load_model(folder, dtype="int8")


def test_a_model_can_be_spread_over_devices(folder, monkeypatch):
    pytest.importorskip("accelerate")
    whole = wb.load_model(folder, device="cpu")
    spread = wb.load_model(folder, device_map={"": "cpu"})
    assert spread.weights_hash == whole.weights_hash
    assert "device_map" not in spread.source
    batch = whole.batch(TEXTS)
    assert torch.equal(spread.forward(spread.batch(TEXTS))[0].logits, whole.forward(batch)[0].logits)
    with pytest.raises(ConfigError, match=r"either device=.*or device_map="):
        wb.load_model(folder, device="cpu", device_map="auto")
    monkeypatch.setattr(pretrained, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"accelerate.*concept-workbench\[gpus\]"):
        wb.load_model(folder, device_map="auto")
