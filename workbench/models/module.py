"""Any torch module: sites are the outputs of its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from workbench.errors import ConfigError
from workbench.models.base import Kind, Modality, Model
from workbench.models.batch import Batch, Output
from workbench.models.coded import Coded
from workbench.models.devices import choose_device
from workbench.models.hooks import HookPoint, Whole, firings
from workbench.models.text import Tokens
from workbench.models.transformer import close_logits, last_kept, mean_pooled
from workbench.models.weights import module_hash
from workbench.sites import Site


class Reader(Protocol):
    """Makes batches of inputs: `Tokens` or `Images`."""

    device: str

    def batch(self, inputs: Sequence[Any], device: str | None = None, positions: str = "content", /) -> Batch:
        """Inputs as tensors, on its device unless another is named. ``positions`` are of texts."""

    def options(self) -> dict[str, Any]:
        """JSON: how."""


class ModuleModel(Model):
    """A module whose sites are ``layer:<module path>``, found by one dry run.

    A module is a site when it runs once a pass and puts out a tensor (or a tuple that starts with one) of two
    to four dimensions, the first of them the batch.
    """

    _may_work_in_place = True

    def __init__(
        self,
        net: nn.Module,
        reader: Reader,
        trial: Batch,
        *,
        name: str,
        kind: Kind,
        modality: Modality,
        source: Mapping[str, Any],
        weights_hash: str | None = None,
        max_length: int = 0,
        classes: tuple[str, ...] | None = None,
    ) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)
        self.reader, self.device = reader, reader.device
        self.name, self.kind, self.modality, self.source = name, kind, modality, source
        self.weights_hash = weights_hash or module_hash(net)
        self.max_length, self.classes = max_length, classes
        self._classifier: nn.Module | None = None
        self._pool_input: Tensor | None = None
        self._discover(trial)
        if self.modality == "text" and self.kind == "decoder":
            self._find_unembedding(trial)

    def batch(self, inputs: Sequence[Any], device: str | None = None, positions: str = "content") -> Batch:
        """Inputs as tensors."""
        return self.reader.batch(inputs, device, positions)

    def coded(self, texts: Sequence[Any], positions: str = "content") -> Coded:
        """Texts as tokens, not padded yet."""
        return self.reader.coded(texts, positions) if isinstance(self.reader, Tokens) else super().coded(texts)

    def chat_template_hash(self) -> str:
        """Of the tokenizer's chat template."""
        return self.reader.chat.hash if isinstance(self.reader, Tokens) else super().chat_template_hash()

    @property
    def torch_module(self) -> nn.Module:
        """The module."""
        return self.net

    @property
    def dtype(self) -> str:
        """The type of the first weight that is a floating-point number."""
        kinds = (weight.dtype for weight in self.net.parameters() if weight.is_floating_point())
        return str(next(kinds, torch.float32)).removeprefix("torch.")

    def input_options(self) -> dict[str, Any]:
        """How inputs become tensors."""
        return self.reader.options()

    def _run(self, batch: Batch) -> Any:
        self._pool_input = None
        with self._watching_classifier():
            if self.modality == "text":
                cache = {"use_cache": False} if self.kind == "decoder" else {}
                return self.net(**batch.inputs, output_hidden_states=True, **cache)
            return self.net(batch.inputs["pixels"])

    def _step(self, ids: Int[Tensor, "b t"], attended: Int[Tensor, "b p"], cache: Any) -> tuple[Float[Tensor, "b t v"], Any]:
        options = {"use_cache": True, "past_key_values": cache} if self.uses_cache else {"use_cache": False}
        output = self.net(input_ids=ids, attention_mask=attended, **options)
        return output.logits, output.past_key_values if self.uses_cache else None

    def _tokens(self) -> Tokens:
        return self.reader if isinstance(self.reader, Tokens) else super()._tokens()

    def _output(self, raw: Any, batch: Batch, seen: Mapping[Site, Tensor]) -> Output:
        logits = raw if isinstance(raw, Tensor) else getattr(raw, "logits", None)
        if self.modality == "text":
            hidden = getattr(raw, "last_hidden_state", None)
            hidden = raw.hidden_states[-1] if hidden is None else hidden
            if self.kind == "encoder":
                return Output(mean_pooled(hidden, batch.attention))
            return Output(last_kept(hidden, batch.keep), logits)
        pooled, self._pool_input = self._pool_input, None
        pooled = pooled if pooled is not None else _first_tensor(raw)
        if pooled is None:
            raise ConfigError(f"{self.name} puts out no tensor: wrap it in a module that does.")
        return Output(pooled.flatten(1), logits if logits is not None and logits.dim() == 2 else None)

    def unembed(self, rows: Tensor) -> Tensor:
        """The module's output embedding; it is not used where the module does more to its logits."""
        if self._unembedding is None:
            raise self._no_text()
        logits: Tensor = self._unembedding(rows)
        return logits

    def _find_unembedding(self, trial: Batch) -> None:
        """Let passes end before the output embedding, if that alone gives the module's logits and reads its last hidden state."""
        output = self.forward(trial)[0]
        find: Any = getattr(self.net, "get_output_embeddings", lambda: None)
        self._unembedding = find()
        if self._unembedding is None or output.logits is None:
            return
        cut = self.forward(trial, logits=False)[0]
        if (
            cut.tokens is None
            or not close_logits(cut.tokens.block(0, len(cut.tokens)), output.logits.flatten(0, 1))
            or not torch.equal(cut.pooled, output.pooled)
        ):
            self._unembedding = None

    def _pooled_before(self, hidden: Tensor, batch: Batch, seen: Mapping[Site, Tensor]) -> Tensor:
        return last_kept(hidden, batch.keep)

    def _embedding_width(self) -> int:
        config: Any = self.net.config
        return int(config.hidden_size)

    def _discover(self, trial: Batch) -> None:
        modules = {name: module for name, module in self.net.named_modules() if name}
        linear_outputs: list[tuple[Tensor, nn.Module]] = []
        with firings(modules) as fired, _outputs(modules, linear_outputs):
            raw = self._run(trial)
        result = raw if isinstance(raw, Tensor) else getattr(raw, "logits", None)
        self._classifier = next((module for tensor, module in linear_outputs if tensor is result), None)
        times = Counter(firing.name for firing in fired)
        dims = {3} if self.modality == "text" else {2, 3, 4}
        self._hook_points = {}
        for name, shape in ((f.name, f.shape) for f in fired):
            if shape is None or times[name] > 1 or len(shape) not in dims or shape[0] != len(trial):
                continue
            if self.modality == "text" and shape[1] != trial.attention.shape[1]:
                continue  # Its second dimension is not the token's position.
            width = shape[1] if len(shape) == 4 else shape[-1]
            site = Site("layer", path=name)
            self._hook_points[site] = HookPoint(site, modules[name], Whole(), width, shape)
        if not self._hook_points:
            raise ConfigError(f"No part of {self.name} puts out one tensor a pass, so there is nothing to read.")

    @contextmanager
    def _watching_classifier(self) -> Iterator[None]:
        if self._classifier is None:
            yield
            return

        def note(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self._pool_input = inputs[0]

        handle = self._classifier.register_forward_pre_hook(note)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def _outputs(modules: Mapping[str, nn.Module], linear_outputs: list[tuple[Tensor, nn.Module]]) -> Iterator[None]:
    """Note which linear layer returned which tensor. The tensors are kept: the id of one that is freed is used again."""

    def note(module: nn.Module, _inputs: Any, output: Any) -> None:
        linear_outputs.append((output, module))

    handles = [m.register_forward_hook(note) for m in modules.values() if isinstance(m, nn.Linear)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _first_tensor(raw: Any) -> Tensor | None:
    if isinstance(raw, Tensor):
        return raw
    values = list(raw.values()) if isinstance(raw, Mapping) else list(raw) if isinstance(raw, tuple) else []
    return next((value for value in values if isinstance(value, Tensor)), None)


def load_module(
    net: nn.Module,
    *,
    preprocess: Any = None,
    name: str | None = None,
    example: Any = None,
    classes: Sequence[str] | None = None,
    device: str | None = None,
) -> ModuleModel:
    """A model from a torch module of your own.

    ``preprocess`` makes an array or a tensor of one input; without it inputs are taken as numbers.
    ``example`` is one input for the dry run; without it a few usual shapes are tried. The module is put in
    evaluation mode, and its parameters no longer collect gradients.
    """
    from workbench.models.images import Images

    device = choose_device(device)
    net = net.to(device).eval()
    reader = Images(preprocess, device=device)
    return ModuleModel(
        net,
        reader,
        _trial(net, reader, example),
        name=name or type(net).__name__,
        kind="module",
        modality="image",
        source={"module": f"{type(net).__module__}.{type(net).__qualname__}"},
        classes=tuple(classes) if classes is not None else None,
    )


def _trial(net: nn.Module, reader: Reader, example: Any) -> Batch:
    """Two inputs that the module can read: two, so that a batch dimension can be told from others."""
    if example is not None:
        return reader.batch([example, example])
    for candidate in _candidates(net):
        try:
            batch = reader.batch([candidate, candidate])
            with torch.no_grad():
                net(batch.inputs["pixels"])
        except Exception:  # An unknown module may raise anything for a wrong shape; the next one is tried.
            continue
        return batch
    raise ConfigError("The module could not be run on a blank input: give one of your own, as example=…")


def _candidates(net: nn.Module) -> Iterator[np.ndarray]:
    yield np.zeros((224, 224, 3), np.uint8)
    first = next((m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)), None)
    if isinstance(first, nn.Conv2d):
        for size in (224, 64, 32, 28):
            yield np.zeros((first.in_channels, size, size), np.float32)
    if isinstance(first, nn.Linear):
        yield np.zeros(first.in_features, np.float32)
        side = int(first.in_features**0.5)
        yield np.zeros((1, side, side), np.float32)
        yield np.zeros((side, side), np.float32)
