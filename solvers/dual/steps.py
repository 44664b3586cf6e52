"""Dual JKO steps along one flow: pairs, bases and weights for ``solvers.dual.objective``, and what its minimum says.

See ``solvers.dual.dual_jko`` for the equations.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.special import logsumexp

from problems.flow import GradientFlow
from problems.laws import Gaussian
from problems.linear_algebra import weighted_moments
from problems.potentials import Potential
from solvers.dual.basis import Basis, GaussianKernels, Table
from solvers.dual.objective import DualObjective, Optimum, Stopping, block_pairs
from solvers.dual.reference_pairs import SLOPE_DRAWS, Pairs, coupled_pairs, quadratic_guess, uniform_pairs
from solvers.dual.regions import Box, Region
from solvers.dual.settings import DualSettings
from solvers.dual.unnormalised_density import (
    BLOCK_POINTS,
    FEWEST_PER_DIMENSION,
    LogDensity,
    UnnormalisedDensity,
    effective_sample_size,
)
from solvers.estimates import Estimate, Exact
from solvers.filtering import Propagation, equal_steps
from solvers.solver import Cost, Diverged
from solvers.threads import Run, workers

# The published monomials are multiplied by this; with L-BFGS's first step of length 1 it decides where that leads.
PUBLISHED_SCALE = 1e-4
# When SciPy stops L-BFGS unless told otherwise.
PUBLISHED_STOPPING = Stopping(tolerance=1e-5, iterations=15_000, least_fall=2.220446049250313e-09, memory=10, trials=20)
# Tables are made so many blocks at a time: fewer and longer rows are faster to fill.
TABLE_BLOCKS = 2
# Share of an estimate's mass outside the region it was fitted on from which it means nothing.
LARGEST_OUTSIDE = 0.5
NARROWEST = 1e-3
"""Of the variance that a step's noise adds: a law that starts narrower sets no unit, in which steps would vanish."""


@dataclass(frozen=True, eq=False)
class SteppedDensity:
    """A stepped density is log ρ⁺(x) = -β (g(x)/τ + V(x)) up to a constant, at ``x`` (n, D), shape (n,).

    g = Σ_j ``coefficients``_j φ_j, and ``rate`` is β/τ. Outside ``region``, if it is given, g is what it is on the way
    to its centre, at the edge: kernels that were fitted inside say nothing there, and their sums swing.
    """

    basis: Basis
    coefficients: torch.Tensor
    potential: Potential
    rate: float
    inverse_temperature: float
    region: Region | None = None

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        inside = x if self.region is None else self.region.drawn_in(x)
        g = self.basis(inside).combined(self.coefficients)
        return -self.rate * g - self.inverse_temperature * self.potential.value(x).double()


class DualPropagation(Propagation):
    """A propagation by dual steps along one flow, from any estimate that has a density.

    Its diagnostics and traces grow with every step.
    """

    def __init__(self, settings: DualSettings, flow: GradientFlow, generator: torch.Generator) -> None:
        self.settings, self.flow, self.generator = settings, flow, generator
        self.noted: dict[str, list[float]] = {
            "evaluations": [], "residual": [], "effective_sample": [], "seconds": []
        }  # fmt: skip
        self.unconverged = 0
        self.stopped = ""
        self.outside = 0.0
        self.share = 1.0
        # The unit of squared length that the dual potentials and the penalty are in.
        self.unit = 1.0
        if settings.in_own_units:
            noise = 2 * settings.step_size / flow.inverse_temperature
            self.unit = max(float(flow.initial.moments()[1].diagonal().mean()), NARROWEST * noise)

    def start(self) -> Estimate:
        return Exact(self.flow.initial)

    def advance(self, estimate: Estimate, start: float, stop: float) -> UnnormalisedDensity:
        """Return the estimate at ``stop``, by equal steps of at most ``step_size``, from a density at ``start``.

        Raises ``Diverged`` as ``DualJKO.solve`` does, and ``TypeError`` for an estimate without a density.
        """
        density = estimate.density
        if density is None:
            raise TypeError(f"dual-jko starts from a density, not from {type(estimate).__name__}")
        log_density: LogDensity = density.log_prob
        # By the rule that its constant is from, where an estimate has one: without draws.
        mean, covariance = (
            estimate.rule.moments() if isinstance(estimate, UnnormalisedDensity) else estimate.moments(self.generator)
        )
        count, step_size = equal_steps(stop - start, self.settings.step_size)
        box = Box(mean, math.sqrt(3 * self.settings.box_variance))
        region: Region = box
        for step in range(1, count + 1):
            where = f"step {len(self.noted['seconds']) + 1} (t = {start + step * step_size:g})"
            log_density, mean, covariance, region = self.step(log_density, mean, covariance, box, step_size, where)
        try:
            found = UnnormalisedDensity.normalised(log_density, region, Gaussian(mean, covariance), self.generator)
        except Diverged as error:
            raise Diverged(f"{where}: {error}") from error
        self.outside = max(self.outside, found.outside)
        self.share = min(self.share, found.effective_share)
        # The published method is there to be compared, whatever it gives.
        if found.outside > LARGEST_OUTSIDE and self.settings.reference != "published":
            raise Diverged(
                f"{where}: {found.outside:.0%} of the mass is outside the region that the sample covers; "
                f"more samples, a smaller degree or a larger box_variance may help"
            )
        return found

    def step(
        self,
        log_density: LogDensity,
        mean: torch.Tensor,
        covariance: torch.Tensor,
        box: Box,
        step_size: float,
        where: str,
    ) -> tuple[LogDensity, torch.Tensor, torch.Tensor, Region]:
        """Return the log-density after one step, its moments, and the region of the sample that it was fitted on.

        ``log_density`` need not be normalised; ``mean`` (D,) and ``covariance`` (D, D) are its moments, ``box`` is
        where uniform pairs are drawn, and ``where`` names the step in errors.

        Raises ``Diverged`` where the potential or the density is undefined, where the dual potentials are not finite,
        and where the density rests on too few points.
        """
        began = time.perf_counter()
        settings, beta, potential = self.settings, self.flow.inverse_temperature, self.flow.potential
        rate = beta / (2 * step_size)
        if settings.reference == "coupled":
            try:
                guess = quadratic_guess(mean, covariance, potential, step_size, 1 / beta, self.generator)
            except Diverged as error:
                raise Diverged(f"{where}: {error}") from error
            pairs = coupled_pairs(guess, 2 * step_size / beta, settings.samples, self.generator)
        with workers() as run:
            if settings.reference != "coupled":
                pairs = uniform_pairs(box, settings.samples, self.generator)
            log_mass = _at(log_density, pairs.y, run) - pairs.of_y.log_prob(pairs.y)
            energy = _at(potential.value, pairs.x, run)
            mass, effective = _unit_mean(log_mass, where)
            _require_potential(energy, where)
            on_x, on_y = self._bases(pairs)
            log_weight = -beta * energy - pairs.of_x.log_prob(pairs.x)
            # Blocks in which f vanishes everywhere are then left out as a whole.
            order = log_weight.argsort(descending=True, stable=True)
            pairs = replace(pairs, x=pairs.x[order], y=pairs.y[order])
            together = block_pairs(on_x.entries + on_y.entries)
            several = TABLE_BLOCKS * together
            objective = DualObjective(
                of_g=in_blocks(run(on_x, pairs.x.split(several)), together),
                of_h=in_blocks(run(on_y, pairs.y.split(several)), together),
                log_weight=log_weight[order],
                mass=mass[order],
                cost=(pairs.x - pairs.y).square().sum(1) / self.unit,
                rate=rate * self.unit,
                penalty=settings.penalty,
                regularisation=settings.regularisation,
                run=run,
                constant=on_x.constant,
            )
            if settings.reference == "published":
                optimum = self._as_published(objective, self.flow.dim * math.log(2 * box.half_width))
            else:
                stopping = Stopping(settings.tolerance, settings.iterations)
                optimum = objective.minimise(objective.start(objective.balanced), stopping)
        if not bool(torch.isfinite(optimum.weights).all() and torch.isfinite(optimum.g).all()):
            raise Diverged(f"{where}: the dual potentials are not finite; a larger penalty may help")
        if optimum.stopped:
            self.unconverged += 1
            self.stopped = optimum.stopped
        entry = {"evaluations": optimum.evaluations, "residual": optimum.residual, "effective_sample": effective}
        for name, value in (entry | {"seconds": time.perf_counter() - began}).items():
            self.noted[name].append(float(value))
        bounded = settings.basis == "gaussian" and settings.reference != "published"
        region = pairs.of_x.region
        stepped = SteppedDensity(on_x, optimum.g, potential, rate * self.unit, beta, region if bounded else None)
        if settings.reference == "coupled":
            log_weights = optimum.weights.log()
            log_weights -= float(logsumexp(log_weights.numpy()))
            effective = effective_sample_size(log_weights)
            if effective < FEWEST_PER_DIMENSION * self.flow.dim:
                raise Diverged(f"{where}: the density rests on {effective:.1f} of {len(log_weights)} points")
            mean, covariance = weighted_moments(np.exp(log_weights.numpy()), pairs.x.numpy())
            if not bool(torch.isfinite(mean).all() and torch.isfinite(covariance).all()):
                raise Diverged(f"{where}: the moments of the law are not finite")
        return stepped, mean, covariance, region

    def _as_published(self, objective: DualObjective, log_volume: float) -> Optimum:
        """Minimise from g = h = 0, with ρ_k scaled to maximum 1 over the sample and Lebesgue measure on Q×Q.

        In terms of unit mass: with M the mass of the scaled ρ_k, γ becomes γM/|Q|², J is multiplied by M, and the
        start is g = -h = τ/β log M.
        """
        settings = self.settings
        log_mass = log_volume - math.log(float(objective.mass.max()))
        objective = replace(objective, penalty=settings.penalty * math.exp(log_mass - 2 * log_volume))
        stopping = replace(
            PUBLISHED_STOPPING, tolerance=settings.tolerance, iterations=settings.iterations, scale=math.exp(log_mass)
        )
        return objective.minimise(objective.start(log_mass / objective.rate), stopping)

    def _bases(self, pairs: Pairs) -> tuple[Basis, Basis]:
        settings = self.settings
        if settings.basis == "polynomial" and settings.reference == "published":
            monomials = pairs.of_x.monomials(settings.degree, PUBLISHED_SCALE)
            return monomials, monomials
        if settings.basis == "polynomial":
            return pairs.of_x.polynomials(settings.degree), pairs.of_y.polynomials(settings.degree)
        on_x, on_y = (
            GaussianKernels.orthonormal(points, settings.kernels, settings.kernel_variance)
            for points in (pairs.x, pairs.y)
        )
        return on_x, on_y

    def cost(self) -> Cost:
        guesses = len(self.noted["seconds"]) if self.settings.reference == "coupled" else 0
        return Cost(gradient_evaluations=SLOPE_DRAWS * guesses)

    def diagnostics(self) -> dict[str, float | int | str]:
        found: dict[str, float | int | str] = {
            "unconverged_steps": self.unconverged,
            "largest_residual": max(self.noted["residual"]),
            "smallest_effective_sample": min(self.noted["effective_sample"]),
            "largest_step_outside": self.outside,
            "smallest_effective_share": self.share,
        }
        return found | ({"stopped": self.stopped} if self.stopped else {})

    def traces(self) -> dict[str, list[float]]:
        return self.noted


def in_blocks(tables: Iterable[Table], points: int) -> list[Table]:
    """Return the tables in parts of so many points; nothing is copied."""
    return [table.at(slice(start, start + points)) for table in tables for start in range(0, table.points, points)]


def _at(function: LogDensity, x: torch.Tensor, run: Run) -> torch.Tensor:
    return torch.cat(run(lambda block: function(block).double(), x.split(BLOCK_POINTS)))


def _unit_mean(log_mass: torch.Tensor, where: str) -> tuple[torch.Tensor, float]:
    """Return the weights scaled to mean 1 and their effective sample size."""
    undefined = int((log_mass.isnan() | (log_mass == torch.inf)).sum())
    if undefined:
        raise Diverged(f"{where}: the log-density is NaN or infinite at {undefined} of {len(log_mass)} sample points")
    values = log_mass.numpy()
    total = float(logsumexp(values))
    if total == -math.inf:
        raise Diverged(
            f"{where}: the density is zero at all {len(values)} sample points: its mass has left the support"
        )
    weights = np.exp(values - total)
    return torch.from_numpy(len(values) * weights), 1 / float(np.sum(weights * weights))


def _require_potential(energy: torch.Tensor, where: str) -> None:
    bad = int((energy.isnan() | (energy == -torch.inf)).sum())
    if bad:
        raise Diverged(f"{where}: the potential is NaN or -inf at {bad} of {len(energy)} sample points")
