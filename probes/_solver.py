"""Many L2-regularised logistic regressions in one solve: L-BFGS on all columns with shared matrix products.

Column j minimises ``sum_i m_ij * log(1 + exp(-t_ij z_ij)) + |w_j|^2 / (2 C)`` with t in {-1, 1}, z = x w +
b and row weights m, the objective of ``sklearn.linear_model.LogisticRegression``. The data are turned to
the eigenbasis of their covariance, where the Hessian of a column is close to diagonal: the same basis
preconditions every column, and 10 to 30 steps are enough. Each step costs two products of ``[n, d]`` with
``[d, c]``; the line search reuses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from workbench.statistics.features import feature_scales

_HISTORY = 10
_ROTATE_UP_TO = 2048
"""Above this width the eigenbasis would cost more than it saves, and the basis stays as it is."""
_LINE_STEPS = 20
_ROWS = 4096
"""Rows turned to float64 at once."""


@dataclass(frozen=True)
class Basis:
    """Standardised, rotated data: ``rows = ((x - mean) * scale) @ rotation``, and a column of ones."""

    rows: Float[Tensor, "n d1"]
    curvature: Float[Tensor, " d1"]
    mean: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    rotation: Float[Tensor, "d d"] | None

    @classmethod
    def of(cls, X: Float[Tensor, "n d"]) -> Basis:
        """Standardise X (a constant feature gets weight 0) and turn it to its principal axes."""
        n, width = X.shape
        mean = X.mean(dim=0, dtype=torch.float64)
        moment = torch.zeros(width, dtype=torch.float64)
        for start in range(0, n, _ROWS):
            moment += ((X[start : start + _ROWS].double() - mean) ** 2).sum(dim=0)
        std = (moment / n).sqrt()
        kept_as = np.float64 if X.dtype == torch.float64 else np.float32
        scale = torch.from_numpy(feature_scales(std.numpy(), mean.numpy(), kept_as))
        rows = torch.empty(n, width + 1)
        rows[:, width] = 1
        for start in range(0, n, _ROWS):
            rows[start : start + _ROWS, :width] = (X[start : start + _ROWS].double() - mean) * scale
        curvature = torch.cat([(scale > 0).float(), torch.ones(1)])
        rotation = None
        if width <= _ROTATE_UP_TO:
            covariance = (rows[:, :width].T @ rows[:, :width]).double() / n
            values, vectors = torch.linalg.eigh(covariance)
            rotation = vectors.float()
            for start in range(0, n, _ROWS):
                rows[start : start + _ROWS, :width] = rows[start : start + _ROWS, :width] @ rotation
            curvature[:width] = values.clamp_min(0).float()
        return cls(rows, curvature, mean, scale, rotation)

    def among(self, chosen: Int[np.ndarray, " m"]) -> Basis:
        """Some of the rows, in the same basis: columns that know only these are solved on them alone."""
        return replace(self, rows=self.rows[torch.from_numpy(chosen)])

    def unfold(self, weights: Float[Tensor, "d1 c"]) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"]]:
        """Weights and intercepts that act on raw rows, in float64."""
        turned = weights[:-1].double()
        if self.rotation is not None:
            turned = self.rotation.double() @ turned
        raw = turned * self.scale[:, None]
        return raw.T.contiguous(), weights[-1].double() - self.mean @ raw


@dataclass(frozen=True)
class Solution:
    """Weights in the basis, and per column the steps taken and whether the gradient reached the tolerance."""

    weights: Float[Tensor, "d1 c"]
    steps: Int[Tensor, " c"]
    converged: Bool[Tensor, " c"]


@dataclass
class _State:
    """The columns still being solved; every tensor ends in the column dimension."""

    column: Tensor
    target: Tensor
    mass: Tensor
    ridge: Tensor
    weights: Tensor
    logits: Tensor
    gradient: Tensor
    spread: Tensor
    limit: Tensor
    moves: list[Tensor] = field(default_factory=list)
    turns: list[Tensor] = field(default_factory=list)

    def keep(self, chosen: Tensor) -> None:
        for name, value in vars(self).items():
            kept = [v[..., chosen] for v in value] if isinstance(value, list) else value[..., chosen]
            setattr(self, name, kept)


def solve(
    basis: Basis,
    target: Float[Tensor, "n c"],
    mass: Float[Tensor, "n c"],
    C: float,
    max_iter: int,
    tol: float,
    callback: Callable[[float], None] = lambda _: None,
) -> Solution:
    """Solve every column.

    Args:
        basis: the data.
        target: ``[n, c]`` of 0 and 1; ignored where mass is 0.
        mass: ``[n, c]`` row weights, 0 for a row outside a column's training set. Every column has a
            positive sum.
        C: inverse strength of the ridge penalty.
        max_iter: largest number of steps.
        tol: a column is done when no entry of its gradient (of the loss per unit of mass) is above this, for
            classes of one size; it shrinks with the rarer class, whose gradient is small from the start.
        callback: called after each step with the share of the work that seems to be done, up to 1.
    """
    n_columns = target.shape[1]
    total = mass.sum(dim=0, dtype=torch.float64)
    penalised = torch.ones(basis.rows.shape[1], 1)
    penalised[-1] = 0
    answer = torch.zeros(basis.rows.shape[1], n_columns)
    steps = torch.zeros(n_columns, dtype=torch.int64)
    converged = torch.zeros(n_columns, dtype=torch.bool)
    state = _start(basis, target, (mass / total).float(), penalised * (1 / (C * total)).float())
    start, share = _distance(state, tol), 0.0
    for number in range(1, max_iter + 1):
        moved = _advance(basis, state)
        answer[:, state.column] = state.weights
        steps[state.column] += 1
        done = state.gradient.abs().amax(dim=0) <= tol * state.limit
        converged[state.column] |= done
        finished = done | ~moved
        if bool(finished.all()):
            break
        # Gradients shrink by about the same factor in each step.
        distance = _distance(state, tol)
        left = number * distance / (start[state.column] - distance).clamp(min=distance * number / max_iter + 1e-9)
        cost, rest = len(state.column), float(left[~finished].clamp(min=1).sum())
        share += (1 - share) * cost / (cost + rest)
        callback(share)
        # Leaving the batch copies it, so columns leave in groups; a finished one loses nothing by staying.
        if int(finished.sum()) * 8 >= len(finished):
            state.keep(~finished)
    callback(1.0)
    return Solution(answer, steps, converged)


def _distance(state: _State, tol: float) -> Float[Tensor, " c"]:
    """How far the gradient of each column is from its tolerance, on a log scale; 0 or more."""
    return (state.gradient.abs().amax(dim=0) / (tol * state.limit)).clamp(min=1).log()


def _start(basis: Basis, target: Tensor, mass: Tensor, ridge: Tensor) -> _State:
    n_columns = target.shape[1]
    rate = (mass * target).sum(dim=0, dtype=torch.float64).clamp(1e-6, 1 - 1e-6)
    weights = torch.zeros(basis.rows.shape[1], n_columns)
    weights[-1] = torch.logit(rate).float()
    logits = weights[-1].expand(target.shape).contiguous()
    gradient = basis.rows.T @ (mass * (torch.sigmoid(logits) - target)) + ridge * weights
    spread = (rate * (1 - rate)).float()
    columns = torch.arange(n_columns)
    return _State(columns, target, mass, ridge, weights, logits, gradient, spread, limit=4 * spread)


def _advance(basis: Basis, state: _State) -> Tensor:
    """Take one L-BFGS step in every column; say which columns moved."""
    direction = -_inverse_hessian(basis, state)
    slope = (direction * state.gradient).sum(dim=0)
    along = basis.rows @ direction
    length, residual = _search(state, direction, along, slope)
    move = direction * length
    state.weights = state.weights + move
    state.logits = torch.addcmul(state.logits, along, length.expand_as(along))
    gradient = basis.rows.T @ residual + state.ridge * state.weights
    turn = gradient - state.gradient
    state.gradient = gradient
    state.moves = [*state.moves[-_HISTORY + 1 :], move]
    state.turns = [*state.turns[-_HISTORY + 1 :], turn]
    return length > 0


def _inverse_hessian(basis: Basis, state: _State) -> Tensor:
    """Apply the L-BFGS estimate of the inverse Hessian to the gradient (two loops; Nocedal 1980)."""
    q = state.gradient.clone()
    history = []
    for move, turn in zip(reversed(state.moves), reversed(state.turns), strict=True):
        bend = (move * turn).sum(dim=0)
        # Below this the pair is rounding noise, or the column did not move.
        rho = torch.where(bend > 1e-10 * (move * move).sum(dim=0), 1 / bend, 0.0)
        alpha = rho * (move * q).sum(dim=0)
        q -= alpha * turn
        history.append((move, turn, rho, alpha))
    q /= basis.curvature[:, None] * state.spread + state.ridge + 1e-12
    for move, turn, rho, alpha in reversed(history):
        q += move * (alpha - rho * (turn * q).sum(dim=0))
    return q


def _search(state: _State, direction: Tensor, along: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Shorten each column's step until the slope at its end is not steeply uphill.

    The loss is convex, so the slope rises along a step and secants find where it turns. Source: the
    approximate Wolfe condition of Hager and Zhang (2005). Slopes keep their precision near the minimum,
    where differences of float32 losses have none.
    """
    length = torch.where(slope < 0, 1.0, 0.0)
    ridge_slope = (state.ridge * state.weights * direction).sum(dim=0)
    ridge_bend = (state.ridge * direction * direction).sum(dim=0)
    for _ in range(_LINE_STEPS):
        chance = torch.sigmoid(torch.addcmul(state.logits, along, length.expand_as(along)))
        residual = state.mass * (chance - state.target)
        now = (residual * along).sum(dim=0) + ridge_slope + length * ridge_bend
        over = (now > 0.5 * slope.abs()) & (length > 0)
        if not bool(over.any()):
            break
        shorter = length * (slope.abs() / (slope.abs() + now)).clamp(0.1, 0.9)
        length = torch.where(over, shorter, length)
    else:
        length = torch.where(over, 0.0, length)
        chance = torch.sigmoid(torch.addcmul(state.logits, along, length.expand_as(along)))
        residual = state.mass * (chance - state.target)
    state.spread = (state.mass * chance * (1 - chance)).sum(dim=0).clamp_min(1e-6)
    return length, residual
