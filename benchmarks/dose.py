"""Dose curves of a causal language model over all layers, beside plain hook loops that run the same directions and doses.

Run with `make bench NAME=dose`. Both sides are given the same model in float32, tokens, directions, doses and tokens to follow.
Both give the same three numbers of each text: the change of the log odds of the set, the next-token loss, and KL from the
unedited model.

The loop is written as one would write it, on the wrapped model and on the bare Hugging Face model: a forward hook of torch adds
``dose * unit * direction`` to the output of a layer, at every position but the first, in a batch of all texts once for each of
several directions and doses; logits of all positions become log probabilities, from which the numbers are read. How many
directions and doses go into a batch is the best of three, by processor time.
"""

import os
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from benchmarks._sides import Side, report, turn_about
from workbench.datasets import load_dataset
from workbench.datasets.paths import data_dir
from workbench.evidence import steering
from workbench.evidence.steered_inputs import passages_from
from workbench.models import Batch, Model, load_model
from workbench.statistics.directions import isotropic_directions

DIRECTIONS, SIZES, UNIT, TEXTS, ROUNDS = 4, (0.1, 0.3, 1.0), 10.0, 8, 2
AT_ONCE = (2, 6, 12)
OWN = tuple(range(300, 310))
Numbers = dict[str, np.ndarray]


def ours(model: Model, texts: list[str], directions: Tensor) -> Numbers:
    """As the trial measures."""
    passages, found = steering.read_passages(model, texts), {}
    for site in model.match("resid_post.*"):
        reading = steering.steer_passages(model, site, directions, SIZES, UNIT, passages, [torch.tensor(OWN)])
        found[str(site)] = np.stack([reading.odds[..., 0], reading.loss, reading.divergence])
    return found


def loop(net: nn.Module, blocks: nn.ModuleList, model: Model, texts: list[str], directions: Tensor, at_once: int) -> Numbers:
    """The plain loop over the blocks of a network; ``model`` makes the batch."""
    batch, found = model.batch(texts), {}
    base = _measured(net, batch, batch, None)
    pushes = [size * UNIT * direction for direction in directions for size in SIZES]
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

            handle = blocks[number].register_forward_hook(add)
            parts.append(_measured(net, batch, many, base))
            handle.remove()
        of_jobs = np.concatenate(parts, axis=1).reshape(3, DIRECTIONS, len(SIZES), len(texts))
        of_jobs[:2] -= base[1].reshape(3, 1, 1, len(texts))[:2]
        found[str(site)] = of_jobs
    return found


@torch.no_grad()
def _measured(net: nn.Module, batch: Batch, many: Batch, base: tuple[Tensor, np.ndarray] | None) -> object:
    """Log odds, loss and KL of each text, ``[3, jobs, texts]``; of the unedited model, its log probabilities too."""
    ids, mask = many.inputs["input_ids"], many.inputs["attention_mask"]
    output = net(ids, attention_mask=mask)
    logs = (output if isinstance(output, Tensor) else output.logits)[:, :-1].log_softmax(-1)
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
    wrapped = model.torch_module
    bare = AutoModelForCausalLM.from_pretrained(data_dir() / "scribe", dtype=torch.float32, use_cache=False).eval()
    loops = {"hook loop": (wrapped, wrapped.blocks), "hook loop on the Hugging Face model": (bare, bare.model.layers)}
    tried = {name: partial(loop, *net, model, texts, directions) for name, net in loops.items()}
    best = {name: min(AT_ONCE, key=lambda many, run=run: _seconds(partial(run, many))) for name, run in tried.items()}
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
    } | {name: side(name, partial(run, best[name])) for name, run in tried.items()}
    speeds = turn_about(sides, ROUNDS)
    worst = max(float(np.abs(results["ours"][site] - results[name][site]).max()) for site in results["ours"] for name in loops)
    assert worst < 2e-3, worst
    setting = f"scribe, {len(results['ours'])} layers, {DIRECTIONS} directions at {len(SIZES)} doses on {TEXTS} texts"
    more = {
        "equal": f"every number of every text to {worst:.1e}",
        "batch of the loops": f"{', '.join(map(str, best.values()))} times the texts",
    }
    print(report("dose", setting, "steered readings of all texts/s", "ours", list(loops), speeds, **more))


def _seconds(work: Callable[[], object]) -> float:
    import time

    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
