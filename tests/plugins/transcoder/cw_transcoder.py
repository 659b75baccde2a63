"""A transcoder (Dunefsky, Chlenski and Nanda, 2024): latents that read what an MLP reads and write what it writes."""

from typing import Any, ClassVar

import pandas as pd
import torch
from pydantic import Field
from torch import Tensor, nn

from workbench.analysis import Analysis, Context, Metric, Planted, Result
from workbench.concepts import ConceptSet
from workbench.shapes import read_tensors
from workbench.statistics.rows import Null, row


class TranscoderLatents(ConceptSet):
    """``decode(encode(mlp_in))`` is about ``mlp_out``; the tensors are ``W_enc, b_enc, W_dec, b_dec``."""

    kind, sparse = "transcoder", True

    def __init__(self, layer: int, tensors: dict[str, Tensor], table: pd.DataFrame) -> None:
        self.layer, self.tensors = layer, tensors
        super().__init__(f"mlp_out.{layer}", table, reads=[f"mlp_in.{layer}"])

    def __len__(self) -> int:
        return len(self.tensors["W_dec"])

    width = property(lambda self: int(self.tensors["W_dec"].shape[1]))

    def encode(self, acts_nd: Tensor) -> Tensor:
        return (acts_nd.float() @ self.tensors["W_enc"] + self.tensors["b_enc"]).relu()

    def decode(self, codes_nc: Tensor, acts_nd: Tensor | None = None) -> Tensor:
        return codes_nc @ self.tensors["W_dec"] + self.tensors["b_dec"]

    def directions(self) -> Tensor:
        return nn.functional.normalize(self.tensors["W_dec"], dim=-1)

    def subset(self, indices: list[int]) -> ConceptSet:
        own = {
            k: self.tensors[k][..., indices] if k[-3:] == "enc" else self.tensors[k][indices] for k in ("W_enc", "b_enc", "W_dec")
        }
        return TranscoderLatents(self.layer, self.tensors | own, self.table.iloc[indices])

    def _tensors(self) -> dict[str, Tensor]:
        return self.tensors

    @classmethod
    def _load(cls, folder: Any, site: str, table: pd.DataFrame, level: str) -> Any:
        return cls(int(site[8:]), read_tensors(folder / cls._weights_file()), table)


class Transcoder(Analysis):
    """Train a transcoder on the MLP of one layer, from activations at ``mlp_in.L`` and ``mlp_out.L``."""

    name: ClassVar[str] = "transcoder"
    title: ClassVar[str] = "Transcoder"
    method: ClassVar[str] = "transcoder"
    reads_labels: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("transcoder.fvu", "FVU", "Unexplained share.", direction="down"),)

    planted: ClassVar[Planted] = Planted("transcoded", {"size": 48})
    size: int = Field(64, ge=2, description="How many latents.")

    def run(self, context: Context) -> Result:
        torch.manual_seed(context.seed)
        acts, layer = context.activations, int(str(context.activations.sites[0]).rpartition(".")[2])
        sites, rows = (f"mlp_in.{layer}", f"mlp_out.{layer}"), [acts.rows(s, context.dataset) for s in ("train", "test")]
        (x, x_test), (y, y_test) = ([torch.from_numpy(acts.at(site).read(r)) for r in rows] for site in sites)
        encoder, decoder = nn.Linear(x.shape[1], self.size), nn.Linear(self.size, y.shape[1])
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-2)
        for _ in range(600):
            loss = (decoder(codes := encoder(x).relu()) - y).square().mean() + 1e-2 * codes.mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weights = {"W_enc": encoder.weight.T, "b_enc": encoder.bias, "W_dec": decoder.weight.T, "b_dec": decoder.bias}
        found = TranscoderLatents(
            layer, {k: v.detach().clone() for k, v in weights.items()}, pd.DataFrame(index=range(self.size))
        )
        fvu = (found.decode(found.encode(x_test)) - y_test).square().sum() / (y_test - y.mean(0)).square().sum()
        return Result([found], pd.DataFrame([row("transcoder.fvu", float(fvu), Null(1.0), n=len(x_test), site=found.site)]))
