"""Finite bases for the potentials g and h of the dual JKO step, orthonormal under the law that they are sampled from.

Any basis of the same span has the same solutions; an orthonormal one keeps the Hessian of the objective near a multiple
of the identity, where L-BFGS needs tens of iterations instead of thousands.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch

# Directions of less than this share of the largest are rounding: hundreds of kernels span some tens of functions.
LEAST_EIGENVALUE = 1e-10
# So many polynomials are multiplied out: passing over all of their values is faster than putting them together.
MOST_DENSE = 200


class Table(ABC):
    """A table holds the values of φ_1, …, φ_m at n points, and gives their combinations and their sums."""

    @property
    @abstractmethod
    def points(self) -> int:
        """The number of points n."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of functions m."""

    @abstractmethod
    def combined(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Return Σ_j c_j φ_j at the points, shape (n,), for ``coefficients`` (m,)."""

    @abstractmethod
    def sums(self, weights: torch.Tensor) -> torch.Tensor:
        """Return Σ_i w_i φ_j(x_i), shape (m,), for ``weights`` (n,)."""

    @abstractmethod
    def at(self, chosen: torch.Tensor | slice) -> Table:
        """Return the table for the points ``chosen``, indices (k,) or a slice, which copies nothing."""

    @abstractmethod
    def values(self) -> torch.Tensor:
        """Return all values, a row a function: shape (m, n)."""


@dataclass(frozen=True, eq=False)
class Dense(Table):
    """A dense table keeps all values, a row a function: ``rows`` (m, n)."""

    rows: torch.Tensor

    @property
    def points(self) -> int:
        return self.rows.shape[1]

    @property
    def size(self) -> int:
        return len(self.rows)

    def combined(self, coefficients: torch.Tensor) -> torch.Tensor:
        return coefficients @ self.rows

    def sums(self, weights: torch.Tensor) -> torch.Tensor:
        return self.rows @ weights

    def at(self, chosen: torch.Tensor | slice) -> Table:
        return Dense(self.rows[:, chosen])

    def values(self) -> torch.Tensor:
        return self.rows


@dataclass(frozen=True)
class Layout:
    """A layout orders the polynomials of at most ``degree`` in ``dim`` variables.

    They come by degree, then by the last variable in them: one of degree d whose last variable is k, to the power p, is
    one of degree d - p in the first k - 1 variables times p_p(u_k).
    """

    dim: int
    degree: int

    @property
    def size(self) -> int:
        """Number of polynomials."""
        return polynomial_count(self.dim, self.degree)

    def rows(self, degree: int) -> slice:
        """Return which polynomials are of exactly this degree."""
        first = polynomial_count(self.dim, degree - 1) if degree else 0
        return slice(first, polynomial_count(self.dim, degree))

    def products(self, degree: int) -> list[tuple[int, int, slice, slice]]:
        """Return (k, p, which polynomials are multiplied by p_p(u_k), which ones of this degree they become)."""
        found, place = [], self.rows(degree).start
        for variable in range(self.dim):
            for power in range(1, degree + 1):
                first = self.rows(degree - power).start
                # Those of that degree in the first ``variable`` variables.
                count = math.comb(variable + degree - power - 1, degree - power) if degree > power else 1
                found.append((variable, power, slice(first, first + count), slice(place, place + count)))
                place += count
        return found

    @cached_property
    def factors(self) -> list[tuple[slice, torch.Tensor, torch.Tensor]]:
        """Return, for p = 1, …, ``degree``, how the polynomials of highest degree are products with a p_p(u_k).

        That is: which ones are multiplied, and places of the products in a matrix (D, their number) and among all.
        """
        found = []
        for power in range(1, self.degree + 1):
            rows = self.rows(self.degree - power)
            width = rows.stop - rows.start
            own = [(k, source, place) for k, p, source, place in self.products(self.degree) if p == power]
            within = [torch.arange(k * width, k * width + source.stop - source.start) for k, source, _ in own]
            among = [torch.arange(place.start, place.stop) for _, _, place in own]
            found.append((rows, torch.cat(within), torch.cat(among)))
        return found


@dataclass(frozen=True, eq=False)
class Factored(Table):
    """A factored table keeps polynomials of at most a degree d by their factors.

    These are the polynomials of less than d, ``lower`` (m', n), and the p_p(u_k), ``powers`` (d, D, n). Those of degree
    d are products of the two, and none of them is formed: in twelve dimensions 127 values stand for 455 polynomials at
    a point, and products of small matrices for one pass over all.
    """

    layout: Layout
    lower: torch.Tensor
    powers: torch.Tensor

    @classmethod
    def of(cls, layout: Layout, powers: torch.Tensor, constant: float) -> Factored:
        """Return ``constant`` times all products (m, n) of ``powers`` (d, D, n) up to the layout's degree."""
        lower = powers.new_empty(polynomial_count(layout.dim, layout.degree - 1), powers.shape[2])
        multiply_out(layout, powers, constant, layout.degree - 1, lower)
        return cls(layout, lower, powers)

    @property
    def points(self) -> int:
        return self.lower.shape[1]

    @property
    def size(self) -> int:
        return self.layout.size

    def combined(self, coefficients: torch.Tensor) -> torch.Tensor:
        total = coefficients[: len(self.lower)] @ self.lower
        for powers, (rows, within, among) in zip(self.powers, self.layout.factors, strict=True):
            factor = coefficients.new_zeros(self.layout.dim, rows.stop - rows.start)
            factor.view(-1)[within] = coefficients[among]
            total += (factor @ self.lower[rows]).mul_(powers).sum(0)
        return total

    def sums(self, weights: torch.Tensor) -> torch.Tensor:
        total = weights.new_empty(self.size)
        torch.mv(self.lower, weights, out=total[: len(self.lower)])
        for weighted, (rows, within, among) in zip(self.powers * weights, self.layout.factors, strict=True):
            total[among] = (weighted @ self.lower[rows].T).view(-1)[within]
        return total

    def at(self, chosen: torch.Tensor | slice) -> Table:
        return Factored(self.layout, self.lower[:, chosen], self.powers[:, :, chosen])

    def values(self) -> torch.Tensor:
        highest = self.layout.products(self.layout.degree)
        products = [self.lower[source] * self.powers[power - 1, variable] for variable, power, source, _ in highest]
        return torch.cat([self.lower, *products])


def multiply_out(layout: Layout, powers: torch.Tensor, constant: float, degree: int, rows: torch.Tensor) -> None:
    """Fill ``rows`` (m, n) with ``constant`` times the polynomials of at most ``degree``."""
    rows[0] = constant
    for each in range(1, degree + 1):
        for variable, power, source, place in layout.products(each):
            torch.mul(rows[source], powers[power - 1, variable], out=rows[place])


class Basis(ABC):
    """A basis is a set of functions φ_1, …, φ_m on R^D, of which φ_1 is ``constant``: the step then conserves mass."""

    constant: float

    @property
    @abstractmethod
    def size(self) -> int:
        """Number of functions m."""

    @property
    @abstractmethod
    def entries(self) -> int:
        """The number of values that a table keeps of a point."""

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> Table:
        """Return the table (m, n) of all functions at ``x`` (n, D), float64."""


def polynomial_count(dim: int, degree: int) -> int:
    """Return the number of monomials of at most ``degree`` in ``dim`` variables."""
    return math.comb(dim + degree, degree)


def one_dimensional(u: torch.Tensor, family: str, degree: int) -> list[torch.Tensor]:
    """Return p_1(u), …, p_degree(u), with p_0 = 1: orthonormal under U(-1, 1) or N(0, 1), or the powers of u.

    ``u`` and each of the values have the same shape, any.
    """
    values = [torch.ones_like(u), u]
    norms = [1.0] * (degree + 1)
    for k in range(1, degree):
        if family == "legendre":
            values.append(((2 * k + 1) * u * values[k] - k * values[k - 1]) / (k + 1))
        elif family == "hermite":
            values.append(u * values[k] - k * values[k - 1])
        else:
            values.append(u * values[k])
    if family == "legendre":
        norms = [math.sqrt(2 * k + 1) for k in range(degree + 1)]
    elif family == "hermite":
        norms = [1 / math.sqrt(math.factorial(k)) for k in range(degree + 1)]
    return [norm * value for norm, value in zip(norms[1:], values[1 : degree + 1], strict=True)]


@dataclass(frozen=True, eq=False)
class Polynomials(Basis):
    """All polynomials of at most ``degree``, as products of those of ``family`` in each of u = (x - centre) whiteningᵀ.

    ``whitening`` (D, D) takes a law of mean ``centre`` (D,) to the product of U(-1, 1) for "legendre" or of N(0, 1) for
    "hermite"; for "power" it is any. All are multiplied by ``constant``.
    """

    centre: torch.Tensor
    whitening: torch.Tensor
    family: str
    degree: int
    constant: float = 1.0

    @cached_property
    def layout(self) -> Layout:
        """How the polynomials are made of each other."""
        return Layout(len(self.centre), self.degree)

    @property
    def size(self) -> int:
        return self.layout.size

    @property
    def entries(self) -> int:
        if self.size <= MOST_DENSE:
            return self.size
        return polynomial_count(self.layout.dim, self.degree - 1) + self.degree * self.layout.dim

    def __call__(self, x: torch.Tensor) -> Table:
        u = (self.whitening @ (x - self.centre).T).contiguous()
        powers = torch.stack(one_dimensional(u, self.family, self.degree))
        if self.size > MOST_DENSE:
            return Factored.of(self.layout, powers, self.constant)
        rows = powers.new_empty(self.size, len(x))
        multiply_out(self.layout, powers, self.constant, self.degree, rows)
        return Dense(rows)


@dataclass(frozen=True, eq=False)
class GaussianKernels(Basis):
    """The constant and k_i(x) = exp(-|x - ``centres``_i|² / 2``variance``), orthonormal over the sample ``x``.

    Combinations of the kernels whose mean square is less than 1e-10 of the largest are left out: rounding.
    """

    centres: torch.Tensor
    variance: float
    mixing: torch.Tensor
    constant: float = 1.0

    @classmethod
    def orthonormal(cls, x: torch.Tensor, count: int, variance: float) -> GaussianKernels:
        """Return kernels about the first ``count`` of the points ``x`` (n, D), orthonormal over all of them."""
        centres = x[:count].clone()
        values = cls(centres, variance, torch.eye(count, dtype=x.dtype))(x).values()[1:]
        spectrum, directions = torch.linalg.eigh(values @ values.T / len(x))
        kept = spectrum > LEAST_EIGENVALUE * spectrum[-1]
        return cls(centres, variance, (directions[:, kept] * spectrum[kept].rsqrt()).T.contiguous())

    @property
    def size(self) -> int:
        return 1 + len(self.mixing)

    @property
    def entries(self) -> int:
        return self.size

    def __call__(self, x: torch.Tensor) -> Table:
        squares = torch.zeros(len(self.centres), len(x), dtype=x.dtype)
        for axis in range(x.shape[1]):
            squares += (self.centres[:, axis, None] - x[:, axis]) ** 2
        # Below -700 float64's exp is fifty times slower, and all it could add is below 1e-304.
        kernels = (squares * (-0.5 / self.variance)).clamp_(min=-700).exp_()
        return Dense(torch.cat([torch.ones(1, len(x), dtype=x.dtype), self.mixing @ kernels]))
