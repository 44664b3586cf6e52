"""Gaussian approximations that stay Gaussian: the JKO step among Gaussians, and conditioning by moments.

For any V the JKO functional restricted to Gaussians N(m, Σ) is minimised from N(m_k, Σ_k) where

    m = m_k - h g,  g = E ∇V,   and Σ is the step of the quadratic case with A = E ∇²V,

both expectations over N(m, Σ) itself: a fixed point. It is the backward Euler step of the Gaussian flow of Lambert,
Chewi, Bach, Bonnabel & Rigollet (NeurIPS 2022). An observation is taken in by the moments of the exact product:
assumed-density filtering (Maybeck, Stochastic Models, Estimation and Control 2, 1982, chapter 12).
Expectations are by product Gauss-Hermite rules, so few dimensions only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.laws import Gaussian
from problems.linear_algebra import log_sum_exp, symmetrised
from problems.observations import Likelihood
from problems.potentials import Potential
from problems.references.exact_filter import ImpossibleObservation, condition_gaussian
from solvers.estimates import Conditioned, Exact, LogLikelihood
from solvers.gaussian.quadrature import hermite
from solvers.solver import Diverged
from solvers.threads import one_thread

MOST_ITERATIONS = 500
CONVERGED = 1e-12
# More than this on one node: the product is narrower than the nodes are apart.
LARGEST_NODE = 0.9


@dataclass(frozen=True, eq=False)
class AssumedGaussian(Exact):
    """A Gaussian approximation that stays Gaussian when it is conditioned."""

    law: Gaussian

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        """Return the Gaussian with the moments of the exact product.

        Raises ``ImpossibleObservation`` where the product is too narrow for the quadrature to see.
        """
        if isinstance(log_likelihood, Likelihood) and log_likelihood.linear_gaussian:
            law, log_evidence, share = condition_gaussian(self.law, log_likelihood)
            assert isinstance(law, Gaussian)
            return Conditioned(AssumedGaussian(law), log_evidence, share)
        with one_thread():
            return self._by_moments(log_likelihood)

    def _by_moments(self, log_likelihood: LogLikelihood) -> Conditioned:
        nodes, log_weights = hermite(self.dim)
        points = self.law.mean + nodes @ self.law.cholesky.T
        log_l = log_likelihood(points)
        joint = log_weights + log_l
        log_evidence = log_sum_exp(joint)
        if not math.isfinite(log_evidence):
            raise ImpossibleObservation(f"the log-evidence is {log_evidence:g}")
        weights = torch.exp(joint - log_evidence)
        if float(weights.max()) > LARGEST_NODE:
            raise ImpossibleObservation(
                "the observation lies where the Gaussian has no mass that a quadrature could see"
            )
        mean = weights @ points
        centred = points - mean
        covariance = (weights[:, None] * centred).T @ centred
        share = math.exp(2 * log_evidence - log_sum_exp(joint + log_l))
        law = Gaussian(mean, symmetrised(covariance))
        return Conditioned(AssumedGaussian(law), log_evidence, min(1.0, share))


def restricted_step(
    law: Gaussian, potential: Potential, inverse_temperature: float, step_size: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean (D,) and covariance (D, D) of the JKO step among Gaussians.

    Raises ``Diverged`` when the fixed point is not found.
    """
    from solvers.gaussian.exact_step import jko_covariance

    nodes, log_weights = hermite(law.dim)
    weights = log_weights.exp()
    mean, covariance = law.mean, law.covariance
    for _ in range(MOST_ITERATIONS):
        points = mean + nodes @ torch.linalg.cholesky(covariance).T
        slope = weights @ potential.gradient(points)
        curvature = torch.einsum("k,kij->ij", weights, potential.hessian(points))
        rates, basis = torch.linalg.eigh(symmetrised(curvature))
        if not float(1 + step_size * rates[0]) > 0:
            raise Diverged(
                f"the step has no minimum among Gaussians (mean curvature {float(rates[0]):.3g}); "
                f"a step_size below {step_size:g} may help"
            )
        residual = mean - law.mean + step_size * slope
        moved = mean - basis @ ((basis.T @ residual) / (1 + step_size * rates))
        stepped = jko_covariance(basis.T @ law.covariance @ basis, rates, step_size, 1 / inverse_temperature)
        stepped = basis @ stepped @ basis.T
        change = max(float((moved - mean).abs().max()), float((stepped - covariance).abs().max()))
        mean, covariance = moved, symmetrised(stepped)
        if not math.isfinite(change):
            break
        if change <= CONVERGED * max(1.0, float(mean.abs().max()), float(covariance.abs().max())):
            return mean, covariance
    raise Diverged(
        f"the step among Gaussians did not converge in {MOST_ITERATIONS} iterations (last change {change:.3g}); "
        f"a step_size below {step_size:g} may help"
    )
