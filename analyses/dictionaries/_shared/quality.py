"""Quality of a dictionary, measured on held-out rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from analyses.dictionaries._shared.large_rows import Unexplained, of_large_norm, ordinary_mean
from analyses.dictionaries._shared.splice import spliced
from workbench.analysis import CANNOT_MEASURE, Metric, Result, failed_rows, measured
from workbench.concepts import ConceptSet
from workbench.concepts.dictionary import DictionaryConcepts
from workbench.errors import ConfigError
from workbench.plots import density_histogram, lines
from workbench.progress import Progress, part_of
from workbench.statistics.clusters import example_clusters
from workbench.statistics.intervals import mean_interval, ratio_interval
from workbench.statistics.rows import NoNull, Null, row

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from workbench.analysis import Context

METRICS = (
    Metric(
        "sae.fvu",
        "Unexplained variance",
        "Fraction of the held-out variance that the reconstruction leaves; null: a dictionary with random directions.",
        direction="down",
    ),
    Metric(
        "sae.fvu_ordinary",
        "Unexplained variance without rows of large norm",
        "The same over the held-out rows whose norm is at most three times the median norm, about the mean of such rows; n is how"
        " many they are. Where a few rows hold most of the variance, the number over all rows is about those few alone.",
        direction="down",
    ),
    Metric(
        "sae.large_rows",
        "Rows of large norm",
        "How many of the n held-out rows have a norm above three times the median norm.",
        unit="rows",
        direction="none",
    ),
    Metric("sae.l0", "L0", "Mean number of active latents a held-out row.", unit="latents", direction="none"),
    Metric("sae.dead", "Dead", "Share of latents that fire on no held-out row.", direction="down"),
    Metric(
        "sae.cosine",
        "Cosine",
        "Mean cosine of held-out activations with their reconstruction; null: the mean activation.",
    ),
    Metric(
        "sae.output_kept",
        "Output kept",
        "One minus the output's shift when the reconstruction stands in for the activations, as a share of the shift when the"
        " mean activation does; 1 is a perfect stand-in, 0 no better than the mean.",
        chance=0.0,
    ),
)

HELD_ROWS = 20_000


@dataclass(frozen=True)
class Held:
    """Rows to measure a dictionary on.

    Attributes:
        x: ``[n, d]``, of the test split.
        clusters: The cluster of each, ``[n]``: its document, else its content.
        mean: ``[d]``, of rows of the training split.
        ordinary_mean: ``[d]``, of those of them that are not of large norm.
    """

    x: Float[Tensor, "n d"]
    clusters: Int[np.ndarray, n]
    mean: Float[Tensor, d]
    ordinary_mean: Float[Tensor, d]


def measured_dictionary(dictionary: DictionaryConcepts, context: Context) -> Result:
    """The dictionary with what was measured of it; a measurement that cannot be made is a failed row with its reason."""
    site = dictionary.site
    try:
        held = held_out_rows(context)
        rows, fired = quality(dictionary, held, context.seed, context.progress)
    except CANNOT_MEASURE as error:
        rows, fired = failed_rows([m.key for m in METRICS], error, site=site), None
    else:
        rows += measured(["sae.output_kept"], lambda: [spliced(dictionary, held.mean, site, context)], site=site)
    result = Result(concepts=[dictionary], metrics=pd.DataFrame(rows))
    if fired is not None:
        dictionary.table["held_out_density"] = fired
        result.figures["density"] = density_figure(fired)
    return result


def held_out_rows(context: Context) -> Held:
    """Up to 20,000 rows of the test split; the means come from the training split.

    Raises:
        ConfigError: There are no rows of the test split.
    """
    acts = context.activations
    held = acts.rows("test", context.dataset)
    held = np.sort(np.random.default_rng(context.seed).permutation(held)[:HELD_ROWS])
    if not len(held):
        raise ConfigError("There are no rows of the test split to measure a dictionary on: capture more examples.")
    train = acts.rows("train", context.dataset)
    x = torch.from_numpy(acts.read(held))
    sample = torch.from_numpy(acts.read(np.sort(train[:: max(1, len(train) // HELD_ROWS)])))
    clusters = example_clusters(context.dataset, acts.index["example"].to_numpy()[held])
    return Held(x, clusters, sample.mean(0), ordinary_mean(sample))


def quality(
    dictionary: DictionaryConcepts, held: Held, seed: int, progress: Progress
) -> tuple[list[dict[str, Any]], Float[np.ndarray, "c"]]:
    """Metric rows with intervals over documents, and every latent's density on the held-out rows."""
    x, clusters, mean = held.x, held.clusters, held.mean
    # Of the activations a random dictionary takes their mean alone, here that of rows to train on.
    null = dictionary.null_like("isotropic", seed, mean[None])
    error, fired, active, cosine = _reconstruct(dictionary, x, part_of(progress, 0, 2 * len(x)))
    null_error, _, _, _ = _reconstruct(null, x, part_of(progress, len(x), 2 * len(x)))
    spread = (x - mean).square().sum(-1)
    mean_cosine = torch.nn.functional.cosine_similarity(x, mean[None].expand_as(x), dim=-1)
    dead = float((fired == 0).float().mean())
    count = len(np.unique(clusters))
    known: dict[str, Any] = {"n": len(x), "clusters": count}
    (low_active, low_cosine), (high_active, high_cosine) = mean_interval(torch.stack([active, cosine], dim=1).numpy(), clusters)
    rows = [
        *_unexplained(held, error, null_error, spread),
        row("sae.l0", float(active.mean()), NoNull("a count"), low=low_active, high=high_active, **known),
        row("sae.dead", dead, NoNull("a count"), n=len(dictionary)),
        row("sae.cosine", float(cosine.mean()), Null(float(mean_cosine.mean())), low=low_cosine, high=high_cosine, **known),
    ]
    return [one | {"site": dictionary.site} for one in rows], (fired / len(x)).numpy()


def _unexplained(
    held: Held, error: Float[Tensor, n], null_error: Float[Tensor, n], spread: Float[Tensor, n]
) -> list[dict[str, Any]]:
    """Unexplained variance over all rows and without those of large norm, how many those are, and a note where it matters."""
    large = of_large_norm(held.x)
    ordinary_spread = (held.x - held.ordinary_mean).square().sum(-1)

    def share(metric: str, below: Float[Tensor, n], where: Bool[Tensor, n]) -> dict[str, Any]:
        clusters = held.clusters[where.numpy()]
        value, low, high = ratio_interval(error[where].numpy(), below[where].numpy(), clusters)
        null = Null(float(null_error[where].sum() / below[where].sum()))
        return row(metric, value, null, n=int(where.sum()), low=low, high=high, clusters=len(np.unique(clusters)))

    rows = [share("sae.fvu", spread, torch.ones_like(large)), share("sae.fvu_ordinary", ordinary_spread, ~large)]
    count, within = int(large.sum()), float(spread[large].sum() / spread.sum())
    found = Unexplained(rows[0]["value"], rows[1]["value"], count, len(large), within)
    rows[0]["note"] = found.note
    return [*rows, row("sae.large_rows", count, NoNull("a count"), n=len(large))]


def density_figure(fired: Float[np.ndarray, "c"]) -> Figure:
    """How often latents fire."""
    return density_histogram(fired, "How often latents fire on held-out rows", "share of rows (log10)")


def loss_figure(losses: pd.DataFrame) -> Figure:
    """Training loss against rows seen."""
    return lines(losses, x="samples", y="mse", title="Training", x_title="rows seen", y_title="squared error a row")


def _reconstruct(
    dictionary: ConceptSet, x: Float[Tensor, "n d"], progress: Progress, chunk: int = 1024
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    errors, active, cosines = [], [], []
    fired = torch.zeros(len(dictionary))
    for number, part in enumerate(x.split(chunk)):
        progress(number * chunk, len(x), f"measuring {len(dictionary):,} latents on held-out rows")
        codes = dictionary.encode(part)
        back = dictionary.decode(codes, part)
        errors.append((part - back).square().sum(-1))
        cosines.append(torch.nn.functional.cosine_similarity(part, back, dim=-1))
        active.append((codes != 0).sum(-1).float())
        fired += (codes != 0).sum(0)
    return torch.cat(errors), fired, torch.cat(active), torch.cat(cosines)
