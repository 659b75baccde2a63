"""The trial of concepts as causes of text: steer a causal language model and hold the effect against its controls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.evidence import steering
from workbench.evidence.control_readings import read_controls
from workbench.evidence.controls import Controls
from workbench.evidence.doses import Doses
from workbench.evidence.steering import Passages
from workbench.evidence.steering_rows import dose_table, recommended, steering_rows
from workbench.progress import Progress, shares
from workbench.statistics.nulls import upper

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet
    from workbench.models import Model, Site

TELL = 12
WATCH_RANDOM = 20

Once = Callable[[tuple[Any, ...], Callable[[], Any]], Any]


@dataclass(frozen=True)
class Setting:
    """Where and how concepts of a site are steered.

    Attributes:
        model: A causal language model.
        site: Where to write.
        passages: Held-out texts.
        doses: Those that are tried.
        controls: Random directions.
        watched: Sets whose firing is followed, each with the ids of its concepts; theirs must not lie before the site.
        seed: Of the shuffled directions.
        once: Keeps what concepts of one site share.
    """

    model: Model
    site: Site
    passages: Passages
    doses: Doses
    controls: Controls
    watched: Sequence[tuple[ConceptSet, Sequence[str]]]
    seed: int
    once: Once


def steered_language(
    setting: Setting, part: ConceptSet, places: Sequence[int], tokens: pd.DataFrame, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, pd.DataFrame]]:
    """Steer concepts of one set and read the model's next tokens.

    Args:
        setting: Where and how.
        part: The concepts.
        places: Which of them are steered.
        tokens: Their own tokens: ``place, id`` and more, see `workbench.tokens.own_tokens`.
        progress: Called with ``(done, total, text)``.

    Returns:
        Evidence rows with ``place``, and the tables ``steering`` (dose curves of all arms) and ``side`` (what else fires).
    """
    chosen = [p for p in places if tokens["place"].eq(p).any()]
    rows: list[dict[str, Any]] = [
        {"place": p, "label": "", "metric": "causes.tokens", "status": "failed", "error": NO_TOKENS}
        for p in places
        if p not in set(chosen)
    ]
    if not chosen:
        return rows, {"steering": _empty(["place", "arm", "dose"]), "side": _empty(["place", "other"])}
    model, site, passages, doses = setting.model, setting.site, setting.passages, setting.doses
    sets = [torch.tensor(tokens.loc[tokens["place"].eq(p), "id"].to_numpy(np.int64)) for p in chosen]
    directions = part.directions()
    of_arms, of_sides = (shares(progress, [1] * len(chosen)) for _ in range(2))
    arms = [
        steering.steer_arms(model, site, directions[place], doses, passages, sets[number], setting.seed, of_arms[number])
        for number, place in enumerate(chosen)
    ]
    judged = [dose for one in arms if (dose := recommended(one.concept, passages, doses.curve)) is not None]
    control = read_controls(model, site, setting.controls, doses, judged, passages, sets, progress)
    curves, sides = [], []
    for number, place in enumerate(chosen):
        curves.append(dose_table(arms[number], control, number, passages, doses).assign(place=place))
        found, dose = steering_rows(arms[number], control, number, passages, doses)
        rows += [row | {"place": place, "label": ""} for row in found]
        if dose is not None and setting.watched:
            sides.append(_side(setting, directions[place], dose * doses.unit, of_sides[number]).assign(place=place))
    side = pd.concat(sides) if sides else _empty(["place", "other"])
    return rows, {"steering": pd.concat(curves), "side": side}


NO_TOKENS = "no token comes next more often where it is present than elsewhere, so none is its own"


def _side(setting: Setting, direction: Float[Tensor, d], norm: float, progress: Progress) -> pd.DataFrame:
    """The other concepts whose mean activation moves most, against random pushes of the same norm, of the stricter kind."""
    site, watched, few = setting.site, setting.watched, setting.controls.some(WATCH_RANDOM)
    sets = [concepts for concepts, _ in watched]

    def fired(pushes: list[Float[Tensor, d] | None], show: Progress) -> list[np.ndarray]:
        return steering.firing(setting.model, site, pushes, setting.passages, sets, show)

    key = ("firing", str(site), round(norm, 5), tuple(ids[0] for _, ids in watched))
    pushes = [None, *(row * norm for row in few.directions)]
    of_controls, of_concept = shares(progress, [len(pushes), 1])
    controls = setting.once(key, lambda: fired(pushes, of_controls))
    mine = fired([direction * norm], of_concept)
    parts = []
    for (_, ids), control, moved in zip(watched, controls, mine, strict=True):
        base, null = control[0], few.most(upper, np.abs(control[1:] - control[0]))
        parts.append(
            pd.DataFrame({"other": list(ids), "base": base, "steered": moved[0], "shift": moved[0] - base, "null_high": null})
        )
    table = pd.concat(parts)
    # Deviations of chance, so that concepts on different scales stand in one order.
    table["times_null"] = table["shift"].abs() / table["null_high"].clip(lower=1e-6)
    return table.sort_values("times_null", ascending=False).head(TELL)


def _empty(columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(columns=columns)
