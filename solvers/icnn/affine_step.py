"""The best affine map of a JKO step, found on the particles themselves.

Over maps x ↦ Sx + b, S = KKᵀ + εI, the objective of ``solvers.icnn.step_objective`` has one determinant for all
particles and the derivatives

    in b: E T̄,    in K: (G + Gᵀ) K,  G = E[T̄ xᵀ] + E H̄,

and L-BFGS (Liu, Nocedal, Mathematical Programming 45, 1989) finds its minimum. Of the law only the moments and, for a
power entropy, the mean of ρᵐ⁻¹ enter where V and W are quadratic: the step of a Barenblatt or Gaussian law, which is
affine, is then exact. In other laws it is a start from which a network learns the rest.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize

from problems.linear_algebra import symmetrised
from solvers.icnn.pairs import SOME, field, mean_energy, sums_over_pairs
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import INITIAL_ROOT, STRONG_CONVEXITY
from solvers.solver import Diverged

ITERATIONS = 200


def affine_step(
    objective: StepObjective, points: torch.Tensor, log_density: torch.Tensor, masses: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return S (D, D) and b (D,), float64 on the CPU, of the best affine map of ``points`` (n, D), of mean near 0.

    ``log_density`` (n,) is theirs, and their ``masses`` (n,) sum to 1, equal ones if not given. Raises ``Diverged``
    where the objective is not finite on the way.
    """
    x, density = points.double(), log_density.double()
    if masses is None and objective.interaction is not None and sums_over_pairs(objective.interaction):
        x, density = x[:SOME], density[:SOME]
    dim, theta, h = x.shape[1], objective.implicitness, objective.step_size
    identity = torch.eye(dim, dtype=x.dtype, device=x.device)

    def matrix_and_shift(flat: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        free = torch.from_numpy(flat.copy()).to(x)
        root = free[: dim * dim].view(dim, dim)
        return root, root @ root.T + STRONG_CONVEXITY * identity, free[dim * dim :]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        root, matrix, shift = matrix_and_shift(flat)
        mapped = x @ matrix + shift
        place, between = objective.intermediate(x, mapped, matrix)
        log_det = torch.linalg.slogdet(between).logabsdet
        energy, slope = objective.potential.value(place), (mapped - x) / h + objective.potential_gradient(place)
        if objective.interaction is not None and masses is not None:
            others = objective.interaction.mean_value(place, place, masses, own=True)
            energy = energy + 0.5 * (1 - masses) * others
            slope = slope + objective.interaction.mean_gradient(place, place, masses)
        elif objective.interaction is not None:
            energy = energy + mean_energy(objective.interaction, place)
            slope = slope + field(objective.interaction, place)
        if objective.carries and objective.internal is not None:
            energy = energy + objective.internal.energy(density - log_det)
            pressures = objective.pressure(density - log_det)
            pressure = pressures.mean() if masses is None else masses @ pressures
        else:
            pressure = objective.pressure(density[:1]).mean()
            energy = energy - pressure * log_det
        values = (mapped - x).square().sum(1) / (2 * h) + energy / theta
        value = values.mean() if masses is None else masses @ values
        moment = slope.T @ x / len(x) if masses is None else (slope * masses[:, None]).T @ x
        turn = moment - pressure * torch.linalg.inv(between)
        force = slope.mean(0) if masses is None else masses @ slope
        bars = torch.cat([(2 * symmetrised(turn) @ root).flatten(), force])
        if not (bool(torch.isfinite(value)) and bool(torch.isfinite(bars).all())):
            raise Diverged("the objective of an affine map is not finite at the particles")
        return h * float(value), h * bars.cpu().numpy()

    start = torch.cat([(INITIAL_ROOT * identity).flatten(), identity.new_zeros(dim)]).cpu().numpy()
    found = minimize(
        evaluate, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "ftol": 0.0, "gtol": 1e-9}
    )
    _, matrix, shift = matrix_and_shift(found.x)
    return matrix.cpu(), shift.cpu()
