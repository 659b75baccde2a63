"""Dose curves of a causal language model over all layers, beside a plain hook loop that runs the same directions and doses.

Run with `make bench NAME=dose`. Both sides are given the same model in float32, tokens, directions, doses and tokens to follow.
Both give the same three numbers of each text: the change of the log odds of the set, the next-token loss, and KL from the
unedited model.

The loop is written as one would write it: a forward hook of torch adds ``dose * unit * direction`` to the output of a layer, at
every position but the first, in a batch of all texts once for each of several directions and doses; logits of all positions
become log probabilities, from which the numbers are read. How many directions and doses go into a batch is the best of three, by
processor time.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks._sides import Side, report, turn_about
from workbench.datasets import load_dataset
from workbench.evidence import steering
from workbench.evidence.language import passages_from
from workbench.models import Batch, Model, load_model
from workbench.statistics.directions import isotropic_directions

DIRECTIONS, SIZES, UNIT, TEXTS, ROUNDS = 8, (0.1, 0.3, 1.0), 10.0, 16, 3
AT_ONCE = (2, 6, 24)
OWN = tuple(range(300, 310))
Numbers = dict[str, np.ndarray]


def ours(model: Model, texts: list[str], directions: Tensor) -> Numbers:
    """As the trial measures."""
    passages, found = steering.read_passages(model, texts), {}
    for site in model.match("resid_post.*"):
        reading = steering.steer_passages(model, site, directions, SIZES, UNIT, passages, [torch.tensor(OWN)])
        found[str(site)] = np.stack([reading.odds[..., 0], reading.loss, reading.divergence])
    return found


def loop(model: Model, texts: list[str], directions: Tensor, at_once: int) -> Numbers:
    """The plain loop."""
    batch, found = model.batch(texts), {}
    base = _measured(model, batch, batch, None)
    pushes = [size * UNIT * direction for direction in directions for size in SIZES]
    net = model.torch_module
    for number, site in enumerate(model.match("resid_post.*")):
        parts = []
        for begin in range(0, len(pushes), at_once):
            part = pushes[begin : begin + at_once]
            delta = torch.stack(part).repeat_interleave(len(texts), 0)[:, None, :]
            many = batch.repeat(len(part))

            def add(_module: object, _inputs: object, output: object, delta: Tensor = delta, keep: Tensor = many.keep) -> object:
                hidden = output[0] if isinstance(output, tuple) else output
                moved = hidden + delta * keep[..., None]
                return (moved, *output[1:]) if isinstance(output, tuple) else moved

            handle = net.blocks[number].register_forward_hook(add)
            parts.append(_measured(model, batch, many, base))
            handle.remove()
        of_jobs = np.concatenate(parts, axis=1).reshape(3, DIRECTIONS, len(SIZES), len(texts))
        of_jobs[:2] -= base[1].reshape(3, 1, 1, len(texts))[:2]
        found[str(site)] = of_jobs
    return found


@torch.no_grad()
def _measured(model: Model, batch: Batch, many: Batch, base: tuple[Tensor, np.ndarray] | None) -> object:
    """Log odds, loss and KL of each text, ``[3, jobs, texts]``; of the unedited model, its log probabilities too."""
    ids, mask = many.inputs["input_ids"], many.inputs["attention_mask"]
    logs = model.torch_module(ids, attention_mask=mask)[:, :-1].log_softmax(-1)
    kept = (many.keep & many.attention)[:, 1:]
    joint = logs[..., list(OWN)].logsumexp(-1)
    numbers = [joint - torch.log1p(-joint.exp()), -logs.gather(-1, ids[:, 1:, None])[..., 0]]
    if base is None:
        before = logs
        numbers.append(torch.zeros_like(joint))
    else:
        before = base[0]
        grouped = logs.reshape(-1, *before.shape)
        numbers.append((before.exp() * (before - grouped)).sum(-1).flatten(0, 1))
    means = [((values * kept).sum(1) / kept.sum(1)).reshape(-1, len(batch)).numpy() for values in numbers]
    return (before, np.stack(means)) if base is None else np.stack(means)


def main() -> None:
    """Measure and print."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    model, data = load_model("scribe"), load_dataset("topics")
    texts = passages_from(data.inputs(np.flatnonzero(data.table["split"].eq("test"))[:200].tolist()), 0)[:TEXTS]
    directions = isotropic_directions(DIRECTIONS, model.width("resid_post.0"), 0)
    best = min(AT_ONCE, key=lambda many: _seconds(lambda: loop(model, texts, directions[:8], many)))
    results: dict[str, Numbers] = {}

    def side(name: str, work: Callable[[], Numbers]) -> Side:
        def ready() -> Callable[[], int]:
            def run() -> int:
                results[name] = work()
                return len(results[name]) * DIRECTIONS * len(SIZES)

            return run

        return ready

    sides = {
        "ours": side("ours", lambda: ours(model, texts, directions)),
        "hook loop": side("hook loop", lambda: loop(model, texts, directions, best)),
    }
    speeds = turn_about(sides, ROUNDS)
    worst = max(float(np.abs(results["ours"][site] - results["hook loop"][site]).max()) for site in results["ours"])
    assert worst < 2e-3, worst
    setting = f"scribe, {len(results['ours'])} layers, {DIRECTIONS} directions at {len(SIZES)} doses on {TEXTS} texts"
    more = {"equal": f"every number of every text to {worst:.1e}", "batch of the loop": f"{best} times the texts"}
    print(report("dose", setting, "steered readings of all texts/s", "ours", ["hook loop"], speeds, **more))


def _seconds(work: Callable[[], object]) -> float:
    import time

    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
