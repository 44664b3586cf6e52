"""The objective of one JKO step as a function of the step's map, and its derivatives.

With θ = 1 for the scheme of order one and θ = ½ for that of order two, the step from ρ_k is the T = ∇ψ that minimises

    E_{x~ρ_k} [ ‖T(x)-x‖² / 2h + θ⁻¹ ( V(x_θ) - β⁻¹ log det M_θ ) ],    x_θ = (1-θ)x + θT(x),  M_θ = (1-θ)I + θ∇T(x).

θ = 1 is the JKO step written in its optimal map (Mokrov et al., NeurIPS 2021; Benamou, Carlier, Mérigot, Oudet, Numer.
Math. 134, 2016); θ = ½ is its implicit midpoint rule. In both, the objective's derivatives in T and ∇T are

    T̄ = (T(x)-x)/h + ∇V(x_θ),    H̄ = -β⁻¹ M_θ⁻¹,

which is all that a network's ``pullback`` needs: V enters by its gradient alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from problems.potentials import Potential


@dataclass(frozen=True)
class StepScheme:
    """A step scheme says how a step is taken: h, θ, and whether training starts at the best affine map or the last."""

    step_size: float
    implicitness: float
    affine_start: bool

    def objective(self, potential: Potential, inverse_temperature: float) -> StepObjective:
        """Return the objective of a step in ``potential`` at β = ``inverse_temperature``."""
        return StepObjective(potential, inverse_temperature, self.step_size, self.implicitness)


@dataclass(frozen=True)
class StepObjective:
    """The objective of one JKO step; ``implicitness`` is θ."""

    potential: Potential
    inverse_temperature: float
    step_size: float
    implicitness: float

    def potential_gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Return ∇V at ``x`` (n, D), shape (n, D).

        Raises ``ValueError`` where the potential gives another shape.
        """
        slope = self.potential.gradient(x)
        if slope.shape != x.shape:
            raise ValueError(f"the potential's gradient at points {tuple(x.shape)} has shape {tuple(slope.shape)}")
        return slope

    def trouble(self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor) -> str:
        """Return in words why derivatives at ``x`` (n, D) are not finite, given T (n, D) and ∇T (n, D, D) there."""
        place, matrix = self.intermediate(x, mapped, hessian)
        bad = int((~torch.isfinite(self.potential.gradient(place))).any(dim=1).sum())
        if bad and bool(torch.isfinite(place).all()):
            return f"the gradient of the potential is not finite at {bad} of {len(x)} points"
        indefinite = int((torch.linalg.cholesky_ex(matrix).info != 0).sum())
        if indefinite:
            return f"∇T is not positive definite at {indefinite} of {len(x)} points"
        return "the gradient of the objective is not finite"

    def values(self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
        """Return what the objective averages, less its value θ⁻¹V(x) for T = identity, at each point, shape (n,).

        ``x`` and T(x) = ``mapped`` are (n, D), ∇T(x) = ``hessian`` is (n, D, D). NaN where ∇T is not positive definite.
        """
        place, matrix = self.intermediate(x, mapped, hessian)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        log_det = torch.where(failed == 0, 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1), torch.nan)
        energy = self.potential.value(place) - self.potential.value(x) - log_det / self.inverse_temperature
        values: torch.Tensor = (mapped - x).square().sum(1) / (2 * self.step_size) + energy / self.implicitness
        return values

    def intermediate(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x_θ and M_θ at ``x`` (…, D) for T(x) = ``mapped`` and ∇T(x) = ``hessian`` (…, D, D)."""
        if self.implicitness == 1:
            return mapped, hessian
        matrix = self.implicitness * hessian
        matrix.diagonal(dim1=-2, dim2=-1).add_(1 - self.implicitness)
        return torch.lerp(x, mapped, self.implicitness), matrix


def derivatives_of(
    objectives: Sequence[StepObjective], x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T̄ (S, n, D) and H̄ (S, n, D, D) of S objectives of one scheme, each at its own ``x`` (S, n, D).

    ``mapped`` is T(x) and ``hessian`` ∇T(x). T̄ is NaN where ∇T is not positive definite, and not finite where ∇V is
    not. Potentials are asked one by one, all else is done at once.
    """
    scheme = objectives[0]
    place, matrix = scheme.intermediate(x, mapped, hessian)
    slope = torch.stack([own.potential_gradient(at) for own, at in zip(objectives, place, strict=True)])
    factor, failed = torch.linalg.cholesky_ex(matrix.flatten(0, 1))
    there = (failed == 0).view(*x.shape[:2], 1)
    mapped_bar = torch.where(there, (mapped - x) / scheme.step_size + slope, torch.nan)
    # Faster than ``cholesky_inverse``, which goes through the matrices one by one.
    identity = torch.eye(x.shape[2], dtype=x.dtype, device=x.device).expand_as(factor)
    root = torch.linalg.solve_triangular(factor, identity, upper=False)
    hessian_bar = (root.mT @ root).view_as(hessian)
    betas = [own.inverse_temperature for own in objectives]
    for part, beta in zip([hessian_bar] if len(set(betas)) == 1 else hessian_bar, betas, strict=False):
        part.div_(-beta)
    return mapped_bar, hessian_bar
