"""The free energy of a law on the line in terms of its map, and the JKO step's objective, with derivatives.

With T at the nodes of a mesh (``solvers.one_dimensional.mesh``), h_j the gaps, and points x_q of masses w_q

    F(T) = Σ_q w_q V(x_q) + Σ_j G_j(h_j) + ½ Σ_qr w_q w_r W(x_q - x_r),
    G_j(h) = -β⁻¹ ω_j log(h / Δ_j)      of an entropy,
    G_j(h) = ε A_j (h / Δ_j)^(1-m) / (m - 1)      of a power entropy

(in the coordinates of Blanchet, Calvez, Carrillo, SIAM J. Numer. Anal. 46, 2008), and a step of size a from T_k
minimises Σ_q w_q (x_q - x_{k,q})²/2a + F(T). The points are two a cell where there is an internal energy, else the
nodes themselves, which then move each on its own. W enters

- by moments where it is a polynomial of degree ≤ 4: its Hessian is one of rank 3 beside the tridiagonal one;
- as -s log|z| by log((T_i - T_j)/(y_i - y_j)), which is smooth up to the diagonal, where it is log T': what the
  logarithm of y_i - y_j adds is a constant, so that no pair is left out and none is singular;
- else by sums over all pairs of nodes, with a Hessian that is dense.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from problems.arrays import Reals
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import FreeEnergy
from problems.interactions import Interaction, LogarithmicInteraction, QuadraticInteraction, QuarticInteraction
from problems.potentials import Flat, Potential
from solvers.one_dimensional.mesh import Mesh


@dataclass
class Derivatives:
    """Gradient (n,) and Hessian: tridiagonal, ``diagonal`` (n,) and ``beside`` (n - 1,), and what it has besides.

    The Hessian is that tridiagonal one plus U C Uᵀ of ``factors`` (U (n, r), C (r, r)) plus ``dense`` (n, n).
    ``diagonal`` without what may make it indefinite is ``safe``, with ``safe_beside``.
    """

    gradient: Reals
    diagonal: Reals
    beside: Reals
    safe: Reals
    safe_beside: Reals
    factors: tuple[Reals, Reals] | None = None
    dense: Reals | None = None
    safe_dense: Reals | None = None
    noise: float = 0.0
    """What rounding of the places does to V, in units of the last place: Σ w |x V'(x)|."""


@dataclass(frozen=True, eq=False)
class MappedEnergy:
    """F of maps on a mesh, at values (n,) about an ``origin``."""

    energy: FreeEnergy
    mesh: Mesh
    origin: float
    quartic: float = field(init=False)
    quadratic: float = field(init=False)
    repulsion: float = field(init=False)
    pairs: Interaction | None = field(init=False)
    coefficients: Reals | None = field(init=False)

    def __post_init__(self) -> None:
        quartic, quadratic, repulsion, pairs = split_interaction(self.energy.interaction)
        for name, value in (("quartic", quartic), ("quadratic", quadratic), ("repulsion", repulsion), ("pairs", pairs)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "coefficients", internal_coefficients(self.energy.internal, self.mesh))

    def stiffened(self, share: float) -> MappedEnergy:
        """Return F with at least this share of the mean internal energy for its mass in every cell."""
        assert self.coefficients is not None
        found = MappedEnergy(self.energy, self.mesh, self.origin)
        masses = self.mesh.cell_masses
        least = share * float(self.coefficients.sum()) / float(masses.sum()) * masses
        stiff = np.where(np.abs(least) > np.abs(self.coefficients), least, self.coefficients)
        object.__setattr__(found, "coefficients", stiff)
        return found

    @property
    def nodal(self) -> bool:
        """Whether the points are the nodes."""
        return self.coefficients is None

    @property
    def keeps_apart(self) -> bool:
        """Whether F becomes infinite where quantiles meet."""
        return self.coefficients is not None or self.repulsion > 0

    def points(self, values: Reals) -> tuple[Reals, Reals]:
        """Return the points and their masses, both (q,), of values (n,)."""
        if self.nodal:
            return values, self.mesh.around
        shares, masses = self.mesh.points
        return (values[:-1] + shares * np.diff(values)).ravel(), masses.ravel()

    def spread_gradient(self, slopes: Reals) -> Reals:
        """Return Σ_q ∂x_q/∂T_i ``slopes``_q (q,), shape (n,)."""
        if self.nodal:
            return slopes
        share = self.mesh.points[0]
        of_cells = slopes.reshape(share.shape)
        found = np.zeros(self.mesh.size)
        found[:-1] += ((1 - share) * of_cells).sum(0)
        found[1:] += (share * of_cells).sum(0)
        return found

    def spread_curvature(self, curvatures: Reals) -> tuple[Reals, Reals]:
        """Return the tridiagonal Σ_q (∂x_q/∂T)(∂x_q/∂T)ᵀ ``curvatures``_q (q,): (n,) and beside it (n - 1,)."""
        if self.nodal:
            return curvatures, np.zeros(self.mesh.size - 1)
        share = self.mesh.points[0]
        of_cells = curvatures.reshape(share.shape)
        diagonal = np.zeros(self.mesh.size)
        diagonal[:-1] += ((1 - share) ** 2 * of_cells).sum(0)
        diagonal[1:] += (share**2 * of_cells).sum(0)
        return diagonal, (share * (1 - share) * of_cells).sum(0)

    def terms(self, values: Reals) -> list[Reals]:
        """Return the addends of F at ``values`` (n,), which increase: arrays whose sums make it up."""
        x, w = self.points(values)
        found = [w * of_potential(self.energy.potential, self.origin + x)]
        gaps = np.diff(values)
        if self.coefficients is not None:
            found.append(self.coefficients * self._shape(gaps))
        if self.quartic or self.quadratic:
            u = x - float((w * x).sum()) / float(w.sum())
            second = float((w * u * u).sum())
            found.append(w * (0.25 * self.quartic * (u**4 + 3 * second * u * u) + 0.5 * self.quadratic * u * u))
        if self.repulsion:
            found += [self._logarithms(values), self._own_masses * np.log(gaps / self.mesh.spans)]
        if self.pairs is not None:
            around = self.mesh.around
            found.append(0.5 * around * (pair_values(self.pairs, values) @ around))
        return found

    def _shape(self, gaps: Reals) -> Reals:
        stretch = gaps / self.mesh.spans
        if isinstance(self.energy.internal, PowerEntropy):
            return np.asarray(stretch ** (1 - self.energy.internal.exponent))
        return np.asarray(-np.log(stretch))

    @property
    def _own_masses(self) -> Reals:
        around = self.mesh.around
        return np.asarray(-0.25 * self.repulsion * (around[1:] ** 2 + around[:-1] ** 2))

    def _logarithms(self, values: Reals) -> Reals:
        around, n = self.mesh.around, len(values)
        stretch = (values[:, None] - values) / (self.mesh.places[:, None] - self.mesh.places + np.eye(n))
        np.fill_diagonal(stretch, 1.0)
        return np.asarray(-0.5 * self.repulsion * around * (np.log(stretch) @ around))

    def derivatives(self, values: Reals, step_size: float, before: Reals) -> Derivatives:
        """Return those of the step's objective from ``before`` (n,) at ``values`` (n,)."""
        x, w = self.points(values)
        start, _ = self.points(before)
        place = torch.from_numpy(self.origin + x)[:, None]
        slope = (x - start) / step_size
        curvature = np.zeros(len(x))
        noise = 0.0
        if not isinstance(self.energy.potential, Flat):
            of_potential_here = self.energy.potential.gradient(place).double().numpy()[:, 0]
            slope = slope + of_potential_here
            noise = float((w * np.abs(of_potential_here * (self.origin + x))).sum())
            curvature = curvature + self.energy.potential.hessian(place).double().numpy()[:, 0, 0]
        factors = None
        if self.quartic or self.quadratic:
            u = x - float((w * x).sum()) / float(w.sum())
            second, third = float((w * u * u).sum()), float((w * u * u * u).sum())
            slope = slope + self.quartic * (u**3 + 3 * second * u - third) + self.quadratic * u
            curvature = curvature + 3 * self.quartic * (u * u + second) + self.quadratic
            of_points = [w, w * u, w * u * u] if self.quartic else [w]
            sides = np.stack([self.spread_gradient(each) for each in of_points], axis=1)
            mixing = np.zeros((len(of_points), len(of_points)))
            mixing[0, 0] = -self.quadratic
            if self.quartic:
                mixing[0, 2] = mixing[2, 0] = -3 * self.quartic
                mixing[1, 1] = 6 * self.quartic
            factors = (sides, mixing)
        gradient = self.spread_gradient(w * slope)
        diagonal, beside = self.spread_curvature(w * (curvature + 1 / step_size))
        safe, safe_beside = self.spread_curvature(w * (np.maximum(curvature, 0) + 1 / step_size))
        found = Derivatives(gradient, diagonal, beside, safe, safe_beside, factors, noise=noise)
        if self.coefficients is not None:
            self._add_internal(found, np.diff(values))
        if self.repulsion:
            self._add_logarithms(found, values)
        if self.pairs is not None:
            self._add_pairs(found, values, self.pairs)
        return found

    def _add_internal(self, found: Derivatives, gaps: Reals) -> None:
        assert self.coefficients is not None
        internal = self.energy.internal
        exponent = internal.exponent if isinstance(internal, PowerEntropy) else 1.0
        # Of c h^(1-m): slope (1 - m) c h^-m and curvature m (m - 1) c h^(-m-1); of -c log h: the same at m = 1 over it.
        sizes = self.coefficients * (self._shape(gaps) * (exponent - 1) if exponent != 1 else 1.0)
        pull = sizes / gaps
        add_gaps(found, -pull, exponent * pull / gaps)

    def _add_logarithms(self, found: Derivatives, values: Reals) -> None:
        around, gaps = self.mesh.around, np.diff(values)
        own = self._own_masses
        add_gaps(found, own / gaps, -own / gaps**2)
        inverse = values[:, None] - values
        np.fill_diagonal(inverse, np.inf)
        np.divide(1.0, inverse, out=inverse)
        found.gradient -= self.repulsion * around * (inverse @ around)
        np.multiply(inverse, inverse, out=inverse)
        inverse *= -self.repulsion * around
        inverse *= around[:, None]
        np.fill_diagonal(inverse, -inverse.sum(1))
        found.dense = inverse
        found.safe_dense = inverse

    def _add_pairs(self, found: Derivatives, values: Reals, pairs: Interaction) -> None:
        around, n = self.mesh.around, len(values)
        z = torch.from_numpy((values[:, None] - values).reshape(-1, 1))
        force = pairs.gradient(z).double().numpy().reshape(n, n)
        found.gradient += around * (force @ around)
        curvature = pairs.hessian(z).double().numpy().reshape(n, n)
        field_curvature = curvature @ around
        dense = -curvature * around * around[:, None]
        dense[np.arange(n), np.arange(n)] += around * field_curvature
        found.dense = dense if found.dense is None else found.dense + dense
        found.safe = found.safe + around * np.maximum(field_curvature, 0)


def add_gaps(found: Derivatives, slope: Reals, curvature: Reals) -> None:
    """Add what a function of the gaps has for derivatives there, each (n - 1,), to those in the values."""
    found.gradient[1:] += slope
    found.gradient[:-1] -= slope
    for diagonal, beside in ((found.diagonal, found.beside), (found.safe, found.safe_beside)):
        diagonal[1:] += curvature
        diagonal[:-1] += curvature
        beside -= curvature


def internal_coefficients(internal: InternalEnergy | None, mesh: Mesh) -> Reals | None:
    """Return what the function of h_j/Δ_j in G_j is multiplied by, (n - 1,), or ``None`` where there is none."""
    if internal is None:
        return None
    if isinstance(internal, PowerEntropy):
        return np.asarray(internal.coefficient / (internal.exponent - 1) * mesh.powers(internal.exponent))
    assert isinstance(internal, Entropy)
    seam = mesh.cell_masses.copy()
    return np.asarray(seam / internal.inverse_temperature)


def split_interaction(interaction: Interaction | None) -> tuple[float, float, float, Interaction | None]:
    """Return a, b and s of ¼ a z⁴ + ½ b z² - s log|z|, and the interaction itself where it is none of these."""
    if isinstance(interaction, QuadraticInteraction):
        return 0.0, interaction.strength, 0.0, None
    if isinstance(interaction, QuarticInteraction):
        return interaction.quartic, interaction.quadratic, 0.0, None
    if isinstance(interaction, LogarithmicInteraction):
        return 0.0, interaction.attraction, interaction.repulsion, None
    return 0.0, 0.0, 0.0, interaction


def of_potential(potential: Potential, x: Reals) -> Reals:
    """Return V at places (n,), shape (n,)."""
    return np.asarray(potential.value(torch.from_numpy(x)[:, None]).double().numpy())


def pair_values(interaction: Interaction, values: Reals) -> Reals:
    """Return W of all differences of values (n,), shape (n, n)."""
    z = torch.from_numpy((values[:, None] - values).reshape(-1, 1))
    return np.asarray(interaction.value(z).double().numpy().reshape(len(values), len(values)))
