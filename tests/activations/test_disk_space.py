"""A capture says how much it takes before it begins, and never takes more than it may."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.activations import ActivationSet, capture, capturing
from workbench.activations.dtypes import as_tensor, packed, unpacked
from workbench.cli import console, main
from workbench.edits import steer
from workbench.errors import ConfigError, DataError, DiskFullError
from workbench.memory import parse_size


def size_of(acts: ActivationSet) -> int:
    return sum(path.stat().st_size for path in acts.folder.glob("*.bin"))


def test_what_may_not_take_so_much_is_refused_before_the_model_runs(minilm, texts, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(minilm, "activations", lambda *_: pytest.fail("the model ran"))
        with pytest.raises(DiskFullError, match=r"needs about .* MiB and may take 0\.0 MiB \(max_disk\)") as refused:
            capture(minilm, texts, sites="resid_post.*", folder=tmp_path, max_disk="1kB")
    assert list(tmp_path.iterdir()) == []
    named = float(re.search(r"about ([\d.]+) MiB", str(refused.value))[1]) * 2**20
    made = capture(minilm, texts, sites="resid_post.*", folder=tmp_path, max_disk="1GiB")
    assert named == pytest.approx(size_of(made), rel=0.1)


def test_a_capture_whose_estimate_was_short_stops_at_the_limit_and_goes_on_when_it_may(minilm, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 8)
    limit = 150_000
    with monkeypatch.context() as patch:
        patch.setattr(capturing._Capture, "estimate", lambda self: 0)
        with pytest.raises(DiskFullError, match="stopped before it took more"):
            capture(minilm, texts, sites="embed", folder=tmp_path, max_disk=limit)
    (partial,) = tmp_path.iterdir()
    assert 0 < sum(path.stat().st_size for path in partial.iterdir()) <= limit
    again = capture(minilm, texts, sites="embed", folder=tmp_path)
    whole = capture(minilm, texts, sites="embed", folder=tmp_path / "undisturbed")
    assert np.array_equal(again.read(), whole.read())


def test_progress_tells_tokens_bytes_and_seconds(minilm, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 8)
    seen = []
    made = capture(
        minilm, texts, sites="embed", folder=tmp_path, pool="mean", progress=lambda _d, _n, facts: seen.append(dict(facts))
    )
    tokens = capture(minilm, texts, sites="embed", folder=tmp_path).n_rows
    assert made.n_rows == len(texts)
    assert seen[-1]["tokens"] == tokens > len(texts)
    assert [facts["bytes"] for facts in seen] == sorted(facts["bytes"] for facts in seen)
    # The last chunk is written after the last progress.
    assert 0 < seen[-1]["bytes"] < size_of(made) + 10_000
    assert 0 <= seen[0]["seconds"] <= seen[-1]["seconds"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 MiB", 500 * 2**20), ("1.5kb", 1500), ("7", 7), ("0B", 0), (12, 12), ("1TiB", 2**40)],
)
def test_a_size_is_read_as_it_is_written(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "2 hats", "-1GB", "1e9", "2GBB", "nan"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ConfigError, match="is no size"):
        parse_size(text)


@given(arrays(np.float32, (5, 3), elements=st.floats(-(2.0**127), 2.0**127, width=32)))
def test_bfloat16_is_rounded_to_the_nearest_even_and_comes_back_bit_for_bit(rows):
    block = packed(rows, "bfloat16", "embed")
    bits = rows.view(np.uint32).astype(np.uint64)
    upper, lower = bits >> 16, bits & 0xFFFF
    expected = upper + ((lower > 0x8000) | ((lower == 0x8000) & (upper % 2 == 1)))
    assert np.array_equal(block, expected)
    assert np.array_equal(as_tensor(block).float().numpy(), unpacked(block))
    assert np.array_equal(unpacked(block).view(np.uint32), block.astype(np.uint32) << 16)
    assert np.array_equal(packed(unpacked(block), "bfloat16", "embed"), block)


@given(arrays(np.float32, (5, 3), elements=st.floats(-65519, 65519, width=32)))
def test_float16_has_the_bits_that_numpy_gives(rows):
    expected = rows.astype(np.float16).view(np.uint16)
    for given_as in (rows, torch.from_numpy(rows), torch.from_numpy(np.asfortranarray(rows))):
        assert np.array_equal(packed(given_as, "float16", "embed").view(np.uint16), expected)


def test_float16_holds_what_rounds_to_its_largest_and_no_more():
    assert packed(np.full((1, 2), 65519.99, np.float32), "float16", "embed").max() == 65504
    for wrong in (65520, -65520):
        with pytest.raises(DataError, match="embed reach 65520, more than float16"):
            packed(np.array([[0, wrong]], np.float32), "float16", "embed")
    for wrong in (np.nan, np.inf, -np.inf):
        with pytest.raises(DataError, match="not finite numbers"):
            packed(np.array([[0, wrong]], np.float32), "float16", "embed")


def test_bfloat16_never_makes_infinity_of_a_number():
    largest = np.array([[np.finfo(np.float32).max]])
    for wrong in (largest.astype(np.float32), np.array([[np.nan]], np.float32), np.array([[np.inf]], np.float32)):
        with pytest.raises(DataError):
            packed(wrong, "bfloat16", "embed")


def test_a_set_of_any_dtype_is_read_as_float32_and_given_as_it_lies(minilm, texts, tmp_path):
    exact = capture(minilm, texts, sites="embed", folder=tmp_path, store_dtype="float32")
    numbers = np.array([3, 1, -1, 3])
    for dtype in ("float16", "bfloat16", "float32"):
        kind = getattr(torch, dtype)
        made = ActivationSet.open(capture(minilm, texts, sites="embed", folder=tmp_path, store_dtype=dtype).folder)
        rounded = torch.from_numpy(exact.read()).to(kind)
        assert made.read().dtype == np.float32
        assert np.array_equal(made.read(), rounded.float().numpy())
        assert torch.equal(made.tensor(), rounded)
        assert made.tensor(numbers).dtype == kind
        assert torch.equal(made.tensor(numbers), rounded[numbers])
        (batch,) = made.batches(made.n_rows, epochs=1)
        assert batch.dtype == torch.float32
        assert torch.allclose(batch.double().sum(0), rounded.double().sum(0))
    assert size_of(made) == 2 * size_of(capture(minilm, texts, sites="embed", folder=tmp_path, store_dtype="bfloat16"))


def test_what_float16_cannot_hold_bfloat16_can(minilm, texts, tmp_path):
    with minilm.edited(steer("embed", torch.full((384,), 1e5))):
        made = capture(minilm, texts, sites="embed", folder=tmp_path, store_dtype="bfloat16", limit=4)
    assert np.abs(made.read() / 1e5 - 1).max() < 2**-7


def test_the_command_names_the_size_and_shows_the_rate(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.0)
    monkeypatch.setattr(console, "LEAST_TOLD_S", 0.0)
    study = str(tmp_path / "study")
    arguments = [
        "capture",
        study,
        "--data",
        "film",
        "--limit",
        "40",
        "--sites",
        "embed",
        "--store-dtype",
        "bfloat16",
        "--batch-size",
        "4",
    ]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--max-disk", "1kB"])
    assert end.value.code == 3
    assert "needs about" in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--max-disk", "1GB"])
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "ActivationSet" in said.out
    assert re.search(r"capturing 1 site, \d+ of 40 examples, [\d,]+ tokens/s, 0\.0 MiB written, \d+% done, \d+ s left", said.err)
