"""The inputs and outputs of a pass."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.errors import DataError
from workbench.models.logits import TokenLogits


class InputError(DataError):
    """An input that cannot be read, such as one without a single token; ``row`` is its number in the batch."""

    def __init__(self, row: int, fault: str) -> None:
        super().__init__(f"Row {row} {fault}")
        self.row, self.fault = row, fault

    def at(self, row: int) -> InputError:
        """The same error for an input that has another number elsewhere."""
        return InputError(row, self.fault)


@dataclass(frozen=True)
class Batch:
    """Inputs as the model takes them. For images ``keep`` is one column, and pieces and spans are empty."""

    inputs: dict[str, Tensor]
    attention: Bool[Tensor, "b t"]
    """False on padding."""
    keep: Bool[Tensor, "b t"]
    """False on padding, on special tokens unless the model was loaded to keep them, and on positions that were not asked for."""
    kinds: Int[Tensor, "b t"] | None = None
    """What each token is, as `workbench.models.chat` numbers them; None for images."""
    pieces: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), object))
    """``[b, t]``: the text of the token at each position."""
    spans: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 2), np.int64))
    """``[b, t, 2]``: first and last-plus-one character in the input text; of special tokens 0, 0, or, if they are kept, twice the
    end of what stands before them."""

    def __len__(self) -> int:
        return len(self.attention)

    def first(self, count: int) -> Batch:
        """Its first so many inputs."""
        inputs = {
            name: value[:count] if isinstance(value, Tensor) and value.dim() else value for name, value in self.inputs.items()
        }
        return replace(
            self, inputs=inputs, attention=self.attention[:count], keep=self.keep[:count],
            kinds=None if self.kinds is None else self.kinds[:count], pieces=self.pieces[:count], spans=self.spans[:count],
        )  # fmt: skip

    def repeat(self, times: int) -> Batch:
        """The batch, ``times`` times over."""
        tensors = {
            name: value.repeat(times, *[1] * (value.dim() - 1)) if isinstance(value, Tensor) and value.dim() else value
            for name, value in self.inputs.items()
        }
        return replace(
            self,
            inputs=tensors,
            attention=self.attention.repeat(times, 1),
            keep=self.keep.repeat(times, 1),
            kinds=None if self.kinds is None else self.kinds.repeat(times, 1),
            pieces=np.tile(self.pieces, (times, 1)),
            spans=np.tile(self.spans, (times, 1, 1)),
        )

    def to(self, device: str) -> Batch:
        """The batch with its tensors on a device."""
        inputs = {name: sent(tensor, device) for name, tensor in self.inputs.items()}
        kinds = None if self.kinds is None else sent(self.kinds, device)
        return replace(self, inputs=inputs, attention=sent(self.attention, device), keep=sent(self.keep, device), kinds=kinds)


def sent(tensor: Tensor, device: str) -> Tensor:
    """A tensor on a device. The copy to a GPU is asynchronous, and ordered before later work on it."""
    if device.startswith("cuda") and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


@dataclass(frozen=True)
class Output:
    """What a whole pass gives."""

    pooled: Float[Tensor, "b o"]
    """Encoder: mean over attended tokens of the last layer. Decoder: the final hidden state at the last kept
    token. Vision: the input of the classifier."""
    logits: Tensor | None = None
    """``[b, t, v]`` of a decoder, ``[b, classes]`` of a classifier, None of an encoder or where they were not asked for."""
    tokens: TokenLogits | None = None
    """Of a decoder: its logits at all ``b * t`` positions, made block by block as they are read."""
