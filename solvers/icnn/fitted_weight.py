"""The weight Θ of an exponentially fitted step of particles, a matrix in the place of the share θ of a step.

With A the curvature of V as the particles meet it and Θ = θ(hA) (``solvers.exponential_fitting``), the step minimises

    E[ (T(x)-x)ᵀΘ(T(x)-x) / 2h + V(x_Θ) + U(ρ_Θ)/ρ_Θ + ½ E_y W(x_Θ - y_Θ) ],
    x_Θ = x + Θ(T(x)-x),    M_Θ = I + Θ(∇T(x) - I),    log ρ_Θ = log ρ_k(x) - log det M_Θ.

That is a JKO step from x to x_Θ in the metric (hΘ)⁻¹ and an extrapolation to T, of order 2 for every symmetric A, exact
for the mean in a quadratic V, and it damps stiff modes (``docs/fitted-jko.md``). Since Θ⁻¹M_Θ = Θ⁻¹ - I + ∇T is
symmetric, T is sought among the gradients of convex functions as that of any step is, and no step folds the law over.
A is the symmetric matrix for which sym(A Σ) = sym(E[(∇V + ∇W∗ρ)(x-m)ᵀ]), the slope of the force in the particles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.linear_algebra import symmetrised
from solvers.exponential_fitting import fitted_weight


@dataclass(frozen=True, eq=False)
class FittedWeight:
    """A fitted weight is Θ = ``matrix``, its square ``root``, Θ⁻¹ - I = ``excess``, (D, D), and log det Θ; float64."""

    matrix: torch.Tensor
    root: torch.Tensor
    inverse_root: torch.Tensor
    excess: torch.Tensor
    log_det: torch.Tensor

    @classmethod
    def of(cls, curvature: torch.Tensor, step_size: float, device: torch.device) -> FittedWeight:
        """Return θ(hA), A = ``curvature`` (D, D) symmetric and h = ``step_size``, on a device."""
        rates, axes = torch.linalg.eigh(curvature)
        shares = torch.from_numpy(fitted_weight(step_size * rates.numpy()))
        powers = (shares, shares.sqrt(), shares.rsqrt(), 1 / shares - 1)
        matrix, root, inverse_root, excess = (symmetrised((axes * each) @ axes.T).to(device) for each in powers)
        return cls(matrix, root, inverse_root, excess, shares.log().sum().to(device))

    def applied(self, x: torch.Tensor) -> torch.Tensor:
        """Return Θx of vectors ``x`` (…, D), in their dtype."""
        return x @ self.matrix.to(x)
