"""Checks that a loaded model computes the same as the Hugging Face model that it wraps.

The wrapping libraries may change results without an error from one version to the next. So a batch is run by the Hugging Face
model before it is wrapped, and by the wrapped model afterwards. Of a model in half precision a copy in float32 is compared as
well: what is computed otherwise can be as small as rounding in bfloat16.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from inspect import signature
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import StudyError
from workbench.memory import free_memory
from workbench.models.base import Model
from workbench.models.batch import Batch
from workbench.models.cache import cache_dir
from workbench.models.text import DEFAULT_LENGTH, Tokens
from workbench.models.transformer import mean_pooled
from workbench.shapes import read_shaped
from workbench.sites import Site
from workbench.writing import write_beside

# The largest relative difference of a row that counts as rounding. Faults that were seen differ by more than 0.1.
TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
# Token counts of the two texts of the batch in float32: as long as texts are unless longer ones are asked for, so that what sets
# in at some length shows itself. In half precision rounding grows with the rows, and the check in float32 is the sharp one.
_LONG, _SHORT, _HALF_LONG = DEFAULT_LENGTH, 5, 12
# How many tokens of the longer text are read by single steps with the cache.
_STEPS = 3
# How many logits of the batch are compared: all of them with a vocabulary of up to 65,536 tokens. After the last block nothing
# passes from one position to another, so with a larger one some positions show what all of them would.
_LOGITS = 2**24
_FORMAT = 2
_EXACT = " in float32"
# Bytes a weight of a copy in float32, and while it is made.
_COPY_BYTES = 6

Differences = dict[str, float]
"""Largest relative difference ``|a - b| / |b|`` of a row, by what was compared: ``layers``, ``logits``, ``output``, ``cache``,
``lens``, ``padding``; of a model in half precision also ``layers in float32`` and so on. What a model does not have is missing;
what could not be computed is infinite."""


@dataclass(frozen=True)
class Reference:
    """What the Hugging Face model computes for a batch.

    Attributes:
        batch: Two texts of random tokens, padded on the right.
        blocks: Input of the first block and output of each, ``[b, t, d]``; empty where the blocks were not found.
        logits: ``[b, p, v]``, at ``places``; None of an encoder.
        pooled: ``[b, d]``: the mean over tokens of an encoder's last layer; None of a decoder.
        places: ``[p]``: the positions whose logits are compared, ascending; the last steps among them.
        multiple: Batches are padded to a multiple of so many tokens.
    """

    batch: Batch
    blocks: list[Tensor]
    logits: Tensor | None
    pooled: Tensor | None
    places: Tensor
    multiple: int = 1


def random_batch(tokens: Tokens, vocabulary: int, longest: int) -> Batch:
    """Two texts of different length, of ordinary tokens from all over the vocabulary."""
    known = np.array(sorted(number for number in tokens.tokenizer.get_vocab().values() if number < vocabulary))
    ordinary = known[~tokens.special(known)]
    longest = min(longest, tokens.max_length)
    lengths = (longest, min(_SHORT, longest - 1))
    width = -(-longest // tokens.multiple) * tokens.multiple
    ids = np.full((2, width), tokens.padding[0])
    chosen = np.random.default_rng(0).choice(ordinary, sum(lengths))
    ids[0, :longest], ids[1, : lengths[1]] = chosen[:longest], chosen[longest:]
    attended = torch.from_numpy(np.arange(width) < np.array(lengths)[:, None])
    inputs = {"input_ids": torch.from_numpy(ids), "attention_mask": attended.long()}
    return Batch(inputs, attended, attended).to(tokens.device)


def logit_places(batch: int, width: int, vocabulary: int) -> Int[Tensor, "p"]:
    """The positions of a batch whose logits are compared: all, or the first ones, the last steps, and some evenly between."""
    most = max(2 * (_SHORT + _STEPS), _LOGITS // (batch * vocabulary))
    if width <= most:
        return torch.arange(width)
    between = torch.linspace(0, width - 1, most - _SHORT - _STEPS).long()
    return torch.cat([torch.arange(_SHORT), between, torch.arange(width - _STEPS - 1, width)]).unique()


def reference(net: nn.Module, tokens: Tokens, *, decoder: bool) -> Reference:
    """The blocks and logits of a Hugging Face model that nothing has wrapped yet."""
    config: Any = net.config
    text = config.get_text_config()
    half = next(net.parameters()).dtype != torch.float32
    batch = random_batch(tokens, text.vocab_size, _HALF_LONG if half else _LONG)
    width = batch.attention.shape[1]
    places = logit_places(len(batch), width, text.vocab_size)
    options: dict[str, Any] = {"use_cache": False} if decoder else {}
    if decoder and len(places) < width and "logits_to_keep" in signature(net.forward).parameters:
        options["logits_to_keep"] = places
    with _reading_blocks(net, text.num_hidden_layers) as blocks, torch.no_grad():
        raw = net(**batch.inputs, **options)
    logits = _at_places(raw.logits, places).cpu() if decoder else None
    hidden = None if decoder else getattr(raw, "last_hidden_state", None)
    pooled = None if hidden is None else mean_pooled(hidden, batch.attention).cpu()
    return Reference(batch, [block.cpu() for block in blocks], logits, pooled, places, tokens.multiple)


def is_finite(found: Reference) -> bool:
    """Whether what a model computes for the longer text, which has no padding, is finite."""
    attended = found.batch.attention[0].cpu()[found.places.cpu()]
    every = [] if found.pooled is None else [found.pooled[0]]
    every += [] if found.logits is None else [found.logits[0, attended]]
    return all(bool(one.isfinite().all()) for one in every)


def _at_places(logits: Float[Tensor, "b t v"], places: Int[Tensor, "p"]) -> Float[Tensor, "b p v"]:
    """Logits at some positions, of a model that gives them there or everywhere."""
    return logits if logits.shape[1] == len(places) else logits[:, places.to(logits.device)]


def exact_copy(net: nn.Module) -> nn.Module | None:
    """A copy of a model in float32 on the same devices, or None where they lack the memory for it, as those do that leave
    weights on disk."""
    needed = Counter[str]()
    for weight in net.parameters():
        needed[str(weight.device)] += _COPY_BYTES * weight.numel()
    if any(device == "meta" or free_memory(device) < size for device, size in needed.items()):
        return None
    copied: Any = copy.deepcopy(net).float()
    copied.config.dtype = torch.float32
    return copied


def joined(own: Differences, exact: Differences) -> Differences:
    """The differences of a model in half precision, and those of its copy in float32."""
    return own | {what + _EXACT: value for what, value in exact.items()}


def is_joined(differences: Differences) -> bool:
    """Whether a copy in float32 was compared too."""
    return any(what.endswith(_EXACT) for what in differences)


def embedded(net: nn.Module) -> int | None:
    """How many ids a Hugging Face model has an embedding for; None where it has no table of them."""
    with suppress(NotImplementedError):
        # Not all architectures implement get_input_embeddings.
        table = getattr(net.get_input_embeddings(), "weight", None)  # type: ignore[operator]
        return None if table is None else len(table)
    return None


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


def compare(model: Model, expected: Reference, *, typical: bool = False) -> Differences:
    """How far a wrapped model is from the Hugging Face model, and from itself with a cache, the lens and padding.

    What was wrapped has read other texts since the Hugging Face model was run: a model that those change differs too. With
    ``typical`` a difference is that of the row in the middle, otherwise the largest.
    """
    of_rows = partial(difference, typical=typical)
    batch, keep = expected.batch, expected.batch.attention.cpu()
    residual = _residual(model, len(expected.blocks) - 1)
    found: Differences = {}
    output, seen = model.forward(batch, [*residual, model.last_hidden])
    if residual:
        pairs = zip(residual, expected.blocks, strict=True)
        found["layers"] = max(of_rows(seen[site].cpu()[keep], block[keep]) for site, block in pairs)
    if expected.pooled is not None:
        found["output"] = of_rows(output.pooled.cpu(), expected.pooled)
    if expected.logits is not None:
        places = expected.places
        whole = output.logits
        logits = torch.full_like(expected.logits, torch.inf) if whole is None else _at_places(whole, places).cpu()
        del output, whole
        found["logits"] = of_rows(logits[keep[:, places]], expected.logits[keep[:, places]])
        found["cache"] = of_rows(*_with_cache(model, batch, logits[0, -_STEPS - 1 :]))
        if residual:
            found["lens"] = of_rows(model.lens(seen[residual[-1]][0, places.to(batch.attention.device)]).cpu(), logits[0])
    found["padding"] = of_rows(*_without_padding(model, batch, seen[model.last_hidden], expected.multiple))
    return found


def _residual(model: Model, layers: int) -> Sequence[Site]:
    wanted = [Site("embed"), *(Site("resid_post", layer) for layer in range(layers))]
    return wanted if layers > 0 and set(wanted) <= set(model.sites) else []


def _with_cache(model: Model, batch: Batch, last: Float[Tensor, "s v"]) -> tuple[Tensor, Tensor]:
    """The logits of single steps that follow a prefix, infinite where there can be none, and those of the whole pass."""
    ids = batch.inputs["input_ids"][:1]
    prefix = ids.shape[1] - _STEPS
    try:
        steps, cache = [], None
        for start, stop in [(0, prefix), *((n, n + 1) for n in range(prefix, ids.shape[1]))]:
            logits, cache = model.next_logits(ids[:, start:stop], start, cache)
            steps.append(logits[0].cpu())
    except (TypeError, ValueError, AttributeError, RuntimeError, IndexError, KeyError):
        # An architecture whose state is no key-value cache: it cannot be gone on with by this interface.
        steps = [torch.full_like(row, torch.inf) for row in last]
    return torch.stack(steps), last


def _without_padding(model: Model, batch: Batch, seen: Float[Tensor, "b t d"], multiple: int) -> tuple[Tensor, Tensor]:
    """The rows of the shorter text, and what they are without the padding that the longer one makes necessary."""
    length = int(batch.attention[1].sum())
    width = -(-length // multiple) * multiple
    inputs = {name: tensor[1:, :width] for name, tensor in batch.inputs.items()}
    alone = Batch(inputs, batch.attention[1:, :width], batch.keep[1:, :width])
    site = model.last_hidden
    rows = model.activations(alone, [site])[site]
    return seen[1, :length].cpu(), rows[0, : length if rows.shape[1] == width else 0].cpu()


def difference(found: Float[Tensor, "n d"], expected: Float[Tensor, "n d"], *, typical: bool = False) -> float:
    """``|found - expected| / |expected|`` of a row: the largest, or the middle one; infinite where the shapes differ or a number
    is not finite."""
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.float(), expected.float()
    relative = (found - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-6)
    if not bool(relative.isfinite().all()):
        return float("inf")
    return float(relative.median() if typical else relative.max())


def agrees(differences: Differences, what: str, dtype: torch.dtype) -> bool:
    """Whether a difference is rounding, in the model's own type and in float32, or the model has no such thing."""
    exact = differences.get(what + _EXACT, 0.0) <= TOLERANCE[torch.float32]
    return exact and differences.get(what, 0.0) <= TOLERANCE[dtype]


def shown(differences: Differences, *compared: str) -> str:
    """The largest of some differences for a sentence."""
    largest = max(differences.get(what + kind, 0.0) for what in compared for kind in ("", _EXACT))
    if not np.isfinite(largest):
        return "beyond comparison"
    return f"by {largest:.0%}" if largest >= 0.01 else f"by {largest:.2%}"


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
        """The stored differences, or None."""
        with suppress(StudyError):
            # A difference may be infinite.
            return read_shaped(self._file, dict[str, float], numbers=False)
        return None

    def write(self, differences: Differences) -> None:
        """Store differences. If the cache cannot be written, the check is repeated each time."""
        with suppress(OSError):
            write_beside(self._file, json.dumps(differences))
