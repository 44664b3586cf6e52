"""Runge-Kutta-Chebyshev steps for dx/dt = v(x) whose Jacobian has a real spectrum, such as any gradient flow's.

Of s stages the first follow, with T_s the Chebyshev polynomial, w₀ = 1 + ε/s², ε = 2/13, w₁ = T_s'(w₀)/T_s''(w₀),

    Y₁ = Y₀ + b₁w₁ h v(Y₀)
    Y_j = (1 - μ_j - ν_j) Y₀ + μ_j Y_{j-1} + ν_j Y_{j-2} + μ̃_j h v(Y_{j-1}) + γ̃_j h v(Y₀),    j = 2, …, s,

with μ_j = 2b_j w₀/b_{j-1}, ν_j = -b_j/b_{j-2}, μ̃_j = 2b_j w₁/b_{j-1}, γ̃_j = -(1 - b_{j-1}T_{j-1}(w₀)) μ̃_j and
b_j = T_j''(w₀)/T_j'(w₀)², b₀ = b₁ = b₂. Y_s is of order 2, and stable as far as h times the spectral radius is below
⅔(s² - 1)(1 - 2ε/15): on stiff flows a step costs the square root of what Runge-Kutta's takes. Error and step size are
estimated as there (Sommeijer, Shampine, Verwer, J. Comput. Appl. Math. 88, 1998).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from solvers.solver import Diverged

Velocity = Callable[[torch.Tensor], torch.Tensor]

DAMPING = 2 / 13
MOST_STAGES = 250
# The spectral radius is looked for again after so many steps, or when a step was not accepted.
STEPS_BETWEEN_RADII = 25
MOST_POWER_ITERATIONS = 50
SAFE_RADIUS = 1.2
SHORTEST_STEP = 1e-12
MOST_STEPS = 100_000


@dataclass(frozen=True)
class Step:
    """A step that was accepted: the ``time`` it leads to, the ``points`` (n, D) there, and how it was taken."""

    time: float
    points: torch.Tensor
    size: float
    stages: int


class ChebyshevSteps:
    """Steps of dx/dt = ``velocity``(x), points and velocities (n, D), each with an error of at most ``tolerance``.

    That is the root mean square of the estimated local errors of coordinates, in their unit. ``resolution``, in the
    same unit, is how far points move without the velocity changing much. ``evaluations`` counts those of the velocity.
    """

    def __init__(self, velocity: Velocity, tolerance: float, resolution: float) -> None:
        self._velocity, self._tolerance, self._resolution = velocity, tolerance, resolution
        self._direction: torch.Tensor | None = None
        self.evaluations = 0

    def to(self, points: torch.Tensor, times: Sequence[float], start: float = 0.0) -> Iterator[Step]:
        """Yield the steps from ``points`` (n, D) at time ``start`` through all of ``times`` to the last.

        Raises ``Diverged``, naming the step, when points or velocities are not finite or no step is short enough.
        """
        time, step, accepted = start, 1, 0
        slope = self._slope(points, time, step)
        radius = self._spectral_radius(points, slope, time, step)
        size = self._first_size(points, slope, radius, times[0] - start)
        error_before, size_before = 0.0, 0.0
        for stop in times:
            while time < stop:
                left = stop - time
                size = min(size, stability(MOST_STAGES) / radius if radius > 0 else left)
                taken = left / math.ceil(left / size * (1 - 1e-9)) if size < left else left
                if taken <= SHORTEST_STEP * times[-1] or step > MOST_STEPS:
                    raise Diverged(f"step {step} at t = {time:g} would have to be as short as {taken:.3g}")
                stages = max(2, 1 + math.ceil(math.sqrt(1.54 * taken * radius + 1)))
                trial = self._staged(points, slope, taken, stages)
                after = self._velocity(trial)
                self.evaluations += stages
                error = root_mean_square(0.8 * (points - trial) + 0.4 * taken * (slope + after)) / self._tolerance
                if not error <= 1:
                    shorter = 0.8 / error ** (1 / 3) if math.isfinite(error) else 0.1
                    size = taken * min(0.8, max(0.1, shorter))
                    radius = self._spectral_radius(points, slope, time, step)
                    step += 1
                    continue
                time = stop if taken == left else time + taken
                points, slope = trial, after
                yield Step(time, points, taken, stages)
                step, accepted = step + 1, accepted + 1
                growth = 0.8 / max(error, 1e-10) ** (1 / 3)
                if error_before > 0:
                    growth *= (taken / size_before) * (error_before / max(error, 1e-10)) ** (1 / 3)
                    growth = min(growth, 0.8 / max(error, 1e-10) ** (1 / 3))
                error_before, size_before = max(error, 1e-10), taken
                size = taken * min(10.0, max(0.1, growth))
                if accepted % STEPS_BETWEEN_RADII == 0:
                    radius = self._spectral_radius(points, slope, time, step)

    def _slope(self, points: torch.Tensor, time: float, step: int) -> torch.Tensor:
        slope = self._velocity(points)
        self.evaluations += 1
        bad = int((~torch.isfinite(slope)).any(1).sum())
        if bad:
            raise Diverged(
                f"the velocity of {bad} of {len(points)} particles is not finite at step {step} (t = {time:g})"
            )
        return slope

    def _staged(self, start: torch.Tensor, slope: torch.Tensor, size: float, stages: int) -> torch.Tensor:
        first, rest = coefficients(stages)
        earlier, latest = start, start + first * size * slope
        for mu, nu, mu_tilde, gamma_tilde in rest:
            moved = mu * latest + nu * earlier + (1 - mu - nu) * start
            moved += size * (mu_tilde * self._velocity(latest) + gamma_tilde * slope)
            earlier, latest = latest, moved
        return latest

    def _spectral_radius(self, points: torch.Tensor, slope: torch.Tensor, time: float, step: int) -> float:
        """Return an upper estimate of the Jacobian's spectral radius, by power iteration from where it last ended."""
        direction = self._direction
        if direction is None:
            turns = torch.arange(points.numel(), dtype=points.dtype).reshape(points.shape)
            direction = torch.cos(1.7 * turns * turns)  # no symmetry that the points may have
        radius = 0.0
        for _ in range(MOST_POWER_ITERATIONS):
            length = root_mean_square(direction)
            if length == 0:
                return SAFE_RADIUS * radius  # the velocity doesn't depend on the points
            reach = self._resolution / length
            change = (self._slope(points + reach * direction, time, step) - slope) / reach
            before, radius = radius, root_mean_square(change) / length
            direction = change / max(float(change.abs().max()), 1e-300)
            if abs(radius - before) <= 0.01 * radius:
                break
        self._direction = direction
        return SAFE_RADIUS * radius

    def _first_size(self, points: torch.Tensor, slope: torch.Tensor, radius: float, longest: float) -> float:
        size = min(longest, 1 / radius) if radius > 0 else longest
        change = self._slope(points + size * slope, 0.0, 1) - slope
        error = size * root_mean_square(change) / self._tolerance
        return min(longest, max(1e-3 * size, 0.1 * size / math.sqrt(error) if error > 0.01 else size))


def root_mean_square(values: torch.Tensor) -> float:
    """Return the root mean square of ``values`` (n, D), added up in one order."""
    return math.sqrt(float((values.numpy() ** 2).mean()))


def stability(stages: int) -> float:
    """Return h times the spectral radius up to which a step of so many stages is stable."""
    return 0.65 * (stages - 1) ** 2 - 1


@lru_cache(maxsize=MOST_STAGES)
def coefficients(stages: int) -> tuple[float, list[tuple[float, float, float, float]]]:
    """Return b₁w₁ and (μ_j, ν_j, μ̃_j, γ̃_j) for j = 2, …, s."""
    w0 = 1 + DAMPING / stages**2
    value, first, second = [1.0, w0], [0.0, 1.0], [0.0, 0.0]
    for _ in range(2, stages + 1):
        second.append(2 * w0 * second[-1] - second[-2] + 4 * first[-1])
        first.append(2 * w0 * first[-1] - first[-2] + 2 * value[-1])
        value.append(2 * w0 * value[-1] - value[-2])
    w1 = first[stages] / second[stages]
    b = [0.0, 0.0] + [second[j] / first[j] ** 2 for j in range(2, stages + 1)]
    b[0] = b[1] = b[2]
    rest = []
    for j in range(2, stages + 1):
        mu_tilde = 2 * b[j] * w1 / b[j - 1]
        gamma_tilde = -(1 - b[j - 1] * value[j - 1]) * mu_tilde
        rest.append((2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], mu_tilde, gamma_tilde))
    return b[1] * w1, rest
