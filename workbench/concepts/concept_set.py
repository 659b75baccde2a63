"""Concepts: the one object that every method returns.

A :class:`ConceptSet` holds many concepts that live at one site of one model. Whatever found them, they are read off an
activation by :meth:`ConceptSet.encode` and written into one by :meth:`ConceptSet.directions`. Everything downstream (the
trial, names, edits, the app) uses only these two.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, Field
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import DataError, StudyError, UnknownNameError
from workbench.numbers import counted
from workbench.parquet import read_parquet
from workbench.paths import is_file
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading

SET_FILE = "set.json"
TABLE_FILE = "table.parquet"


class ConceptSet(ABC):
    """Concepts at one site.

    Attributes:
        site: Where in the model the concepts live, as text (``resid_post.3``).
        table: One row a concept, in the order of :meth:`encode`'s columns. A column ``label`` names the labelled concept
            that a supervised method was fitted to; it is empty for a discovered concept. A column ``name``, where there is
            one, is the method's own name for a concept.
        level: ``token`` when a concept is read at each position, ``example`` when it was fitted to a whole example and
            is read from the example's mean activation.
        sparse: Whether a code of exactly zero means "not present".
    """

    kind: ClassVar[str]
    sparse: ClassVar[bool] = False
    _kinds: ClassVar[dict[str, type[ConceptSet]]] = {}

    def __init__(self, site: str, table: pd.DataFrame, level: str = "token") -> None:
        self.site = site
        self.table = table.reset_index(drop=True)
        self.level = level
        self._elsewhere: dict[torch.device, Self] = {}
        if len(self.table) != len(self):
            raise DataError(f"The table has {len(self.table)} rows for {len(self)} concepts; give one row a concept.")
        if "label" not in self.table:
            self.table["label"] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ConceptSet._kinds[cls.kind] = cls

    @abstractmethod
    def __len__(self) -> int:
        """How many concepts there are."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width d of the activations at the site."""

    @abstractmethod
    def encode(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """How strongly each concept is present in each activation."""

    @abstractmethod
    def directions(self) -> Float[Tensor, "c d"]:
        """Unit vectors: what adding a concept to an activation adds."""

    def on(self, device: torch.device) -> Self:
        """The same concepts with their tensors on a device, kept there once they are; the table is shared.

        `encode` and `decode` do so by themselves: their result is where the activations are.
        """
        if device == self._device():
            return self
        if device not in self._elsewhere:
            twin = copy.copy(self)
            twin._elsewhere = {}
            for name, value in vars(self).items():
                if isinstance(value, Tensor):
                    setattr(twin, name, value.to(device))
                elif isinstance(value, ConceptSet):
                    setattr(twin, name, value.on(device))
            self._elsewhere[device] = twin
        return self._elsewhere[device]

    def _device(self) -> torch.device:
        return next(iter(self._tensors().values())).device

    @abstractmethod
    def subset(self, indices: list[int]) -> ConceptSet:
        """The concepts at ``indices``, as a set of their own."""

    @abstractmethod
    def _tensors(self) -> dict[str, Tensor]: ...

    @classmethod
    @abstractmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self: ...

    def save(self, folder: Path | str) -> None:
        """Write the set as safetensors and Parquet into ``folder``, which is made."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        header = {
            "kind": self.kind,
            "site": self.site,
            "level": self.level,
            "concepts": len(self),
            "width": self.width,
        }
        (folder / SET_FILE).write_text(json.dumps(header, indent=1))
        self.table.to_parquet(folder / TABLE_FILE, index=False)
        save_file({k: v.contiguous() for k, v in self._tensors().items()}, folder / self._weights_file())

    @staticmethod
    def load(folder: Path | str) -> ConceptSet:
        """Read a set that :meth:`save` wrote.

        Raises:
            StudyError: The folder holds no readable set.
        """
        folder, again = Path(folder), "Run the analysis again."
        if not is_file(folder / SET_FILE):
            raise StudyError(f"{folder} holds no readable concept set. {again}")
        header = read_shaped(folder / SET_FILE, _Header, again)
        if header.kind not in ConceptSet._kinds:
            raise UnknownNameError("kind of concept set", header.kind, ConceptSet._kinds, "Install what made it.")
        with reading(f"The concept set {folder}", again):
            table = read_parquet(folder / TABLE_FILE)
            found = ConceptSet._kinds[header.kind]._load(folder, header.site, table, header.level)
            if not len(found) == len(table) == header.concepts or found.width != header.width:
                raise ShapeError(f"it has {len(found)} concepts of width {found.width}, and its table {len(table)}")
        return found

    @classmethod
    def _weights_file(cls) -> str:
        return "weights.safetensors"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {counted(len(self), 'concept')} at {self.site}>"


class _Header(BaseModel):
    """What says which set is in a folder."""

    kind: str
    site: str
    level: str
    concepts: int = Field(ge=0)
    width: int = Field(ge=0)


class LinearConcepts(ConceptSet):
    """Concepts that are read by a linear map: probes, concept activation vectors, principal directions.

    Args:
        weights: What reads the concepts, ``[c, d]``.
        bias: ``[c]``; zero when left out.
        directions: What writes them, ``[c, d]``; the unit-norm weights when left out.
    """

    kind = "linear"

    def __init__(
        self,
        site: str,
        weights: Float[Tensor, "c d"],
        bias: Float[Tensor, "c"] | None = None,
        directions: Float[Tensor, "c d"] | None = None,
        table: pd.DataFrame | None = None,
        level: str = "token",
    ) -> None:
        self.weights = weights.float()
        self.bias = torch.zeros(len(weights)) if bias is None else bias.float()
        write = self.weights if directions is None else directions.float()
        self._directions = torch.nn.functional.normalize(write, dim=-1)
        super().__init__(site, pd.DataFrame(index=range(len(weights))) if table is None else table, level)

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def width(self) -> int:
        """Width d of the activations at the site."""
        return int(self.weights.shape[1])

    def encode(self, acts_nd: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Signed margins ``acts @ weights.T + bias``."""
        here = self.on(acts_nd.device)
        return acts_nd.float() @ here.weights.T + here.bias

    def directions(self) -> Float[Tensor, "c d"]:
        """Unit vectors."""
        return self._directions

    def subset(self, indices: list[int]) -> LinearConcepts:
        """The concepts at ``indices``."""
        table = self.table.iloc[indices]
        return LinearConcepts(self.site, self.weights[indices], self.bias[indices], self._directions[indices], table, self.level)

    def _tensors(self) -> dict[str, Tensor]:
        return {"weights": self.weights, "bias": self.bias, "directions": self._directions}

    @classmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self:
        tensors = read_tensors(folder / cls._weights_file())
        return cls(site, tensors["weights"], tensors["bias"], tensors["directions"], table, level)
