"""Exact flows of radial laws by their characteristics: charges in the plane, and shells in any dimension.

**Charges**, D = 2, W(z) = ½|z|² - log|z| and V(x) = -g log|x|: the force at radius r is that of the mass M within it,
r' = -r + (M + g)/r, and M stays what it was along the path. With r₀ the initial radius

    r² = (M + g)(1 - e^{-2t}) + r₀² e^{-2t},      1/ρ = π(1 - e^{-2t}) + e^{-2t}/ρ₀

(Bertozzi, Laurent, Léger, Math. Models Methods Appl. Sci. 22, 2012). At rest it is 1/π on √g < r < √(1 + g).

**Shells**, any D, W(z) = ¼|z|⁴ - ½|z|²: of a radial law with M = E|X|² the velocity is r' = r(1 - (1 + 2/D)M - r²), so

    r² = r₀² A / (1 + r₀² B),    A = e^{2S},    S' = 1 - (1 + 2/D) M,    B' = 2A,

and M = E r² closes the two equations. At rest it is the sphere of radius² D/(2(D + 1)), with the energy -radius²/4
(Carrillo, Craig, Wang, Wei, Found. Comput. Math. 22, 2022, §4.3.1, for D = 2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import gammaincinv

from problems.arrays import Reals
from problems.laws import Density
from problems.references.radial_law import RadialLaw

GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(400)
# Ranks graded towards 0 and 1, where radii may have infinite slopes, and their weights.
_PLACE = 0.5 * (1 + GAUSS_NODES)
RANKS = _PLACE**3 * (10 - 15 * _PLACE + 6 * _PLACE**2)
# What is left of r₀² far beyond relaxation, which no digit of r² shows.
LEAST = 1e-300
# log B E|X|²/D from which on, but for e^{-40} of the mass, radii are those of the shell.
GATHERED = 80.0
RANK_WEIGHTS = 0.5 * GAUSS_WEIGHTS * 30 * (_PLACE * (1 - _PLACE)) ** 2


@dataclass(frozen=True, eq=False)
class Charges(RadialLaw, Density):
    """The law at ``time`` of charges about ``centre`` (2,) with a ``charge`` g there.

    At time 0 it is uniform on the disc of radius ``size``, or with ``normal`` N(centre, ``size``² I).
    """

    centre: torch.Tensor
    size: float
    normal: bool
    charge: float
    time: float

    @property
    def _shrunk(self) -> tuple[float, float]:
        return max(math.exp(-2 * self.time), LEAST), -math.expm1(-2 * self.time)

    def _initial_squares(self, ranks: torch.Tensor) -> torch.Tensor:
        if self.normal:
            return -2 * self.size**2 * torch.log1p(-ranks)
        return self.size**2 * ranks

    def radii(self, ranks: torch.Tensor) -> torch.Tensor:
        kept, gained = self._shrunk
        return (gained * (ranks + self.charge) + kept * self._initial_squares(ranks)).sqrt()

    def second_moment(self) -> float:
        kept, gained = self._shrunk
        return gained * (0.5 + self.charge) + kept * self.size**2 * (2 if self.normal else 0.5)

    @property
    def support_radius(self) -> float | None:
        return None if self.normal else float(self.radii(torch.ones(1, dtype=torch.float64)))

    def _began(self, squares: torch.Tensor) -> torch.Tensor:
        """Return r₀² (n,) of the normal law where r² is ``squares`` (n,): Newton's method from where it is concave."""
        kept, gained = self._shrunk
        excess = squares - gained * self.charge
        scale = 2 * self.size**2
        # gained (1 - e^{-q/scale}) + kept q = excess: increasing and concave, so that from below Newton's steps ascend.
        q = ((excess - gained) / kept).clamp(min=0)
        for _ in range(200):
            rest = torch.exp(-q / scale)
            step = (excess - gained * (1 - rest) - kept * q) / (gained * rest / scale + kept)
            q = q + step
            if bool((step.abs() <= 1e-15 * (q.abs() + scale)).all()):
                break
        return q

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        kept, gained = self._shrunk
        squares = (x.double() - self.centre).square().sum(1)
        inside = squares >= gained * self.charge
        if not self.normal:
            inside &= squares <= float(self.radii(torch.ones(1, dtype=torch.float64))) ** 2
        if self.normal and self.time == 0:
            found = -squares / (2 * self.size**2) - math.log(2 * math.pi * self.size**2)
        elif self.normal:
            scale = 2 * self.size**2
            began = self._began(squares.where(inside, squares.new_tensor(gained * self.charge + 0.0)))
            # 1/ρ = π gained + kept/ρ₀, ρ₀ = e^{-q/scale} / (π scale)
            thinned = began / scale + math.log(kept) + math.log(math.pi * scale)
            found = -torch.logaddexp(thinned, torch.full_like(thinned, math.log(math.pi * gained)))
        else:
            found = torch.full_like(squares, -math.log(math.pi * (gained + kept * self.size**2)))
        return found.where(inside, torch.full_like(found, -torch.inf))

    def free_energy(self) -> float:
        """Return F of V and W: ½E r² - E (M + g) log r."""
        radii = self.radii(torch.from_numpy(RANKS)).numpy()
        return 0.5 * self.second_moment() - float(RANK_WEIGHTS @ ((RANKS + self.charge) * np.log(radii)))


def resting_charges(centre: torch.Tensor, charge: float) -> Charges:
    """Return the law at rest of charges about ``centre`` (2,): uniform between the radii √g and √(1 + g)."""
    return Charges(centre, 1.0, False, charge, math.inf)


@dataclass(frozen=True, eq=False)
class Shell(RadialLaw):
    """The uniform law on the sphere of this ``radius`` about ``centre`` (D,): without a density."""

    centre: torch.Tensor
    radius: float

    def radii(self, ranks: torch.Tensor) -> torch.Tensor:
        return torch.full_like(ranks, self.radius)

    def second_moment(self) -> float:
        return self.radius**2

    @property
    def support_radius(self) -> float:
        return self.radius

    def free_energy(self) -> float:
        """Return ½∬W of the law."""
        return quartic_energy(self.dim, self.radius**2, self.radius**4)


def resting_shell(centre: torch.Tensor) -> Shell:
    """Return the law at rest, about ``centre`` (D,)."""
    dim = len(centre)
    return Shell(centre, math.sqrt(dim / (2 * (dim + 1))))


def quartic_energy(dim: int, second: float, fourth: float) -> float:
    """Return ½∬W of a radial law in ``dim`` dimensions with E|X|² = ``second`` and E|X|⁴ = ``fourth``."""
    return 0.25 * fourth + (0.25 + 0.5 / dim) * second**2 - 0.5 * second


@dataclass(frozen=True, eq=False)
class Gathering(RadialLaw, Density):
    """The law on the way to a shell about ``centre`` (D,), from N(centre, ``deviation``² I), at A and B.

    A = ``gain`` and B = ``bend`` map radii by r² = r₀² A/(1 + r₀² B).
    """

    centre: torch.Tensor
    deviation: float
    gain: float
    bend: float

    def radii(self, ranks: torch.Tensor) -> torch.Tensor:
        initial = 2 * self.deviation**2 * gammaincinv(0.5 * self.dim, ranks.numpy())
        return torch.from_numpy(np.sqrt(self.gain * initial / (1 + self.bend * initial)))

    @property
    def support_radius(self) -> float | None:
        return math.sqrt(self.gain / self.bend) if self.bend else None

    def second_moment(self) -> float:
        squares, weights = initial_squares(self.dim, self.deviation)
        return float(weights @ (self.gain * squares / (1 + self.bend * squares)))

    def free_energy(self) -> float:
        """Return ½∬W of the law."""
        squares, weights = initial_squares(self.dim, self.deviation)
        now = self.gain * squares / (1 + self.bend * squares)
        return quartic_energy(self.dim, float(weights @ now), float(weights @ now**2))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        squares = (x.double() - self.centre).square().sum(1)
        rest = self.gain - self.bend * squares
        inside = rest > 0
        rest = rest.where(inside, 1.0)
        initial = squares / rest
        # ρ(x) = ρ₀(x₀) (r₀/r)^(D-1) dr₀/dr, with (r₀/r)² = 1/rest and dr₀/dr = A rest^(-3/2).
        log_initial = -0.5 * initial / self.deviation**2 - self.dim * math.log(self.deviation * math.sqrt(2 * math.pi))
        found = log_initial - 0.5 * (self.dim + 2) * rest.log() + math.log(self.gain)
        return found.where(inside, torch.full_like(found, -torch.inf))


def log_expm1(x: float) -> float:
    """Return log(eˣ - 1) of ``x`` ≥ 0."""
    return x + math.log(-math.expm1(-x)) if x > 0 else -math.inf


def initial_squares(dim: int, deviation: float) -> tuple[Reals, Reals]:
    """Return values and weights for averages over |X|², X of N(0, deviation² I): evenly spaced in the logarithm.

    Integrands are analytic and fall off on both sides, so that the trapezoidal rule is of spectral accuracy.
    """
    log_half = np.arange(-90.0 / dim - 3, 5 + math.log(dim), 0.05)
    half = np.exp(log_half)
    log_weights = 0.5 * dim * log_half - half - math.lgamma(0.5 * dim) + math.log(0.05)
    return 2 * deviation**2 * half, np.exp(log_weights)


def gathering(centre: torch.Tensor, deviation: float, time: float) -> Gathering | Shell:
    """Return the law at ``time`` ≥ 0 from N(``centre`` (D,), ``deviation``² I).

    It is the shell at rest once r² = A/B for all mass, to all digits: A/B has come to rest long before.

    Raises ``ArithmeticError`` where the two equations of A and B are not solved to the tolerance.
    """
    if time == 0:
        return Gathering(centre, deviation, 1.0, 0.0)
    dim = len(centre)
    squares, weights = initial_squares(dim, deviation)

    def rates(_: float, state: Reals) -> list[float]:
        # In S and log(1 + B), which grow no faster than t.
        gain, bend = math.exp(2 * state[0]), math.expm1(state[1])
        second = float(weights @ (gain * squares / (1 + bend * squares)))
        return [1 - (1 + 2 / dim) * second, 2 * gain / (1 + bend)]

    def not_gathered(_: float, state: Reals) -> float:
        return max(log_expm1(float(state[1])) + 2 * math.log(deviation) - GATHERED, -GATHERED)

    not_gathered.terminal = True  # type: ignore[attr-defined]
    found = solve_ivp(rates, (0.0, time), [0.0, 0.0], method="DOP853", rtol=1e-12, atol=1e-13, events=not_gathered)
    if not found.success:
        raise ArithmeticError(f"gathering: A and B at time {time:g}: {found.message}")
    if found.status == 1:
        return resting_shell(centre)
    grown, bent = found.y[:, -1]
    return Gathering(centre, deviation, math.exp(2 * grown), math.expm1(bent))
