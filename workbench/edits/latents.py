"""Edits by the codes of a concept set: one latent, written back as a difference so that nothing else changes, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from workbench.edits.edit import Edit
from workbench.edits.kinds import edit_kind
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


def reconstruct(concepts: ConceptSet) -> Edit:
    """Put what a set reconstructs from what it reads in the place of what its site holds.

    Of a dictionary that is its reconstruction of the site; of a transcoder, which reads what an MLP reads, the MLP is replaced.
    """
    reads = () if concepts.reads == (concepts.site,) else concepts.reads

    def transform(rows: Tensor, seen: Mapping[Site, Tensor] | None = None) -> Tensor:
        flat = {site: (seen[Site.parse(site)] if seen else rows).flatten(0, -2) for site in concepts.reads}
        read = flat[concepts.reads[0]] if len(flat) == 1 else flat
        return concepts.decode(concepts.encode(read), None if reads else flat[concepts.site]).to(rows).view_as(rows)

    return Edit(Site.parse(concepts.site), transform, reads=tuple(map(Site.parse, reads)))


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
