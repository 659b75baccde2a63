"""Passes that begin at an edit: the output of the blocks before it is computed once a batch and reused by every edit.

Many edits at one site are tried on the same inputs: doses, concepts, controls. The blocks that lie before the site compute the
same each time. Here they are run once, and in later passes they hand out what they put out then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from workbench.edits import Edit
from workbench.models.batch import Batch, Output
from workbench.models.hooks import hooked
from workbench.models.transformer import close_logits
from workbench.sites import Site

if TYPE_CHECKING:
    from workbench.models.base import Model

_TRIED = 2
_PUSH = 0.1


@dataclass(frozen=True)
class Start:
    """Where later passes begin, and with what.

    Attributes:
        skipped: The blocks that do not run, in their order.
        output: What the last of them put out for the batch: a tensor, or a tuple that starts with one.
        last_module: A module within that block to which its output goes last, where edits are made; None where there is none.
        inputs: How many inputs the batch has.
    """

    skipped: tuple[nn.Module, ...]
    output: Any
    last_module: nn.Module | None
    inputs: int
    _repeated: dict[int, Any] = field(default_factory=dict, repr=False, compare=False)

    def times(self, count: int) -> Any:
        """The output for the batch so many times over."""
        if count not in self._repeated:
            # Calls repeat the same number of times, and then one smaller number.
            self._repeated.clear()
            self._repeated[count] = _repeated(self.output, self.inputs, count)
        return self._repeated[count]

    def first(self, count: int) -> Start:
        """The same for the first so many inputs of the batch."""
        return Start(self.skipped, _first(self.output, self.inputs, count), self.last_module, count)


def start_at(model: Model, site: Site, batch: Batch) -> Start | None:
    """Run the blocks before a site; None where nothing can be left out, or passes that begin there give other numbers.

    That they give the model's own numbers is looked at once for each site: the first inputs of the first batch are run both ways.
    """
    point = model._hook_points[site]
    chain = _chain(model.torch_module, point.module)
    known: dict[Site, bool] = model.__dict__.setdefault("_resumes", {})
    if not chain or not known.get(site, True):
        return None
    start = _recorded(model, chain, point.module, batch)
    if start is not None and site not in known:
        known[site] = _agrees(model, site, batch, start)
        return start if known[site] else None
    return start


@contextmanager
def resumed(start: Start | None, times: int) -> Iterator[None]:
    """A context whose passes, over the batch ``times`` times over, begin behind the skipped blocks; with None they are whole."""
    if start is None:
        yield
        return
    last = start.skipped[-1]

    def hand_out(*_args: Any, **_options: Any) -> Any:
        return start.times(times)

    def through_last(*_args: Any, **_options: Any) -> Any:
        output = start.times(times)
        assert start.last_module is not None
        if isinstance(output, Tensor):
            return start.last_module(output)
        return (start.last_module(output[0]), *output[1:])

    with ExitStack() as stack:
        for block in start.skipped:
            stack.enter_context(_forward_of(block, through_last if block is last and start.last_module is not None else hand_out))
        yield


@contextmanager
def _forward_of(module: nn.Module, forward: Any) -> Iterator[None]:
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if own is None:
            del module.__dict__["forward"]
        else:
            module.__dict__["forward"] = own


def _chain(root: nn.Module, module: nn.Module) -> list[nn.Module]:
    """The longest list of blocks of which one holds the module; if none does, the longest of all: it may come behind it."""
    lists = [list(m) for m in root.modules() if isinstance(m, nn.ModuleList | nn.Sequential) and len(m) > 1]
    holding = [blocks for blocks in lists if any(module is part for block in blocks for part in block.modules())]
    return max(holding or lists, key=len, default=[])


def _recorded(model: Model, chain: list[nn.Module], module: nn.Module, batch: Batch) -> Start | None:
    """What the blocks put out in one pass, up to the one that holds the module."""
    order: list[nn.Module] = []
    outputs: dict[nn.Module, Any] = {}

    def note(fired: nn.Module, _inputs: Any, output: Any) -> None:
        order.append(fired)
        outputs[fired] = output

    with hooked(dict.fromkeys([*chain, module], note)):
        model.forward(batch, logits=False)
    ran = [block for block in order if block in set(chain)]
    # The pass of an encoder can end within its last block, whose own output is then not seen.
    if ran != chain[: len(ran)] or order.count(module) != 1:
        return None
    inside = [number for number, block in enumerate(chain) if any(module is part for part in block.modules())]
    if inside:
        number = inside[0]
        first = _first_tensor(outputs.get(chain[number]))
        ends = module is chain[number] or (first is not None and first is outputs[module])
        count = number + 1 if ends else number
    else:
        ends, count = False, len(chain) if order[-1] is module else 0
    if not count or _first_tensor(outputs.get(chain[count - 1])) is None:
        return None
    last_module = module if ends and module is not chain[count - 1] else None
    return Start(tuple(chain[:count]), _detached(outputs[chain[count - 1]]), last_module, len(batch))


def _agrees(model: Model, site: Site, batch: Batch, start: Start) -> bool:
    """Whether a pass from the start on gives what a whole one does, of an edited model, with the batch repeated."""
    few = min(_TRIED, len(batch))
    part = batch.first(few).repeat(2)
    push = torch.ones(model.width(site)).cumsum(0).sin()
    try:
        with model.edited(Edit(site, lambda rows: rows + _PUSH * rows.detach().abs().mean() * push.to(rows))):
            whole, _ = model.forward(part, logits=False)
            with resumed(start.first(few), 2):
                found, _ = model.forward(part, logits=False)
    except (RuntimeError, TypeError, ValueError, IndexError, AttributeError, KeyError):
        # The model reads attributes or side effects of its blocks.
        return False
    return all(same.shape == own.shape and close_logits(same, own) for same, own in zip(*map(_seen, (found, whole)), strict=True))


def _seen(output: Output) -> list[Tensor]:
    rows = [output.pooled.flatten(1)]
    if output.tokens is not None:
        rows.append(output.tokens.rows)
    elif output.logits is not None:
        rows.append(output.logits.flatten(1))
    return [part.float() for part in rows]


def _first_tensor(output: Any) -> Tensor | None:
    first = output[0] if isinstance(output, tuple) and output else output
    return first if isinstance(first, Tensor) else None


def _detached(output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(part.detach() if isinstance(part, Tensor) else part for part in output)
    return output.detach()


def _repeated(output: Any, inputs: int, count: int) -> Any:
    if isinstance(output, tuple):
        return tuple(_repeated(part, inputs, count) for part in output)
    of_inputs = isinstance(output, Tensor) and output.dim() and len(output) == inputs
    return output.repeat(count, *[1] * (output.dim() - 1)) if of_inputs else output


def _first(output: Any, inputs: int, count: int) -> Any:
    if isinstance(output, tuple):
        return tuple(_first(part, inputs, count) for part in output)
    of_inputs = isinstance(output, Tensor) and output.dim() and len(output) == inputs
    return output[:count] if of_inputs else output
