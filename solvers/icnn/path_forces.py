"""The forces of a JKO step by the scores that particles carry: its gradient without noise where the step is done.

The derivative of E[-log det M_θ] in T along a field v is a mean of divergences under the law ρ_θ of the points x_θ, and
by parts a mean against its score,

    -E tr(M_θ⁻¹ θ∇v) = θ E_{ρ_θ}[ s_θ·v ],    s_θ(x_θ(x)) = M_θ⁻¹ [ s_k(x) - ∇ log det M_θ(x) ],    s = ∇ log ρ,

so that the objective of ``solvers.icnn.step_objective`` under an entropy has the derivatives

    T̄ = (T(x)-x)/h + ∇V(x_θ) + β⁻¹ s_θ(x_θ),    H̄ = 0.

In the mean over all points that is the same as with H̄ = -β⁻¹ M_θ⁻¹, but not at each: T̄ is the force on a particle and
vanishes at *every* one of them where the step is optimal. No noise of batches is left there, nor any of the particles
that a step is trained on, which maps would otherwise learn, one on top of the other; and it falls with the forces as
the flow comes to rest. For the Kullback-Leibler divergence of a variational law this is the path gradient of Roeder,
Wu, Duvenaud (*Sticking the landing*, NeurIPS 2017). It needs a law that is positive and smooth everywhere, no part of
which by parts is lost at an edge. Particles carry their score from step to step as they are moved.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from problems.energies import Entropy
from solvers.icnn.step_objective import StepObjective, along_of
from solvers.networks.path_derivatives import SlopeOfHessian, inverse_of


def forces_of(
    objectives: Sequence[StepObjective],
    x: torch.Tensor,
    mapped: torch.Tensor,
    hessian: torch.Tensor,
    scores: torch.Tensor,
    slope: SlopeOfHessian,
) -> torch.Tensor:
    """Return T̄ (S, n, D) of S objectives under entropies, of one θ, or Θ each, at their own ``x`` (S, n, D).

    ``mapped`` is T(x), ``hessian`` ∇T(x) and ``scores`` (S, n, D) the score of ρ_k. NaN where ∇T is not positive
    definite.
    """
    along, matrix = along_of(objectives, x, mapped, hessian)
    inverse, _, there = inverse_of(matrix)
    # ∇ log det M_θ; of a fitted step ``matrix`` is Θ⁻¹M_Θ, whose determinant has the same slope.
    spread = slope(inverse).mul_(1.0 if objectives[0].weight is not None else objectives[0].implicitness)
    # Θ s_Θ = (Θ⁻¹M_Θ)⁻¹ [ s_k - ∇ log det ], as T̄ of a fitted step has Θ before all forces.
    found = torch.matmul(inverse, (scores - spread)[..., None])[..., 0]
    for part, own in zip(found, objectives, strict=True):
        assert isinstance(own.internal, Entropy)
        part.div_(own.internal.inverse_temperature)
    return torch.where(there, found.add_(along), torch.nan)


def forces_under_affine_map(
    objective: StepObjective, x: torch.Tensor, scores: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor
) -> torch.Tensor:
    """Return T̄ (n, D) at ``x`` (n, D) with ``scores`` (n, D) of ρ_k for T = Sx + b, S = ``matrix``, b = ``shift``."""
    points, own = x.double()[None], scores.double()[None]
    mapped = shift.to(points) + points @ matrix.to(points)
    hessian = matrix.to(points).expand(1, len(x), -1, -1)
    return forces_of([objective], points, mapped, hessian, own, lambda _: torch.zeros_like(points))[0]
