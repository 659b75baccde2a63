"""The effect of a direction of the residual stream on the logits: direct logit effects, and the logit lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from safetensors.torch import save_file
from torch import Tensor

from workbench.errors import ConfigError
from workbench.memory import rows_at_once
from workbench.models.logits import TokenLogits
from workbench.progress import Progress, silent
from workbench.shapes import ShapeError, read_tensors, reading
from workbench.writing import file_beside

if TYPE_CHECKING:
    from workbench.models import Model, Site

WRITERS = ("embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "final")
TOP = 10
ROWS = 256
TEXTS_AT_ONCE = 4
# Few at a time, so that progress is reported often.
TOKENS_AT_ONCE, DIRECTIONS_AT_ONCE = 8192, 128
# The tensors of a kept map, by how many axes of the model's width they have.
_SHAPES = {"jacobian": 2, "mean": 1, "covariance": 2}


def writes_to_residual(site: str | Site) -> bool:
    """Whether what is added at a site is added to the residual stream, so that it reaches the unembedding directly."""
    return str(site).split(".")[0] in WRITERS and str(site) != "final"


@dataclass(frozen=True)
class DirectMap:
    """The linear map ``[v, d]`` from a small push at the end of the residual stream to the logits.

    It is the unembedding times the Jacobian of the final norm, averaged over residual rows of some texts: what a direction
    does to the logits if no later layer reads it (direct logit attribution, Elhage et al. 2021, with the norm linearised
    where the model really is). The product is never made, for it is as large as the unembedding: kept are the Jacobian, and the
    mean and covariance of the map's rows over the vocabulary, from which follows how widely the effects of a direction spread.

    Attributes:
        unembedding: ``[v, d]``: the model's own, not a copy.
        jacobian: ``[d, d]``: of the final norm, ``[out, in]``.
        mean: ``[d]``: of the map's rows.
        covariance: ``[d, d]``: of the map's rows.
    """

    unembedding: Float[Tensor, "v d"]
    jacobian: Float[Tensor, "d d"]
    mean: Float[Tensor, "d"]
    covariance: Float[Tensor, "d d"]

    def rows(self, ids: Int[Tensor, "m"]) -> Float[Tensor, "m d"]:
        """Some rows of the map."""
        return self.unembedding[ids.to(self.unembedding.device)].float() @ self.jacobian

    def effects(self, directions: Float[Tensor, "c d"], ids: Int[Tensor, "m"] | None = None) -> Float[Tensor, "c m"]:
        """Change of each logit, or of some, relative to the mean logit, for a push of one unit along each direction."""
        directions = directions.to(self.jacobian)
        pushed = (directions @ self.jacobian.T).to(self.unembedding)
        weights = self.unembedding if ids is None else self.unembedding[ids.to(self.unembedding.device)]
        return (pushed @ weights.T).float() - (directions @ self.mean)[:, None]

    def spread(self, directions: Float[Tensor, "c d"]) -> Float[Tensor, "c"]:
        """The standard deviation of each direction's effects over the vocabulary."""
        directions = directions.to(self.jacobian)
        return ((directions @ self.covariance) * directions).sum(-1).clamp(min=0).sqrt().clamp(min=1e-12)

    def save(self, path: Path) -> None:
        """Write what was measured, without the unembedding, as safetensors."""
        # Written to a temporary file and renamed, so that two writers leave one complete file.
        with file_beside(path) as partial:
            save_file({"jacobian": self.jacobian.cpu(), "mean": self.mean.cpu(), "covariance": self.covariance.cpu()}, partial)

    @staticmethod
    def load(path: Path, model: Model) -> DirectMap:
        """Read what :meth:`save` wrote, for the same model."""
        weights = model.unembedding()
        with reading(str(path), "Remove it: it is measured again."):
            kept = {name: tensor.to(weights.device) for name, tensor in read_tensors(path).items()}
            width = weights.shape[1]
            if {name: tuple(kept[name].shape) for name in _SHAPES} != {name: (width,) * rank for name, rank in _SHAPES.items()}:
                raise ShapeError("it is of another model")
            return DirectMap(weights, kept["jacobian"], kept["mean"], kept["covariance"])


def direct_map(model: Model, texts: Sequence[str], rows: int = ROWS, *, progress: Progress = silent) -> DirectMap:
    """Measure the map on some texts.

    Args:
        model: A causal language model.
        texts: A few; up to ``rows`` of their tokens are used.
        rows: Over how many residual rows the Jacobian is averaged.
        progress: Called with ``(done, total, text)``.

    Raises:
        ConfigError: The model is no decoder.
    """
    last = [site for site in model.sites if str(site).startswith("resid_post.")][-1:]
    if model.kind != "decoder" or not last:
        raise ConfigError(f"{model.name} has no vocabulary to write to: direct effects need a causal language model.")
    parts: list[Tensor] = []
    # No more texts than have the rows: reading them all would take most of the time.
    for begin in range(0, len(texts), TEXTS_AT_ONCE):
        batch = model.batch(list(texts[begin : begin + TEXTS_AT_ONCE]))
        parts.append(model.activations(batch, last)[last[0]][batch.keep])
        if sum(map(len, parts)) >= rows:
            break
    hidden = torch.cat(parts)[:rows]
    weights, jacobian = model.unembedding(), model.norm_jacobian(hidden) * model.logit_scale
    mean, covariance = _moments(weights, progress)
    wide = jacobian.double()
    return DirectMap(weights, jacobian, (mean @ wide).to(jacobian), ((wide.T @ covariance) @ wide).to(jacobian))


def _moments(weights: Float[Tensor, "v d"], progress: Progress) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """Mean and covariance of the rows, in float64."""
    count, width = weights.shape
    step = min(TOKENS_AT_ONCE, rows_at_once(width, 6, str(weights.device)))
    mean = torch.stack([part.double().sum(0) for part in weights.split(step)]).sum(0) / count
    covariance = torch.zeros(width, width, dtype=torch.float64, device=weights.device)
    for number, part in enumerate(weights.split(step)):
        progress(number * step, count, "map to the vocabulary")
        centred = part.double() - mean
        covariance += centred.T @ centred
    return mean, covariance / max(count - 1, 1)


def effects_table(
    mapping: DirectMap,
    directions: Float[Tensor, "c d"],
    pieces: Sequence[str],
    first_number: int = 0,
    top: int = TOP,
    progress: Progress = silent,
) -> pd.DataFrame:
    """The tokens that each direction raises and lowers most: ``number, side, rank, id, token, value, z``.

    ``value`` is in logits per unit of the direction; ``z`` is the same in deviations of the concept's effects over the
    vocabulary, so that a concept which says little to any token shows small numbers.
    """
    parts = []
    size = len(mapping.unembedding)
    step = min(DIRECTIONS_AT_ONCE, rows_at_once(size, 4, str(mapping.unembedding.device)))
    for begin in range(0, len(directions), step):
        progress(begin, len(directions), "direct effects on the vocabulary")
        part = directions[begin : begin + step]
        effects, spread = mapping.effects(part), mapping.spread(part)[:, None].cpu()
        for side, largest in (("raises", True), ("lowers", False)):
            values, ids = (found.cpu() for found in effects.topk(min(top, size), dim=-1, largest=largest))
            count, k = values.shape
            parts.append(
                pd.DataFrame(
                    {
                        "number": np.repeat(np.arange(count) + begin + first_number, k),
                        "side": side,
                        "rank": np.tile(np.arange(k), count),
                        "id": ids.flatten().numpy(),
                        "token": [pieces[i] for i in ids.flatten().tolist()],
                        "value": values.flatten().numpy(),
                        "z": (values / spread).flatten().numpy(),
                    }
                )
            )
    return pd.concat(parts).sort_values(["number", "side", "rank"], ascending=[True, False, True]).reset_index(drop=True)


def logit_lens(model: Model, text: str, sites: str | Sequence[str] = "resid_post.*", top: int = 1) -> pd.DataFrame:
    """What the model would say next if it ended at each site (nostalgebraist 2020).

    Returns:
        One row a site, position and rank: ``site, position, token, rank, said, probability``, and ``true_rank``, the rank of
        the token that really comes next (0 is first; missing at the end of the text).

    Raises:
        ConfigError: The model is no decoder, or a site is not of the residual stream.
    """
    places = model.match(sites)
    wrong = [str(site) for site in places if not str(site).startswith(("resid_", "embed"))]
    if wrong:
        raise ConfigError(f"The lens reads the residual stream, and {wrong[0]} is no part of it: use resid_pre or resid_post.")
    model.warn_if_cut([text])
    batch = model.batch([text])
    pieces, ids = batch.pieces[0], batch.inputs["input_ids"][0].cpu()
    vocabulary = model.vocabulary()
    seen = model.activations(batch, places)
    tables = []
    for site in places:
        probabilities, likeliest, ranks = _likeliest(TokenLogits(seen[site][0], model.lens), ids[1:], top)
        count = len(pieces)
        tables.append(
            pd.DataFrame(
                {
                    "site": str(site),
                    "position": np.repeat(np.arange(count), top),
                    "token": np.repeat(pieces, top),
                    "rank": np.tile(np.arange(top), count),
                    "said": [vocabulary[i] for i in likeliest.flatten().tolist()],
                    "probability": probabilities.flatten().numpy(),
                    "true_rank": pd.array(np.repeat(np.array([*ranks, None], dtype=object), top), dtype="Int64"),
                }
            )
        )
    return pd.concat(tables).reset_index(drop=True)


def _likeliest(
    tokens: TokenLogits, true: Int[Tensor, "n"], top: int
) -> tuple[Float[Tensor, "m k"], Int[Tensor, "m k"], list[int]]:
    """Probabilities and ids of the likeliest tokens at each position, and the rank of the true one at all but the last."""
    probabilities, likeliest, ranks = [], [], []
    for start, stop in tokens.blocks():
        logits = tokens.block(start, stop)
        values, ids = logits.topk(top, dim=-1)
        probabilities.append((values - logits.logsumexp(-1, keepdim=True)).exp().cpu())
        likeliest.append(ids.cpu())
        known = logits[: len(true) - start]
        own = known.gather(-1, true[start:stop, None].to(logits.device))
        ranks += (known > own).sum(-1).tolist()
    return torch.cat(probabilities), torch.cat(likeliest), ranks
