"""The reference that was released with the porous medium runs of Fan et al. (ICML 2022), and the mass that it has.

They set the constant of Barenblatt's solution from a chosen radius R₀ at time t₀, and not from the mass, which is then

    M = (R₀^q / κ q t₀)^{1/(m-1)},    q = n(m-1) + 2,

.858 for n = 3 (R₀ = .4) and .678 for n = 6 (R₀ = .6) instead of 1, while the particles compared with it have mass 1.
u = ρ/M moves as u_t = M^{m-1} Δuᵐ: the reference is a flow of mass 1 with the coefficient ε = M^{m-1}, and its released
energy, a mean of ρ^{m-1}/(m-1) over draws of u, is F of that flow.
"""

from __future__ import annotations

import math

import torch

from problems.barenblatt import ball, log_pressure
from problems.energies import PowerEntropy
from problems.potentials import Flat
from problems.references.elliptical_energy import Elliptical, EllipticalEnergy
from problems.references.elliptical_flow import elliptical_marginal

EXPONENT = 2.0
START_TIME = 1e-3
RADII = {3: 0.4, 6: 0.6}
"""The radius chosen at ``START_TIME``, by dimension."""


def released_mass(dim: int) -> float:
    """Return the mass of the released reference in dimension 3 or 6; raises ``ValueError`` for others."""
    power = dim * (EXPONENT - 1) + 2
    grown = math.exp(log_pressure(EXPONENT, dim)) * power * START_TIME
    return float((released_radius(dim) ** power / grown) ** (1 / (EXPONENT - 1)))


def released_radius(dim: int) -> float:
    """Return R₀ in dimension 3 or 6; raises ``ValueError`` for others."""
    if dim not in RADII:
        raise ValueError(f"the released reference exists in dimensions {', '.join(map(str, RADII))}, got {dim}")
    return RADII[dim]


def released_law(dim: int, time: float) -> Elliptical:
    """Return the released reference at ``time`` after t₀, over its mass."""
    initial = ball(torch.zeros(dim, dtype=torch.float64), released_radius(dim), EXPONENT)
    return elliptical_marginal(initial, _energy(dim), time)


def released_energy(dim: int, time: float) -> float:
    """Return the energy that was released as exact, at ``time`` after t₀."""
    return _energy(dim).value(released_law(dim, time))


def _energy(dim: int) -> EllipticalEnergy:
    coefficient = released_mass(dim) ** (EXPONENT - 1)
    return EllipticalEnergy(Flat(dim), PowerEntropy(EXPONENT, coefficient), 0.0)
