"""Edits of one latent of a sparse dictionary, written back as a difference so that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.edits.edit import Edit, edit_kind
from workbench.errors import ConfigError
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.concepts import ConceptSet


@edit_kind("set_latent", strength="value")
def set_latent(site: str | Site, dictionary: ConceptSet, latent: int, value: float, keep_error: bool = True) -> Edit:
    """Hold a latent's activation at ``value`` at every position (0 takes it out where it fires).

    With ``keep_error`` the row moves by ``decode(new) - decode(old)`` and what the dictionary does not reconstruct stays.
    Without it the row becomes ``decode(new)``: then the reconstruction's own error is part of the effect.
    """

    def changed(codes: Tensor) -> Tensor:
        return codes.new_full(codes.shape[:-1], value)

    arguments = {"dictionary": dictionary, "latent": latent, "value": value, "keep_error": keep_error}
    return Edit(Site.parse(site), _rewritten(dictionary, latent, changed, keep_error), "set_latent", arguments)


@edit_kind("scale_latent", strength="factor")
def scale_latent(site: str | Site, dictionary: ConceptSet, latent: int, factor: float, keep_error: bool = True) -> Edit:
    """Multiply a latent's activation by ``factor`` where it fires; ``keep_error`` as for `set_latent`."""

    def changed(codes: Tensor) -> Tensor:
        return codes[..., latent] * factor

    arguments = {"dictionary": dictionary, "latent": latent, "factor": factor, "keep_error": keep_error}
    return Edit(Site.parse(site), _rewritten(dictionary, latent, changed, keep_error), "scale_latent", arguments)


def _rewritten(
    dictionary: ConceptSet, latent: int, changed: Callable[[Tensor], Tensor], keep_error: bool
) -> Callable[[Tensor], Tensor]:
    if "set" not in dictionary.actions:
        raise ConfigError(
            f"Concepts of the kind '{dictionary.kind}' have no codes that can be changed: add, clamp or ablate them."
        )
    if not 0 <= latent < len(dictionary):
        raise ConfigError(f"The dictionary has latents 0 to {len(dictionary) - 1}, not {latent}.")

    def transform(rows: Tensor) -> Tensor:
        if rows.shape[-1] != dictionary.width:
            raise ConfigError(f"The dictionary reads rows of {dictionary.width} numbers and the site has {rows.shape[-1]}.")
        flat = rows.flatten(0, -2)
        codes = dictionary.encode(flat)
        # Decoding is affine, so the difference of two reconstructions is the difference of one code times its decoder row.
        move = (changed(codes) - codes[..., latent])[..., None] * dictionary.on(rows.device).written(latent, flat)
        return ((flat if keep_error else dictionary.decode(codes, flat)).to(rows) + move.to(rows)).view_as(rows)

    return transform
