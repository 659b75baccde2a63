"""Causes: against closed forms, on a real encoder."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.evidence.causes import Response, dose_response, output_shift, random_directions, rank_p, repeat
from workbench.evidence.readout import Readout, examples_with, fit_readout, output_gradients

TEXTS = ["The committee met on Monday.", "She walked along the river.", "Prices rose again last year."]


@pytest.fixture(scope="module")
def readout() -> Readout:
    generator = torch.Generator().manual_seed(0)
    ones = np.ones(2)
    return Readout(["a", "b"], torch.randn(2, 384, generator=generator), torch.zeros(2), ones, 0.9 * ones)


def test_steering_the_last_layer_moves_a_readout_by_the_dot_product(minilm, readout) -> None:
    # The output is the mean of the last layer over all tokens, [CLS] and [SEP] too, and v is added to all but those two: that
    # adds (t - 2) / t of v to the mean, and as much of w.v to a linear logit.
    directions = random_directions(3, 384, seed=1)
    found = dose_response(minilm, minilm.site("resid_post.5"), directions, TEXTS, readout, scale=2.0, doses=(-0.5, 0.5))
    whole, tokens = directions @ readout.weights.T * 2.0, minilm.batch(TEXTS).attention.sum(1)
    for example in range(len(TEXTS)):
        expected = whole * (tokens[example] - 2) / tokens[example]
        np.testing.assert_allclose(found.slopes()[:, example], expected.numpy(), atol=2e-4)


def test_gradients_predict_the_effect_of_a_small_dose(minilm) -> None:
    dataset = wb.load_dataset("film", limit=300)
    fitted = fit_readout(minilm, dataset, examples=150)
    site, label = minilm.site("resid_post.3"), fitted.labels[0]
    grads = output_gradients(minilm, dataset, fitted, [site], [label], per_label=4)[str(site)][label]
    chosen = examples_with(dataset, [label], 4)[label]
    # The rows of a label do not depend on which other labels are asked for, nor in which order.
    np.testing.assert_array_equal(examples_with(dataset, [*fitted.labels[::-1]], 4)[label], chosen)
    direction = random_directions(1, 384, seed=2)
    found = dose_response(minilm, site, direction, dataset.inputs(chosen.tolist()), fitted, scale=0.01, doses=(-1.0, 1.0))
    measured = found.slopes()[0, :, fitted.labels.index(label)] / 0.01
    np.testing.assert_allclose((grads @ direction[0]).numpy(), measured, rtol=0.02, atol=0.01)


def test_no_dose_no_shift(minilm, readout) -> None:
    batch = minilm.batch(TEXTS)
    base, _ = minilm.forward(batch)
    assert float(output_shift(base, base, batch.keep).abs().max()) < 1e-6
    twice, _ = minilm.forward(repeat(batch, 2))
    torch.testing.assert_close(twice.pooled, base.pooled.repeat(2, 1), atol=1e-5, rtol=0)


def test_the_shift_of_logits_is_their_divergence_in_nats() -> None:
    from workbench.models.batch import Output

    p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.9, 0.1]])
    pooled = torch.zeros(1, 2)
    found = output_shift(Output(pooled, p.log()), Output(pooled, q.log()), None)
    expected = (p * (p / q).log()).sum()
    assert float(found[0]) == pytest.approx(float(expected), abs=1e-6)


def test_slopes_of_a_line_are_its_slope() -> None:
    doses = np.array([-1.0, 0.5, 2.0], dtype=np.float32)
    change = 3.0 * doses[None, :, None, None] * np.ones((1, 3, 4, 1), dtype=np.float32)
    np.testing.assert_allclose(Response(doses, change, change[..., 0]).slopes(), 3.0, rtol=1e-6)


def test_a_rank_p_is_never_zero() -> None:
    assert rank_p(10.0, np.zeros(19)) == pytest.approx(0.05)
    assert rank_p(-1.0, np.zeros(19)) == 1.0


def test_a_readout_that_cannot_tell_its_label_is_not_used() -> None:
    weak = Readout(["a", "b"], torch.zeros(2, 3), torch.zeros(2), np.array([0.52, 0.8]), np.array([0.48, 0.7]))
    assert not weak.works_for("a")
    assert weak.works_for("b")
    assert not weak.works_for("c")


def test_a_readout_comes_back_from_disk(tmp_path, readout) -> None:
    readout.save(tmp_path / "readout")
    again = Readout.load(tmp_path / "readout")
    assert again.labels == readout.labels
    assert torch.equal(again.weights, readout.weights)
