"""Scalars of a pass, one for each input: what gradients are of.

A target says what it reads of a pass and how it is written down. A package offers a kind by an entry point in the group
``concept_workbench.targets``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ConfigError, UnknownNameError
from workbench.models.batch import Batch, Output
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet

GROUP = "concept_workbench.targets"
_KINDS: dict[str, type[Target]] = {}


class Target(ABC):
    """A scalar of a pass for each input.

    Attributes:
        kind: What it is known by.
        logits: Whether it reads the logits of every position.
        sites: The sites that it reads besides the output.
    """

    kind: ClassVar[str]
    logits: ClassVar[bool] = False
    sites: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        before = _KINDS.setdefault(cls.kind, cls)
        if (before.__module__, before.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ConfigError(f"The kind of target '{cls.kind}' is {before.__module__}.{before.__qualname__} already.")
        _KINDS[cls.kind] = cls

    @abstractmethod
    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The scalar of each input; ``seen`` has the rows ``[b, t, d]`` of its sites."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What it is, as JSON."""


def find_target(kind: str) -> type[Target]:
    """The class of a kind. `UnknownNameError` where nothing that is installed offers it."""
    for point in entry_points(group=GROUP):
        if point.name == kind and kind not in _KINDS:
            point.load()
    if kind not in _KINDS:
        raise UnknownNameError("kind of target", kind, _KINDS)
    return _KINDS[kind]


@dataclass(frozen=True)
class Logit(Target):
    """A logit of the model's own: of a class, or of a token as the next one.

    Attributes:
        index: The number of the class or the token.
        position: Of a decoder, the position whose next token is meant; the last token that the batch keeps when left out.
    """

    kind: ClassVar[str] = "logit"
    logits: ClassVar[bool] = True

    index: int
    position: int | None = None

    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The logit of each input. `ConfigError` where the model has none, or none of that number."""
        if output.logits is None or not 0 <= self.index < output.logits.shape[-1]:
            count = 0 if output.logits is None else output.logits.shape[-1]
            raise ConfigError(f"The model has {count} logits, and the target is number {self.index} of them.")
        of_index = output.logits[..., self.index]
        if of_index.dim() == 1:
            return of_index
        places = torch.arange(of_index.shape[1], device=of_index.device)
        last = torch.where(batch.keep.to(of_index.device), places, -1).max(1).values
        if self.position is not None:
            if not 0 <= self.position < of_index.shape[1]:
                raise ConfigError(f"The batch has {of_index.shape[1]} positions, and the target is at {self.position}.")
            last = torch.full_like(last, self.position)
        return of_index.gather(1, last[:, None])[:, 0]

    def describe(self) -> dict[str, Any]:
        """Its kind, number and position."""
        return {"kind": self.kind, "index": self.index, "position": self.position}


@dataclass(frozen=True)
class Difference(Target):
    """One target less another, as of two tokens between which a model chooses."""

    kind: ClassVar[str] = "difference"
    # Of two targets either may need them.
    logits: ClassVar[bool] = True

    first: Target
    second: Target

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(dict.fromkeys([*self.first.sites, *self.second.sites])))

    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The difference of each input."""
        return self.first.of(output, seen, batch) - self.second.of(output, seen, batch)

    def describe(self) -> dict[str, Any]:
        """Both."""
        return {"kind": self.kind, "first": self.first.describe(), "second": self.second.describe()}


@dataclass(frozen=True)
class NextTokenLoss(Target):
    """A decoder's mean loss over the tokens of each input, in nats."""

    kind: ClassVar[str] = "loss"
    logits: ClassVar[bool] = True

    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The loss of each input. `ConfigError` where the model is no decoder."""
        if output.logits is None or output.logits.dim() != 3:
            raise ConfigError("The loss of the next token is of a causal language model: take another target.")
        following = batch.inputs["input_ids"][:, 1:].to(output.logits.device)
        counted = batch.attention[:, 1:].to(output.logits)
        scores = output.logits[:, :-1].float().log_softmax(-1).gather(2, following[..., None])[..., 0]
        return -(scores * counted).sum(1) / counted.sum(1).clamp(min=1)

    def describe(self) -> dict[str, Any]:
        """Its kind."""
        return {"kind": self.kind}


@dataclass(frozen=True)
class ReadoutLogit(Target):
    """The logit of a linear readout of the pooled output (`workbench.readout`), by label.

    Attributes:
        labels: Of each input, or one for all.
        known: The labels of the readout, one a row of its weights.
        weights, bias: ``[l, o]`` and ``[l]``.
    """

    kind: ClassVar[str] = "readout"

    labels: Sequence[str]
    known: Sequence[str]
    weights: Float[Tensor, "l o"] = field(repr=False, compare=False)
    bias: Float[Tensor, "l"] = field(repr=False, compare=False)

    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The logit of each input."""
        pooled = output.pooled.float()
        labels = list(self.labels) * (len(pooled) if len(self.labels) == 1 else 1)
        columns = torch.tensor([list(self.known).index(label) for label in labels])
        logits = pooled @ self.weights.to(pooled).T + self.bias.to(pooled)
        return logits.gather(1, columns[:, None].to(pooled.device))[:, 0]

    def describe(self) -> dict[str, Any]:
        """Its kind and labels."""
        return {"kind": self.kind, "labels": sorted(set(self.labels))}


@dataclass(frozen=True)
class ConceptCode(Target):
    """How strongly a concept is present, on average over the positions that the batch keeps."""

    kind: ClassVar[str] = "concept"

    concepts: ConceptSet
    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < len(self.concepts):
            raise ConfigError(f"The set has concepts 0 to {len(self.concepts) - 1}, not {self.number}.")
        object.__setattr__(self, "sites", tuple(self.concepts.reads))

    def of(self, output: Output, seen: Mapping[Site, Tensor], batch: Batch) -> Float[Tensor, "b"]:
        """The mean code of each input."""
        keep = batch.keep
        rows = {site: seen[Site.parse(site)] for site in self.sites}
        codes = self.concepts.encode_from(lambda site: rows[site].flatten(0, 1))[:, self.number]
        weight = keep.to(codes)
        return (codes.view(keep.shape) * weight).sum(1) / weight.sum(1).clamp(min=1)

    def describe(self) -> dict[str, Any]:
        """Its kind, the concept's number, and the hash of its set."""
        return {"kind": self.kind, "number": self.number, "sites": list(self.sites), "sha256": self.concepts.digest()}
