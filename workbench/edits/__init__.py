"""Interventions: pure functions on the activations of one site.

An edit takes rows ``[b, t, d]`` and gives rows of the same shape. Nothing is changed in place.
``model.edited(edit)`` applies it while the model runs; ``a + b`` is both, ``a`` first; ``edit.at(slice(5, None))`` keeps it
to some positions; `side_by_side` runs several at once. "Every position" means every one that a capture takes: special tokens
and padding are left as they are unless ``edit.at(None, special=True)`` takes them in.
"""

from workbench.edits.edit import NO_EDITS, Edit, Edits, side_by_side
from workbench.edits.erasure import Eraser, erase, fit_eraser
from workbench.edits.inputs import patch, resample
from workbench.edits.kinds import edit_kind, make_edit
from workbench.edits.latents import reconstruct, scale_latent, set_latent
from workbench.edits.linear import ablate, clamp, mean, project_out, steer, zero

__all__ = [
    "NO_EDITS",
    "Edit",
    "Edits",
    "Eraser",
    "ablate",
    "clamp",
    "edit_kind",
    "erase",
    "fit_eraser",
    "make_edit",
    "mean",
    "patch",
    "project_out",
    "reconstruct",
    "resample",
    "scale_latent",
    "set_latent",
    "side_by_side",
    "steer",
    "zero",
]
