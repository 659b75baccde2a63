"""Passes in which attention patterns and the scales of norms are those of another pass, as constants.

What is left of a transformer is its MLPs and what is linear: gradients then say what a direction does by itself, and not what it
does to what is attended (Marks et al., 2024, arXiv:2403.19647; Ameisen et al., 2025, "Circuit Tracing").
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.models.batch import Batch
from workbench.models.hooks import hooked
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.models.transformer import TransformerModel

TOLERANCE = {torch.float32: 1e-3, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""The largest relative difference of a row that counts as rounding, as when a model is checked."""
_LEVEL = 7_319
"""By which our hooks on transformer_lens's own hook points are told from those of others."""
_SAID = "A forward hook edited hook_scale"


class Frozen:
    """Patterns and scales of one batch.

    Args:
        model: The model.
        batch: What the pass reads that they are taken from; no edit applies to it.
        attention, norms: What is frozen.

    Raises:
        ConfigError: A layer has no attention.
    """

    def __init__(self, model: TransformerModel, batch: Batch, attention: bool, norms: bool) -> None:
        self._model, self._batch = model, batch
        self._norms = [module.hook_scale for module in model.bridge.modules() if hasattr(module, "hook_scale")] if norms else []
        self._layers = list(range(len(model.bridge.blocks))) if attention else []
        self._shown = {layer: model._hook_points.get(Site("attn_pattern", layer)) for layer in self._layers}
        self._hidden = [layer for layer, point in self._shown.items() if point is None]
        for layer in self._hidden:
            if not {"q", "k", "v"} <= {site.kind for site in model.sites if site.layer == layer}:
                raise ConfigError(f"Layer {layer} of {model.name} has no attention that can be frozen: freeze its norms alone.")
        self._values: dict[nn.Module, Tensor] = {}
        self._patterns: dict[int, Tensor] = {}
        self._last = model._hook_points[model.last_hidden].module
        self._expected = self._recorded()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context whose passes of the batch, also several times over, have the patterns and scales of the first one.

        Raises:
            ConfigError: They do not give the model's own output, so they are not all that a pass depends on in this way.
        """
        with ExitStack() as stack:
            shown = {point.module: self._constant for point in self._shown.values() if point is not None}
            stack.enter_context(hooked(shown))
            for layer in self._hidden:
                stack.enter_context(self._reading(layer))
            stack.callback(lambda: [point.remove_hooks("fwd", level=_LEVEL) for point in self._norms])
            for point in self._norms:
                # A hook of torch's own would be given a scale that no gradient passes.
                point.add_hook(lambda scale, hook: self._constant(hook, None, scale), level=_LEVEL)
            self._require_same()
            yield

    def run(self, batch: Batch, work: Callable[[], Any]) -> Any:
        """A pass. `ConfigError` where it reads another batch."""
        ids, read = self._batch.inputs["input_ids"], batch.inputs["input_ids"]
        times = len(read) // len(ids)
        if read.shape[1] != ids.shape[1] or not torch.equal(read, ids.repeat(times, 1).to(read.device)):
            raise ConfigError(
                "Attention and norms are frozen as they are in another batch: read that one, or that one several times over."
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_SAID)
            return work()

    def _constant(self, module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        value = self._values[module]
        if output.shape[0] % value.shape[0] or output.shape[1:] != value.shape[1:]:
            raise ConfigError("Attention and norms are frozen for whole passes of one batch, and text cannot be generated so.")
        return value.repeat(output.shape[0] // value.shape[0], *[1] * (value.dim() - 1)).to(output)

    def _recorded(self) -> Tensor:
        """Run the batch without edits and keep what is frozen; gives the last hidden state."""
        seen: dict[nn.Module, Tensor] = {}

        def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
            seen[module] = (output[0] if isinstance(output, tuple) else output).detach()

        blocks = self._model.bridge.blocks
        inside = [module for layer in self._hidden for module in _queries_keys(blocks[layer])]
        shown = [point.module for point in self._shown.values() if point is not None]
        with hooked(dict.fromkeys([*self._norms, *inside, *shown, self._last], keep)), torch.no_grad():
            self._model._run(self._batch)
        self._values = {module: seen[module] for module in [*self._norms, *shown] if module in seen}
        self._norms = [point for point in self._norms if point in seen]
        for layer in self._hidden:
            query, key = (self._by_head(seen[module]) for module in _queries_keys(blocks[layer]))
            scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
            read = self._batch.attention[:, None, None].to(scores.device)
            if self._model.kind == "decoder":
                read = read & torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
            self._patterns[layer] = scores.masked_fill(~read, -torch.inf).softmax(-1)
        return seen[self._last]

    def _by_head(self, rows: Tensor) -> Tensor:
        """``[b, t, h * d]`` as ``[b, h, t, d]``."""
        return rows.unflatten(-1, (int(self._model.bridge.cfg.n_heads), -1)).transpose(1, 2)

    @contextmanager
    def _reading(self, layer: int) -> Iterator[None]:
        """What the attention of a layer reads, by the pattern, in place of what its own code reads, which shows no pattern."""
        attention = self._model.bridge.blocks[layer].attn
        values: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            values[:] = [output]

        def read(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            value, pattern = self._by_head(values.pop()), self._patterns[layer]
            return (pattern.repeat(len(value) // len(pattern), 1, 1, 1) @ value).transpose(1, 2).flatten(2).to(output)

        # The values as their whole module gives them, after edits of `v`.
        with hooked({attention.v: keep, attention.o.hook_in: read}):
            yield

    def _require_same(self) -> None:
        found: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found.append(output[0] if isinstance(output, tuple) else output)

        try:
            with hooked({self._last: keep}), torch.no_grad():
                self.run(self._batch, lambda: self._model._run(self._batch))
        except (AttributeError, RuntimeError) as error:
            raise ConfigError(f"The norms or the attention of {self._model.name} cannot be frozen here: {error}.") from error
        kept = self._batch.attention.to(self._expected.device)
        expected, again = self._expected[kept].float(), found[-1][kept].float()
        difference = ((again - expected).norm(dim=-1) / expected.norm(dim=-1).clamp(min=1e-12)).max()
        if not difference <= TOLERANCE[self._expected.dtype]:
            raise ConfigError(
                f"With attention and norms as constants {self._model.name} gives another output (by {float(difference):.2g}): its"
                " architecture has more than can be frozen here."
            )


def _queries_keys(block: Any) -> tuple[nn.Module, nn.Module]:
    return block.attn.q.hook_out, block.attn.k.hook_out
