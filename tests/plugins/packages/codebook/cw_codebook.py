"""A codebook: k-means centres as concepts, with a kind of concept set of their own."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import pandas as pd
import torch
from pydantic import Field
from sklearn.cluster import KMeans
from torch import Tensor

from workbench.analysis import Analysis, Context, Planted, Result
from workbench.concepts import ConceptSet
from workbench.shapes import read_tensors


class Codes(ConceptSet):
    """Each row has one code: the nearest of some centres, with the cosine to it; all others are 0."""

    kind = "codebook"
    sparse = True

    def __init__(self, site: str, centres: Tensor, mean: Tensor, table: pd.DataFrame | None = None, level: str = "token") -> None:
        self.centres, self.mean = centres.float(), mean.float()
        super().__init__(site, pd.DataFrame(index=range(len(centres))) if table is None else table, level)

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def width(self) -> int:
        """Width of the activations."""
        return int(self.centres.shape[1])

    def encode(self, acts_nd: Tensor) -> Tensor:
        """The cosine to the nearest centre, in its column."""
        here = self.on(acts_nd.device)
        cosine = torch.nn.functional.normalize(acts_nd.float() - here.mean, dim=-1) @ here.directions().T
        best = cosine.max(-1, keepdim=True)
        return torch.zeros_like(cosine).scatter(-1, best.indices, best.values.clamp(min=1e-6))

    def directions(self) -> Tensor:
        """The centres, from the mean."""
        return torch.nn.functional.normalize(self.centres, dim=-1)

    def subset(self, indices: list[int]) -> ConceptSet:
        """Some centres, which compete among themselves."""
        return Codes(self.site, self.centres[indices], self.mean, self.table.iloc[indices], self.level)

    def _tensors(self) -> dict[str, Tensor]:
        return {"centres": self.centres, "mean": self.mean}

    @classmethod
    def _load(cls, folder: Path, site: str, table: pd.DataFrame, level: str) -> Self:
        tensors = read_tensors(folder / cls._weights_file())
        return cls(site, tensors["centres"], tensors["mean"], table, level)


class Codebook(Analysis):
    """Cluster the activations of one site with k-means; each centre is a concept."""

    name: ClassVar[str] = "codebook"
    title: ClassVar[str] = "Codebook (k-means)"
    method: ClassVar[str] = "code"
    one_site: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    planted: ClassVar[Planted] = Planted(options={"size": 8})

    size: int = Field(8, ge=2, description="How many centres.")

    def run(self, context: Context) -> Result:
        """Fit the centres on the training split."""
        acts = context.activations
        rows = torch.from_numpy(acts.read(acts.rows("train", context.dataset)))
        fitted = KMeans(self.size, n_init=1, random_state=context.seed).fit((rows - rows.mean(0)).numpy())
        return Result(concepts=[Codes(str(acts.sites[0]), torch.from_numpy(fitted.cluster_centers_), rows.mean(0))])
