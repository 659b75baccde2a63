"""Causes: against closed forms, on a real encoder."""

import numpy as np
import pytest
import torch

import workbench as wb
from workbench.evidence.causes import Response, Steered, cause_rows, dose_response, random_directions
from workbench.evidence.controls import Controls, ordinary_rows
from workbench.evidence.corrections import correct
from workbench.evidence.shifts import output_shift
from workbench.evidence.steered_inputs import one_a_cluster_first
from workbench.readout import Readout, examples_with, fit_readout, output_gradients

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
    found = dose_response(minilm, minilm.site("resid_post.5"), directions, TEXTS, readout, unit=2.0, doses=(-0.5, 0.5))
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
    assert dataset.table["split"].to_numpy()[chosen].tolist() == ["test"] * 4
    # The rows of a label do not depend on which other labels are asked for, nor in which order.
    np.testing.assert_array_equal(examples_with(dataset, [*fitted.labels[::-1]], 4)[label], chosen)
    direction = random_directions(1, 384, seed=2)
    found = dose_response(minilm, site, direction, dataset.inputs(chosen.tolist()), fitted, unit=0.01, doses=(-1.0, 1.0))
    measured = found.slopes()[0, :, fitted.labels.index(label)] / 0.01
    # Row by row: the gradients are in the order of the examples.
    np.testing.assert_allclose((grads @ direction[0]).numpy(), measured, rtol=0.02, atol=0.01)


def test_the_examples_of_a_label_do_not_depend_on_the_others() -> None:
    dataset = wb.load_dataset("film", limit=300)
    names, _ = dataset.example_targets()
    alone = examples_with(dataset, names[-1:], 5)
    beside = examples_with(dataset, names, 5)
    np.testing.assert_array_equal(alone[names[-1]], beside[names[-1]])


def test_no_dose_no_shift(minilm) -> None:
    batch = minilm.batch(TEXTS)
    base, _ = minilm.forward(batch)
    assert float(output_shift(base, base, batch.keep).abs().max()) < 1e-6
    twice, _ = minilm.forward(batch.repeat(2))
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
    response = Response(doses, change, change[..., 0])
    np.testing.assert_allclose(response.slopes(), 3.0, rtol=1e-6)
    np.testing.assert_allclose(response.slopes(most=0.5), 3.0, rtol=1e-6)


def linear_world(d: int = 40, e: int = 12, seed: int = 0) -> tuple[Readout, Controls, np.ndarray]:
    """A readout, controls, and the effect of a unit vector on each text: gradients that share most of their direction."""
    rng = np.random.default_rng(seed)
    grads = rng.normal(size=d) + 0.3 * rng.normal(size=(e, d))
    readout = Readout(["a"], torch.zeros(1, 3), torch.zeros(1), np.array([0.9]), np.array([0.8]))
    return readout, Controls.drawn(24, d, rng.normal(size=(300, d)).astype(np.float32), seed), grads


def respond(directions: np.ndarray, grads: np.ndarray, doses=(-0.2, -0.1, 0.1, 0.2)) -> Response:
    sizes = np.asarray(doses, dtype=np.float32)
    effect = np.einsum("kd,ed,q->kqe", directions, grads, sizes)
    return Response(sizes, effect[..., None].astype(np.float32), np.square(effect).astype(np.float32))


def rows_of(directions: np.ndarray, limit: float = 3.0, scale: float = 1.0) -> list[dict]:
    readout, controls, grads = linear_world()
    response = respond(directions * scale, grads)
    control = respond(controls.directions.numpy(), grads)
    steered = Steered(["a"] * len(directions), response, control, controls, readout, np.repeat(np.arange(6), 2), limit, 1.0)
    rows, curves = cause_rows(range(len(directions)), steered)
    correct(rows, len(rows))
    assert set(curves["place"]) <= set(range(len(directions)))
    return rows


def test_a_planted_direction_is_beyond_both_kinds_and_a_random_one_is_not() -> None:
    _, _, grads = linear_world()
    planted = grads.mean(0) / np.linalg.norm(grads.mean(0))
    others = random_directions(9, 40, seed=7).numpy()
    rows = rows_of(np.concatenate([planted[None], others]))
    slopes = [row for row in rows if row["metric"] == "causes.readout"]
    assert slopes[0]["value"] == pytest.approx(np.linalg.norm(grads.mean(0)), rel=1e-5)
    # Twenty-four draws of either kind, and ten tests: a rank of them could not be below .04.
    assert slopes[0]["p"] < slopes[0]["p_corrected"] < 0.01
    assert all(row["p_corrected"] > 0.05 for row in slopes[1:])
    assert slopes[0]["p_corrected"] == pytest.approx(10 * slopes[0]["p"])
    assert slopes[0]["clusters"] == 6
    assert slopes[0]["family"]


def test_a_model_that_is_destroyed_is_no_effect() -> None:
    _, _, grads = linear_world()
    planted = grads.mean(0, keepdims=True) / np.linalg.norm(grads.mean(0))
    gone = rows_of(planted, scale=1000.0)
    assert {row["status"] for row in gone} == {"failed"}
    assert "destroyed at the smallest dose" in gone[0]["error"]
    # Where only the larger dose is too much, the smaller one is judged.
    moved = np.square(grads @ planted[0])
    rows = rows_of(planted, limit=float(0.02 * moved.mean()))
    output = next(row for row in rows if row["metric"] == "causes.output")
    assert output["value"] == pytest.approx(0.01 * moved.mean(), rel=1e-3)


def test_one_of_each_document_comes_first() -> None:
    order = one_a_cluster_first(np.array([4, 4, 4, 1, 1, 9]))
    assert order.tolist() == [0, 3, 5, 1, 4, 2]


def test_rows_far_from_all_others_are_no_ordinary_ones() -> None:
    rng = np.random.default_rng(0)
    rows = (rng.normal(size=(400, 16)) + 500 * np.eye(16)[0]).astype(np.float32)
    rows[::40] = 4000 * np.eye(16)[3]
    kept = ordinary_rows(rows)
    assert len(kept) == 390
    deviation = np.sqrt(np.square(kept - kept.mean(0)).sum(1).mean())
    assert deviation == pytest.approx(4.0, rel=0.05)


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
