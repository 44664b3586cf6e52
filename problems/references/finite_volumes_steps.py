"""Time steps for finite volumes: long stabilised ones while ρ ≥ 0 and E falls, else steps that keep that by proof.

A stabilised step is one of RKL2, Runge-Kutta-Legendre of order 2 with s stages (Meyer, Balsara, Aslam, J. Comput. Phys.
257, 2014): stable for diffusive eigenvalues to (s² + s - 2)/2 over the step, so that s stages go about s²/4 times as
far as a step of Euler's. Its size dt comes from dt Σ max|u|/h ≤ ½, where there is more than next to no mass: it crosses
no more than half a cell. And its error, estimated by ⅘(ρ₀ - ρ₁) + ⅖dt(ρ₀' + ρ₁') (Sommeijer, Shampine, Verwer, J.
Comput. Appl. Math. 88, 1998), must be small against that in space. A step is taken back where a cell is negative or E
has risen; when shorter ones don't help, SSP-RK3 does, three convex steps of Euler's method (Shu & Osher, J. Comput.
Phys. 77, 1988), each within the bound of positivity, which is the same with all mass counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from problems.arrays import Reals
from problems.references.finite_volumes import FiniteVolumes, State

COURANT = 0.5
# The estimated error of a step in L1, in units of 1/cells³: there are about as many steps as cells, so that their sum
# is of order 2, as the error in space is; at a moving edge the estimate is several times too large.
LOCAL_ERROR = 100.0
# Where eigenvalues times dt are no larger, the three stages of SSP-RK3 do, for advection too.
MILD = 2.0
MOST_STAGES = 99
# E may rise by so many units of its rounding.
ROUNDING = 1e-14
# A step that has been halved as often is none.
HALVINGS = 60


class Stuck(ArithmeticError):
    """The error of steps that shrink to nothing or of values that are not finite; the message says when."""


@dataclass
class Trace:
    """What came of every step, in order: the time reached, E and the mass then; and how many were taken back."""

    times: list[float] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    masses: list[float] = field(default_factory=list)
    evaluations: int = 0
    refused: int = 0

    def record(self, time: float, state: State, volume: float) -> None:
        """Add a step to its end."""
        self.times.append(time)
        self.energies.append(state.energy)
        self.masses.append(volume * float(state.density.sum()))


def march(
    scheme: FiniteVolumes,
    density: Reals,
    times: Sequence[float],
    trace: Trace,
    watch: Callable[[float, Reals], None] | None = None,
) -> Iterator[Reals]:
    """Yield the density (m,) or (m, n) at each of ``times``, from ``density`` at time 0, and fill ``trace``.

    ``watch(t, density)`` sees the start and what every step comes to.

    Raises ``Stuck`` when steps shrink to nothing or values are not finite.
    """
    state, now = scheme.state(density), 0.0
    tolerance = LOCAL_ERROR / max(scheme.shape) ** 3
    trace.record(now, state, scheme.volume)
    if watch is not None:
        watch(now, state.density)
    proposed = math.inf
    for time in times:
        while now < time:
            state, step, proposed = _advance(scheme, state, time - now, proposed, tolerance, now, trace)
            now = time if step >= time - now else now + step
            trace.record(now, state, scheme.volume)
            if watch is not None:
                watch(now, state.density)
        yield state.density


def _advance(
    scheme: FiniteVolumes,
    start: State,
    remaining: float,
    proposed: float,
    tolerance: float,
    now: float,
    trace: Trace,
) -> tuple[State, float, float]:
    """Return the state after a step, the step's size, and a size to try next."""
    if not (math.isfinite(start.energy) and math.isfinite(start.speed) and math.isfinite(start.stiffness)):
        raise Stuck(f"finite volumes: values are not finite at t = {now:g}")
    bound = COURANT / start.pace if start.pace > 0 else math.inf
    if not math.isfinite(proposed):
        # Nothing is known of the error yet.
        proposed = min(bound, 4 / start.stiffness if start.stiffness > 0 else math.inf)
    step = min(proposed, bound, remaining)
    for attempt in range(HALVINGS):
        if attempt == 3 and start.speed > 0:
            step = min(step, COURANT / start.speed)
        needed = 1.05 * step * start.stiffness
        stages = _stages(needed)
        if stages > MOST_STAGES:
            step *= 0.9 * (MOST_STAGES / stages) ** 2
            continue
        if needed <= MILD:
            density, cost = _ssp_rk3(scheme, start, step), 3
        elif attempt < 3:
            density, cost = _rkl2(scheme, start, step, stages), stages
        else:
            step = min(step, MILD / (1.05 * start.stiffness))
            density, cost = _ssp_rk3(scheme, start, step), 3
        trace.evaluations += cost
        if density.min() >= 0:
            end = scheme.state(density)
            if end.energy <= start.energy + ROUNDING * start.scale:
                estimate = 0.8 * (start.density - density) + 0.4 * step * (start.rate + end.rate)
                error = scheme.volume * float(np.abs(estimate).sum())
                # Of order 3 in the step.
                factor = 0.9 * (tolerance / error) ** (1 / 3) if error > 0 else 2.0
                if factor >= 0.8 or attempt >= 3:
                    return end, step, step * min(2.0, max(0.2, factor))
                trace.refused += 1
                step *= max(0.2, factor)
                continue
        trace.refused += 1
        step *= 0.5
    raise Stuck(
        f"finite volumes: steps at t = {now:g} shrink to {step:.3g}: no longer one keeps the density >= 0 and finite "
        f"and lets the energy fall"
    )


def _stages(needed: float) -> int:
    """Return the least odd s ≥ 3 with (s² + s - 2)/2 ≥ ``needed``."""
    least = math.ceil(0.5 * (math.sqrt(9 + 8 * needed) - 1))
    return max(3, least + 1 - least % 2)


@cache
def _coefficients(stages: int) -> tuple[tuple[float, ...], ...]:
    """Return μ̃₁, and μ, ν, 1 - μ - ν, μ̃ and γ̃ of every further stage of RKL2."""
    b = [1 / 3] * 2 + [(j * j + j - 2) / (2 * j * (j + 1)) for j in range(2, stages + 1)]
    b[2] = 1 / 3
    w = 4 / (stages**2 + stages - 2)
    rows: list[tuple[float, ...]] = [(b[1] * w,)]
    for j in range(2, stages + 1):
        mu, nu = (2 * j - 1) / j * b[j] / b[j - 1], -(j - 1) / j * b[j] / b[j - 2]
        rows.append((mu, nu, 1 - mu - nu, mu * w, -(1 - b[j - 1]) * mu * w))
    return tuple(rows)


def _rkl2(scheme: FiniteVolumes, start: State, step: float, stages: int) -> Reals:
    first, *others = _coefficients(stages)
    origin, moved = start.density, step * start.rate
    before, density = origin, origin + first[0] * moved
    for mu, nu, rest, ahead, initial in others:
        after = (ahead * step) * scheme.rate(density)
        after += mu * density
        after += nu * before
        after += rest * origin
        after += initial * moved
        before, density = density, after
    return density


def _ssp_rk3(scheme: FiniteVolumes, start: State, step: float) -> Reals:
    """Return the density after a step; where a stage is negative, that stage, for the step to be taken back."""
    first = start.density + step * start.rate
    if first.min() < 0:
        return first
    second = 0.75 * start.density + 0.25 * (first + step * scheme.rate(first))
    if second.min() < 0:
        return second
    return np.asarray((start.density + 2 * (second + step * scheme.rate(second))) / 3)
