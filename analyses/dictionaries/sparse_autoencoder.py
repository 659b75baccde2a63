"""The analysis: train a TopK sparse autoencoder on one site, measure it on held-out rows, return its latents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from pydantic import Field

from analyses.dictionaries._shared.quality import METRICS, loss_figure, measured_dictionary
from analyses.dictionaries._shared.training import train
from workbench.analysis import Analysis, Context, Metric, Planted, Result
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.errors import ConfigError
from workbench.frames import records

if TYPE_CHECKING:
    from workbench.activations import ActivationSet
    from workbench.datasets import Dataset


class SparseAutoencoder(Analysis):
    """Train a TopK sparse autoencoder (Gao et al., 2024) on one site; each latent is a concept.

    The trainer is sae-lens; the weights are kept in its format and load there.
    """

    name: ClassVar[str] = "sparse_autoencoder"
    title: ClassVar[str] = "Sparse autoencoder (TopK)"
    method: ClassVar[str] = "SAE"
    metrics: ClassVar[tuple[Metric, ...]] = METRICS
    one_site: ClassVar[bool] = True
    # 2: special tokens keep their activations where the reconstruction stands in; rows of large norm are counted.
    version: ClassVar[int] = 2
    reads_labels: ClassVar[bool] = False
    planted: ClassVar[Planted] = Planted("sparse", {"d_sae": 72, "k": 3, "batch_size": 256, "samples": 100_000})

    d_sae: int = Field(1024, ge=2, le=1_000_000, description="How many latents.")
    k: int = Field(32, ge=1, description="How many latents may be active on a row.")
    samples: int = Field(250_000, ge=1, description="How many rows to train on, repeats counted.")
    batch_size: int = Field(2048, ge=1, description="Rows a step.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate of Adam.")
    aux: float = Field(1 / 32, ge=0, description="Weight of the auxiliary loss that revives dead latents.")

    def check(self, activations: ActivationSet, dataset: Dataset, seed: int) -> None:
        """See that there are rows for a batch, and that the sizes fit each other."""
        if self.k > self.d_sae:
            raise ConfigError(f"k={self.k} latents cannot be active in a dictionary of {self.d_sae}: lower k or raise d_sae.")
        rows = len(activations.rows("train", dataset))
        if rows < self.batch_size:
            raise ConfigError(
                f"{rows:,} training rows are fewer than a batch of {self.batch_size:,}: capture more, or lower batch_size."
            )

    def run(self, context: Context) -> Result:
        """Train on the training split, measure on the test split. What was trained is kept before it is measured."""
        self.check(context.activations, context.dataset, context.seed)
        site = str(context.activations.sites[0])
        rows = context.activations.rows("train", context.dataset)

        def trained() -> tuple[dict[str, Any], dict[str, Any]]:
            (tensors, config), losses = train(self, context, rows)
            return tensors, {"config": config, "losses": records(losses)}

        tensors, facts = context.once("trained", trained)
        losses = pd.DataFrame(facts["losses"])
        dictionary = DictionaryConcepts(site, tensors, facts["config"])
        result = measured_dictionary(dictionary, context)
        result.tables["losses"], result.figures["loss"] = losses, loss_figure(losses)
        return result
