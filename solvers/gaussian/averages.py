"""Averages of a potential and its derivatives over Gaussians: known in closed form, or taken over nodes.

By nodes ξ_k of weights w_k for N(m, Σ) the averages over the law of m' + S (X - m), S symmetric, are those of
V(m' + S (ξ_k - m)). Only ∇V is needed: Stein's identity E ∇²V = Cov(∇V, X) Σ⁻¹ gives the curvature.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from problems.gaussian_expectations import Expectations, KnownUnderGaussians
from problems.linear_algebra import symmetric_factor
from problems.potentials import Potential, Quadratic
from solvers.gaussian.quadrature import NODES, hermite, sobol_nodes

Along = Callable[[torch.Tensor, torch.Tensor], Expectations]

# Points at which ∇V is evaluated at a time.
GRADIENT_BLOCK = 512


@dataclass
class Averages:
    """Expectations of V over Gaussians: the potential's own where it knows them, by ``nodes`` points otherwise.

    Up to three dimensions the points are a product Gauss-Hermite rule, beyond that ``sobol_nodes``; they need ∇V alone.
    """

    potential: Potential
    nodes: int
    evaluations: int = field(default=0, init=False)

    def at(self, mean: torch.Tensor, covariance: torch.Tensor) -> Expectations:
        """Return the expectations over N(``mean``, ``covariance``), of shapes (D,) and (D, D)."""
        return self.from_law(mean, covariance)(mean, torch.eye(len(mean), dtype=mean.dtype))

    def from_law(self, mean: torch.Tensor, covariance: torch.Tensor) -> Along:
        """Return what maps (m', S) to the expectations over the law of m' + S (X - m), X ~ N(m, Σ), S symmetric."""
        potential = self.potential
        if isinstance(potential, Quadratic | KnownUnderGaussians):

            def known(moved: torch.Tensor, transport: torch.Tensor) -> Expectations:
                self.evaluations += 1
                reached = transport @ covariance @ transport
                if isinstance(potential, KnownUnderGaussians):
                    return potential.expectations(moved, reached)
                slope = potential.gradient(moved[None])[0]
                spread = 0.5 * torch.sum(potential.precision * reached)
                return Expectations(float(potential.value(moved[None])[0] + spread), slope, potential.precision)

            return known
        values, basis = torch.linalg.eigh(covariance)
        nodes, weights = self._rule(len(mean))
        centred = nodes @ ((basis * values.clamp(min=0).sqrt()) @ basis.T)

        def by_nodes(moved: torch.Tensor, transport: torch.Tensor) -> Expectations:
            self.evaluations += len(nodes)
            points = moved + centred @ transport
            slopes = torch.cat([potential.gradient(block) for block in points.split(GRADIENT_BLOCK)])
            heights = torch.cat([potential.value(block) for block in points.split(GRADIENT_BLOCK)])
            # The symmetric A for which the derivative by S of the sum over nodes is that of an expectation,
            # sym(A S Σ): Stein's identity, except that the sum and its derivatives agree to rounding.
            by_transport = (weights[:, None] * slopes).T @ centred
            curvature = symmetric_factor(by_transport, transport @ covariance)
            return Expectations(float(weights @ heights), weights @ slopes, curvature)

        return by_nodes

    def _rule(self, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
        if dim in NODES:
            nodes, log_weights = hermite(dim)
            return nodes, log_weights.exp()
        return sobol_nodes(self.nodes, dim), torch.full((self.nodes,), 1 / self.nodes, dtype=torch.float64)


def needs_nodes(potential: Potential) -> bool:
    """Return whether averages of the potential over Gaussians are taken over ``sobol_nodes``."""
    return not isinstance(potential, Quadratic | KnownUnderGaussians) and potential.dim not in NODES
