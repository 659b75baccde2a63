"""The trial of concepts as causes of text: steer a causal language model and hold the effect against its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.conversations import Conversation, shortened
from workbench.evidence import steering
from workbench.evidence.steering import Passages
from workbench.progress import Progress, part_of

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet
    from workbench.models import Model, Site

TEXTS = 16
CHARACTERS = 320
TELL = 12
WATCH_RANDOM = 20
# Of one concept: the unedited model, the random directions, and its own.
_SIDE_PASSES = WATCH_RANDOM + 2

Once = Callable[[tuple[Any, ...], Callable[[], Any]], Any]


def passages_from(texts: Sequence[str], seed: int) -> list[str]:
    """Some of the longer texts, cut to a length at which many can be steered."""
    order = np.random.default_rng(seed).permutation(len(texts))
    cut = [
        shortened(text if isinstance(text, Conversation) else text.strip(), CHARACTERS) for text in map(texts.__getitem__, order)
    ]
    long = [text for text in cut if len(text) >= CHARACTERS // 2]
    return (long + [text for text in cut if text and text not in set(long)])[:TEXTS]


def steered_language(
    model: Model,
    part: ConceptSet,
    places: Sequence[int],
    tokens: pd.DataFrame,
    texts: Sequence[str],
    watched: Sequence[tuple[ConceptSet, Sequence[str]]],
    scale: float,
    positions: str,
    seed: int,
    once: Once,
    progress: Progress,
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    """Steer concepts of one set and read the model's next tokens.

    Args:
        model: A causal language model.
        part: The concepts.
        places: Which of them are steered.
        tokens: Their own tokens: ``place, id`` and more, see `workbench.evidence.own_tokens`.
        texts: Held-out texts.
        watched: Sets whose firing is followed, each with the ids of its concepts; theirs must not lie before the site.
        scale: The typical norm of an activation at the site.
        positions: Where the texts are steered, see `workbench.conversations.POSITIONS`.
        seed: Of the controls.
        once: Keeps what concepts of one site share.
        progress: Called with ``(done, total, text)``.

    Returns:
        Evidence rows with ``place``, and the tables ``steering`` (dose curves of all arms) and ``side`` (what else fires).
    """
    site = model.site(part.site)
    chosen = [p for p in places if tokens["place"].eq(p).any()]
    rows: list[dict[str, Any]] = [
        {"place": p, "label": "", "metric": "causes.tokens", "status": "failed", "error": NO_TOKENS}
        for p in places
        if p not in set(chosen)
    ]
    if not chosen:
        return rows, {"steering": _empty(["place", "arm", "dose"]), "side": _empty(["place", "other"])}
    passages: Passages = once(("passages", hash(tuple(texts))), lambda: steering.read_passages(model, texts, positions))
    sets = [torch.tensor(tokens.loc[tokens["place"].eq(p), "id"].to_numpy(np.int64)) for p in chosen]
    directions = part.directions()
    arms = []
    for number, place in enumerate(chosen):
        show = part_of(progress, number * steering.ARM_PASSES, len(chosen) * steering.ARM_PASSES)
        arms.append(steering.steer_arms(model, site, directions[place], scale, passages, sets[number], seed, show))
    doses = [steering.recommended(one.concept, passages) for one in arms]
    random = steering.control_directions(part.width, seed)
    judged = [dose for dose in doses if dose is not None]
    control = steering.steer_control(model, site, random, judged, scale, passages, sets, progress)
    curves, sides = [], []
    for number, (place, dose) in enumerate(zip(chosen, doses, strict=True)):
        table = steering.dose_table(arms[number], control, number, passages)
        found = steering.steering_rows(table, dose, control, number, passages)
        rows += [row | {"place": place, "label": ""} for row in found]
        curves.append(table.assign(place=place))
        if dose is not None and watched:
            push = dose * scale
            show = part_of(progress, number * _SIDE_PASSES, len(chosen) * _SIDE_PASSES)
            sides.append(_side(model, site, directions[place], push, passages, watched, random, once, show).assign(place=place))
    side = pd.concat(sides) if sides else _empty(["place", "other"])
    return rows, {"steering": pd.concat(curves), "side": side}


NO_TOKENS = "no token comes next more often where it is present than elsewhere, so none is its own"


def _side(
    model: Model,
    site: Site,
    direction: Float[Tensor, d],
    norm: float,
    passages: Passages,
    watched: Sequence[tuple[ConceptSet, Sequence[str]]],
    random: Float[Tensor, "k d"],
    once: Once,
    progress: Progress,
) -> pd.DataFrame:
    """The other concepts whose mean activation moves most, against random pushes of the same norm."""
    sets = [concepts for concepts, _ in watched]
    key = ("firing", str(site), round(norm, 5), tuple(ids[0] for _, ids in watched))
    pushes = [None, *(row * norm for row in random[:WATCH_RANDOM])]
    controls = once(key, lambda: steering.firing(model, site, pushes, passages, sets, progress))
    mine = steering.firing(model, site, [direction * norm], passages, sets, part_of(progress, len(pushes), _SIDE_PASSES))
    parts = []
    for (_, ids), control, moved in zip(watched, controls, mine, strict=True):
        base, null = control[0], np.quantile(np.abs(control[1:] - control[0]), 0.95, axis=0)
        parts.append(
            pd.DataFrame({"other": list(ids), "base": base, "steered": moved[0], "shift": moved[0] - base, "null_high": null})
        )
    table = pd.concat(parts)
    # Deviations of chance, so that concepts on different scales stand in one order.
    table["times_null"] = table["shift"].abs() / table["null_high"].clip(lower=1e-6)
    return table.sort_values("times_null", ascending=False).head(TELL)


def _empty(columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=columns)
