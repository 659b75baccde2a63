"""Many pushes along directions of one site on the same inputs, some of them in each pass, from the site on."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from workbench.conversations import DEFAULT_POSITIONS
from workbench.edits import Edit
from workbench.memory import rows_at_once
from workbench.models import Batch, Model, Output, Site
from workbench.models.resume import resumed, start_at
from workbench.progress import UNITS, Progress

ROWS_AT_ONCE = 96
# Arrays of the width of the residual stream that a pass has at a time, the wide ones of the MLP counted several times.
_PASS_ARRAYS = 24


def pushed_passes(
    model: Model,
    site: Site,
    pushes: Float[Tensor, "j d"],
    batch: Batch,
    positions: str = DEFAULT_POSITIONS,
    progress: Progress | None = None,
) -> Iterator[tuple[slice, Output]]:
    """Run the batch once for each push, which is added at every position that a capture takes.

    The blocks before the site run once, where passes can begin behind them; see `workbench.models.resume`.

    Yields:
        Which of the pushes, and the output for the batch so many times over, the inputs of one push after another; without
        logits.
    """
    start, step = start_at(model, site, batch), passes_at_once(model, batch)
    for begin in range(0, len(pushes), step):
        if progress:
            progress(begin, len(pushes), f"passes at {site}")
        part = pushes[begin : begin + step]
        with model.edited(pushed(site, part, len(batch), positions)), resumed(start, len(part)):
            output, _ = model.forward(batch.repeat(len(part)), logits=False)
        yield slice(begin, begin + len(part)), output


def passes_and_readings(
    progress: Progress, what: str, pushes: int, share: float
) -> tuple[Progress, Callable[[int, int, float], None]]:
    """Callbacks for the passes of many pushes and for the reading of their logits, which is done for some of them at a time.

    Args:
        progress: Told of both together.
        what: The name of the step.
        pushes: How many there are.
        share: Which part of the work the reading is, see `workbench.evidence.shifts.reading_share`.

    Returns:
        For the passes; and for the reading of the pushes from one number to another, with the share of it that is done.
    """
    passed, read = 0, 0.0

    def show() -> None:
        progress(round(UNITS * ((1 - share) * passed + share * read) / pushes), UNITS, what)

    def passing(done: int, _total: int, _text: str) -> None:
        nonlocal passed
        passed = done
        show()

    def reading(first: int, stop: int, part: float) -> None:
        nonlocal passed, read
        # All of them have passed by then.
        passed, read = stop, first + (stop - first) * part
        show()

    return passing, reading


def pushed(site: Site, pushes: Float[Tensor, "k d"], inputs: int, positions: str) -> Edit:
    """The edit that adds the k-th push to the k-th copy of a batch of ``inputs``, at the positions that a capture takes."""
    delta = pushes.repeat_interleave(inputs, dim=0)[:, None, :]
    return Edit(site, lambda h_btd: h_btd + delta.to(h_btd), positions=None if positions == DEFAULT_POSITIONS else positions)


def scaled(directions: Float[Tensor, "k d"], norms: list[float]) -> Float[Tensor, "j d"]:
    """Every direction at every norm: the norms of the first direction come first."""
    sizes = torch.tensor(norms, dtype=directions.dtype, device=directions.device)
    return (directions[:, None, :] * sizes[None, :, None]).flatten(0, 1)


def passes_at_once(model: Model, batch: Batch) -> int:
    """How many times over the model may read a batch in one pass, within the memory budget."""
    tokens = max(batch.attention.numel(), 1)
    fit = rows_at_once(model.width(model.last_hidden), _PASS_ARRAYS, model.device) // tokens
    return max(1, min(ROWS_AT_ONCE // len(batch), fit))
