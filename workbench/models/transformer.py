"""Text models through transformer_lens's `TransformerBridge`: raw weights, the same names for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.models.base import Kind, Model
from workbench.models.batch import Batch, Output
from workbench.models.coded import Coded
from workbench.models.hooks import Columns, Firing, Heads, HookPoint, View, Whole, firings
from workbench.models.text import Tokens
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.models.freezing import Frozen


class TransformerModel(Model):
    """An encoder or a decoder held by a bridge."""

    modality = "text"
    has_lens = True
    """Whether the logit lens gives the model's own logits at the last layer."""

    def __init__(
        self,
        bridge: Any,
        tokens: Tokens,
        *,
        name: str,
        kind: Kind,
        weights_hash: str,
        source: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.bridge = bridge
        self.tokens = tokens
        self._frozen: Frozen | None = None
        self.name, self.kind, self.weights_hash, self.source = name, kind, weights_hash, source
        self.max_length, self.device = tokens.max_length, tokens.device
        bridge.eval().requires_grad_(False)
        self._hook_points = _hook_points(bridge, tokens.batch(["a b"]), kind)
        self._final = self.last_hidden
        self._sites_are_enough = kind == "encoder"
        if kind == "decoder":
            self._find_unembedding()

    def batch(self, inputs: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """Texts as right-padded tokens, cut at ``max_length``."""
        return self.tokens.batch(inputs, device, positions)

    def coded(self, texts: Sequence[Any], positions: str = "content") -> Coded:
        """Texts as tokens, not padded yet."""
        return self.tokens.coded(texts, positions)

    def chat_template_hash(self) -> str:
        """Of the tokenizer's chat template."""
        return self.tokens.chat.hash

    def input_options(self) -> dict[str, Any]:
        """The tokenizer and how it is used."""
        return self.tokens.options()

    @property
    def torch_module(self) -> nn.Module:
        """The bridge."""
        module: nn.Module = self.bridge
        return module

    @property
    def dtype(self) -> str:
        """The type of the weights."""
        return str(self._weight().dtype).removeprefix("torch.")

    def _step(self, ids: Int[Tensor, "b t"], attended: Int[Tensor, "b p"], cache: Any) -> tuple[Float[Tensor, "b t v"], Any]:
        options = {"use_cache": True, "past_key_values": cache} if self.uses_cache else {"use_cache": False}
        wanted = "logits_and_cache" if self.uses_cache else "logits"
        output = self.bridge(ids, attention_mask=attended, return_type=wanted, **options)
        return output if self.uses_cache else (output, None)

    def _tokens(self) -> Tokens:
        return self.tokens

    def lens(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """Final norm, unembedding, and what the model does to its logits (scale, soft cap), of rows of the residual stream
        (nostalgebraist 2020).

        Raises:
            ConfigError: The model is no decoder, or these parts do not give its own logits at the last layer.
        """
        if self.kind != "decoder":
            raise self._no_text()
        if not self.has_lens:
            raise ConfigError(
                f"The final norm and unembedding of {self.name} do not give its own logits at the last layer, so probabilities at"
                " earlier layers would be wrong: the logit lens is not available for this model."
            )
        with torch.no_grad():
            return self.unembed(self.bridge.ln_final(rows[None].to(self._weight()))[0])

    def unembed(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n v"]:
        """The bridge's unembedding, and the scale or cap that the architecture puts on its logits."""
        if self.kind != "decoder":
            raise self._no_text()
        logits: Tensor = self.bridge.adapter.apply_output_logits_transform(self.bridge.unembed(rows[None]))[0]
        return logits

    @property
    def logit_scale(self) -> float:
        """From the transform's slope at zero, where a soft cap (Gemma 2) has the slope one."""
        small = torch.tensor([1e-4], dtype=torch.float64)
        return float(self.bridge.adapter.apply_output_logits_transform(small) / small)

    def unembedding(self) -> Float[Tensor, "v d"]:
        """The weights of the bridge's unembedding."""
        if self.kind != "decoder":
            raise self._no_text()
        weights: Tensor = self.bridge.unembed.W_U.T.detach()
        return weights

    def norm_jacobian(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
        """By automatic differentiation, one output coordinate at a time."""
        if self.kind != "decoder":
            raise self._no_text()
        with torch.enable_grad():
            leaf = rows.detach().to(self._weight()).requires_grad_(True)
            normed = self.bridge.ln_final(leaf[None])[0]
            found = [torch.autograd.grad(normed[:, i].sum(), leaf, retain_graph=True)[0].mean(0) for i in range(normed.shape[1])]
        return torch.stack(found).float()

    def vocabulary(self) -> list[str]:
        """The text of every token id."""
        return self.tokens.vocabulary(int(self.bridge.cfg.d_vocab))

    def token_ids(self, word: str) -> list[int]:
        """By the model's tokenizer."""
        return self.tokens.ids(word)

    def _find_unembedding(self) -> None:
        """Let passes end before the unembedding, if what it reads gives the model's own logits by `unembed`."""
        batch = self.tokens.batch(["a b"])
        whole = self.forward(batch)[0].logits
        assert whole is not None
        self._unembedding = self.bridge.unembed
        tokens = self.forward(batch, logits=False)[0].tokens
        if tokens is None or not close_logits(tokens.block(0, len(tokens)), whole.flatten(0, 1)):
            self._unembedding = None

    def _pooled_before(self, hidden: Tensor, batch: Batch, seen: Mapping[Site, Tensor]) -> Float[Tensor, "b o"]:
        return last_kept(seen[self._final], batch.keep)

    @contextmanager
    def frozen(self, batch: Batch, attention: bool = True, norms: bool = True) -> Iterator[Model]:
        """See `Model.frozen`."""
        from workbench.models.freezing import Frozen

        if self._frozen is not None:
            raise ConfigError("Attention and norms are frozen already: leave that context first.")
        found = Frozen(self, batch, attention, norms)
        with found.applied():
            self._frozen = found
            try:
                yield self
            finally:
                self._frozen = None

    def _weight(self) -> Tensor:
        """One of the weights: their type and device."""
        return next(iter(self.bridge.parameters()))

    def _run(self, batch: Batch) -> Any:
        frozen = self._frozen
        return _pass(self.bridge, batch) if frozen is None else frozen.run(batch, lambda: _pass(self.bridge, batch))

    def _output_sites(self) -> Sequence[Site]:
        return (self._final,)

    def _output(self, raw: Any, batch: Batch, seen: Mapping[Site, Tensor]) -> Output:
        final = seen[self._final]
        if self.kind == "encoder":
            return Output(mean_pooled(final, batch.attention))
        return Output(last_kept(final, batch.keep), raw)


def mean_pooled(hidden: Float[Tensor, "b t d"], attention: Tensor) -> Float[Tensor, "b d"]:
    """The mean over attended tokens, as sentence-transformers takes it."""
    weight = attention.to(hidden)[..., None]
    return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1e-9)


def close_logits(found: Float[Tensor, "n v"], own: Float[Tensor, "n v"]) -> bool:
    """Whether logits are the model's own, but for rounding."""
    # Sums in another order differ by a few ulps of the largest logit.
    most = 64 * torch.finfo(own.dtype).eps * own.abs().max().float().clamp(min=1)
    return bool((found - own.float()).abs().max() <= most)


def last_kept(hidden: Float[Tensor, "b t d"], keep: Tensor) -> Float[Tensor, "b d"]:
    """The row of the last kept token."""
    places = torch.arange(keep.shape[1], device=keep.device)
    last = torch.where(keep, places, -1).max(1).values
    return hidden[torch.arange(len(hidden), device=hidden.device), last]


def _pass(bridge: Any, batch: Batch) -> Any:
    return bridge(batch.inputs["input_ids"], attention_mask=batch.inputs["attention_mask"])


def _hook_points(bridge: Any, batch: Batch, kind: Kind) -> dict[Site, HookPoint]:
    """The sites that a pass reaches, in the order in which it does."""
    points = _points(bridge, kind)
    names = {module: str(number) for number, module in enumerate(dict.fromkeys(points.values()))}
    with firings({name: module for module, name in names.items()}) as fired:
        _pass(bridge, batch)
    shapes: dict[str, Firing] = {firing.name: firing for firing in fired}
    rank = {firing.name: number for number, firing in enumerate(fired)}
    length = batch.attention.shape[1]
    found: list[tuple[int, HookPoint]] = []
    for site, module in points.items():
        firing = shapes.get(names[module])
        if firing is None or firing.shape is None or not _fits(site, firing.shape, length):
            continue
        place = rank[names[module]]
        found += [(place, point) for point in _at(site, module, firing.shape, bridge.cfg.n_heads)]
    # A pattern that is told only after it was used cannot be edited.
    used = {point.site.layer: place for place, point in found if point.site.kind == "head_out"}
    found = [
        (place, point) for place, point in found if point.site.kind != "attn_pattern" or place < used.get(point.site.layer, -1)
    ]
    if not found:
        raise ConfigError("No activation of this model can be read: its architecture is not supported.")
    return {point.site: point for _, point in sorted(found, key=lambda pair: pair[0])}


def _points(bridge: Any, kind: Kind) -> dict[Site, nn.Module]:
    """The hook point of each site; heads of one layer share theirs under head 0."""
    blocks = list(bridge.blocks)
    points: dict[Site, nn.Module | None] = {Site("embed"): _point(blocks[0], "hook_in")}
    for layer, block in enumerate(blocks):
        # A post-norm encoder adds attention's output to the stream before its norm, so hook_attn_out comes
        # too late.
        attention = ("attn.o.hook_out",) if kind == "encoder" else ("hook_attn_out", "attn.hook_out")
        points[Site("resid_pre", layer)] = _point(block, "hook_in")
        points |= {Site(part, layer): _point(block, f"attn.{part}.hook_out") for part in ("q", "k", "v")}
        points[Site("attn_pattern", layer)] = _point(block, "attn.hook_pattern")
        points[Site("head_out", layer, 0)] = _point(block, "attn.o.hook_in")
        points[Site("attn_out", layer)] = _point(block, *attention)
        # An encoder's MLP is no module of its own: its first matrix is.
        points[Site("mlp_in", layer)] = _point(block, "mlp.in.hook_in" if kind == "encoder" else "mlp.hook_in")
        points[Site("mlp_act", layer)] = _point(block, "mlp.out.hook_in")
        points[Site("mlp_out", layer)] = _point(block, "hook_mlp_out", "mlp.hook_out")
        points[Site("resid_post", layer)] = _point(block, "hook_out")
    points[Site("final")] = _point(bridge, "ln_final.hook_out") or _point(blocks[-1], "hook_out")
    if kind == "decoder":
        points[Site("logits")] = _point(bridge, "unembed.hook_out")
    return {site: module for site, module in points.items() if module is not None}


def _fits(site: Site, shape: tuple[int, ...], length: int) -> bool:
    """Whether an output has a row a token: ``[b, t, d]``, or ``[b, h, t, t]`` of an attention pattern."""
    if site.kind == "attn_pattern":
        return len(shape) == 4 and shape[2:] == (length, length)
    return len(shape) == 3 and shape[1] == length


def _point(root: Any, *paths: str) -> nn.Module | None:
    for path in paths:
        place = root
        try:
            for part in path.split("."):
                place = getattr(place, part)
        except AttributeError:
            continue
        if isinstance(place, nn.Module):
            return place
    return None


def _at(site: Site, module: nn.Module, shape: tuple[int, ...], heads: int) -> list[HookPoint]:
    width = shape[-1]
    if site.kind == "attn_pattern":
        return [HookPoint(site, module, Heads(shape[1]), 0, shape)]
    if site.kind != "head_out":
        return [HookPoint(site, module, Whole(), width, shape)]
    if width % heads:
        return []
    each = width // heads
    views: list[View] = [Columns(head * each, (head + 1) * each) for head in range(heads)]
    return [HookPoint(Site("head_out", site.layer, head), module, view, each, shape) for head, view in enumerate(views)]
