"""Reading and editing activations while a torch module runs: one mechanism for every kind of model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from workbench.edits import Edit
from workbench.errors import ConfigError
from workbench.sites import Site


class StopPassError(Exception):
    """Raised inside a model to end a pass: everything that was asked for has been recorded."""


class View(Protocol):
    """How a module's output is seen as rows."""

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The output as rows."""

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The output with these rows in it; ``output`` gives the shape and is not changed."""


@dataclass(frozen=True)
class Whole:
    """The whole output: ``[b, d]`` as one row an input, ``[b, c, h, w]`` as rows in raster order."""

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The output as rows."""
        if output.dim() == 4:
            return output.flatten(2).transpose(1, 2)
        return output[:, None] if output.dim() == 2 else output

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The rows in the shape of the output."""
        if output.dim() == 4:
            return rows.transpose(1, 2).reshape(output.shape)
        return rows[:, 0] if output.dim() == 2 else rows


@dataclass(frozen=True)
class Columns:
    """The columns ``start:stop`` of an output ``[b, t, many]``, as one attention head has them."""

    start: int
    stop: int

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The columns."""
        return output[..., self.start : self.stop]

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The output with these columns replaced."""
        return torch.cat([output[..., : self.start], rows, output[..., self.stop :]], dim=-1)


@dataclass(frozen=True)
class Heads:
    """An output ``[b, h, t, s]`` of every head, as rows ``[b, t, h * s]``: an attention pattern has a row a reading position."""

    heads: int

    def rows(self, output: Tensor) -> Float[Tensor, "b t d"]:
        """The heads side by side."""
        return output.transpose(1, 2).flatten(2)

    def put(self, rows: Float[Tensor, "b t d"], output: Tensor) -> Tensor:
        """The rows, a head each."""
        return rows.unflatten(2, (self.heads, -1)).transpose(1, 2)


@dataclass(frozen=True)
class HookPoint:
    """Where a site is read and edited: the module that returns it, and how its output is seen as rows.

    ``width`` is 0 where it depends on the input, as of an attention pattern.
    """

    site: Site
    module: nn.Module
    view: View
    width: int
    shape: tuple[int, ...] = ()


class Recorder:
    """What one pass collects: the wanted sites, after the edits."""

    def __init__(
        self,
        wanted: Iterable[Site],
        edits: Sequence[Edit],
        *,
        grad: bool,
        copy: bool,
        stop: bool,
        first: int = 0,
        keep: Bool[Tensor, "b t"] | None = None,
    ) -> None:
        self.seen: dict[Site, Tensor] = {}
        self._first, self._keep = first, keep
        self._wanted = set(wanted)
        self._edits = edits
        self._read = {site for edit in edits for site in edit.reads}
        self._produced: dict[Site, Tensor] = {}
        self._grad, self._copy, self._stop = grad, copy, stop

    def touches(self, site: Site) -> bool:
        """Whether the site is wanted, edited, or read by an edit."""
        return site in self._wanted or site in self._read or any(edit.site == site for edit in self._edits)

    def hook(self, points: Sequence[HookPoint]) -> Any:
        """A forward hook for the module that all of these points are at."""

        def run(_module: nn.Module, _inputs: Any, output: Any) -> Any:
            tensor = output[0] if isinstance(output, tuple) else output
            changed = tensor
            for point in points:
                changed = self._visit(point, changed)
            if self._stop and self._wanted <= self.seen.keys():
                raise StopPassError
            if changed is tensor:
                return None
            return (changed, *output[1:]) if isinstance(output, tuple) else changed

        return run

    def _visit(self, point: HookPoint, output: Tensor) -> Tensor:
        edits = [edit for edit in self._edits if edit.site == point.site]
        rows = point.view.rows(output)
        for edit in edits:
            # The pass continues in the model's own precision, whatever the edit computes in.
            rows = _same_shape(edit, rows, edit(rows, self._first, self._keep, self._produced)).to(rows.dtype)
        if point.site in self._read:
            self._produced[point.site] = rows.clone() if self._copy else rows
        if point.site not in self._wanted:
            return point.view.put(rows, output)
        if self._grad:
            # The pass must continue from the same tensor that is returned, or no gradient reaches it.
            rows = rows if rows.requires_grad else rows.detach().clone().requires_grad_(True)
            self.seen[point.site] = rows
            put = point.view.put(rows, output)
            return put.clone() if self._copy else put
        self.seen[point.site] = rows.clone() if self._copy else rows
        return point.view.put(rows, output) if edits else output


@contextmanager
def recording(
    points: Mapping[Site, HookPoint],
    wanted: Sequence[Site],
    edits: Sequence[Edit],
    *,
    grad: bool,
    copy: bool,
    stop: bool,
    first: int = 0,
    keep: Bool[Tensor, "b t"] | None = None,
) -> Iterator[dict[Site, Tensor]]:
    """A context in which a model runs edited, and the wanted sites are collected.

    ``points`` is in execution order. ``copy`` protects what is recorded from modules that work in place.
    ``stop`` ends the pass once every wanted site has been seen. ``first`` is the position of the first row, where a cache
    holds those before. ``keep`` is false where a capture takes no row: edits leave those rows as they are unless they say
    otherwise (see `Edit.at`). No hook is left, whatever happens.
    """
    recorder = Recorder(wanted, edits, grad=grad, copy=copy, stop=stop, first=first, keep=keep)
    groups: dict[nn.Module, list[HookPoint]] = {}
    for site, point in points.items():
        if recorder.touches(site):
            groups.setdefault(point.module, []).append(point)
    with (
        hooked({module: recorder.hook(group) for module, group in groups.items()}),
        torch.set_grad_enabled(grad),
    ):
        try:
            yield recorder.seen
        except StopPassError:
            return


@contextmanager
def ending_before(module: nn.Module | None) -> Iterator[list[Tensor]]:
    """A context, inside `recording`, whose passes end before a module runs; what it would have read is in the list.

    With None nothing ends.
    """
    read: list[Tensor] = []
    if module is None:
        yield read
        return

    def end(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
        read.append(inputs[0])
        raise StopPassError

    handle = module.register_forward_pre_hook(end)
    try:
        yield read
    finally:
        handle.remove()


@contextmanager
def reading_last(module: nn.Module | None) -> Iterator[None]:
    """A context in which a module reads the last position only: of a long prompt, one row of logits is wanted. None: nothing."""
    if module is None:
        yield
        return
    handle = module.register_forward_pre_hook(lambda _module, inputs: (inputs[0][:, -1:], *inputs[1:]))
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def hooked(hooks: Mapping[nn.Module, Any]) -> Iterator[None]:
    """Forward hooks for as long as the context lasts."""
    handles = []
    try:
        for module, hook in hooks.items():
            handles.append(module.register_forward_hook(hook))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same_shape(edit: Edit, before: Tensor, after: Tensor) -> Tensor:
    if after.shape != before.shape:
        raise ConfigError(f"The edit at {edit.site} made {list(after.shape)} of {list(before.shape)}: keep the shape.")
    return after


@dataclass(frozen=True)
class Firing:
    """One output of a named module: its shape, or None when it is not a tensor of numbers."""

    name: str
    shape: tuple[int, ...] | None


@contextmanager
def firings(points: Mapping[str, nn.Module]) -> Iterator[list[Firing]]:
    """A context that notes which of the named modules put out what, in order."""
    seen: list[Firing] = []

    def note(name: str) -> Any:
        def run(_module: nn.Module, _inputs: Any, output: Any) -> None:
            tensor = output[0] if isinstance(output, tuple) and output else output
            good = isinstance(tensor, Tensor) and tensor.is_floating_point()
            seen.append(Firing(name, tuple(tensor.shape) if good else None))

        return run

    with hooked({module: note(name) for name, module in points.items()}), torch.no_grad():
        yield seen


@contextmanager
def appended(active: list[Edit], edits: Iterable[Edit]) -> Iterator[None]:
    """Edits at the end of the active ones, for as long as the context lasts."""
    before = list(active)
    active.extend(edits)
    try:
        yield
    finally:
        active[:] = before
