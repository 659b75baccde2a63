"""What a direction of the residual stream says to the vocabulary: direct logit effects, and the logit lens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Float
from torch import Tensor

from workbench.errors import ConfigError

if TYPE_CHECKING:
    from workbench.models import Model, Site

WRITERS = ("embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "final")
TOP = 10
ROWS = 256


def writes_to_residual(site: str | Site) -> bool:
    """Whether what is added at a site is added to the residual stream, so that it reaches the unembedding directly."""
    return str(site).split(".")[0] in WRITERS and str(site) != "final"


def direct_map(model: Model, texts: Sequence[str], rows: int = ROWS) -> Float[Tensor, "v d"]:
    """The linear map from a small push at the end of the residual stream to the logits.

    It is the unembedding times the Jacobian of the final norm, averaged over residual rows of the texts: what a direction
    does to the logits if no later layer reads it (direct logit attribution, Elhage et al. 2021, with the norm linearised
    where the model really is).

    Args:
        model: A causal language model.
        texts: A few; up to ``rows`` of their tokens are used.
        rows: Over how many residual rows the Jacobian is averaged.

    Raises:
        ConfigError: The model is no decoder.
    """
    last = [site for site in model.sites if str(site).startswith("resid_post.")][-1:]
    if model.kind != "decoder" or not last:
        raise ConfigError(f"{model.name} has no vocabulary to write to: direct effects need a causal language model.")
    batch = model.batch(list(texts))
    hidden = model.activations(batch, last)[last[0]][batch.keep][:rows]
    return model.unembedding(model.norm_jacobian(hidden))


def direct_effects(mapping: Float[Tensor, "v d"], directions: Float[Tensor, "c d"]) -> Float[Tensor, "c v"]:
    """Change of each logit, relative to the mean logit, for a push of one unit along each direction."""
    effects = directions.to(mapping) @ mapping.T
    return effects - effects.mean(-1, keepdim=True)


def effects_table(
    mapping: Float[Tensor, "v d"], directions: Float[Tensor, "c d"], pieces: Sequence[str], first_number: int = 0, top: int = TOP
) -> pd.DataFrame:
    """The tokens that each direction raises and lowers most: ``number, side, rank, id, token, value, z``.

    ``value`` is in logits per unit of the direction; ``z`` is the same in deviations of the concept's effects over the
    vocabulary, so that a concept which says little to any token shows small numbers.
    """
    parts = []
    for begin in range(0, len(directions), 512):
        effects = direct_effects(mapping, directions[begin : begin + 512]).cpu()
        spread = effects.std(-1, keepdim=True).clamp(min=1e-12)
        for side, sign in (("raises", 1.0), ("lowers", -1.0)):
            values, ids = (effects * sign).topk(min(top, effects.shape[-1]), dim=-1)
            count, k = values.shape
            parts.append(
                pd.DataFrame(
                    {
                        "number": np.repeat(np.arange(count) + begin + first_number, k),
                        "side": side,
                        "rank": np.tile(np.arange(k), count),
                        "id": ids.flatten().numpy(),
                        "token": [pieces[i] for i in ids.flatten().tolist()],
                        "value": (values * sign).flatten().numpy(),
                        "z": (values * sign / spread).flatten().numpy(),
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
        logits = model.lens(seen[site][0]).float().cpu()
        probabilities, said = logits.softmax(-1).topk(top, dim=-1)
        true = logits[:-1].gather(-1, ids[1:, None])
        ranks = [*(logits[:-1] > true).sum(-1).tolist(), None]
        count = len(pieces)
        tables.append(
            pd.DataFrame(
                {
                    "site": str(site),
                    "position": np.repeat(np.arange(count), top),
                    "token": np.repeat(pieces, top),
                    "rank": np.tile(np.arange(top), count),
                    "said": [vocabulary[i] for i in said.flatten().tolist()],
                    "probability": probabilities.flatten().numpy(),
                    "true_rank": pd.array(np.repeat(np.array(ranks, dtype=object), top), dtype="Int64"),
                }
            )
        )
    return pd.concat(tables).reset_index(drop=True)
