"""Concepts: the one object that every method returns.

A :class:`ConceptSet` holds many concepts of one model. Whatever found them, they are read off the activations of one site or of
several by :meth:`ConceptSet.encode` and written into those of a site by :meth:`ConceptSet.directions`. It says itself what can
be done with its concepts and what as many random ones would be, so that everything downstream (the trial, names, edits, the
app) asks no set for its kind.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import pandas as pd
import torch
from jaxtyping import Float
from pydantic import BaseModel, Field
from safetensors.torch import save_file
from torch import Tensor

from workbench.concepts.kinds import SETS
from workbench.errors import ConfigError, DataError, StudyError
from workbench.numbers import counted
from workbench.parquet import read_parquet
from workbench.paths import is_file
from workbench.shapes import ShapeError, read_shaped, read_tensors, reading
from workbench.statistics.directions import covariance_directions, isotropic_directions

SET_FILE = "set.json"
TABLE_FILE = "table.parquet"
AGAIN = "Run the analysis again."
NullKind = Literal["isotropic", "covariance", "refit"]


class ConceptSet(ABC):
    """Concepts that are read at one site or several, and written at one.

    Attributes:
        site: Where in the model the concepts are written, as text (``resid_post.3``): where they are listed, and steered.
        reads: Where they are read: the site itself, unless a set says otherwise, as a transcoder or a crosscoder does.
        table: One row a concept, in the order of :meth:`encode`'s columns. A column ``label`` names the labelled concept
            that a supervised method was fitted to; it is empty for a discovered concept. A column ``name``, where there is
            one, is the method's own name for a concept.
        level: ``token`` when a concept is read at each position, ``example`` when it was fitted to a whole example and
            is read from the example's mean activation.
        sparse: Whether a code of exactly zero means "not present".
        kind: What a stored set is known by; see `workbench.concepts.kinds`.
        actions: What can be done to a concept: ``add``, ``clamp`` and ``ablate`` need its direction alone; ``set`` and ``scale``
            change its code, and need `decode` and `written`.
    """

    kind: ClassVar[str]
    sparse: ClassVar[bool] = False
    actions: ClassVar[tuple[str, ...]] = ("add", "clamp", "ablate")

    def __init__(self, site: str, table: pd.DataFrame, level: str = "token", reads: Sequence[str] = ()) -> None:
        self.site = site
        self.reads = tuple(reads) or (site,)
        self.table = table.reset_index(drop=True)
        self.level = level
        self._elsewhere: dict[torch.device, Self] = {}
        if len(self.table) != len(self):
            raise DataError(f"The table has {len(self.table)} rows for {len(self)} concepts; give one row a concept.")
        if "label" not in self.table:
            self.table["label"] = ""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if not inspect.isabstract(cls):
            SETS.define(cls.kind, cls)

    @abstractmethod
    def __len__(self) -> int:
        """How many concepts there are."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width d of the activations at the site where they are written."""

    @abstractmethod
    def encode(self, acts_nd: Any) -> Float[Tensor, "n c"]:
        """How strongly each concept is present in each row.

        Args:
            acts_nd: The activations, ``[n, d]``; of a set that reads several sites those of each, ``{site: [n, d]}``.
        """

    def encode_from(self, rows: Callable[[str], Float[Tensor, "n d"]]) -> Float[Tensor, "n c"]:
        """The codes of rows whose activations at each site a function gives."""
        return self.encode(rows(self.reads[0]) if len(self.reads) == 1 else {site: rows(site) for site in self.reads})

    @abstractmethod
    def directions(self) -> Float[Tensor, "c d"]:
        """Unit vectors: what adding a concept to an activation adds."""

    def decode(self, codes_nc: Float[Tensor, "n c"], acts_nd: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "n d"]:
        """The activations that codes stand for, for a set that reconstructs what it reads.

        Args:
            codes_nc: Codes.
            acts_nd: The activations that they are the codes of, for a set that needs them.

        Raises:
            ConfigError: The set has no decoder.
        """
        raise ConfigError(f"Concepts of the kind '{self.kind}' reconstruct no activations: they have no decoder.")

    def written(self, number: int, acts_nd: Float[Tensor, "n d"] | None = None) -> Float[Tensor, "#n d"]:
        """What one unit of a concept's code adds to the reconstruction; ``acts_nd`` as for `decode`."""
        raise ConfigError(f"Concepts of the kind '{self.kind}' reconstruct no activations: they have no decoder.")

    def located(self, number: int) -> tuple[ConceptSet, int]:
        """The set that reads the concept of a number, and its number there: a part of a set may need the whole to be read."""
        return self, number

    def null_like(self, kind: NullKind, seed: int, rows_nd: Float[Tensor, "n d"], most: int | None = None) -> ConceptSet:
        """As many concepts that are read in the same way and mean nothing.

        Args:
            kind: ``isotropic``: directions uniform on the sphere. ``covariance``: directions that vary as the activations do.
                ``refit``: fitted in the same way to labels that mean nothing, where a set can do so.
            seed: Of the draws.
            rows_nd: Activations at the site.
            most: At most so many, of a large set.

        Raises:
            ConfigError: A set of this kind cannot be fitted anew without what it was fitted to.
        """
        count = len(self) if most is None else min(most, len(self))
        if kind == "refit":
            raise ConfigError(f"Concepts of the kind '{self.kind}' cannot be fitted anew from activations alone.")
        if kind == "isotropic":
            return self._with(isotropic_directions(count, self.width, seed), rows_nd)
        return self._with(covariance_directions(count, rows_nd, seed), rows_nd)

    def _with(self, directions: Float[Tensor, "k d"], rows_nd: Float[Tensor, "n d"]) -> ConceptSet:
        """A set that reads and writes these directions as this one does its own."""
        return LinearConcepts(self.site, directions, level=self.level)

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

    def digest(self) -> str:
        """SHA-256 of its kind and tensors, in hexadecimal digits."""
        digest = hashlib.sha256(self.kind.encode())
        for name, tensor in sorted(self._tensors().items()):
            digest.update(f"{name} {list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def save(self, folder: Path | str) -> None:
        """Write the set as safetensors and Parquet into ``folder``, which is made."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        header = {
            "kind": self.kind,
            "package": SETS.package_of(self.kind),
            "site": self.site,
            "reads": list(self.reads),
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
            NotInstalledError: It is of a kind that is not installed here.
        """
        folder = Path(folder)
        header = read_header(folder)
        cls = SETS.find(header.kind, header.package)
        with reading(f"The concept set {folder}", AGAIN):
            table = read_parquet(folder / TABLE_FILE)
            found: ConceptSet = cls._load(folder, header.site, table, header.level)
            found.reads = tuple(header.reads) or (header.site,)
            if not len(found) == len(table) == header.concepts or found.width != header.width:
                raise ShapeError(f"it has {len(found)} concepts of width {found.width}, and its table {len(table)}")
        return found

    @classmethod
    def _weights_file(cls) -> str:
        return "weights.safetensors"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {counted(len(self), 'concept')} at {self.site}>"


class Header(BaseModel):
    """What says which set is in a folder; ``package`` is what offered its kind, empty where it is not known."""

    kind: str
    package: str = ""
    site: str
    reads: list[str] = []
    level: str
    concepts: int = Field(ge=0)
    width: int = Field(ge=0)


def read_header(folder: Path) -> Header:
    """What a stored set says of itself; its kind need not be installed.

    Raises:
        StudyError: The folder holds no set.
    """
    if not is_file(folder / SET_FILE):
        raise StudyError(f"{folder} holds no readable concept set. {AGAIN}")
    return read_shaped(folder / SET_FILE, Header, AGAIN)


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
