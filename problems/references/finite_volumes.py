"""Finite volumes for ∂ρ = ∇·(ρ ∇ξ), ξ = V + U'(ρ) + W∗ρ, on equal cells of a box in one or two dimensions.

    dρ_j/dt = -(F_{j+½} - F_{j-½}) / h,   F_{j+½} = u⁺ ρ^E_j + u⁻ ρ^W_{j+1},   u_{j+½} = -(ξ_{j+1} - ξ_j) / h,

axis by axis, no flux through the walls. ρ^{E,W}_j = ρ_j ± ½ s_j, s_j the generalised minmod of θ(ρ_j - ρ_{j-1}),
½(ρ_{j+1} - ρ_{j-1}) and θ(ρ_{j+1} - ρ_j), 1 ≤ θ ≤ 2: with it no face value is negative. Of second order where ρ is
smooth; the mass is kept, steps of Euler's method keep ρ ≥ 0 while dt ≤ h / (2D max|u|), and
E = Σ h^D (V_j ρ_j + U(ρ_j) + ½ ρ_j (W∗ρ)_j) falls, dE/dt ≤ -Σ h^D |u|² min(ρ^E, ρ^W) ≤ 0
(Carrillo, Chertock, Huang, Commun. Comput. Phys. 17, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from problems.arrays import Reals
from problems.energies import Entropy, InternalEnergy, PowerEntropy
from problems.flow import FreeEnergy
from problems.references.convolution import Convolution

# Below this share of the mean density over the box a cell counts as empty where U' is infinite at 0.
EMPTY = 1e-16
EMPTY_FAST = 1e-10  # for m < 1, where U' is not just a logarithm there

# Below this share of the highest density there is next to no mass.
THIN = 1e-4


class State(NamedTuple):
    """A density on the cells, and what the scheme says of it.

    ``rate`` is dρ/dt, ``energy`` E and ``scale`` the size of the parts that it is the sum of, ``speed`` the sum of the
    largest |u|/h along each axis where there is mass, ``pace`` the same where there is more than next to none, and
    ``stiffness`` a bound of the diffusive eigenvalues of the linearised rate.
    """

    density: Reals
    rate: Reals
    energy: float
    scale: float
    speed: float
    pace: float
    stiffness: float


@dataclass(frozen=True, eq=False)
class FiniteVolumes:
    """The scheme for the ``energy`` on ``shape`` cells of the box between ``lower`` and ``upper``, one number an axis.

    Densities are arrays (m,) or (m, n). ``limiter`` is θ.

    Raises ``ValueError`` for a potential that is not finite at a cell centre.
    """

    energy: FreeEnergy
    lower: tuple[float, ...]
    upper: tuple[float, ...]
    shape: tuple[int, ...]
    limiter: float = 2.0
    potential: Reals = field(init=False)
    convolution: Convolution | None = field(init=False)
    floor: float = field(init=False)

    def __post_init__(self) -> None:
        centres = self.centres()
        values = self.energy.potential.value(centres).double()
        if not bool(torch.isfinite(values).all()):
            where = centres[int((~torch.isfinite(values)).nonzero()[0])].tolist()
            raise ValueError(f"finite volumes: the potential is not finite at x = {where}")
        interaction, internal = self.energy.interaction, self.energy.internal
        fast = isinstance(internal, PowerEntropy) and internal.exponent < 1
        extent = np.prod(np.subtract(self.upper, self.lower))
        object.__setattr__(self, "potential", values.numpy().reshape(self.shape))
        object.__setattr__(
            self, "convolution", None if interaction is None else Convolution.of(interaction, self.shape, self.widths)
        )
        object.__setattr__(self, "floor", float((EMPTY_FAST if fast else EMPTY) / extent))

    @property
    def dim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @cached_property
    def widths(self) -> tuple[float, ...]:
        """The widths of a cell along the axes."""
        return tuple((u - l) / m for l, u, m in zip(self.lower, self.upper, self.shape, strict=True))  # noqa: E741

    @cached_property
    def volume(self) -> float:
        """The length or area of a cell."""
        return float(np.prod(self.widths))

    @cached_property
    def _places(self) -> list[tuple[tuple[slice, ...], ...]]:
        """For each axis the indices of all but its last, all but its first, all but both, its first, its last."""
        spans = slice(None, -1), slice(1, None), slice(1, -1), slice(None, 1), slice(-1, None)
        before, after = ([(slice(None),) * count for count in range(self.dim)] for _ in range(2))
        return [tuple((*before[axis], span, *after[self.dim - 1 - axis]) for span in spans) for axis in range(self.dim)]

    @cached_property
    def _is_flat(self) -> bool:
        return not self.potential.any()

    def centres(self) -> torch.Tensor:
        """Return the cell centres, shape (cells, D), the last axis running fastest."""
        axes = [
            low + width * (np.arange(size) + 0.5)
            for low, width, size in zip(self.lower, self.widths, self.shape, strict=True)
        ]
        return torch.from_numpy(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, self.dim))

    def rate(self, density: Reals) -> Reals:
        """Return dρ/dt of a density (m,) or (m, n), of its shape."""
        rate, _ = self._fluxes(density, self._parts(density)[0])
        return rate

    def state(self, density: Reals) -> State:
        """Return a density (m,) or (m, n) with its rate, its energy and what bounds a step from it."""
        slope, derivative, attracted = self._parts(density)
        rate, faces = self._fluxes(density, slope)
        parts, rounding = [float((density * self.potential).sum()), 0.0, 0.0], 0.0
        if self.energy.internal is not None:
            parts[1] = float(energy_density(self.energy.internal, density, self.floor).sum())
        if attracted is not None and self.convolution is not None:
            parts[2] = 0.5 * float((density * attracted).sum())
            # W∗ρ is right to rounding of the largest W, not of its own size.
            rounding = float(density.sum()) * self.convolution.largest
        speed, pace, stiffness = 0.0, 0.0, 0.0
        thin = THIN * float(density.max(initial=0.0))
        for axis, (velocity, carried) in enumerate(faces):
            size = np.abs(velocity)
            # What carries no mass, outside of a support, may be as fast as it likes.
            speed += float((size * (carried > 0)).max(initial=0.0))
            pace += float((size * (carried > thin)).max(initial=0.0))
            if derivative is not None:
                stiffness += self._stiffness(density, derivative, carried, axis)
        volume = self.volume
        scale = volume * (sum(map(abs, parts)) + rounding)
        return State(density, rate, volume * sum(parts), scale, speed, pace, stiffness)

    def _parts(self, density: Reals) -> tuple[Reals, Reals | None, Reals | None]:
        """Return ξ = V + U'(ρ) + W∗ρ of a density (m,) or (m, n), of its shape, and U'(ρ) and W∗ρ by themselves."""
        derivative = energy_derivative(self.energy.internal, density, self.floor)
        slope = self.potential
        if derivative is not None:
            slope = derivative if self._is_flat else derivative + slope
        if self.convolution is None:
            return slope, derivative, None
        attracted = self.convolution(self.volume * density)
        return slope + attracted, derivative, attracted

    def _fluxes(self, density: Reals, slope: Reals) -> tuple[Reals, list[tuple[Reals, Reals]]]:
        """Return dρ/dt, and for each axis u/h and the carried densities at the faces between cells."""
        rate: Reals | None = None
        faces = []
        for axis, (left, right, inner, first, last) in enumerate(self._places):
            velocity = slope[left] - slope[right]
            velocity *= 1 / self.widths[axis] ** 2
            change = density[right] - density[left]
            half = self._half_slopes(change[left], change[right])
            east, west = density[left].copy(), density[right].copy()
            east[right] += half
            west[left] -= half
            carried = np.where(velocity > 0, east, west)
            flux = velocity * carried
            if rate is None:
                rate = np.empty_like(density)
                rate[inner] = flux[left] - flux[right]
                rate[first] = -flux[first]
                rate[last] = flux[last]
            else:
                rate[left] -= flux
                rate[right] += flux
            faces.append((velocity, carried))
        assert rate is not None
        return rate, faces

    def _half_slopes(self, a: Reals, b: Reals) -> Reals:
        """Return half the generalised minmod of the changes ``a`` and ``b`` to both sides of the inner cells."""
        mean = a + b
        mean *= 0.25
        # Half of θ times the smaller where both have one sign; of different signs only 0 lies between the bounds.
        most, least = np.minimum(a, b), np.maximum(a, b)
        most *= 0.5 * self.limiter
        least *= 0.5 * self.limiter
        np.maximum(most, 0, out=most)
        np.minimum(least, 0, out=least)
        np.maximum(mean, least, out=mean)
        return np.asarray(np.minimum(mean, most, out=mean))

    def _stiffness(self, density: Reals, derivative: Reals, carried: Reals, axis: int) -> float:
        """Return 4/h² times the largest ρ ΔU'(ρ)/Δρ at faces of an axis, or P'(ρ) = ρU''(ρ) at the highest ρ."""
        left, right, *_ = self._places[axis]
        top = float(density.max(initial=0.0))
        rise, change = np.abs(derivative[right] - derivative[left]), np.abs(density[right] - density[left])
        largest = float((carried * rise / np.maximum(change, 1e-14 * top + 1e-300)).max(initial=0.0))
        near = energy_derivative(self.energy.internal, np.array([top, top * (1 + 1e-4)]), self.floor)
        assert near is not None
        return 4 * max(largest, float(near[1] - near[0]) * 1e4) / self.widths[axis] ** 2


def energy_density(internal: InternalEnergy, density: Reals, floor: float) -> Reals:
    """Return U(ρ) of densities (...), of their shape; below ``floor`` along its tangent there, where U'(0) is -∞."""
    if isinstance(internal, PowerEntropy) and internal.exponent > 1:
        return np.asarray(internal.coefficient / (internal.exponent - 1) * _power(density, internal.exponent))
    full = np.maximum(density, floor)
    if isinstance(internal, Entropy):
        energy = full * np.log(full) / internal.inverse_temperature
    else:
        log_density = torch.from_numpy(np.log(full))
        energy = full * internal.energy(log_density.reshape(-1)).numpy().reshape(density.shape)
    slope = energy_derivative(internal, np.array([floor]), floor)
    assert slope is not None
    return np.asarray(energy + float(slope[0]) * (density - full))


def energy_derivative(internal: InternalEnergy | None, density: Reals, floor: float) -> Reals | None:
    """Return U'(ρ) of densities (...), of their shape, or ``None`` where there is no internal energy.

    Where U'(0) is -∞ it is taken at ``floor`` below that.
    """
    if internal is None:
        return None
    if isinstance(internal, PowerEntropy):
        power = internal.exponent - 1
        base = density if power > 0 else np.maximum(density, floor)
        return np.asarray(internal.coefficient * internal.exponent / power * _power(base, power))
    if isinstance(internal, Entropy):
        return np.asarray((np.log(np.maximum(density, floor)) + 1) / internal.inverse_temperature)
    log_density = torch.from_numpy(np.log(np.maximum(density, floor)))
    return internal.derivative(log_density.reshape(-1)).numpy().reshape(density.shape)


def _power(base: Reals, exponent: float) -> Reals:
    """Return ``base``₊ to a power, by products where it is 1, 2 or 3: below 0 are only stages of steps."""
    if exponent == 1:
        return base
    if exponent == 2:
        return base * np.abs(base)
    if exponent == 3:
        return base * base * np.abs(base)
    return np.asarray(np.maximum(base, 0) ** exponent)


def equal_cells(cells: int, lower: Sequence[float], upper: Sequence[float]) -> tuple[int, ...]:
    """Return numbers of cells an axis: ``cells`` along the longest, and so many on others that cells are near square.

    Multiples of four, so that every grid can be coarsened twice.
    """
    extents = np.subtract(upper, lower)
    return tuple(max(8, 4 * round(cells * float(extent / extents.max()) / 4)) for extent in extents)
