from __future__ import annotations

import errno
import json
import shutil
import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import threads
from workbench.activations import ActivationSet, capture, capturing, chunks, writer
from workbench.datasets import load_dataset
from workbench.edits import Edit, steer
from workbench.errors import ConfigError, DataError, DiskFullError, StudyError, UnknownNameError
from workbench.models import Site, load_model

SITES = ["resid_post.0", "mlp_out.2", "head_out.1.3"]


@pytest.fixture(scope="module")
def exact(minilm, texts, tmp_path_factory):
    return capture(minilm, texts, sites=SITES, folder=tmp_path_factory.mktemp("a"), store_dtype="float32", batch_size=7)


def direct(model, dataset, site, keep=True):
    rows = []
    for text in dataset.inputs(range(len(dataset))):
        batch = model.batch([text])
        hidden = model.activations(batch, [site])[model.site(site)]
        rows.append(hidden[0][batch.keep[0]].numpy())
    return rows


def test_capture_is_what_the_model_does(exact, minilm, texts):
    for site in SITES:
        expected = np.concatenate(direct(minilm, texts, site))
        assert exact.n_rows == len(expected)
        # One text at a time and in batches, matrix products round differently.
        np.testing.assert_allclose(exact.at(site).read(), expected, atol=2e-5)
    batch = minilm.batch(texts.inputs(range(7)))
    again = chunks.pooled(minilm.activations(batch, ["mlp_out.2"])[Site("mlp_out", 2)], batch.keep, "token")
    np.testing.assert_allclose(exact.read(slice(0, len(again)), "mlp_out.2"), again.numpy(), atol=2e-5)


def test_the_rows_of_one_batch_are_kept_to_a_millionth(minilm, texts, tmp_path):
    part = capture(minilm, texts, sites="resid_post.1", folder=tmp_path, store_dtype="float32", limit=5, seed=None)
    batch = minilm.batch(texts.inputs(range(5)))
    hidden = minilm.activations(batch, ["resid_post.1"])[Site("resid_post", 1)]
    np.testing.assert_allclose(part.read(), hidden[batch.keep].numpy(), atol=1e-6)
    assert part.n_examples == 5
    assert part.manifest.request.limit == 5


def test_the_index_says_where_each_row_stands(exact, texts):
    index = exact.index
    assert list(index.columns) == ["example", "position", "token", "start", "end"]
    assert index["example"].is_monotonic_increasing
    assert set(index["example"]) == set(range(len(texts)))
    assert all(index.groupby("example")["position"].apply(lambda p: p.is_monotonic_increasing))
    for row in index.itertuples():
        shown = texts.table["text"][row.example][row.start : row.end]
        assert shown.lower() == row.token.removeprefix("##") or shown == row.token


@pytest.mark.parametrize("pool", ["mean", "max", "last"])
def test_pools_agree_with_the_rows_of_tokens(exact, minilm, texts, tmp_path, pool):
    pooled = capture(minilm, texts, sites=SITES, folder=tmp_path, store_dtype="float32", pool=pool)
    assert pooled.n_rows == len(texts)
    assert (pooled.index["position"] == -1).all()
    assert pooled.index["example"].tolist() == list(range(len(texts)))
    how = {"mean": lambda r: r.mean(0), "max": lambda r: r.max(0), "last": lambda r: r[-1]}[pool]
    example = exact.index["example"].to_numpy()
    for site in SITES:
        rows = exact.read(site=site)
        expected = np.stack([how(rows[example == i]) for i in range(len(texts))])
        np.testing.assert_allclose(pooled.read(site=site), expected, atol=2e-5)


def test_half_precision_is_the_default_and_close(exact, minilm, texts, tmp_path):
    half = capture(minilm, texts, sites=SITES[:1], folder=tmp_path)
    assert half.manifest.request.dtype == "float16"
    assert half.read().dtype == np.float32
    np.testing.assert_allclose(half.read(), exact.read(site=SITES[0]), atol=2e-3, rtol=2e-3)


def test_chunks_and_shards_do_not_show(exact, minilm, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 100 * 384 * 4)
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 6)
    many = capture(minilm, texts, sites=SITES, folder=tmp_path, store_dtype="float32", batch_size=7)
    assert len(many.manifest.shards) > 2
    assert many.index.equals(exact.index)
    rows = np.random.default_rng(0).integers(0, many.n_rows, 200)
    for site in SITES:
        np.testing.assert_allclose(many.read(site=site), exact.read(site=site), atol=2e-5)
        assert np.array_equal(many.read(rows, site), many.read(site=site)[rows])
        assert np.array_equal(many.read(slice(90, 110), site), many.read(site=site)[90:110])


@given(st.lists(st.integers(1, 128), min_size=1, max_size=60), st.integers(1, 40))
def test_batches_hold_every_text_once_and_about_as_many_tokens_each(lengths, batch_size):
    lengths = np.array(lengths)
    parts = list(chunks.of_like_length(lengths, batch_size))
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    most = batch_size * lengths.mean()
    for part, after in zip(parts, [*parts[1:], None], strict=True):
        padded = lengths[part].max() * len(part)
        assert padded <= most or len(part) == 1
        # One text more would have been too much, and none of those that come later is longer.
        assert after is None or lengths[part].max() * (len(part) + 1) > most
        assert after is None or lengths[after].max() <= lengths[part].min()


def test_a_whole_set_is_opened_not_captured_again(minilm, texts, tmp_path):
    calls = []
    first = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean")
    again = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean", progress=lambda *a: calls.append(a))
    assert again.id == first.id
    assert again.folder.name == first.id
    assert not calls
    ids = {
        first.id,
        capture(minilm, texts, sites="embed", folder=tmp_path, pool="max").id,
        capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean", store_dtype="float32").id,
        capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean", limit=3).id,
        capture(minilm, texts, sites="mlp_out.0", folder=tmp_path, pool="mean").id,
    }
    assert len(ids) == 5


def test_a_capture_under_an_edit_is_that_of_an_edited_model(minilm, texts, tmp_path):
    edit = steer("embed", torch.ones(384), 2.0).sourced(run="run-1a2b3c4d", edit="up")
    how = {"sites": "resid_post.0", "folder": tmp_path, "limit": 3}
    with minilm.edited(edit):
        inside = capture(minilm, texts, **how)
    under = capture(minilm, texts, under=edit, **how)
    assert len(minilm.active_edits) == 0
    assert under.id == inside.id != capture(minilm, texts, **how).id
    # The manifest has where the edit is, and no tensor of it.
    assert under.edits == [edit.record()]
    assert "arguments" not in under.edits[0]
    assert repr(under).endswith("under run-1a2b3c4d/up=2 at embed>")


def test_a_glob_means_no_attention_pattern_and_no_logits_and_only_logits_can_be_named(tmp_path):
    scribe, data = load_model("scribe"), load_dataset("topics", limit=4)
    acts = capture(scribe, data, sites=["*.7", "final", "logits"], folder=tmp_path)
    kinds = {site.kind for site in acts.sites}
    # Heads are numbered below their layer, so the seventh of each layer is meant as well.
    kinds -= {"head_out"}
    assert kinds == {"resid_pre", "resid_post", "q", "k", "v", "mlp_in", "mlp_act", "mlp_out", "attn_out", "final", "logits"}
    batch = scribe.batch(data.inputs([0]))
    expected = scribe.forward(batch)[0].logits[0][batch.keep[0]]
    rows = torch.from_numpy(acts.read(slice(0, len(expected)), "logits"))
    torch.testing.assert_close(rows, expected, atol=2e-2, rtol=1e-3)
    with pytest.raises(ConfigError, match=r"A row of attn_pattern\.3 has a number for every position of its text"):
        capture(scribe, data, sites=["attn_pattern.3"], folder=tmp_path)
    with pytest.raises(ConfigError, match="name logits itself"):
        capture(scribe, data, sites="log*", folder=tmp_path)


def test_edited_activations_are_another_set(minilm, texts, tmp_path):
    base = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean", store_dtype="float32")
    with minilm.edited(steer("embed", torch.ones(384), 2.0)):
        moved = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean", store_dtype="float32")
    assert moved.id != base.id
    np.testing.assert_allclose(moved.read(), base.read() + 2, atol=1e-5)


def test_progress_counts_examples(minilm, texts, tmp_path):
    seen = []
    made = capture(
        minilm,
        texts,
        sites="embed",
        folder=tmp_path,
        progress=lambda d, n, info: seen.append((d, n, info["rows"])),
    )
    assert seen[-1] == (len(texts), len(texts), made.n_rows)
    assert [d for d, *_ in seen] == sorted({d for d, *_ in seen})


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_is_interrupted_before_its_first_chunk_is_whole_leaves_nothing(minilm, texts, tmp_path, error):
    def stop(done, total, info):
        if done >= 20:
            raise error

    with pytest.raises(error):
        capture(minilm, texts, sites="embed", folder=tmp_path, batch_size=10, progress=stop)
    assert list(tmp_path.iterdir()) == []
    assert capture(minilm, texts, sites="embed", folder=tmp_path).n_examples == len(texts)
    assert [path.suffix for path in tmp_path.iterdir()] == [""]


def test_a_partial_folder_without_a_journal_is_replaced(minilm, texts, tmp_path):
    made = capture(minilm, texts, sites="embed", folder=tmp_path / "one", pool="mean")
    partial = tmp_path / "two" / f"{made.id}.partial"
    partial.mkdir(parents=True)
    (partial / "site000-00000.bin").write_bytes(b"rest")
    again = capture(minilm, texts, sites="embed", folder=tmp_path / "two", pool="mean")
    assert np.array_equal(again.read(), made.read())
    assert not partial.exists()


def test_a_full_disk_is_said_before_and_during(minilm, texts, tmp_path, monkeypatch):
    class Usage:
        free = 10

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: Usage)
        with pytest.raises(DiskFullError, match=r"needs about .* MiB and .* has 0\.0 MiB free"):
            capture(minilm, texts, sites="embed", folder=tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer.Writer, "append", full)
        with pytest.raises(DiskFullError, match="The disk is full: activations"):
            capture(minilm, texts, sites="embed", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_large_for_half_precision_is_an_error_never_infinity(minilm, texts, tmp_path):
    with minilm.edited(steer("embed", torch.full((384,), 1e5))):
        with pytest.raises(DataError, match="use store_dtype='bfloat16'"):
            capture(minilm, texts, sites="embed", folder=tmp_path)
        assert np.isfinite(capture(minilm, texts, sites="embed", folder=tmp_path, store_dtype="float32").read()).all()


def test_a_blank_example_is_named(minilm, make_table, tmp_path):
    table = make_table(["fine"] * 9 + ["  "])
    with pytest.raises(DataError, match="Row 9 "):
        capture(minilm, table, sites="embed", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_hostile_text_comes_back_as_it_went_in(minilm, make_table, tmp_path):
    table = make_table(["<script>alert('x')</script> \u202e ../../etc", "a\x00b \ud800 c"])
    made = capture(minilm, table, sites="embed", folder=tmp_path)
    assert "script" in set(made.index["token"])
    assert made.index["example"].nunique() == 2


def test_options_that_cannot_be_used_are_refused(minilm, vision, texts, images, tmp_path):
    for wrong, match in [
        ({"pool": "sum"}, "The pool is"),
        ({"store_dtype": "float8"}, "The store_dtype is"),
        ({"max_disk": "2 hats"}, "no size"),
        ({"batch_size": 0}, "batch size"),
        ({"limit": 0}, "no example"),
    ]:
        with pytest.raises(ConfigError, match=match):
            capture(minilm, texts, sites="embed", folder=tmp_path, **wrong)
    with pytest.raises(UnknownNameError):
        capture(minilm, texts, sites="resid_post.9", folder=tmp_path)
    with pytest.raises(ConfigError, match="reads texts"):
        capture(minilm, images, sites="embed", folder=tmp_path)
    with pytest.raises(ConfigError, match=r"layer:0 4x6, layer:3 2x3"):
        capture(vision, images, sites=["layer:0", "layer:3"], folder=tmp_path, pool="spatial")
    own = Edit(Site("embed"), lambda h: h)
    with minilm.edited(own), pytest.raises(ConfigError, match="function of your own"):
        capture(minilm, texts, sites="embed", folder=tmp_path)


def test_images_have_a_row_a_place(vision, images, tmp_path):
    made = capture(
        vision,
        images,
        sites=["layer:0", "layer:1"],
        folder=tmp_path,
        pool="token",
        store_dtype="float32",
        batch_size=3,
    )
    assert made.pool == "spatial"
    assert made.n_rows == 7 * 24
    assert made.grid == (4, 6)
    batch = vision.batch(images.inputs(range(7)))
    for site, rows in vision.activations(batch, ["layer:0", "layer:1"]).items():
        np.testing.assert_allclose(made.read(site=site), rows.flatten(0, 1).numpy(), atol=1e-4)
    assert made.index["position"].tolist() == list(range(24)) * 7
    pooled = capture(vision, images, sites=["layer:0", "layer:3"], folder=tmp_path, pool="max", store_dtype="float32")
    expected = made.read(site="layer:0").reshape(7, 24, 4).max(1)
    np.testing.assert_allclose(pooled.read(site="layer:0"), expected, atol=1e-4)
    assert pooled.width("layer:3") == 3
    with pytest.raises(ConfigError, match="no places in an image"):
        _ = pooled.grid


def test_the_manifest_is_json_without_pickles(exact):
    manifest = json.loads((exact.folder / "manifest.json").read_text())
    assert manifest["model"]["name"] == "minilm"
    assert manifest["request"]["weights_hash"] == manifest["model"]["weights_hash"]
    assert {path.suffix for path in exact.folder.iterdir()} == {".json", ".parquet", ".bin"}
    assert exact.id == ActivationSet.open(exact.folder).id


def test_a_set_from_before_there_were_checksums_is_read(minilm, texts, tmp_path):
    made = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean")
    manifest = made.folder / "manifest.json"
    old = json.loads(manifest.read_text())
    del old["files"]
    manifest.write_text(json.dumps(old))
    again = ActivationSet.open(made.folder)
    assert np.array_equal(again.read(), made.read())
    assert again.index.equals(made.index)


def test_a_damaged_set_is_never_opened(minilm, texts, tmp_path):
    with pytest.raises(StudyError, match="no whole set"):
        ActivationSet.open(tmp_path)
    made = capture(minilm, texts, sites="embed", folder=tmp_path, pool="mean")
    shard = made.folder / "site000-00000.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2])
    with pytest.raises(StudyError, match=r"site000-00000\.bin is \d+ bytes long instead of"):
        ActivationSet.open(made.folder)
    shard.unlink()
    with pytest.raises(StudyError, match=r"site000-00000\.bin is missing"):
        ActivationSet.open(made.folder)
    shard.write_bytes(whole)
    manifest = made.folder / "manifest.json"
    assert ActivationSet.open(made.folder).n_rows == len(texts)
    flipped = bytearray(whole)
    flipped[100] ^= 1
    shard.write_bytes(flipped)
    with pytest.raises(StudyError, match=r"site000-00000\.bin is damaged: its checksum"):
        ActivationSet.open(made.folder).read()
    index = made.folder / "index.parquet"
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(StudyError, match=r"index\.parquet is \d+ bytes long"):
        ActivationSet.open(made.folder)
    for text in ["{", "[]", manifest.read_text().replace('"mean"', '"median"')]:
        manifest.write_text(text)
        with pytest.raises(StudyError, match="damaged"):
            ActivationSet.open(made.folder)


def test_threads_beside_the_model_end_with_the_capture_and_what_was_before_an_error_is_written(
    minilm, make_table, tmp_path, monkeypatch
):
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 4)

    def threads():
        return [thread for thread in threading.enumerate() if thread.name.startswith("capture-")]

    def stop(done, *_):
        # The first call says where it begins.
        assert threads() or not done
        if done == 12:
            raise KeyboardInterrupt

    lines = [f"The {number} cats sat on {'many ' * number}mats." for number in range(16)]
    with pytest.raises(KeyboardInterrupt):
        capture(minilm, make_table(lines), sites="embed", folder=tmp_path, batch_size=2, progress=stop)
    assert threads() == []
    # Of the third chunk the last batch was interrupted.
    (partial,) = tmp_path.iterdir()
    assert len((partial / "journal.jsonl").read_text().splitlines()) == 1 + 2
    whole = capture(minilm, make_table(lines), sites="embed", folder=tmp_path, batch_size=2)
    assert threads() == []
    # The sample and the first batch, which are all of so few texts, would meet the blank one before the first chunk.
    monkeypatch.setattr(capturing._Capture, "_cells", lambda self: (12.0, 128))
    monkeypatch.setattr(capturing._Capture, "look", lambda self: None)
    blank = make_table([*lines[:13], " "])
    with pytest.raises(DataError, match="Row 13 "):
        capture(minilm, blank, sites="embed", folder=tmp_path, batch_size=2)
    assert threads() == []
    (partial,) = tmp_path.glob("*.partial")
    assert len((partial / "journal.jsonl").read_text().splitlines()) == 1 + 3
    rows = (partial / "site000-00000.bin").read_bytes()
    assert rows == (whole.folder / "site000-00000.bin").read_bytes()[: len(rows)]


def test_an_error_of_the_disk_in_any_chunk_reaches_the_caller_and_the_next_call_goes_on(minilm, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(capturing, "_CHUNK_EXAMPLES", 8)
    whole = capture(minilm, texts, sites="embed", folder=tmp_path / "whole")
    append = writer.Writer.append
    for at in range(5):

        def full(self, *parts, at=at):
            if self.chunks == at:
                raise OSError(errno.ENOSPC, "No space left on device")
            append(self, *parts)

        with monkeypatch.context() as patch:
            patch.setattr(writer.Writer, "append", full)
            with pytest.raises(DiskFullError, match="The disk is full: activations"):
                capture(minilm, texts, sites="embed", folder=tmp_path / str(at))
        again = capture(minilm, texts, sites="embed", folder=tmp_path / str(at))
        for path in whole.folder.iterdir():
            assert (again.folder / path.name).read_bytes() == path.read_bytes()


def test_as_many_threads_give_the_same_bytes_and_others_the_same_numbers(minilm, texts, tmp_path):
    made = {}
    for count in (1, 2):
        for turn in ("first", "second"):
            with threads(count):
                acts = capture(minilm, texts, sites=SITES, folder=tmp_path / f"{count} {turn}", store_dtype="float32")
            made[count, turn] = acts
        for site in acts.sites:
            assert np.array_equal(made[count, "first"].raw(site=site), made[count, "second"].raw(site=site))
    # The number of threads decides in which order sums are taken: the last digits may differ, and no more.
    for site in acts.sites:
        np.testing.assert_allclose(made[1, "first"].read(site=site), made[2, "first"].read(site=site), atol=1e-4)
