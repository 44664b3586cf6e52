"""The sampled objective of the dual JKO step and its minimisation.

With reference pairs (x_i, y_i), i ≤ n, of densities r_x and r_y, weights ν_i ∝ ρ_k(y_i) / r_y(y_i) of mean 1, and g, h
in the spans of two bases, a step minimises over their coefficients

    J = n⁻¹ Σ_i [ (τ/β) f_i - ν_i h(y_i) + P(v_i) ],
    f_i = exp(-β (g(x_i)/τ + V(x_i))) / r_x(x_i),     v_i = g(x_i) + h(y_i) - |x_i - y_i|²,

    ∂J/∂g = n⁻¹ Σ_i (P'(v_i) - f_i) φ(x_i),     ∂J/∂h = n⁻¹ Σ_i (P'(v_i) - ν_i) φ(y_i),

with P(v) = max(v, 0)²/2γ or γ exp(v/γ). J is convex. Both bases contain the constants, hence mean f = mean ν = 1 at the
minimum: the weights f_i are those of ρ_{k+1} at x_i.

g and h are linear in their coefficients: along the line of a line search their values at the sample are those at two of
its points, combined, and only the gradient takes a product with the bases. In that, n⁻¹Σ ν_i φ(y_i) is the same
throughout, and points at which f vanishes and the constraint holds are left out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import logsumexp

from solvers.dual.basis import Table
from solvers.threads import Run

REGULARISATIONS = ("quadratic", "entropic")

# Values of both bases in a block, 8 MiB, less for small bases. A block's size decides in which order sums are taken, so
# that it depends on nothing but the bases.
BLOCK_VALUES = 2**20
MOST_PAIRS = 5000
# With fewer values than this, handing products to threads takes longer than the products.
FEWEST_VALUES = 2**21
# A product over less than one point in so many is faster for these points alone.
ACTING = 16
# Coefficients are taken to be on a line if they are to so many times their rounding, and values are combined as long as
# they are right to so many times theirs.
ON_A_LINE = 16 * 2.220446049250313e-16
MOST_ROUNDINGS = 256.0
# At the minimum no f_i is above n, nor any exp(v_i/γ), their means being 1. Beyond n times this the exponential goes on
# as its Taylor parabola: the minimum is the same, and a line search that goes too far finds its way back.
ROOM = 20.0
# Below -700 float64's exp is fifty times slower.
LEAST_EXPONENT = -700.0
# Points that weigh less than this (the mean is 1) have no share in the gradient that rounding would leave.
NEGLIGIBLE_WEIGHT = 1e-16


def block_pairs(entries: int) -> int:
    """Return the number of pairs in a block for bases that keep so many values of a pair together."""
    return max(64, min(MOST_PAIRS, BLOCK_VALUES // entries))


def continued_exp(exponent: torch.Tensor, largest: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return exp, continued as a parabola where ``exponent`` (n,) is above ``largest``; and its derivative, (n,)."""
    value = exponent.clamp(LEAST_EXPONENT, largest).exp_()
    if float(exponent.max()) <= largest:
        return value, value
    beyond = (exponent - largest).clamp_(min=0)
    return value * (1 + beyond + 0.5 * beyond * beyond), value * (1 + beyond)


@dataclass(frozen=True)
class Stopping:
    """A stopping rule says when L-BFGS ends.

    That is when no entry of the gradient is above ``tolerance``, when J falls by less than ``least_fall`` of itself, or
    after ``iterations``.

    ``memory`` is the number of steps that it remembers, ``trials`` that of points that a line search may try. It is
    given ``scale`` times J, and the fall is also compared with 1, so that its end may depend on the scale.
    """

    tolerance: float
    iterations: int
    least_fall: float = 1e-13
    memory: int = 20
    trials: int = 100
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Known:
    """A record of a linear map's ``values`` (2, n) at a ``point`` (m + m',), off by so many times their rounding."""

    point: np.ndarray
    values: torch.Tensor
    roundings: float = 1.0


class Line:
    """A linear map's values at points as a line search asks for them: afresh only off the last line."""

    def __init__(self, compute: Callable[[np.ndarray], torch.Tensor]) -> None:
        self.compute = compute
        self.base: Known | None = None
        self.end: Known | None = None
        self.last: Known | None = None

    def __call__(self, point: np.ndarray) -> torch.Tensor:
        """Return the values (2, n) at a point (m + m',).

        They are combined from base and end if it is on their line, or else computed. A computed point off the line is
        the end of a new one, whose base is the point before: a search ended there.
        """
        place = self._place(point)
        found = None if place is None else self._combined(point, place)
        if found is None:
            found = Known(point.copy(), self.compute(point))
            self.base, self.end = (self.last if place is None else self.base), found
        self.last = found
        return found.values

    def _place(self, point: np.ndarray) -> float | None:
        """Return the place of a point on the line, 0 at the base and 1 at the end, or ``None`` if it is off it."""
        if self.base is None or self.end is None:
            return None
        direction, ahead = self.end.point - self.base.point, point - self.base.point
        square = float(direction @ direction)
        if square == 0:
            return None
        place = float(ahead @ direction) / square
        largest = max(float(np.abs(each).max()) for each in (self.base.point, self.end.point, point))
        off = float(np.abs(ahead - place * direction).max())
        return place if off <= ON_A_LINE * max(1.0, abs(place)) * largest else None

    def _combined(self, point: np.ndarray, place: float) -> Known | None:
        assert self.base is not None
        assert self.end is not None
        roundings = 1 + abs(1 - place) * self.base.roundings + abs(place) * self.end.roundings
        if roundings > MOST_ROUNDINGS:
            return None
        return Known(point.copy(), torch.lerp(self.base.values, self.end.values, place), roundings)


@dataclass(frozen=True, eq=False)
class Optimum:
    """An optimum holds coefficients of g (m,), the weights f (n,) of ρ_{k+1} at the x_i, and how the search ended.

    ``residual`` is the largest entry of the gradient, on functions whose constant is 1.
    """

    g: torch.Tensor
    weights: torch.Tensor
    residual: float
    evaluations: int
    stopped: str


@dataclass(frozen=True, eq=False)
class DualObjective:
    """J of one step: ``of_g`` and ``of_h`` are the bases, of m and m' functions, at blocks of the x_i and of the y_i.

    ``log_weight`` (n,) is -βV(x_i) - log r_x(x_i), ``mass`` (n,) the ν_i, ``cost`` (n,) the |x_i - y_i|², ``rate`` β/τ
    and ``penalty`` γ. ``constant`` is the value of both bases' first function.
    """

    of_g: Sequence[Table]
    of_h: Sequence[Table]
    log_weight: torch.Tensor
    mass: torch.Tensor
    cost: torch.Tensor
    rate: float
    penalty: float
    regularisation: str
    run: Run
    constant: float = 1.0

    @property
    def ceiling(self) -> float:
        """The exponent from which exponentials go on as parabolas."""
        return math.log(ROOM * len(self.cost))

    @property
    def size(self) -> int:
        """The number of coefficients of g."""
        return self.of_g[0].size

    def values(self, coefficients: np.ndarray) -> torch.Tensor:
        """Return g at the x_i and h at the y_i, shape (2, n), for the coefficients of g, then h."""
        g, h = (part.contiguous() for part in torch.from_numpy(coefficients).tensor_split([self.size]))

        def part(number: int) -> torch.Tensor:
            return torch.stack([self.of_g[number].combined(g), self.of_h[number].combined(h)])

        return torch.cat(self._on_blocks(part, range(len(self.of_g))), dim=1)

    def __call__(self, values: torch.Tensor) -> tuple[float, np.ndarray]:
        """Return J and its gradient (m + m',) where g and h have these ``values``."""
        at_x, at_y = values
        f, slope = continued_exp(torch.sub(self.log_weight, at_x, alpha=self.rate), self.ceiling)
        value = float(f.sum()) / self.rate - float(self.mass @ at_y)
        by_h = -self.mass_means
        excess = (at_x + at_y).sub_(self.cost)
        if self.regularisation == "entropic" or float(excess.max()) > 0:
            penalty, push = self._penalty(excess)
            value += float(penalty.sum())
            by_g, by_h = self._mean(self.of_g, push - slope), by_h + self._mean(self.of_h, push)
        else:
            by_g = -self._mean(self.of_g, slope)
        return value / len(f), torch.cat([by_g, by_h]).numpy()

    @cached_property
    def mass_means(self) -> torch.Tensor:
        """The means n⁻¹ Σ ν_i φ(y_i), shape (m',)."""
        return self._mean(self.of_h, self.mass)

    def _mean(self, basis: Sequence[Table], weights: torch.Tensor) -> torch.Tensor:
        """Return n⁻¹ Σ_i w_i φ(x_i), shape (m,), for weights (n,)."""
        acting = np.abs(weights.numpy()) > NEGLIGIBLE_WEIGHT
        counts = [np.count_nonzero(acting[rows]) for rows in self.blocks]

        def part(number: int) -> torch.Tensor:
            rows = self.blocks[number]
            if ACTING * counts[number] >= basis[number].points:
                return basis[number].sums(weights[rows])
            chosen = torch.from_numpy(np.flatnonzero(acting[rows]))
            return basis[number].at(chosen).sums(weights[rows][chosen])

        parts = self._on_blocks(part, [number for number, count in enumerate(counts) if count])
        if not parts:
            return weights.new_zeros(basis[0].size)
        return torch.stack(parts).sum(0).div_(len(weights))

    @cached_property
    def blocks(self) -> list[slice]:
        """The slices of the pairs that are in each block."""
        ends = list(itertools.accumulate(block.points for block in self.of_g))
        return [slice(start, end) for start, end in itertools.pairwise([0, *ends])]

    def _on_blocks(self, part: Callable[[int], torch.Tensor], numbers: Sequence[int]) -> list[torch.Tensor]:
        """Return the parts of the blocks ``numbers``, by threads where it takes long enough."""
        values = sum(self.of_g[number].points for number in numbers) * (self.size + self.of_h[0].size) // 2
        return self.run(part, numbers) if values > FEWEST_VALUES else [part(number) for number in numbers]

    def _penalty(self, excess: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return P and P' at the v_i."""
        if self.regularisation == "quadratic":
            above = excess.clamp_(min=0)
            return above * above * (0.5 / self.penalty), above / self.penalty
        value, slope = continued_exp(excess / self.penalty, self.ceiling)
        return self.penalty * value, slope

    @property
    def balanced(self) -> float:
        """The constant g that gives f mean 1: the stationary law exp(-βV) with unit mass."""
        return (float(logsumexp(self.log_weight.numpy())) - math.log(len(self.cost))) / self.rate

    def start(self, level: float) -> np.ndarray:
        """Return the coefficients (m + m',) of g = -h = ``level``, where all constraints hold."""
        coefficients = np.zeros(self.size + self.of_h[0].size)
        coefficients[0], coefficients[self.size] = level / self.constant, -level / self.constant
        return coefficients

    def minimise(self, start: np.ndarray, stopping: Stopping) -> Optimum:
        """Return the minimum by L-BFGS from coefficients ``start`` (m + m',).

        ``stopped`` says why it went no further, and is empty when it converged.

        It has converged when no entry of the gradient exceeds the tolerance.
        """
        scale, line = stopping.scale, Line(self.values)

        def scaled(coefficients: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self(line(coefficients))
            return scale * value, scale * gradient

        options = {
            "gtol": scale * self.constant * stopping.tolerance,
            "ftol": stopping.least_fall,
            "maxiter": stopping.iterations,
            "maxfun": 20 * stopping.iterations,
            "maxcor": stopping.memory,
            "maxls": stopping.trials,
        }
        found = minimize(scaled, start, jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
        # After a failed line search, SciPy's gradient is not the one at the point that it returns.
        values = self.values(found.x)
        residual = float(np.abs(self(values)[1]).max()) / self.constant
        weights = (self.log_weight - self.rate * values[0]).exp()
        stopped = "" if residual <= stopping.tolerance else str(found.message).strip()
        g = torch.from_numpy(found.x[: self.size].copy())
        return Optimum(g, weights, residual, int(found.nfev), stopped)
