from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from workbench.edits import Edit, Edits, ablate, clamp, mean, project_out, steer, zero
from workbench.errors import ConfigError, UnknownNameError
from workbench.models import Site

D = 6
SITE = "resid_post.1"
floats = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)
rows = arrays("float32", (2, 3, D), elements=floats).map(torch.from_numpy)
vectors = arrays("float32", (D,), elements=floats).map(torch.from_numpy)
few = settings(max_examples=60)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@few
@given(rows, vectors)
def test_steering_by_nothing_changes_nothing(h, v):
    assert torch.equal(steer(SITE, v, 0.0)(h), h)
    assert torch.equal(steer(SITE, v, 3.0).strength(0.0)(h), h)


@few
@given(rows, vectors, st.floats(-4, 4))
def test_steering_adds_the_direction_as_given(h, v, s):
    before = h.clone()
    close(steer(SITE, v, s)(h), h + s * v)
    assert torch.equal(h, before)


@few
@given(rows, arrays("float32", (3, D), elements=floats).map(torch.from_numpy))
def test_projecting_out_twice_is_projecting_out_once(h, vs):
    edit = project_out(SITE, vs)
    close(edit(edit(h)), edit(h))
    close(edit(h) @ vs.T / 64, torch.zeros(2, 3, 3))


@few
@given(rows, st.integers(0, 10**6))
def test_projections_commute_when_orthogonal(h, seed):
    q = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(seed)))[0]
    a, b = project_out(SITE, q[:2]), ablate(SITE, q[3])
    close(a(b(h)), b(a(h)))
    close(a(b(h)), project_out(SITE, torch.cat([q[:2], q[3:4]]))(h))


def test_dependent_directions_count_once():
    v = torch.randn(D)
    h = torch.randn(1, 4, D)
    close(project_out(SITE, torch.stack([v, 2 * v, torch.zeros(D)]))(h), ablate(SITE, v)(h))
    assert torch.equal(project_out(SITE, torch.zeros(1, D))(h), h)


@few
@given(rows, vectors.filter(lambda v: v.norm() > 0.1), st.floats(-4, 4))
def test_clamp_sets_one_coordinate_and_no_other(h, v, value):
    unit = v / v.norm()
    out = clamp(SITE, v, value)(h)
    close(out @ unit, torch.full((2, 3), value))
    close(ablate(SITE, v)(out), ablate(SITE, v)(h))


def test_zero_and_mean_replace():
    h, m = torch.randn(2, 3, D), torch.randn(D)
    assert not zero(SITE)(h).any()
    close(mean(SITE, m)(h), m.expand(2, 3, D))
    close(mean(SITE, m, 0.5)(h), (h + m) / 2)


def test_edits_compose_in_order():
    v, h = torch.ones(D), torch.randn(1, 2, D)
    both = steer(SITE, v, 2.0) + zero("mlp_out.0") + clamp(SITE, v, 1.0)
    assert isinstance(both, Edits)
    assert [edit.kind for edit in both] == ["steer", "zero", "clamp"]
    assert [e.kind for e in zero(SITE) + both] == ["zero", "steer", "zero", "clamp"]
    close((steer(SITE, v) + zero(SITE))[1](h), torch.zeros_like(h))


def test_an_edit_comes_back_from_json():
    v, h = torch.randn(D), torch.randn(2, 3, D)
    for edit in [
        steer(SITE, v, 2),
        project_out(SITE, v),
        clamp(SITE, v, 1.5),
        zero(SITE),
        mean(SITE, v, 0.3),
    ]:
        again = Edit.from_dict(json.loads(json.dumps(edit.to_dict())))
        assert again.site == Site.parse(SITE)
        assert torch.equal(again(h), edit(h))
    both = steer(SITE, v) + zero(SITE)
    assert Edits.from_dict(json.loads(json.dumps(both.to_dict()))).to_dict() == both.to_dict()


def test_an_edit_keeps_its_direction_when_the_array_changes():
    v, h = torch.ones(D), torch.zeros(1, 1, D)
    edit = steer(SITE, v)
    v.zero_()
    close(edit(h), torch.ones(1, 1, D))


def test_what_cannot_be_is_said():
    own = Edit(Site.parse(SITE), lambda h: h)
    with pytest.raises(ConfigError, match="function of your own"):
        own.to_dict()
    with pytest.raises(ConfigError, match="no strength"):
        own.strength(2)
    with pytest.raises(ConfigError, match="finite"):
        steer(SITE, torch.tensor([float("nan")]))
    with pytest.raises(ConfigError, match="length zero"):
        clamp(SITE, torch.zeros(D), 1)
    with pytest.raises(ConfigError, match="5 numbers and the site 6"):
        steer(SITE, torch.zeros(5))(torch.zeros(1, 1, D))
    with pytest.raises(UnknownNameError, match="steer"):
        Edit.from_dict({"kind": "stear", "site": SITE, "arguments": {}})
