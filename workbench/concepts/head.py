"""Heads: predictors over concepts, such as the last layer of a concept bottleneck.

A head reads the codes of concepts and predicts classes or quantities. What it says is a sum of what the concepts contribute,
where it is linear; concepts can be corrected before it reads them, and its weights can be edited.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field, model_validator
from safetensors.torch import save_file
from torch import Tensor

from workbench.concepts.kinds import HEADS
from workbench.errors import ConfigError, StudyError
from workbench.numbers import counted
from workbench.paths import is_file, shown
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading

HEAD_FILE, WEIGHTS_FILE = "head.json", "weights.safetensors"
AGAIN = "Run the analysis again."
MOST_OUTPUTS, MOST_CONCEPTS = 10_000, 1_000_000


class HeadFacts(BaseModel):
    """What a head predicts, and from which concepts.

    Attributes:
        outputs: The names of the classes or quantities, in the order of what `Head.predict` returns.
        concepts: The numbers of the concepts that it reads, in the order of its columns: places among all concepts of its run.
        label: The column of the data that it predicts; empty where it is none.
        task: ``classes``: the largest output is the class that is predicted. ``quantities``: each output is a number by itself.
        pool: What the codes of an example are made of: the ``mean`` or the ``max`` of those of its rows; ``none`` for a head that
            predicts each row. Concepts of the level ``example`` are always read from the mean activation.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    outputs: tuple[str, ...] = Field(min_length=1, max_length=MOST_OUTPUTS)
    concepts: tuple[int, ...] = Field(min_length=1, max_length=MOST_CONCEPTS)
    label: str = ""
    task: Literal["classes", "quantities"] = "classes"
    pool: Literal["mean", "max", "none"] = "mean"

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if len(set(self.outputs)) < len(self.outputs):
            raise ValueError("two outputs have one name")
        if len(set(self.concepts)) < len(self.concepts) or min(self.concepts) < 0:
            raise ValueError("the numbers of concepts are not distinct, or below 0")
        return self


class Head(ABC):
    """A predictor over k outputs from c concepts.

    Attributes:
        facts: What it predicts, and from which concepts.
        kind: What a stored head is known by. A package offers a kind by an entry point in the group
            ``concept_workbench.head_kinds``.
        reads_activations: Whether `predict` needs ``h``, as a hybrid does that also reads what the concepts leave.
    """

    kind: ClassVar[str]
    reads_activations: ClassVar[bool] = False

    def __init__(self, facts: HeadFacts) -> None:
        self.facts = facts

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not inspect.isabstract(cls):
            HEADS.define(cls.kind, cls)

    @abstractmethod
    def predict(
        self, z: Float[Tensor, "n c"], h: Float[Tensor, "n d"] | None = None, rows: Any = None
    ) -> Float[Tensor, "n k"]:  # fmt: skip
        """The outputs: of classes scores such as logits, of which the largest is predicted; of quantities their values.

        Args:
            z: Codes of the concepts ``facts.concepts``.
            h: The activations that they were read from, ``[n, d]``, for a head with ``reads_activations``; None for others.
            rows: The row index of the activations, for a head that needs to know the example or the position.
        """

    @property
    def weights(self) -> Float[Tensor, "k c"] | None:
        """What each concept counts for each output; None for a head that has no such weights."""
        return None

    def contributions(self, z: Float[Tensor, "n c"], h: Any = None, rows: Any = None) -> Float[Tensor, "n k c"]:
        """How much each concept contributes to each output: how far the output falls when its code is set to 0.

        Of a linear head these add up to the output, less its bias.
        """
        whole = self.predict(z, h, rows)
        parts = []
        for column in range(z.shape[1]):
            without = z.clone()
            without[:, column] = 0
            parts.append(whole - self.predict(without, h, rows))
        return torch.stack(parts, dim=-1)

    def intervene(
        self, z: Float[Tensor, "n c"], values: Float[Tensor, "n c"], mask: Bool[Tensor, "n c"], h: Any = None, rows: Any = None
    ) -> tuple[Float[Tensor, "n c"], Float[Tensor, "n k"]]:
        """Correct some concepts.

        Args:
            z: The codes as they were read.
            values: What the concepts are set to where ``mask`` is true.
            mask: Which concepts of which rows are corrected.
            h: See `predict`.
            rows: See `predict`.

        Returns:
            The codes after the correction, and the outputs. In a head that models how concepts depend on each other, codes that
            were not corrected move too.
        """
        corrected = torch.where(mask, values, z)
        return corrected, self.predict(corrected, h, rows)

    def edited(self, weights: Mapping[tuple[int, int], float], masked: Collection[int]) -> Head:
        """A copy of the head with other weights.

        Args:
            weights: The new weight of a pair of an output and a column.
            masked: Columns whose concept no longer counts, whatever its code is.

        Raises:
            ConfigError: Heads of this kind offer none.
        """
        raise ConfigError(f"Heads of the kind '{self.kind}' have no weights that can be edited.")

    def partial_fit(self, z: Float[Tensor, "n c"], y: Tensor) -> None:
        """Go on fitting with further rows.

        Raises:
            ConfigError: Heads of this kind cannot.
        """
        raise ConfigError(f"Heads of the kind '{self.kind}' are not fitted in parts.")

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]: ...

    @classmethod
    @abstractmethod
    def _load(cls, facts: HeadFacts, tensors: dict[str, Tensor]) -> Self: ...

    def save(self, folder: Path) -> None:
        """Write the head into ``folder``, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        stored = StoredHead(kind=self.kind, package=HEADS.package_of(self.kind), facts=self.facts)
        (folder / HEAD_FILE).write_text(stored.model_dump_json(indent=1))
        save_file({name: tensor.detach().contiguous() for name, tensor in self._tensors().items()}, folder / WEIGHTS_FILE)

    @staticmethod
    def load(folder: Path) -> Head:
        """Read a head that :meth:`save` wrote.

        Raises:
            StudyError: The folder holds none.
            NotInstalledError: It is of a kind that is not installed here.
        """
        stored = read_head(folder)
        cls = HEADS.find(stored.kind, stored.package)
        with reading(f"The head {shown(folder.name)}", AGAIN, HEADS.error(stored.kind)):
            found: Head = cls._load(stored.facts, read_tensors(folder / WEIGHTS_FILE))
            found.require_whole()
        return found

    def require_whole(self) -> None:
        """See that the head predicts what it says, from as many concepts as it says.

        Raises:
            ShapeError: It does not.
        """
        columns, outputs = len(self.facts.concepts), len(self.facts.outputs)
        if self.weights is not None and tuple(self.weights.shape) != (outputs, columns):
            raise ShapeError(f"its weights are {list(self.weights.shape)}, for {outputs} outputs of {columns} concepts")
        if not all(torch.isfinite(tensor).all() for tensor in self._tensors().values() if tensor.is_floating_point()):
            raise ShapeError("a number in it is not finite")

    def __repr__(self) -> str:
        count = len(self.facts.outputs)
        return f"<{type(self).__name__}: {count:,} {self.facts.task} from {counted(len(self.facts.concepts), 'concept')}>"


class StoredHead(BaseModel):
    """What says which head is in a folder; ``package`` is what offered its kind, empty where it is not known."""

    kind: str
    package: str = ""
    facts: HeadFacts


def read_head(folder: Path) -> StoredHead:
    """What a stored head says of itself; its kind need not be installed.

    Raises:
        StudyError: The folder holds no head.
    """
    if not is_file(folder / HEAD_FILE):
        raise StudyError(f"{shown(folder.name)} holds no readable head. {AGAIN}")
    return read_shaped(folder / HEAD_FILE, StoredHead, AGAIN)


class LinearHead(Head):
    """Outputs that are weighted sums of concepts: ``z @ weights.T + bias``.

    Args:
        outputs: The names of the classes or quantities.
        weights: ``[k, c]``.
        bias: ``[k]``; zero when left out.
        concepts: The numbers of the concepts that it reads; the first c of the run when left out.
        facts: ``label``, ``task`` and ``pool`` of `HeadFacts`.
    """

    kind = "linear"

    def __init__(
        self, outputs: Sequence[str], weights: Float[Tensor, "k c"], bias: Float[Tensor, "k"] | None = None,
        concepts: Sequence[int] | None = None, **facts: Any,
    ) -> None:  # fmt: skip
        places = range(weights.shape[1]) if concepts is None else concepts
        super().__init__(HeadFacts(outputs=tuple(outputs), concepts=tuple(places), **facts))
        self._weights, self.bias = weights.float(), torch.zeros(len(weights)) if bias is None else bias.float()

    @property
    def weights(self) -> Float[Tensor, "k c"]:
        """What each concept counts for each output."""
        return self._weights

    def predict(
        self, z: Float[Tensor, "n c"], h: Float[Tensor, "n d"] | None = None, rows: Any = None
    ) -> Float[Tensor, "n k"]:  # fmt: skip
        """The weighted sums."""
        return z.float() @ self._weights.T + self.bias

    def contributions(self, z: Float[Tensor, "n c"], h: Any = None, rows: Any = None) -> Float[Tensor, "n k c"]:
        """The summands: each weight times the code."""
        return z.float()[:, None, :] * self._weights

    def edited(self, weights: Mapping[tuple[int, int], float], masked: Collection[int]) -> LinearHead:
        """A copy with other weights; those of a masked concept are 0."""
        changed = self._weights.clone()
        for (output, column), value in weights.items():
            changed[output, column] = value
        changed[:, sorted(masked)] = 0
        return LinearHead._load(self.facts, {"weights": changed, "bias": self.bias})

    def _tensors(self) -> dict[str, Tensor]:
        return {"weights": self._weights, "bias": self.bias}

    @classmethod
    def _load(cls, facts: HeadFacts, tensors: dict[str, Tensor]) -> Self:
        given = facts.model_dump()
        made = cls(given.pop("outputs"), tensors["weights"], tensors["bias"], given.pop("concepts"), **given)
        if tuple(made.bias.shape) != (len(facts.outputs),):
            raise ShapeError(f"its bias is {list(made.bias.shape)}")
        return made
