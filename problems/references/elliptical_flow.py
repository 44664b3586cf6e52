"""The exact law at every time of a flow that keeps laws elliptical (``problems.references.elliptical_energy``).

    μ' = -∇V(μ)
    S' = 2c(det S) I - GS - SG

In the eigenbasis of G, S_t = e^{-Gt} S₀ e^{-Gt} + 2 diag(ψ) with ψ_i' = c - 2g_i ψ_i, which has closed forms

- for constant c (Gaussians, no internal energy): ψ = c (1 - e^{-2gt}) / 2g;
- for balls, S = R²I and G = gI, with q = n(m-1) + 2: R^q = e^{-qgt} R₀^q + εκ (1 - e^{-qgt}) / g, or, without a well,
  R₀^q + εκqt: from a point at time 0, Barenblatt's solution (1952; Pattle, Q. J. Mech. Appl. Math. 12, 1959);

and is otherwise integrated to about 1e-12.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.integrate import solve_ivp

from problems.arrays import Reals
from problems.barenblatt import log_pressure
from problems.linear_algebra import symmetrised
from problems.potentials import Linear, Quadratic
from problems.references.elliptical_energy import Elliptical, EllipticalEnergy, matrix_of, moved

TOLERANCE = 1e-13
ROUND = 1e-14
"""Eigenvalues that differ by no more than this, relatively, are those of a multiple of the identity."""


def elliptical_marginal(initial: Elliptical, energy: EllipticalEnergy, time: float) -> Elliptical:
    """Return the law at ``time`` ≥ 0 of the flow that starts from ``initial``; raises ``ValueError`` for time < 0."""
    if time < 0:
        raise ValueError(f"elliptical flow: time must be >= 0, got {time:g}")
    mean = moved_mean(initial.mean, energy, time)
    if time == 0:
        return moved(initial, mean, matrix_of(initial))
    matrix, stiffness = matrix_of(initial), energy.stiffness
    if energy.stiffening and (square := _multiple(matrix)) is not None and (rate := _multiple(stiffness)) is not None:
        coefficient = math.exp(energy.log_spreading(0.0))
        power = 2 + 2 * energy.stiffening * initial.dim
        grown = power * coefficient * time if rate == 0 else -coefficient * math.expm1(-power * rate * time) / rate
        square = (square ** (power / 2) * math.exp(-power * rate * time) + grown) ** (2 / power)
        return moved(initial, mean, square * torch.eye(initial.dim, dtype=torch.float64))
    rates, basis = torch.linalg.eigh(stiffness)
    gained = _gained(basis.T @ matrix @ basis, rates.clamp(min=0), energy, time)
    decay = (basis * torch.exp(-rates * time)) @ basis.T
    return moved(initial, mean, symmetrised(decay @ matrix @ decay + (basis * (2 * gained)) @ basis.T))


def moved_mean(mean: torch.Tensor, energy: EllipticalEnergy, time: float) -> torch.Tensor:
    """Return where the mean (D,) is after ``time``: the interaction does not move it."""
    potential = energy.potential
    if isinstance(potential, Linear):
        return mean - time * potential.slope
    if isinstance(potential, Quadratic):
        rates, basis = torch.linalg.eigh(potential.precision)
        offset: torch.Tensor = (basis * torch.exp(-rates * time)) @ basis.T @ (mean - potential.centre)
        return potential.centre + offset
    return mean


def unit_radius_time(exponent: float, dim: int, coefficient: float) -> tuple[float, float]:
    """Return q and the time at which a point mass has spread to radius 1: R(t)^q = t / that time."""
    power = dim * (exponent - 1) + 2
    return power, math.exp(-log_pressure(exponent, dim)) / (coefficient * power)


def _multiple(matrix: torch.Tensor) -> float | None:
    """Return λ where the matrix (D, D) is λI, else ``None``."""
    factor = float(matrix.diagonal().mean())
    off = float((matrix - factor * torch.eye(len(matrix), dtype=matrix.dtype)).abs().max())
    return factor if off <= ROUND * factor else None


def _gained(matrix: torch.Tensor, rates: torch.Tensor, energy: EllipticalEnergy, time: float) -> torch.Tensor:
    """Return ψ (D,) at ``time`` for S₀ = ``matrix`` in the eigenbasis of G, whose eigenvalues are ``rates``."""
    if not energy.stiffening:
        constant, twice = math.exp(energy.log_spreading(0.0)), 2 * rates
        flat = torch.full_like(rates, time)
        return constant * torch.where(twice > 0, -torch.expm1(-twice * time) / twice.where(twice > 0, 1.0), flat)
    start, speeds = matrix.numpy(), rates.numpy()

    def slope(t: float, gained: Reals) -> Reals:
        decay = np.exp(-speeds * t)
        _, log_det = np.linalg.slogdet(decay[:, None] * start * decay + 2 * np.diag(gained))
        return np.asarray(math.exp(energy.log_spreading(float(log_det))) - 2 * speeds * gained)

    found = solve_ivp(
        slope,
        (0.0, time),
        np.zeros(len(speeds)),
        method="DOP853",
        rtol=TOLERANCE,
        atol=TOLERANCE * float(np.linalg.eigvalsh(start)[0]),
    )
    if not found.success:
        raise ArithmeticError(f"the matrix of the law at t = {time:g} could not be worked out: {found.message}")
    return torch.from_numpy(found.y[:, -1].copy())
