from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.readers import CORPUS
from workbench.activations import capture
from workbench.activations.manifest import parse_manifest
from workbench.errors import ConfigError, StudyError, UnknownNameError


@pytest.fixture(scope="module")
def acts(minilm, texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("acts")
    return capture(minilm, texts, sites=["embed", "head_out.0.0"], folder=folder, store_dtype="float32")


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_reading_any_rows_is_indexing_the_whole(acts, data):
    whole = acts.at("embed").read()
    n = acts.n_rows
    numbers = np.array(data.draw(st.lists(st.integers(-n, n - 1), max_size=40)), np.int64)
    assert np.array_equal(acts.read(numbers, "embed"), whole[numbers])
    bound = st.none() | st.integers(-2 * n, 2 * n)
    step = st.none() | st.integers(1, 7) | st.integers(-7, -1)
    part = slice(data.draw(bound), data.draw(bound), data.draw(step))
    assert np.array_equal(acts.read(part, "embed"), whole[part])


def test_masks_choose_rows(acts):
    mask = np.random.default_rng(0).random(acts.n_rows) < 0.3
    assert np.array_equal(acts.read(mask, "embed"), acts.read(site="embed")[mask])
    with pytest.raises(ConfigError):
        acts.read(mask[:-1], "embed")
    with pytest.raises(ConfigError, match="Rows run from 0 to"):
        acts.read(np.array([acts.n_rows]), "embed")


def test_a_view_has_one_site(acts):
    view = acts.at("head_out.0.0")
    assert [str(site) for site in view.sites] == ["head_out.0.0"]
    assert view.width() == 32
    assert view.id == acts.id
    with pytest.raises(ConfigError, match="several sites"):
        acts.read()
    with pytest.raises(UnknownNameError, match="captured site"):
        view.read(site="embed")
    assert "head_out.0.0" in repr(view)


def test_rows_of_a_split_are_those_of_its_examples(acts, texts, make_table):
    train, test = acts.rows("train", texts), acts.rows("test", texts)
    assert sorted([*train, *test]) == list(range(acts.n_rows))
    assert set(acts.index["example"].iloc[test] % 3) == {2}
    assert len(acts.rows(None, texts)) == acts.n_rows
    with pytest.raises(UnknownNameError, match="split"):
        acts.rows("validation", texts)
    with pytest.raises(StudyError, match="not from this other"):
        acts.rows("train", make_table(["x"], name="other"))


@pytest.mark.parametrize("size", [1, 13, 10_000])
def test_batches_visit_each_row_once_an_epoch(acts, size):
    rows = np.arange(3, 90, 2)
    whole = acts.read(rows, "head_out.0.0")
    got = list(acts.at("head_out.0.0").batches(size, seed=1, rows=rows, epochs=2))
    assert all(b.dtype == torch.float32 and b.shape[1] == 32 for b in got)
    each = len(got) // 2
    for epoch in (got[:each], got[each:]):
        assert Counter(r.tobytes() for r in torch.cat(epoch).numpy()) == Counter(r.tobytes() for r in whole)
    if size < len(rows):
        assert not torch.equal(torch.cat(got[:each]), torch.cat(got[each:]))


def test_batches_follow_the_seed_and_never_end_unless_asked(acts):
    view = acts.at("embed")
    first, same, other = (torch.cat(list(view.batches(32, seed=s, epochs=1))) for s in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    endless = view.batches(acts.n_rows, seed=0)
    assert len([next(endless) for _ in range(3)]) == 3
    with pytest.raises(ConfigError):
        next(view.batches(0))
    with pytest.raises(ConfigError):
        next(view.batches(4, rows=np.array([], int)))


@pytest.mark.parametrize("version", [True, 1.0, "2", 3, None])
def test_a_manifest_of_no_known_version_is_refused(tmp_path, version) -> None:
    folder = Path(shutil.copytree(CORPUS / "set", tmp_path / "set"))
    found = json.loads((folder / "manifest.json").read_text())
    assert parse_manifest(folder).request.format == 2
    found["request"]["format"] = version
    (folder / "manifest.json").write_text(json.dumps(found))
    with pytest.raises(StudyError, match="format"):
        parse_manifest(folder)
