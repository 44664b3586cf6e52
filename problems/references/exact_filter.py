"""Exact filters: the law of a hidden diffusion given its observations, on a grid or in closed form.

Between observations the law follows the Fokker-Planck equation; an observation y multiplies it by the likelihood,

    p(x | y_1…y_k) = p(y_k | x) p(x | y_1…y_{k-1}) / p(y_k | y_1…y_{k-1}),

and the product of the denominators is the evidence (Särkkä & Solin, Applied Stochastic Differential Equations, 2019,
chapter 10). In one dimension a grid does both, refined until it no longer changes. With a quadratic potential, a
Gaussian initial law, linear observations and Gaussian noise all laws are Gaussian: Kalman's filter (1960), with the
flow's exact moments in between (Kalman & Bucy 1961, J. Basic Eng. 83).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import torch

from problems.flow import GradientFlow
from problems.laws import Density, Gaussian, Law
from problems.linear_algebra import log_sum_exp, symmetrised
from problems.observations import GaussianNoise, Likelihood, LinearObservation, Observations
from problems.potentials import Quadratic
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import GridLaw, discretised, symmetric_divergence
from problems.references.marginals_1d import effective_domain
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal

L = TypeVar("L", bound=Law)

# What grids are exact to, in mass; an observation that raises some mass by more makes an error of its inverse share.
GRID_ROUNDING = 1e-14
LARGEST_AMPLIFIED_ROUNDING = 1e-6


class ImpossibleObservation(ArithmeticError):
    """An observation has no probability where the law is known: the posterior would be rounding."""


class Bayes(NamedTuple):
    """A law given an observation, log p(y), and the share of draws that stays effective, (E L)² / E L²."""

    law: Law
    log_evidence: float
    effective_share: float


class FilterTruth(NamedTuple):
    """The posterior at each time, given the observations by then, and the log-evidence of those."""

    law: Callable[[float], Law]
    log_evidence: Callable[[float], float]


def condition_grid(law: GridLaw, likelihood: Callable[[torch.Tensor], torch.Tensor]) -> Bayes:
    """Return a grid law given an observation: the product of densities, integrated over each cell.

    ``likelihood`` maps points (n, 1) to log p(y | x), shape (n,).

    Raises ``ImpossibleObservation`` where the evidence rests on masses that rounding decides.
    """
    nodes, weights = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(3))
    points = (law.centres()[:, None] + 0.5 * law.width * nodes).reshape(-1, 1)
    log_likelihood = likelihood(points).reshape(law.cells, -1)
    if bool(torch.isnan(log_likelihood).any()):
        raise ImpossibleObservation("the likelihood is NaN on the grid")
    log_terms = law.log_prob(points).reshape(law.cells, -1) + log_likelihood + torch.log(0.5 * law.width * weights)
    log_evidence = log_sum_exp(log_terms)
    amplified = GRID_ROUNDING * math.exp(min(700.0, float(log_likelihood.max()) - log_evidence))
    if not amplified < LARGEST_AMPLIFIED_ROUNDING:
        raise ImpossibleObservation(
            f"the observation lies where the grid has no mass (its log-evidence there is {log_evidence:.4g})"
        )
    masses = torch.exp(log_terms - log_evidence).sum(1)
    log_square = log_sum_exp(log_terms + log_likelihood)
    return Bayes(
        GridLaw(law.lower, law.upper, masses / masses.sum()), log_evidence, math.exp(2 * log_evidence - log_square)
    )


def condition_gaussian(law: Gaussian, likelihood: Likelihood) -> Bayes:
    """Return a Gaussian law given a linear observation with Gaussian noise, the covariance in Joseph's form.

    With S = H P Hᵀ + R and K = P Hᵀ S⁻¹: m⁺ = m + K (y - H m), P⁺ = (I - K H) P (I - K H)ᵀ + K R Kᵀ.
    """
    assert isinstance(likelihood.function, LinearObservation)
    assert isinstance(likelihood.noise, GaussianNoise)
    matrix, size = likelihood.function.matrix, len(likelihood.value)
    noise = likelihood.noise.std**2 * torch.eye(size, dtype=torch.float64)
    predicted, spread = matrix @ law.mean, symmetrised(matrix @ law.covariance @ matrix.T)
    log_evidence = float(Gaussian(predicted, spread + noise).log_prob(likelihood.value[None]))
    # L² is a Gaussian of half the noise, times what is left of its height.
    log_square = float(Gaussian(predicted, spread + 0.5 * noise).log_prob(likelihood.value[None]))
    log_square -= 0.5 * size * math.log(4 * math.pi * likelihood.noise.std**2)
    gain = torch.linalg.solve(spread + noise, matrix @ law.covariance).T
    kept = torch.eye(law.dim, dtype=torch.float64) - gain @ matrix
    covariance = symmetrised(kept @ law.covariance @ kept.T + gain @ noise @ gain.T)
    posterior = Gaussian(law.mean + gain @ (likelihood.value - predicted), covariance)
    return Bayes(posterior, log_evidence, math.exp(2 * log_evidence - log_square))


def recursion(
    initial: L,
    propagate: Callable[[L, float], L],
    condition: Callable[[L, Likelihood], Bayes],
    observations: Observations,
) -> Callable[[float], tuple[L, float]]:
    """Return the function of t that gives the posterior at t and the log-evidence of the observations by then.

    ``propagate(law, time)`` moves a law between observations, ``condition`` is Bayes' rule; missing ones are skipped.
    """

    known: list[tuple[L, float, float]] = [(initial, 0.0, 0.0)]

    def after(count: int) -> tuple[L, float, float]:
        """Return the law after ``count`` observations, the log-evidence, and the time; those before are kept.

        In a loop: observations may be more than functions can be nested.
        """
        while len(known) <= count:
            index = len(known) - 1
            time = observations.times[index]
            law, log_evidence = moved(index, time)
            if not observations.is_missing(index):
                posterior = condition(law, observations.likelihood(index))
                law, log_evidence = posterior.law, log_evidence + posterior.log_evidence  # type: ignore[assignment]
            known.append((law, log_evidence, time))
        return known[count]

    def moved(count: int, time: float) -> tuple[L, float]:
        law, log_evidence, start = after(count)
        return (propagate(law, time - start) if time > start else law), log_evidence

    return lambda time: moved(observations.count_by(time), time)


def kalman_filter(flow: GradientFlow, observations: Observations) -> FilterTruth:
    """Return the exact filter of a linear-Gaussian problem, in any dimension (Kalman & Bucy 1961)."""
    potential, initial = flow.potential, flow.initial
    assert isinstance(potential, Quadratic)
    assert isinstance(initial, Gaussian)

    def propagate(law: Gaussian, time: float) -> Gaussian:
        moved = ornstein_uhlenbeck_marginal(law, potential, flow.inverse_temperature, time)
        assert isinstance(moved, Gaussian)
        return moved

    at = recursion(initial, propagate, condition_gaussian, observations)
    return FilterTruth(lambda time: at(time)[0], lambda time: at(time)[1])


def grid_recursion(
    flow: GradientFlow, observations: Observations, domain: tuple[float, float], cells: int
) -> Callable[[float], tuple[GridLaw, float]]:
    """Return the filter on ``cells`` cells of ``domain``, exact in time between observations, as a function of t.

    That raises ``ImpossibleObservation`` where the evidence rests on masses that rounding decides.
    """
    assert isinstance(flow.initial, Density)
    operator = FokkerPlanck.discretise(flow, *domain, cells)
    propagated = operator.propagator()
    return recursion(
        discretised(flow.initial, *domain, cells),
        lambda law, time: operator.law(propagated(law.masses.numpy(), time)),
        condition_grid,
        observations,
    )


def grid_filter(
    flow: GradientFlow, observations: Observations, tolerance: float = 1e-10, most_cells: int = 2**15
) -> FilterTruth:
    """Return the filter of a one-dimensional flow on grids refined until the posterior has converged.

    Each refinement doubles the cells. When two in a row differ by less than ``tolerance`` in SymKL, their errors of
    second order are cancelled by extrapolation (Richardson 1911), in the masses and in the log-evidence.

    The functions raise ``ArithmeticError`` if ``most_cells`` are not enough, and ``ImpossibleObservation`` as
    :func:`condition_grid` does. Raises ``ValueError`` for a potential that does not confine.
    """
    domain = effective_domain(flow)

    @functools.cache
    def level(cells: int) -> Callable[[float], tuple[GridLaw, float]]:
        return grid_recursion(flow, observations, domain, cells)

    @functools.cache
    def converged(time: float) -> tuple[GridLaw, float]:
        cells, change = 512, math.inf
        coarse, coarse_evidence = level(cells)(time)
        while 2 * cells <= most_cells:
            cells *= 2
            fine, evidence = level(cells)(time)
            merged = fine.coarsened().masses
            change = symmetric_divergence(merged, coarse.masses)
            if change < tolerance and abs(evidence - coarse_evidence) < math.sqrt(tolerance):
                # Where the masses are rounding, their difference is too: no mass is negative.
                masses = (merged + (merged - coarse.masses) / 3).clamp_min(0)
                law = GridLaw(*domain, masses / masses.sum())
                return law, evidence + (evidence - coarse_evidence) / 3
            coarse, coarse_evidence = fine, evidence
        raise ArithmeticError(
            f"grid filter at time {time:g}: the last refinement, to {cells} cells, changed SymKL by {change:.3g}, "
            f"more than {tolerance:g}"
        )

    return FilterTruth(lambda time: converged(time)[0], lambda time: converged(time)[1])
