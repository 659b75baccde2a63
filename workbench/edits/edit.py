"""What an edit is, how several are composed, and how they are written down."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from workbench.conversations import check_positions
from workbench.edits.kinds import is_kind, make_edit, strength_of
from workbench.errors import ConfigError
from workbench.sites import Site

Transform = Callable[..., Tensor]
Positions = slice | tuple[int, ...] | str | None


class Pass(NamedTuple):
    """What an edit may know of the pass that it changes.

    Attributes:
        first: The position of the first row: not 0 when a cache holds those before.
        keep: False where a capture takes no row, ``[b, t]`` or ``[b, 1]``; None where every row is taken.
        seen: What this pass has produced at the sites that the edit reads, ``{site: [b, t, d]}``.
    """

    first: int = 0
    keep: Tensor | None = None
    seen: Mapping[Site, Tensor] = {}


@dataclass(frozen=True)
class Edit:
    """A change of the activations at ``site``; ``kind`` and ``arguments`` describe it for a record.

    ``transform`` maps ``[b, t, d]`` to ``[b, t, d]`` and works on all positions; with ``reads`` it is also given what this pass
    has produced at those sites, which come before ``site``, as ``{site: [b, t, d]}``; ``positions`` says at which of them the
    change is kept (see `at`). Positions that a capture leaves out (padding and special tokens, see ``Batch.keep``) are not
    changed unless ``special`` is true or they are named by number. An edit of kind ``custom`` runs like any other, but cannot
    be written as JSON. ``source`` says where a study has what the edit holds: ``{"run", "edit"}`` of a fitted edit, ``{"concept",
    "action"}`` of a concept's.
    """

    site: Site
    transform: Transform = field(repr=False, compare=False)
    kind: str = "custom"
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    positions: Positions = None
    special: bool = False
    reads: tuple[Site, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "site", Site.parse(self.site))
        object.__setattr__(self, "reads", tuple(map(Site.parse, self.reads)))

    def __call__(
        self,
        rows: Float[Tensor, "b t d"],
        first: int = 0,
        keep: Bool[Tensor, "b t"] | None = None,
        seen: Mapping[Site, Tensor] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """The edited rows.

        Args:
            rows: The activations.
            first: The position of the first of them: not 0 when a cache holds those before.
            keep: False where a capture takes no row, ``[b, t]``, or ``[b, 1]`` for all rows of an input; None where every row
                is taken.
            seen: What the pass has produced at the sites that the edit reads.

        Raises:
            ConfigError: The pass has not come to a site that the edit reads.
        """
        here = Pass(first, keep, seen or {})
        for site in self.reads:
            if site not in here.seen:
                raise ConfigError(f"The edit at {self.site} reads {site}, which a pass comes to later: read an earlier site.")
        chosen = self._where(rows, first, keep)
        if chosen is None:
            return self._changed(rows, here)
        if not bool(chosen.any()):
            return rows
        changed = self._changed(rows, here)
        # Let a transform with the wrong shape be named by who checks shapes.
        return changed if changed.shape != rows.shape else torch.where(chosen[..., None], changed, rows)

    def __add__(self, other: Edit | Edits) -> Edits:
        return Edits((self, other))

    def at(self, positions: int | Sequence[int] | slice | str | None, special: bool | None = None) -> Edit:
        """The same edit at some positions only, counted from the start of the input, special tokens included.

        Args:
            positions: Numbers, which are edited whatever token stands there; a slice, half open and without a step, as in
                ``edit.at(slice(5, None))``; a word, such as ``user`` or ``last_instruction``, for tokens of a conversation (see
                `workbench.conversations.POSITIONS`; what is generated is the assistant's); or None for all. Positions are not
                negative: while text is generated, its end is not known.
            special: Whether a slice or None takes special tokens and padding in as well; as it is now when left out.
        """
        special = self.special if special is None else special
        return dataclasses.replace(self, positions=_positions(positions), special=special)

    def strength(self, value: float) -> Edit:
        """The same edit at another strength.

        For `steer` the multiple of the direction, for `clamp` the coordinate, for `set_latent` the activation and for
        `scale_latent` the factor; for all others the fraction of the change (1 is the whole). A custom edit has none:
        `ConfigError`.
        """
        if not (name := strength_of(self.kind)):
            raise ConfigError(f"An edit of kind '{self.kind}' has no strength: make a new edit instead.")
        stronger = make_edit(self.kind, self.site, {**self.arguments, name: float(value)})
        return dataclasses.replace(stronger, positions=self.positions, special=self.special, source=self.source)

    def sourced(self, **source: Any) -> Edit:
        """The same edit, with where a study has what it holds."""
        return dataclasses.replace(self, source=source)

    def to_dict(self) -> dict[str, Any]:
        """A JSON description; tensors become lists.

        `ConfigError` for an edit that holds what JSON cannot: a function, or a dictionary of latents. A recipe writes
        the latter down by the concept's id.
        """
        self._require_kind()
        if not all(_writable(value) for value in self.arguments.values()):
            raise ConfigError(
                f"An edit of kind '{self.kind}' holds a whole dictionary: write it down as a step of a recipe, and capture under"
                " it with the engine local."
            )
        arguments = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in self.arguments.items()}
        return self._placed() | {"arguments": arguments}

    def record(self) -> dict[str, Any]:
        """What an activation set that was captured under the edit keeps of it, as JSON.

        Of an edit that a study has, its `source`, strength and the SHA-256 of all that it holds, so that another edit is
        another record; of any other what `to_dict` gives. `ConfigError` for an edit that is made from a function.
        """
        if not self.source:
            return self.to_dict()
        self._require_kind()
        strength = self.arguments.get(strength_of(self.kind))
        return self._placed() | {"source": dict(self.source), "strength": strength, "sha256": self.digest()}

    def digest(self) -> str:
        """SHA-256 of the kind and all arguments, in hexadecimal digits."""
        digest = hashlib.sha256(self.kind.encode())
        for name, value in sorted(self.arguments.items()):
            digest.update(json.dumps([name, _told(value)]).encode())
            if isinstance(value, Tensor):
                digest.update(value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def _placed(self) -> dict[str, Any]:
        """Kind and place, as JSON."""
        described: dict[str, Any] = {"kind": self.kind, "site": str(self.site), "special": self.special}
        return described if self.positions is None else described | {"positions": positions_to_json(self.positions)}

    def _require_kind(self) -> None:
        if not is_kind(self.kind):
            raise ConfigError("An edit made from a function of your own cannot be written down: use the named ones.")

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Edit:
        """The edit that `to_dict` described."""
        edit = make_edit(description["kind"], description["site"], description["arguments"])
        # Descriptions without the key are of versions in which every edit changed special tokens as well.
        return edit.at(positions_from_json(description.get("positions")), special=description.get("special", True))

    def _where(self, rows: Tensor, first: int, keep: Tensor | None) -> Bool[Tensor, "#b t"] | None:
        """Where the change is kept; None for everywhere."""
        if isinstance(self.positions, str):
            raise ConfigError(
                f"The positions '{self.positions}' depend on the input: use the edit in `model.edited` or `stream`."
            )
        count = rows.shape[1]
        by_number = isinstance(self.positions, tuple)
        chosen = None if self.positions is None else _chosen(self.positions, first, count).to(rows.device)[None]
        # A site whose rows are not the tokens has none to leave out.
        if self.special or by_number or keep is None or keep.shape[1] not in {1, count} or bool(keep.all()):
            return chosen
        kept = keep.to(rows.device).expand(-1, count)
        return kept if chosen is None else kept & chosen

    def _changed(self, rows: Tensor, here: Pass) -> Tensor:
        return self.transform(rows, here.seen) if self.reads else self.transform(rows)


class PlacedEdit(Edit):
    """An edit whose ``transform`` is also given the `Pass`: what it writes depends on the place, or on which rows are taken."""

    def _changed(self, rows: Tensor, here: Pass) -> Tensor:
        return self.transform(rows, here)


def masked(edit: Edit, mask: Bool[Tensor, "b t"], after: bool) -> Edit:
    """The edit where a mask is true; at positions behind the mask, everywhere if ``after`` and nowhere otherwise."""
    whole = edit.at(None, special=True)

    def transform(rows: Tensor, here: Pass) -> Tensor:
        chosen = mask[:, here.first : here.first + rows.shape[1]].to(rows.device)
        chosen = torch.nn.functional.pad(chosen, (0, rows.shape[1] - chosen.shape[1]), value=after)
        return torch.where(chosen[..., None], whole(rows, here.first, seen=here.seen), rows) if bool(chosen.any()) else rows

    # The mask alone says where.
    return PlacedEdit(edit.site, transform, special=True, reads=edit.reads)


class Edits(tuple[Edit, ...]):
    """Several edits, applied in this order."""

    __slots__ = ()

    def __new__(cls, edits: Any = ()) -> Edits:
        """Flatten edits and groups of edits into one."""
        flat: list[Edit] = []
        for edit in edits:
            flat.extend(edit if isinstance(edit, Edits) else (edit,))
        return super().__new__(cls, flat)

    def __add__(self, other: Any) -> Edits:
        return Edits((self, other))

    def at(self, positions: int | Sequence[int] | slice | str | None, special: bool | None = None) -> Edits:
        """Every edit at these positions only; see `Edit.at`."""
        return Edits(edit.at(positions, special) for edit in self)

    def strength(self, value: float) -> Edits:
        """Every edit at this strength."""
        return Edits(edit.strength(value) for edit in self)

    def to_dict(self) -> dict[str, Any]:
        """A JSON description."""
        return {"edits": [edit.to_dict() for edit in self]}

    @staticmethod
    def from_dict(description: Mapping[str, Any]) -> Edits:
        """The edits that `to_dict` described."""
        return Edits(Edit.from_dict(edit) for edit in description["edits"])


NO_EDITS = Edits()


def side_by_side(alternatives: Sequence[Edit | Edits]) -> Edits:
    """One group of edits that does several at once: the batch is cut into as many equal parts, and each gets its own.

    Repeat a batch once for each alternative, and one pass runs them all: strengths of a dose curve, controls, or base and
    edited text side by side. ``Edits()`` leaves its part as it is.
    """
    groups = [Edits([alternative]) for alternative in alternatives]
    if not groups:
        raise ConfigError("There is nothing to run side by side: give at least one alternative.")
    sites = dict.fromkeys(edit.site for group in groups for edit in group)

    def at_site(site: Site) -> Edit:
        parts = [[edit for edit in group if edit.site == site] for group in groups]

        def transform(rows: Tensor, here: Pass) -> Tensor:
            if len(rows) % len(parts):
                raise ConfigError(f"{len(rows)} inputs cannot be shared out to {len(parts)} alternatives: repeat the batch.")
            chunks = list(rows.chunk(len(parts)))
            kept = [None] * len(parts) if here.keep is None else list(here.keep.chunk(len(parts)))
            for number, edits in enumerate(parts):
                seen = {place: tensor.chunk(len(parts))[number] for place, tensor in here.seen.items()}
                for edit in edits:
                    chunks[number] = edit(chunks[number], here.first, kept[number], seen)
            return torch.cat(chunks)

        # Each part leaves out what it leaves out.
        read = tuple(dict.fromkeys(place for edits in parts for edit in edits for place in edit.reads))
        return PlacedEdit(site, transform, special=True, reads=read)

    return Edits(at_site(site) for site in sites)


def positions_to_json(positions: Positions) -> Any:
    """``[5, 6]`` for some positions, ``{"start": 5, "stop": null}`` for a slice, a word as it is, None for all."""
    if isinstance(positions, slice):
        return {"start": positions.start, "stop": positions.stop}
    return positions if positions is None or isinstance(positions, str) else list(positions)


def positions_from_json(written: Any) -> Positions:
    """What `positions_to_json` wrote. `ConfigError` when it is something else."""
    if isinstance(written, Mapping):
        return _positions(slice(written.get("start"), written.get("stop")))
    return _positions(written)


def _positions(positions: int | Sequence[int] | slice | str | None) -> Positions:
    if positions is None:
        return None
    if isinstance(positions, str):
        return check_positions(positions)
    if isinstance(positions, slice):
        ends = [positions.start, positions.stop]
        good = all(end is None or (isinstance(end, int) and end >= 0) for end in ends) and positions.step in (None, 1)
        if good:
            return slice(positions.start, positions.stop)
    else:
        several = [positions] if isinstance(positions, int) else positions
        if isinstance(several, Sequence) and all(isinstance(p, int) and not isinstance(p, bool) and p >= 0 for p in several):
            return tuple(sorted(set(several)))
    raise ConfigError(f"Positions are numbers from 0 up, or a slice of them without a step, not {positions!r}.")


def _chosen(positions: slice | tuple[int, ...], first: int, count: int) -> Bool[Tensor, "t"]:
    places = torch.arange(first, first + count)
    if isinstance(positions, slice):
        chosen = places >= (positions.start or 0)
        return chosen if positions.stop is None else chosen & (places < positions.stop)
    return torch.isin(places, torch.tensor(positions, dtype=places.dtype))


def _told(value: Any) -> Any:
    """An argument as JSON; of a tensor its shape and type, of a set of concepts its hash."""
    if isinstance(value, Tensor):
        return [list(value.shape), str(value.dtype)]
    return value.digest() if hasattr(value, "digest") else value


def _writable(value: Any) -> bool:
    return value is None or isinstance(value, Tensor | int | float | str | list | tuple)
