"""Averages of V, and of ½W∗ρ, over particles that affine maps move, as ``solvers.gaussian`` asks for them of a law.

With X uniform on the particles, of mean m and covariance Σ, and S symmetric, a step among affine maps needs of V

    E V(m' + S(X-m)),    E ∇V,    and the symmetric A for which    sym(A S Σ) = sym(E[∇V (X-m)ᵀ]):

by Stein's identity A is E ∇²V where the law is Gaussian, and for a quadratic V in any law. V enters by values and
gradients alone. Sums are taken in blocks of a fixed size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from problems.gaussian_expectations import Expectations
from problems.linear_algebra import symmetric_factor, symmetrised
from solvers.icnn.pairs import SOME, field, mean_energy, sums_over_pairs
from solvers.icnn.step_objective import StepObjective, checked
from solvers.solver import Diverged
from solvers.threads import Run

BLOCK = 2048


@dataclass
class ParticleAverages:
    """The averages of an objective's V and W over ``points`` (n, D), float64, on their device; results are on the CPU.

    ``evaluations`` counts the gradients of V asked for. With an ``outside`` R (D, D), symmetric, points and results are
    in coordinates y, of which V and W are functions through x = Ry.
    """

    points: torch.Tensor
    objective: StepObjective
    run: Run
    outside: torch.Tensor | None = None
    evaluations: int = 0

    def from_law(
        self, mean: torch.Tensor, covariance: torch.Tensor
    ) -> Callable[[torch.Tensor, torch.Tensor], Expectations]:
        """Return what maps (m', S), on the CPU, to the averages over m' + S(X - m); ``mean`` is m, ``covariance`` Σ."""
        centred = self.points - mean.to(self.points)
        # Only changes of V count, and a constant in it would take their digits.
        origin = self.objective.potential.value(self._outside(mean.to(self.points)[None]))[0]
        interaction = self.objective.interaction
        few = centred[:SOME] if interaction is not None and sums_over_pairs(interaction) else centred

        def averages(moved: torch.Tensor, transport: torch.Tensor) -> Expectations:
            shift, matrix = moved.to(centred), transport.to(centred)

            def of_block(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
                places = self._outside(shift + block @ matrix)
                values, slopes = self.objective.potential.value_and_gradient(places)
                slopes = self._outside(checked(slopes, places))
                return (values - origin).sum(), slopes.sum(0), slopes.T @ block

            self.evaluations += len(centred)
            parts = zip(*self.run(of_block, centred.split(BLOCK)), strict=True)
            value, gradient, by_transport = (torch.stack(part).sum(0).cpu() / len(centred) for part in parts)
            if interaction is not None:
                places = self._outside(shift + few @ matrix)
                force = self._outside(field(interaction, places))
                value = value + mean_energy(interaction, places).cpu()
                gradient = gradient + force.mean(0).cpu()
                by_transport = by_transport + (force.T @ few / len(few)).cpu()
            return Expectations(float(value), gradient, symmetric_factor(by_transport, transport @ covariance))

        return averages

    def _outside(self, y: torch.Tensor) -> torch.Tensor:
        """Return Ry, which is Rg of gradients g as well."""
        return y if self.outside is None else y @ self.outside

    def curvature(self) -> torch.Tensor:
        """Return the symmetric A (D, D) of the module at S = I: the mean slope of the force on the particles.

        Raises ``Diverged`` where the force is not finite.
        """
        mean = self.points.mean(0)
        centred = self.points - mean
        covariance = symmetrised(centred.T @ centred / len(centred)).cpu()
        identity = torch.eye(len(mean), dtype=covariance.dtype)
        found = self.from_law(mean.cpu(), covariance)(mean.cpu(), identity).hessian
        if not bool(torch.isfinite(found).all()):
            raise Diverged("the forces on the particles are not finite")
        return found
