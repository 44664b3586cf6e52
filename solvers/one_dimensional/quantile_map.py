"""One-dimensional laws as increasing maps of the standard normal law: X = T(Z), T = F⁻¹∘Φ.

The map is known at uniform nodes z_i and a cubic spline in between; the density is φ(z) / T'(z). Normal scores z rather
than ranks u = Φ(z) are the coordinate, because they spread nodes over the tails too: at |z| = 8 a mass of 6e-16 is
left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.special import logsumexp, ndtr, ndtri, ndtri_exp

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.laws import Density, Gaussian
from problems.references.exact_filter import ImpossibleObservation
from problems.references.marginals_1d import effective_domain
from solvers.estimates import Conditioned, DensityEstimate, LogLikelihood

REACH = 8.0
# A law whose mass the old nodes show up to this many standard deviations only is no longer represented.
LEAST_REACH = 5.0
LOG_PEAK = -0.5 * math.log(2 * math.pi)
GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(5)


def scores(nodes: int) -> Reals:
    """Return the uniform nodes z_i of [-8, 8], shape (nodes,)."""
    return np.linspace(-REACH, REACH, nodes)


def node_masses(nodes: int) -> tuple[Reals, Reals]:
    """Return the normal masses around the nodes, tails included (nodes,), and between them (nodes - 1,)."""
    z = scores(nodes)
    middles = 0.5 * (z[1:] + z[:-1])
    return interval_masses(np.concatenate([[-np.inf], middles, [np.inf]])), interval_masses(z)


def interval_masses(edges: Reals) -> Reals:
    """Return Φ(b) - Φ(a) of consecutive ``edges`` (k,), shape (k - 1,), to relative precision in both tails."""
    left, right = edges[:-1], edges[1:]
    upper = left > 0
    return np.asarray(np.where(upper, ndtr(-left) - ndtr(-right), ndtr(right) - ndtr(left)))


def from_masses(places: Reals, log_masses: Reals, nodes: int) -> Reals:
    """Return T at the nodes of the law with these masses, (k - 1,), between increasing ``places`` (k,).

    Mass is added up from both ends, so that both tails keep their relative precision.

    Raises ``ImpossibleObservation`` where the places end within five standard deviations of it.
    """
    log_masses = log_masses - logsumexp(log_masses)
    below = np.logaddexp.accumulate(log_masses)[:-1]
    above = np.logaddexp.accumulate(log_masses[::-1])[:-1][::-1]
    with np.errstate(divide="ignore"):
        z = np.where(below < above, ndtri_exp(np.minimum(below, 0)), -ndtri_exp(np.minimum(above, 0)))
    inner = np.isfinite(z) & (np.abs(z) < REACH + 1)
    # Cells without mass add no rank: of places with the same rank one is kept.
    inner[1:] &= np.diff(z) > 1e-12
    z, x = z[inner], places[1:-1][inner]
    if len(z) < 4 or z[0] > -LEAST_REACH or z[-1] < LEAST_REACH:
        raise ImpossibleObservation("the law has moved to where there are no quantiles of what it was before")
    goal = scores(nodes)
    known = (goal >= z[0]) & (goal <= z[-1])
    values = np.empty(nodes)
    values[known] = _increasing_spline(z, x)(goal[known])
    low, high = goal < z[0], goal > z[-1]
    values[low] = x[0] + (goal[low] - z[0]) * (x[1] - x[0]) / (z[1] - z[0])
    values[high] = x[-1] + (goal[high] - z[-1]) * (x[-1] - x[-2]) / (z[-1] - z[-2])
    return values


def initial_values(flow: GradientFlow, nodes: int) -> Reals:
    """Return T (nodes,) at the nodes of the initial law of a one-dimensional flow."""
    law = flow.initial
    assert isinstance(law, Density)
    if isinstance(law, Gaussian):
        return float(law.mean) + math.sqrt(float(law.covariance)) * scores(nodes)
    places = np.linspace(*effective_domain(flow), 16 * nodes)
    half = 0.5 * (places[1] - places[0])
    points = places[:-1, None] + half * (1 + GAUSS_NODES)
    log_density = law.log_prob(torch.from_numpy(points.reshape(-1, 1))).double().numpy().reshape(points.shape)
    return from_masses(places, logsumexp(log_density, axis=1, b=half * GAUSS_WEIGHTS), nodes)


def _increasing_spline(z: Reals, x: Reals) -> CubicSpline | PchipInterpolator:
    """Return the interpolating cubic spline, or where that is not increasing, the monotone one of one order less."""
    spline = CubicSpline(z, x)
    slope = np.concatenate([spline(z, 1), spline(0.5 * (z[1:] + z[:-1]), 1)])
    return spline if slope.min() > 0 else PchipInterpolator(z, x)


@dataclass(frozen=True, eq=False)
class QuantileMap(DensityEstimate):
    """The law of T(Z), Z ~ N(0, 1), with T increasing, given by its ``values`` (n,) at uniform nodes of [-8, 8].

    Beyond the nodes T goes on as a straight line.
    """

    values: Reals

    @property
    def dim(self) -> int:
        return 1

    @cached_property
    def spline(self) -> CubicSpline | PchipInterpolator:
        """The spline that T is between the nodes."""
        return _increasing_spline(scores(len(self.values)), self.values)

    @cached_property
    def _end_slopes(self) -> tuple[float, float]:
        return float(self.spline(-REACH, 1)), float(self.spline(REACH, 1))

    def evaluate(self, z: Reals) -> tuple[Reals, Reals]:
        """Return T and T' at normal scores ``z`` (n,), both (n,)."""
        inside = np.clip(z, -REACH, REACH)
        low, high = self._end_slopes
        slope = np.where(z < -REACH, low, np.where(z > REACH, high, self.spline(inside, 1)))
        return np.asarray(self.spline(inside) + slope * (z - inside)), np.asarray(slope)

    def score(self, x: Reals) -> Reals:
        """Return z (n,) with T(z) = x at points ``x`` (n,), by Newton's method in the bracket of two nodes."""
        nodes = scores(len(self.values))
        cell = np.clip(np.searchsorted(self.values, x) - 1, 0, len(nodes) - 2)
        low, high = nodes[cell], nodes[cell + 1]
        share = (x - self.values[cell]) / (self.values[cell + 1] - self.values[cell])
        z = low + share * (high - low)
        outside = (x < self.values[0]) | (x > self.values[-1])
        bottom, top = self._end_slopes
        beyond = np.where(
            x < self.values[0], -REACH + (x - self.values[0]) / bottom, REACH + (x - self.values[-1]) / top
        )
        for _ in range(50):
            value, slope = self.spline(z), self.spline(z, 1)
            low, high = np.where(value < x, z, low), np.where(value < x, high, z)
            newton = z - (value - x) / slope
            moved = np.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
            done = np.abs(moved - z).max(initial=0, where=~outside) < 1e-14
            z = moved
            if done:
                break
        return np.where(outside, beyond, z)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        z = self.score(x[:, 0].double().numpy())
        _, slope = self.evaluate(z)
        return torch.from_numpy(LOG_PEAK - 0.5 * z * z - np.log(slope))

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        z = torch.randn(n, generator=generator, dtype=torch.float64).numpy()
        return torch.from_numpy(self.evaluate(z)[0])[:, None]

    def defect(self) -> str | None:
        if not np.isfinite(self.values).all():
            return f"{int((~np.isfinite(self.values)).sum())} of {len(self.values)} quantiles are not finite"
        return None if (np.diff(self.values) > 0).all() else "the quantiles do not increase"

    def expectation(self, function: Callable[[Reals], Reals]) -> float:
        """Return E f(X) of a function of points (n,), by the trapezoidal rule in z, which is of spectral accuracy."""
        z = scores(len(self.values))
        return float((z[1] - z[0]) * np.exp(LOG_PEAK - 0.5 * z * z) @ function(self.values))

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        mean = torch.tensor([self.expectation(lambda x: x)], dtype=torch.float64)
        return mean, torch.tensor([[self.expectation(lambda x: (x - float(mean)) ** 2)]], dtype=torch.float64)

    def quantiles(self, levels: Sequence[float], generator: torch.Generator) -> list[float]:
        return [float(value) for value in self.evaluate(ndtri(np.asarray(levels)))[0]]

    def cumulative(self, place: float, generator: torch.Generator) -> float:
        return float(ndtr(self.score(np.array([place]))[0]))

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the law of density p L / ∫ p L, integrated between the nodes and ranked again.

        Raises ``ImpossibleObservation`` where the likelihood is NaN or zero at all quantiles, or the law has moved to
        where the quantiles of before don't reach.
        """
        nodes = scores(len(self.values))
        half = 0.5 * (nodes[1] - nodes[0])
        z = nodes[:-1, None] + half * (1 + GAUSS_NODES)
        x, _ = self.evaluate(z)
        log_l = log_likelihood(torch.from_numpy(x.reshape(-1, 1))).double().numpy().reshape(z.shape)
        if np.isnan(log_l).any():
            raise ImpossibleObservation(f"the likelihood is NaN at {int(np.isnan(log_l).sum())} of {log_l.size} points")
        log_terms = LOG_PEAK - 0.5 * z * z + log_l
        log_masses = logsumexp(log_terms, axis=1, b=half * GAUSS_WEIGHTS)
        log_evidence = float(logsumexp(log_masses))
        if log_evidence == -math.inf:
            raise ImpossibleObservation("the likelihood is zero at all quantiles")
        log_square = float(logsumexp(log_terms + log_l, b=half * GAUSS_WEIGHTS))
        posterior = QuantileMap(from_masses(self.values, log_masses, len(nodes)))
        return Conditioned(posterior, log_evidence, min(1.0, math.exp(2 * log_evidence - log_square)))
