"""Engines by their names, and what is said when one cannot be had."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.activations import capture
from workbench.engines import cluster, find_engine
from workbench.errors import ClusterError, ConfigError, MissingExtraError

pytest.importorskip("ray")


class Nothing:
    """Work that no worker is ever given."""

    def elsewhere(self):
        return Nothing


def test_what_a_worker_cannot_load_is_refused_before_there_is_one(tmp_path):
    images = wb.load_dataset("fashion", limit=4)
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    prepare = lambda image: image[None].astype(np.float32)  # noqa: E731
    model = wb.load_model(net, preprocess=prepare, example=images.inputs([0])[0], name="mine")
    with pytest.raises(ConfigError, match="'mine' was built in Python, and a worker can only load one by its name"):
        capture(model, images, sites="layer:0", folder=tmp_path, engine="ray")
    assert list(tmp_path.iterdir()) == []


def test_an_address_where_nobody_answers_is_told_at_once():
    with pytest.raises(ClusterError, match=r"A Ray cluster at 127\.0\.0\.1:1 cannot be used: .*refused"):
        next(cluster.Ray("127.0.0.1:1").map(Nothing(), []))


def test_engines_have_names_and_options():
    assert isinstance(find_engine("ray", workers=3), cluster.Ray)
    for wrong, sentence in (
        (("spark",), "The engine is local or ray, not 'spark'"),
        (("local", "auto"), "Only the engine ray has an address and workers"),
        (("ray", None, 0), "Work is done by at least one worker"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            find_engine(*wrong)


def test_without_ray_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"needs ray: run `pip install 'concept-workbench\[cluster\]'`"):
        find_engine("ray")
