"""Whether a model that is loaded computes what the Hugging Face model does that it wraps.

Other libraries stand between the weights and what is read here, and a new version of one of them can change a result without
an error. So a short batch is run by the Hugging Face model before it is wrapped, and by the wrapped model afterwards.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from workbench.errors import StudyError
from workbench.models.base import Batch, Model
from workbench.models.cache import cache_dir
from workbench.models.sites import Site
from workbench.models.text import Tokens
from workbench.shapes import read_shaped
from workbench.writing import write_beside

# The largest relative difference of a row that counts as rounding. Faults that were seen differ by more than 0.1.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Token counts of the two texts of the batch, and how many tokens of the first are read before the cache is used.
_LENGTHS, _PREFIX = (12, 5), 9
_FORMAT = 1

Differences = dict[str, float]
"""Largest relative difference ``|a - b| / |b|`` of a row, by what was compared: ``layers``, ``logits``, ``cache``, ``lens``,
``padding``. What a model does not have is missing; what could not be computed is infinite."""


@dataclass(frozen=True)
class Reference:
    """What the Hugging Face model computes for a short batch.

    Attributes:
        batch: Two texts of random tokens, padded on the right.
        blocks: Input of the first block and output of each, ``[b, t, d]``; empty where the blocks were not found.
        logits: ``[b, t, v]``; None of an encoder.
        multiple: Batches are padded to a multiple of so many tokens.
    """

    batch: Batch
    blocks: list[Tensor]
    logits: Tensor | None
    multiple: int = 1


def short_batch(tokens: Tokens, vocabulary: int) -> Batch:
    """Two texts of different length, of ordinary tokens from all over the vocabulary."""
    known = np.array(sorted(number for number in tokens.tokenizer.get_vocab().values() if number < vocabulary))
    ordinary = known[~tokens.special(known)]
    longest = min(_LENGTHS[0], tokens.max_length)
    lengths = (longest, min(_LENGTHS[1], longest - 1))
    width = -(-longest // tokens.multiple) * tokens.multiple
    ids = np.full((2, width), tokens.padding[0])
    chosen = np.random.default_rng(0).choice(ordinary, sum(lengths))
    ids[0, :longest], ids[1, : lengths[1]] = chosen[:longest], chosen[longest:]
    attended = torch.from_numpy(np.arange(width) < np.array(lengths)[:, None])
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": attended.long()}
    return Batch(inputs, attended, attended).to(tokens.device)


def reference(net: nn.Module, tokens: Tokens, *, decoder: bool) -> Reference:
    """The blocks and logits of a Hugging Face model that nothing has wrapped yet."""
    config: Any = net.config
    text = config.get_text_config()
    batch = short_batch(tokens, text.vocab_size)
    options = {"use_cache": False} if decoder else {}
    with _reading_blocks(net, text.num_hidden_layers) as blocks, torch.no_grad():
        raw = net(**batch.inputs, **options)
    return Reference(batch, [block.cpu() for block in blocks], raw.logits.cpu() if decoder else None, tokens.multiple)


@contextmanager
def _reading_blocks(net: nn.Module, layers: int) -> Iterator[list[Tensor]]:
    """Collects the input of the first block and the output of each, if the model has a list of so many blocks."""
    lists = (m for m in net.modules() if isinstance(m, nn.ModuleList) and len(m) == layers)
    found: list[Tensor] = []

    def read(_module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        if not found:
            found.append((args[0] if args else kwargs["hidden_states"]).detach())
        found.append((output[0] if isinstance(output, tuple | list) else output).detach())

    handles = [block.register_forward_hook(read, with_kwargs=True) for block in next(lists, ())]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def compare(model: Model, expected: Reference) -> Differences:
    """How far a wrapped model is from the Hugging Face model, and from itself with a cache, the lens and padding."""
    batch, keep = expected.batch, expected.batch.attention.cpu()
    residual = _residual(model, len(expected.blocks) - 1)
    found: Differences = {}
    output, seen = model.forward(batch, [*residual, model.sites[-1]])
    if residual:
        pairs = zip(residual, expected.blocks, strict=True)
        found["layers"] = max(difference(seen[site].cpu()[keep], block[keep]) for site, block in pairs)
    if expected.logits is not None:
        logits = output.logits.cpu() if output.logits is not None else torch.full_like(expected.logits, torch.inf)
        found["logits"] = difference(logits[keep], expected.logits[keep])
        found["cache"] = _cache_difference(model, batch, logits[0])
        if residual:
            found["lens"] = difference(model.lens(seen[residual[-1]][0]).cpu(), logits[0])
    found["padding"] = _padding_difference(model, batch, seen[model.sites[-1]], expected.multiple)
    return found


def _residual(model: Model, layers: int) -> Sequence[Site]:
    wanted = [Site("embed"), *(Site("resid_post", layer) for layer in range(layers))]
    return wanted if layers > 0 and set(wanted) <= set(model.sites) else []


def _cache_difference(model: Model, batch: Batch, whole: Float[Tensor, "t v"]) -> float:
    """Of the logits of single steps that follow a prefix, from those of a whole pass."""
    ids = batch.inputs["input_ids"][:1]
    prefix = min(_PREFIX, ids.shape[1] - 1)
    try:
        steps, cache = [], None
        for start, stop in [(0, prefix), *((n, n + 1) for n in range(prefix, ids.shape[1]))]:
            logits, cache = model.next_logits(ids[:, start:stop], start, cache)
            steps.append(logits[0].cpu())
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError):
        # An architecture whose state is no key-value cache: it cannot be gone on with by this interface.
        return float("inf")
    return difference(torch.stack(steps), whole[prefix - 1 :])


def _padding_difference(model: Model, batch: Batch, seen: Float[Tensor, "b t d"], multiple: int) -> float:
    """Of the rows of the shorter text, from what they are without the padding that the longer one makes necessary."""
    length = int(batch.attention[1].sum())
    width = -(-length // multiple) * multiple
    inputs = {name: tensor[1:, :width] for name, tensor in batch.inputs.items()}
    alone = Batch(inputs, batch.attention[1:, :width], batch.keep[1:, :width])
    site = model.sites[-1]
    rows = model.activations(alone, [site])[site]
    return difference(seen[1, :length].cpu(), rows[0, :length].cpu()) if rows.shape[1] == width else float("inf")


def difference(found: Float[Tensor, "n d"], expected: Float[Tensor, "n d"]) -> float:
    """The largest ``|found - expected| / |expected|`` of a row; infinite where the shapes differ or a number is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.float(), expected.float()
    relative = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-6)
    largest = float(relative.max())
    return largest if np.isfinite(largest) else float("inf")


def agrees(differences: Differences, what: str, dtype: torch.dtype) -> bool:
    """Whether a difference is rounding, or the model has no such thing."""
    return differences.get(what, 0.0) <= TOLERANCE[dtype]


def shown(difference: float) -> str:
    """A relative difference for a sentence."""
    return f"by {difference:.0%}" if np.isfinite(difference) else "beyond comparison"


class Memory:
    """Differences that were measured before, for the same weights, configuration, device and versions of the libraries."""

    def __init__(self, net: nn.Module, weights_hash: str, how: str) -> None:
        config: Any = net.config
        dtype = next(net.parameters()).dtype
        known = {
            "format": _FORMAT, "weights": weights_hash, "how": how, "dtype": str(dtype),
            "device": str(next(net.parameters()).device.type), "config": config.to_json_string(),
            "versions": {name: version(name) for name in ("torch", "transformers", "transformer-lens")},
        }  # fmt: skip
        digest = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()
        self._file = cache_dir() / "model-checks" / f"{digest[:32]}.json"

    def read(self) -> Differences | None:
        """What was measured, or None."""
        with suppress(StudyError):
            # A difference may be beyond all numbers.
            return read_shaped(self._file, dict[str, float], numbers=False)
        return None

    def write(self, differences: Differences) -> None:
        """Keep it. A cache that cannot be written costs a check each time, and nothing else."""
        with suppress(OSError):
            write_beside(self._file, json.dumps(differences))
