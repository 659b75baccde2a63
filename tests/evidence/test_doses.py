"""Doses: found where random directions cost what is looked for, on closed forms and on a model with massive coordinates."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from tests.large_vocabulary import MASSIVE, save_large_vocabulary
from workbench.errors import ConfigError
from workbench.evidence import steering
from workbench.evidence.control_readings import read_controls
from workbench.evidence.controls import Controls, ordinary_rows
from workbench.evidence.doses import COSTS, MOST, Doses, find_doses
from workbench.evidence.steering_rows import steering_rows
from workbench.models import load_model
from workbench.models.resume import resumed, start_at
from workbench.statistics.directional import Draws, against_directions, effective_dimension


@pytest.mark.parametrize("scale", [1e-4, 0.1, 3.0])
def test_doses_are_those_at_which_a_known_cost_is_reached(scale):
    calls = []

    def cost(dose):
        calls.append(dose)
        return 0.1 * (dose / scale) ** 2 / (1 + dose / scale)

    found = find_doses(cost, unit=7.0, measure="loss")
    for dose, wanted, measured in zip(found.found, COSTS, found.costs, strict=True):
        assert cost(dose) == measured
        assert measured == pytest.approx(wanted, rel=0.16) or dose == MOST
    assert list(found.curve) == sorted(found.curve)
    assert len(calls) < 40


def test_a_model_that_nothing_moves_has_doses_and_one_that_everything_destroys_has_none():
    still = find_doses(lambda dose: 1e-5 * dose, 1.0, "loss")
    assert still.found[-1] == MOST
    assert still.found[0] < still.found[1] < MOST
    with pytest.raises(ConfigError, match="destroyed by the smallest change"):
        find_doses(lambda dose: 0.9, 1.0, "loss")
    with pytest.raises(ConfigError, match="destroyed by the smallest change"):
        find_doses(lambda dose: float("nan"), 1.0, "loss")


def test_doses_come_back_from_the_catalog_and_tell_what_lies_between():
    doses = Doses(3.0, (0.1, 0.2, 0.4), (0.01, 0.04, 0.16), "loss")
    assert Doses.of_json(json.loads(doses.to_json())) == doses
    for dose in (0.02, 0.1, 0.15, 0.3, 0.8):
        assert doses.cost_at(dose) == doses.cost_at(-dose) == pytest.approx(dose**2)


OWN = torch.arange(300, 420).reshape(12, 10)
WRITERS = torch.nn.functional.pad(torch.linalg.qr(torch.randn(61, 12, generator=torch.Generator().manual_seed(0)))[0].T, (3, 0))


@pytest.fixture(scope="module")
def massive(tmp_path_factory):
    """A model of random weights with massive coordinates, whose logits are sharp enough to be wrong."""
    folder = save_large_vocabulary(tmp_path_factory.mktemp("massive"), size=2_048, width=64)
    model = load_model(str(folder))
    with torch.no_grad():
        # Tokens that no text has, in sets that share a direction of the unembedding: what is written along it moves a whole set.
        model.bridge.unembed.original_component.weight[OWN] += 0.3 * WRITERS[:, None, :]
        model.bridge.ln_final.original_component.weight.mul_(12.0)
        # The final norm takes the massive coordinates out, as trained models do.
        model.bridge.ln_final.original_component.weight[: len(MASSIVE)] = 0.0
    return model


# Of all printable characters: the tokenizer merges none, and few tokens would have few directions.
TEXTS = ["".join(map(chr, part)) for part in np.random.default_rng(3).integers(33, 126, (8, 20))]


@pytest.fixture(scope="module")
def measured(massive):
    """The passages, doses and controls of a site of that model."""
    site, passages = massive.site("resid_post.1"), steering.read_passages(massive, TEXTS)
    rows = massive.activations(passages.batch, [site])[site][passages.batch.keep].numpy()
    kept = ordinary_rows(rows)
    unit = float(np.sqrt(np.square(kept - kept.mean(0)).sum(1).mean()))
    controls = Controls.drawn(steering.RANDOM, rows.shape[1], kept, 0)
    return passages, rows, unit, controls, steering.language_doses(massive, site, controls, unit, passages)


def test_with_massive_coordinates_the_unit_is_the_deviation_and_doses_are_found(measured):
    passages, rows, unit, controls, doses = measured
    mean = np.square(rows.mean(0))
    assert mean[: len(MASSIVE)].sum() > 0.99 * mean.sum()
    assert unit < 0.5 * np.linalg.norm(rows, axis=1).mean()
    assert all(cost < 0.2 for cost in doses.costs)
    assert doses.unit == unit
    assert passages.loss.mean() > 0
    assert len(controls) == 2 * steering.RANDOM


def test_planted_writers_are_found_and_random_directions_are_not(massive, measured):
    passages, _, _, controls, doses = measured
    site = massive.site("resid_post.1")
    tokens = [*OWN, *OWN]
    directions = torch.cat([WRITERS, Controls.drawn(12, 64, None, 5).isotropic])
    control = read_controls(massive, site, controls, doses, doses.curve, passages, tokens)
    ps = []
    for number, direction in enumerate(directions):
        arms = steering.steer_arms(massive, site, direction, doses, passages, tokens[number], 0)
        rows, dose = steering_rows(arms, control, number, passages, doses)
        assert dose in doses.curve
        ps.append(rows[0]["p"])
    assert max(ps[:12]) < 0.05 / 24
    assert min(ps[12:]) > 0.05 / 24


def test_a_pass_that_begins_at_the_edit_gives_what_a_whole_one_does(massive, monkeypatch):
    passages = steering.read_passages(massive, TEXTS[:4])
    controls = Controls.drawn(2, 64, None, 0)
    for name in ("resid_post.0", "mlp_out.1", "resid_post.1"):
        site = massive.site(name)
        start = start_at(massive, site, passages.batch)
        assert start is not None
        found = steering.steer_passages(massive, site, controls.directions, (0.5,), 1.0, passages, [torch.arange(300, 305)])
        with monkeypatch.context() as patch:
            patch.setattr("workbench.evidence.passes.start_at", lambda *_: None)
            whole = steering.steer_passages(massive, site, controls.directions, (0.5,), 1.0, passages, [torch.arange(300, 305)])
        np.testing.assert_allclose(found.odds, whole.odds, atol=2e-5)
        np.testing.assert_allclose(found.divergence, whole.divergence, atol=2e-5)
        # No block is left with the forward of another pass.
        assert all("forward" not in block.__dict__ for block in start.skipped)


def test_a_model_whose_blocks_remember_is_run_whole(massive):
    site = massive.site("resid_post.1")
    batch = massive.batch(TEXTS[:3])
    massive.__dict__.pop("_resumes", None)
    # The last norm reads what the first block left behind in this pass: skipping it would be seen.
    left: list[torch.Tensor] = []
    keep = massive.bridge.blocks[0].register_forward_hook(lambda _m, _i, output: left.append(output[0].mean()) and None)
    spoil = massive.bridge.ln_final.register_forward_hook(lambda _m, _i, output: output * (1 + len(left)) if left else output)
    try:
        assert start_at(massive, site, batch) is None
    finally:
        keep.remove()
        spoil.remove()
        massive.__dict__.pop("_resumes", None)
    with resumed(start_at(massive, site, batch), 1):
        pass


def test_p_of_random_directions_holds_at_every_level_with_data_like_ones():
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 65) ** -0.4
    acts = (rng.normal(size=(600, 64)) * spectrum).astype(np.float32)
    # Models read where activations vary.
    grads = rng.normal(size=64) * spectrum
    draws, r = 4000, 24
    iso = Controls.drawn(draws * r, 64, None, 1).isotropic.numpy().reshape(draws, r, 64) @ grads
    matched = Controls.drawn(draws * (r + 1), 64, acts, 2).matched.numpy().reshape(draws, r + 1, 64) @ grads
    dimension = effective_dimension(acts)
    p = against_directions(matched[:, 0], [Draws(iso.T), Draws(matched[:, 1:].T, dimension)]).p
    alone = against_directions(matched[:, 0], [Draws(iso.T)]).p
    for level in (0.05, 0.01, 0.001):
        limit = level + 3 * np.sqrt(level * (1 - level) / draws)
        assert (p <= level).mean() <= limit
    # Held against uniform directions alone, those that vary as the data do would be found too often.
    assert (alone <= 0.05).mean() > 0.07


def test_where_few_directions_hold_the_covariance_p_is_a_rank():
    acts = np.random.default_rng(0).normal(size=(200, 8)) * np.array([50, 1, 1, 1, 1, 1, 1, 1])
    assert effective_dimension(acts) < 1.1
    found = against_directions(100.0, [Draws(np.random.default_rng(1).normal(size=24), effective_dimension(acts))])
    assert float(found.p) == pytest.approx(1 / 25)


def test_a_catalog_whose_doses_are_changed_is_not_read():
    from workbench.store.rows import _info

    good = Doses(3.0, (0.1, 0.2, 0.4), (0.01, 0.04, 0.16), "loss").to_json()
    assert _info({"key": "doses resid_post.1", "value": good}) == ""
    for bad in ("3", "{}", good.replace("0.2", "-1"), good.replace("loss", "gain"), good.replace("3.0", '"x"')):
        assert "cannot be read" in _info({"key": "doses resid_post.1", "value": bad})
