"""The blob method: deterministic particles that lower a regularised free energy (Carrillo, Craig, Patacchini 2019).

Particles have no density of which to take an internal energy: it is taken of φ_ε∗μ, with a mollifier φ_ε = N(0, 2ε²I),

    F_ε(μ) = ∫V dμ + ½∬W(x - y) dμ dμ + ∫f(φ_ε∗μ) dμ,

f(s) = U(s)/s, which is β⁻¹ log s for an entropy and c s^(m-1)/(m - 1) for a power entropy. It is finite for particles,
μ = Σ w_i δ_{x_i}, and its gradient flow is

    dx_i/dt = -∇V(x_i) - Σ_j w_j ∇W(x_i - x_j) - Σ_j w_j ∇φ_ε(x_i - x_j) [f'(ρ_j) + f'(ρ_i)]
    ρ_i = Σ_j w_j φ_ε(x_i - x_j)

(Carrillo, Craig, Patacchini, Calc. Var. 58, 2019), with ε going to zero more slowly than the spacing h of particles.
As a law spreads so does h, and particles more than about 3ε apart no longer move each other: ε is then chosen anew.
Without random numbers the error falls like ε² where the law is smooth, which is h^1.9 with ε ~ h^0.95, and like about
h^1.7 and h^1.4 for the edges of porous medium with m = 2 and m = 3.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, GradientFlow, InternalEnergy, PowerEntropy
from problems.interactions import equal_weights
from problems.laws import Density
from problems.problem import Problem
from problems.validation import require_counts, require_number, require_positive
from solvers.estimates import Estimate, Nodes
from solvers.limits import LIMITS, Limit
from solvers.particles.blob_density import BlobDensity
from solvers.particles.chebyshev_steps import ChebyshevSteps
from solvers.particles.interaction_field import field_of, meeting
from solvers.particles.near_sums import NearSums
from solvers.particles.particle_pool import places, spread_draws
from solvers.particles.particle_spread import MASS, DrawnSpread, LatticeSpread, upper
from solvers.particles.weighted_lattice import MOST_DIMENSIONS, weighted_lattice
from solvers.solver import Cost, Diverged, Solution, Solver
from solvers.threads import Run, workers

# How far particles are moved for the stiffness of the flow, in widths of the mollifier.
RESOLUTION = 1e-4
# The width, relative to the law's, of which the tolerance is taken where the mollifier is wider.
COARSEST = 0.1


@dataclass(frozen=True, kw_only=True)
class Blob(Solver):
    """The blob method with about ``particles`` particles, on a lattice, in time as exact as ``tolerance`` says.

    In at most three dimensions a law with a density starts as a regular lattice of spacing h, with the density's masses
    on it, and ε = σ (h/σ)^``smoothing``, σ being the law's standard deviation. Other laws start as draws of equal
    weight, a Gaussian's along a Sobol' sequence, all matched to mean and covariance; ε is then that of Scott's rule,
    √2 ε = σ n^(-1/(D + 4)).

    The answer is the density φ_ε∗μ, the one whose energy the method lowers. It is wider than μ by 2ε² along each axis.
    Without an internal energy there is no mollifier, and the answer is μ, weighted particles. An interaction that is
    singular is taken as it is, each particle leaving itself out.

    As the law spreads ε stays until the spacing of the lattice, as a geometric mean over its particles and axes, has
    grown by 2.5; then it is made 5/3 times as wide, and so on. For draws it is Scott's anew whenever their deviation
    has grown by a fifth. It never shrinks. A law that spreads along one axis alone, or in some places alone, may
    outgrow it, and draws in many dimensions are too far apart from the start. That is told by ``spacing_over_width``:
    the distance in widths within which nine tenths of the mass have the next particle, at the most over steps and axes
    of the lattice, and for draws that of a lattice whose particles would be as much of the density at their own places.
    Above 2.75 particles miss what others should do to them, and the answer stays too narrow. Draws that are equal never
    part, and count as one particle in this: a law of a few points, which an internal energy spreads, is refused.

    Steps are Runge-Kutta-Chebyshev's. Their local error is at most ``tolerance`` ε³/σ² (ε/σ ≤ ⅒ in this), and so, of
    order 2, they add up to a small part of the method's error ε²/σ. All is float64, on the CPU.

    Diagnostics: ``placed`` particles, ``spacing`` h (0 for draws) at the start, ``width`` ε at the end, ``widened``,
    how often that was chosen anew, ``spacing_over_width``, ``steps``, ``evaluations`` of the velocity, and
    ``energy_rise``, the most by which a step raised F_ε relative to its fall over all. Traces: ``time``, ``energy``
    F_ε and ``stages``, one for each step; F_ε rises or falls at once where ε is chosen anew.

    Raises ``ValueError`` for settings out of range. ``solve`` raises ``Diverged`` with the reason where the start or a
    step has no sense, also where more than a tenth of the draws of a law without density lie where others do, at places
    more than 2.75 widths apart, and there is an internal energy.
    """

    name: ClassVar[str] = "blob"
    version: ClassVar[int] = 2
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, Limit]] = LIMITS["blob"]
    particles: int = 1000
    smoothing: float = 0.95
    tolerance: float = 0.02

    def __post_init__(self) -> None:
        require_counts(self.name, at_least=2, particles=self.particles)
        require_positive(self.name, tolerance=self.tolerance)
        require_number(self.name, at_least=0.0, at_most=1.0, smoothing=self.smoothing)

    def unsupported(self, problem: Problem) -> str | None:
        internal = problem.flow.energy.internal
        if isinstance(internal, PowerEntropy) and internal.exponent < 1:
            return f"the blob method needs an exponent of a power entropy of at least 1, got {internal.exponent:g}"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow = problem.flow
        interaction, scale = flow.energy.interaction, deviation(flow)
        estimates: list[Estimate] = []
        traces: dict[str, list[float]] = {"time": [], "energy": [], "stages": []}
        with workers() as run:
            points, weights, spacing, width, spread = self._start(flow, scale, generator)
            if interaction is not None and interaction.singular and (together := meeting(points)):
                raise Diverged(
                    f"at step 0 {together} particles lie where others do, and the interaction is singular there"
                )
            own = weights if spacing else self._crowded(flow, points, width, run)
            first = width
            tolerance = self.tolerance * scale * min(width / scale, COARSEST) ** 3
            time, evaluations, widened, gap, rise, fall = 0.0, 0, 0, 0.0, 0.0, 0.0
            while time < flow.horizon:
                particles = BlobFlow(flow, weights, width, points.mean(0), run)
                energies = [particles.energy(points)]
                steps = ChebyshevSteps(particles.velocity, tolerance * (width / first), RESOLUTION * width)
                for step in steps.to(points, flow.times[len(estimates) :], time):
                    time, points = step.time, step.points
                    energies.append(particles.energy(points))
                    for name, value in (("time", time), ("energy", energies[-1]), ("stages", float(step.stages))):
                        traces[name].append(value)
                    if time == flow.times[len(estimates)]:
                        estimates.append(self._answer(flow, points, weights, width))
                    if flow.energy.internal is None:
                        continue
                    if isinstance(spread, LatticeSpread):
                        gap = max(gap, spread.farthest(points) / width)
                    else:
                        gap = max(gap, particles.gap(points, own))
                    growth = spread.growth(points)
                    if growth * first > spread.most * width:
                        break
                evaluations += steps.evaluations
                rise = max(rise, *(later - earlier for earlier, later in itertools.pairwise(energies)))
                fall += max(energies) - min(energies)
                if time < flow.horizon:
                    width, widened = growth * first / spread.left, widened + 1
        diagnostics: dict[str, float | int | str] = {
            "placed": len(points),
            "spacing": spacing,
            "width": width,
            "widened": widened,
            "steps": len(traces["time"]),
            "evaluations": evaluations,
            "energy_rise": rise / max(fall, 1e-300),
        }
        if flow.energy.internal is not None:
            diagnostics["spacing_over_width"] = gap
        cost = Cost(gradient_evaluations=evaluations * len(points))
        return Solution(flow.times, tuple(estimates), cost, diagnostics, traces)

    def _start(
        self, flow: GradientFlow, scale: float, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, float, float, LatticeSpread | DrawnSpread]:
        """Return points (n, D), weights (n,), spacing and ε at time 0, and what tells the spread; σ is ``scale``."""
        law = flow.initial
        if isinstance(law, Density) and flow.dim <= MOST_DIMENSIONS:
            lattice = weighted_lattice(law, self.particles)
            width = scale * (lattice.spacing / scale) ** self.smoothing
            return lattice.points, lattice.masses, lattice.spacing, width, LatticeSpread(lattice)
        if self.particles > 2 * flow.dim:
            points = spread_draws(law, self.particles, generator).double()
        else:  # too few for a covariance of full rank
            points = law.sample(self.particles, generator).double()
        if not bool(torch.isfinite(points).all()):
            raise Diverged("at step 0 the draws of the initial law are not finite, or span no covariance of full rank")
        width = scale * self.particles ** (-1 / (flow.dim + 4)) / math.sqrt(2)
        return points, equal_weights(points), 0.0, width, DrawnSpread(points)

    def _crowded(self, flow: GradientFlow, points: torch.Tensor, width: float, run: Run) -> torch.Tensor:
        """Return the mass at the place of each of the draws ``points`` (n, D), shape (n,).

        Raises ``Diverged`` where a law without density has its draws at few places that are too far apart.
        """
        weights = equal_weights(points)
        place, counts = places(points)
        shared, own = counts[place] > 1, counts[place] * weights
        if flow.energy.internal is None or isinstance(flow.initial, Density) or not bool(shared.any()):
            return own
        gaps = BlobFlow(flow, weights, width, points.mean(0), run).gaps(points, own)
        alone = int((shared & (gaps > (LIMITS["blob"]["spacing_over_width"].most or math.inf))).sum())
        if alone > (1 - MASS) * len(points):
            raise Diverged(
                f"at step 0 {alone} of {len(points)} particles are equal to others and too far from the rest: "
                "equal ones never part, and so the law would not spread"
            )
        return own

    def _answer(self, flow: GradientFlow, points: torch.Tensor, weights: torch.Tensor, width: float) -> Estimate:
        if flow.energy.internal is None:
            return Nodes(points, weights.log())
        return BlobDensity(points, weights, width)


def deviation(flow: GradientFlow) -> float:
    """Return σ with Dσ² the trace of the initial law's covariance.

    Raises ``Diverged`` where it is not a number > 0.
    """
    scale = math.sqrt(float(flow.initial.moments()[1].double().diagonal().mean()))
    if not (math.isfinite(scale) and scale > 0):
        raise Diverged(f"at step 0 the standard deviation of the initial law is {scale:g}: no length to compare with")
    return scale


class BlobFlow:
    """The flow of particles with ``weights`` (n,) and a mollifier of ``width`` ε, positions taken about ``centre``.

    ``run`` comes from ``solvers.threads.workers``: all sums are then the same whatever the number of threads.
    """

    def __init__(self, flow: GradientFlow, weights: torch.Tensor, width: float, centre: torch.Tensor, run: Run) -> None:
        self._potential, self._interaction = flow.potential, flow.energy.interaction
        self._internal, self._weights = flow.energy.internal, weights
        self._width, self._centre, self._run = width, centre, run
        self._peak = (4 * math.pi * width**2) ** (-flow.dim / 2)
        self._near = NearSums()
        self._latest: tuple[torch.Tensor, torch.Tensor] | None = None

    def velocity(self, points: torch.Tensor) -> torch.Tensor:
        """Return dx/dt at ``points`` (n, D), shape (n, D)."""
        velocity = -self._potential.gradient(points)
        if self._interaction is not None:
            velocity = velocity - field_of(self._interaction, points, points, self._weights, self._run)
        if self._internal is not None:
            velocity = velocity + self._spreading(points)
        return velocity

    def _spreading(self, points: torch.Tensor) -> torch.Tensor:
        """Return -Σ_j w_j ∇φ(x_i - x_j) [f'(ρ_j) + f'(ρ_i)], with ∇φ(z) = -z φ(z) / 2ε²."""
        y = (points - self._centre) / (2 * self._width)
        mass, moment = self._near.sums(y, y, self._weights, self._run)
        self._latest = points, self._peak * mass
        if isinstance(self._internal, PowerEntropy) and self._internal.exponent == 2:
            return moment.mul_(-2 * self._internal.coefficient * self._peak / self._width)
        slope = self._slope(self._peak * mass)
        _, weighted = self._near.sums(y, y, self._weights * slope, self._run)
        return (weighted + slope[:, None] * moment).mul_(-self._peak / self._width)

    def _slope(self, density: torch.Tensor) -> torch.Tensor:
        """Return f'(ρ)."""
        if isinstance(self._internal, PowerEntropy):
            return self._internal.coefficient * density ** (self._internal.exponent - 2)
        assert isinstance(self._internal, Entropy)
        return 1 / (self._internal.inverse_temperature * density)

    def gaps(self, points: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        """Return the spacing, in widths, of a lattice on which points are as much of the density at their own places.

        That is as each of ``points`` (n, D) is, shape (n,), with the mass ``own`` (n,) at its place.
        """
        self._see(points)
        assert self._latest is not None
        spacings: torch.Tensor = (own * self._peak / self._latest[1]).pow(1 / points.shape[1])
        return math.sqrt(4 * math.pi) * spacings

    def gap(self, points: torch.Tensor, own: torch.Tensor) -> float:
        """Return what ``gaps`` of ``points`` (n, D) and ``own`` (n,) are at most for ``MASS`` of the mass."""
        return upper(self.gaps(points, own), self._weights, MASS)

    def _see(self, points: torch.Tensor) -> None:
        if self._latest is None or self._latest[0] is not points:
            self._spreading(points)

    def energy(self, points: torch.Tensor) -> float:
        """Return F_ε of ``points`` (n, D), without the part of a singular interaction that each has with itself."""
        values, weights = self._potential.value(points), self._weights
        if self._internal is not None:
            self._see(points)
            assert self._latest is not None
            values = values + self._internal.energy(self._latest[1].log())
        if self._interaction is not None:
            own = self._interaction.singular
            mean = self._interaction.mean_value(points, points, weights, own=own)
            values = values + 0.5 * (mean * (1 - weights) if own else mean)
        return float((weights * values).numpy().sum())
