"""Shuffled batches are samples of all rows, take little memory, and leave no thread behind."""

from __future__ import annotations

import gc
import itertools
import threading
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.stats import chi2, chisquare

from workbench.activations import ActivationSet, writer
from workbench.activations.batches import Batches, shuffled
from workbench.activations.manifest import Request
from workbench.errors import ConfigError, StudyError

# Rows of each chunk, and of each shard, since no two chunks fit into one.
SHARDS = (700, 900, 500, 800, 1000, 600, 900, 600)


def numbered(folder, shards=SHARDS, width=8, site="embed") -> ActivationSet:
    """A set whose rows hold their own number in every column."""
    request = Request(
        model="numbers", model_kind="module", weights_hash="0" * 64, inputs={}, dataset="numbers", dataset_hash="0",
        sites=(site,), widths=(width,), pool="mean", dtype="float32",
    )  # fmt: skip
    first = 0
    with writer.writing(folder / request.id, request) as out:
        for rows in shards:
            numbers = np.arange(first, first + rows)
            blank = np.zeros(rows, np.int32)
            index = {"example": numbers, "position": blank - 1, "token": [""] * rows, "start": blank, "end": blank}
            out.append([np.repeat(numbers[:, None], width, 1).astype(np.float32)], index)
            first += rows
        out.finish({"name": "numbers"}, {}, first, None)
    return ActivationSet.open(folder / request.id)


@pytest.fixture
def acts(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", max(SHARDS) * 8 * 4)
    made = numbered(tmp_path)
    assert made.manifest.shards == SHARDS
    return made


def shares_are_even(batches: list[np.ndarray]) -> float:
    """The p-value of a chi-square test that every batch has its share of the rows of every shard."""
    edges = np.concatenate([[0], np.cumsum(SHARDS)])
    share = np.array(SHARDS) / sum(SHARDS)
    statistic = sum(
        float(chisquare(np.histogram(rows, edges)[0], share * len(rows), sum_check=False).statistic) for rows in batches
    )
    return float(chi2.sf(statistic, len(batches) * (len(SHARDS) - 1)))


def test_every_batch_is_a_sample_of_all_rows_not_of_a_shard(acts):
    for seed in range(5):
        batches = [batch[:, 0].numpy() for batch in acts.batches(250, seed=seed, epochs=1)]
        assert sorted(np.concatenate(batches)) == list(range(sum(SHARDS)))
        assert 0.001 < shares_are_even(batches) < 0.999


def test_rows_of_one_shard_come_at_any_time_of_an_epoch(acts):
    first = np.cumsum(SHARDS)[2]
    for seed in range(5):
        order = torch.cat(list(acts.batches(250, seed=seed, epochs=1)))[:, 0].numpy()
        when = np.flatnonzero((order >= first) & (order < first + SHARDS[3]))
        counts = np.histogram(when, np.linspace(0, len(order), 21))[0]
        assert chisquare(counts).pvalue > 0.001
        # Rows that are neighbours on disk are no neighbours in the epoch.
        assert np.mean(np.abs(np.diff(order)) == 1) < 0.002


def test_the_test_finds_an_order_that_only_shuffles_shards_or_within_them(acts):
    rng = np.random.default_rng(0)
    edges = np.concatenate([[0], np.cumsum(SHARDS)])
    parts = [rng.permutation(np.arange(low, high)) for low, high in itertools.pairwise(edges)]
    order = np.concatenate([parts[i] for i in rng.permutation(len(parts))])
    assert shares_are_even(np.array_split(order, 24)) < 1e-12
    # A buffer of three shards at a time is still no sample of all rows.
    mixed = np.concatenate([rng.permutation(np.concatenate(parts[i : i + 3])) for i in range(0, len(parts), 3)])
    assert shares_are_even(np.array_split(mixed, 24)) < 1e-12


def test_reading_a_pass_takes_a_few_batches_of_memory(tmp_path):
    made = numbered(tmp_path, (40_000,), width=128)
    batch = 256 * 128 * 4
    for part in made.batches(256, epochs=1):
        assert part.shape[1] == 128
        break
    tracemalloc.start()
    for part in made.batches(256, epochs=2, ahead=2):
        assert len(part) <= 256
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The rows are 20 MB; their numbers twice, a few batches, and what it takes to put one together.
    assert peak < 2 * 40_000 * 8 + 8 * batch


def test_reading_ahead_changes_nothing(acts):
    for ahead in (0, 1, 5):
        got = list(acts.batches(300, seed=3, rows=np.arange(10, 1000), epochs=2, ahead=ahead))
        if ahead == 0:
            expected = got
        assert len(got) == len(expected) == 8
        assert all(torch.equal(one, two) for one, two in zip(got, expected, strict=True))
    with pytest.raises(ConfigError):
        acts.batches(4, ahead=-1)


def reading() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("read-ahead")]


def test_no_thread_is_left_however_a_pass_ends(acts):
    assert len(list(acts.batches(4000, epochs=1))) == 2
    assert reading() == []
    with acts.batches(10) as endless:
        next(endless)
        assert len(reading()) == 1
    assert reading() == []
    assert list(endless) == []
    for _ in acts.batches(10):
        break
    gc.collect()
    for thread in reading():
        thread.join(5)
    assert reading() == []


def test_what_goes_wrong_in_the_thread_reaches_the_reader(acts):
    shard = acts.folder / "site000-00003.bin"
    shard.write_bytes(bytes(shard.stat().st_size))
    damaged = ActivationSet.open(acts.folder)
    with pytest.raises(StudyError, match="is damaged: its checksum"):
        list(damaged.batches(500))
    assert reading() == []
    first, second = damaged.batches(500).share(2)
    for reader in (first, second):
        with pytest.raises(StudyError, match="is damaged: its checksum"):
            next(reader)


def counting(acts, batch_size=250, epochs=1):
    """A pass, and how many batches were read of it."""
    reads = []

    def read(numbers):
        reads.append(len(numbers))
        return acts.read(numbers)

    return Batches(shuffled(np.arange(acts.n_rows), batch_size, 0, epochs), read, 1), reads


def test_several_trainers_get_every_batch_of_one_pass_in_order(acts):
    source, reads = counting(acts)
    expected = [batch[:, 0].numpy() for batch in acts.batches(250, epochs=1)]
    seen: list[list[np.ndarray]] = [[] for _ in range(4)]

    def train(number, reader):
        for batch in reader:
            seen[number].append(batch[:, 0].numpy())

    threads = [threading.Thread(target=train, args=pair) for pair in enumerate(source.share(4))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for got in seen:
        assert len(got) == len(expected)
        assert all(np.array_equal(one, two) for one, two in zip(got, expected, strict=True))
    assert len(reads) == len(expected)


def test_trainers_in_turn_share_a_pass_and_the_fast_one_is_held_back(acts):
    source, reads = counting(acts, epochs=None)
    one, two = source.share(2, apart=3)
    for _ in range(20):
        assert torch.equal(next(one), next(two))
    for _ in range(3):
        next(one)
    with pytest.raises(ConfigError, match="3 batches ahead"):
        next(one)
    assert len(reads) <= 20 + 3 + 2
    # One that leaves holds nobody back, and the last one to leave ends the pass.
    two.close()
    assert len([next(one) for _ in range(10)]) == 10
    assert list(two) == []
    one.close()
    assert list(one) == []
    assert reading() == []
    with pytest.raises(ConfigError, match="at least one reader"):
        source.share(0)
