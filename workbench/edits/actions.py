"""What can be done to a concept, by the names that recipes, commands and pages use."""

from __future__ import annotations

from typing import Literal

Action = Literal["add", "clamp", "ablate", "set", "scale"]
ACTIONS: dict[Action, str] = {
    "add": "Add the concept's unit direction, so many times",
    "clamp": "Hold the coordinate along its direction at a value",
    "ablate": "Take its direction out: 1 wholly, 0 not at all",
    "set": "Hold the latent's activation at a value",
    "scale": "Multiply the latent's activation where it fires",
}
LATENT_ACTIONS = ("set", "scale")
