"""Reference laws on the line, of which other laws are increasing maps: the self-similar ones of ∂ρ = Δρᵐ.

    m > 1     ρ(y) = Z (1 - y²)^p on [-1, 1], p = 1/(m - 1)      what has edges
    m = 1     ρ(y) = φ(y)                                         the normal law
    m < 1     ρ(y) = Z (1 + y²)^-k, k = 1/(1 - m)                 heavy tails, Student's law with 2k - 1 degrees

(Barenblatt 1952; Vázquez, The Porous Medium Equation, 2007). A law that behaves at its edges or in its tails as the
flow makes it is a smooth map of the one with the same m, and the flow of that one itself consists of straight maps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, betaincinv, betaln, gammaln, ndtr, ndtri, roots_jacobi, stdtr, stdtrit

from problems.arrays import Reals

# The normal law and Student's are cut off where a mass of 6e-16 is left.
REACH = 8.0
GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(8)


class ReferenceLaw(ABC):
    """A law of Y, symmetric about 0, with distribution function, density, and the nodes that suit it.

    ``bounded`` ones live on [-1, 1].
    """

    bounded: ClassVar[bool] = False

    @abstractmethod
    def nodes(self, count: int) -> Reals:
        """Return ``count`` increasing nodes, shape (count,): evenly spaced in what spreads them over edges or tails."""

    @abstractmethod
    def log_density(self, y: Reals) -> Reals:
        """Return log ρ at ``y`` (n,), shape (n,)."""

    @abstractmethod
    def below(self, y: Reals) -> Reals:
        """Return P(Y < y) at ``y`` (n,), shape (n,), to relative precision where it is small."""

    @abstractmethod
    def place_below(self, mass: Reals) -> Reals:
        """Return y (n,) with the ``mass`` (n,) below it, to relative precision where it is small."""

    def place(self, below: Reals, above: Reals) -> Reals:
        """Return y (n,) by the masses on both of its sides, each (n,): the smaller one counts."""
        lower = below < above
        found = self.place_below(np.minimum(below, above))
        return np.where(lower, found, -found)

    def integrals(self, edges: Reals, power: float, degree: int) -> Reals:
        """Return ∫ ρ^power tʲ dy over each cell between ``edges`` (k,), t from 0 to 1 in it, j ≤ ``degree``.

        The shape is (k - 1, degree + 1).
        """
        half = 0.5 * np.diff(edges)
        t = np.broadcast_to(0.5 * (1 + GAUSS_NODES), (len(half), len(GAUSS_NODES)))
        y = edges[:-1, None] + 2 * half[:, None] * t
        weights = half[:, None] * GAUSS_WEIGHTS * np.exp(power * self.log_density(y.ravel())).reshape(y.shape)
        return np.stack([(weights * t**j).sum(1) for j in range(degree + 1)], axis=1)


@dataclass(frozen=True)
class EdgeLaw(ReferenceLaw):
    """The law Z (1 - y²)^p on [-1, 1], p = ``power`` ≥ 0: of mass that goes like d^(p+1) at distance d of an edge."""

    bounded: ClassVar[bool] = True
    power: float

    def nodes(self, count: int) -> Reals:
        return np.linspace(-1.0, 1.0, count)

    def log_density(self, y: Reals) -> Reals:
        outside = np.abs(y) > 1
        inner = np.where(outside, 0.0, y)
        with np.errstate(divide="ignore"):
            log_height = np.log1p(-inner * inner) if self.power else np.zeros(len(y))
        return np.where(outside, -np.inf, self._log_normaliser + self.power * log_height)

    @property
    def _log_normaliser(self) -> float:
        shape = self.power + 1
        return -float(betaln(shape, shape)) - (2 * self.power + 1) * math.log(2)

    def below(self, y: Reals) -> Reals:
        shape = self.power + 1
        return np.asarray(betainc(shape, shape, 0.5 * (1 + np.clip(y, -1, 1))))

    def place_below(self, mass: Reals) -> Reals:
        shape = self.power + 1
        return np.asarray(2 * betaincinv(shape, shape, mass) - 1)

    def integrals(self, edges: Reals, power: float, degree: int) -> Reals:
        found = super().integrals(edges, power, degree)
        # In the outermost cells, where the density goes like a power that need not be whole, by Gauss and Jacobi.
        exponent = power * self.power
        if exponent > 0:
            points, weights = roots_jacobi(len(GAUSS_NODES), 0.0, exponent)
            t = 0.5 * (1 + points)
            for cell, sign in ((0, 1), (len(edges) - 2, -1)):
                width = edges[cell + 1] - edges[cell]
                # (1 - y²)^e = (width t)^e (2 - width t)^e at distance width t of the edge.
                smooth = math.exp(power * self._log_normaliser) * (2 - width * t) ** exponent
                values = (0.5 * width) ** (exponent + 1) * weights * smooth
                local = t if sign > 0 else 1 - t
                found[cell] = [(values * local**j).sum() for j in range(degree + 1)]
        return found


@dataclass(frozen=True)
class NormalLaw(ReferenceLaw):
    """The standard normal law, at uniform normal scores in [-8, 8]."""

    def nodes(self, count: int) -> Reals:
        return np.linspace(-REACH, REACH, count)

    def log_density(self, y: Reals) -> Reals:
        return -0.5 * math.log(2 * math.pi) - 0.5 * y * y

    def below(self, y: Reals) -> Reals:
        return np.asarray(ndtr(y))

    def place_below(self, mass: Reals) -> Reals:
        return np.asarray(ndtri(mass))


@dataclass(frozen=True)
class TailLaw(ReferenceLaw):
    """The law Z (1 + y²)^-k, k = ``power`` > ½, at the nodes with the ranks of uniform normal scores in [-8, 8]."""

    power: float

    @property
    def _degrees(self) -> float:
        return 2 * self.power - 1

    def nodes(self, count: int) -> Reals:
        ranks = ndtr(-np.abs(np.linspace(-REACH, REACH, count)))
        return np.asarray(np.sign(np.linspace(-REACH, REACH, count)) * -self.place_below(ranks), dtype=np.float64)

    def log_density(self, y: Reals) -> Reals:
        log_z = float(gammaln(self.power) - gammaln(self.power - 0.5)) - 0.5 * math.log(math.pi)
        return log_z - self.power * np.log1p(y * y)

    def below(self, y: Reals) -> Reals:
        return np.asarray(stdtr(self._degrees, y * math.sqrt(self._degrees)))

    def place_below(self, mass: Reals) -> Reals:
        return np.asarray(stdtrit(self._degrees, mass) / math.sqrt(self._degrees), dtype=np.float64)
