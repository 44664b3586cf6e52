"""The log gas on the line, W(z) = ½z² - log|z|: charges that repel and are drawn to their mean.

With X of the initial law and mean m, the law at time t is m + e^{-t}(X - m) convolved freely with the semicircle of
variance s = (1 - e^{-2t})/2 (Voiculescu; Biane, Indiana Univ. Math. J. 46, 1997; Rogers, Shi, Probab. Theory Relat.
Fields 95, 1993). With g the density of e^{-t}(X - m) and G(ω) = ∫ g(y)/(ω - y) dy its Cauchy transform,

    ∫ g(y) / ((u - y)² + v²) dy = 1/s  for v(u) > 0,    x = u + s Re G(u + iv),    ρ(x) = v / (π s).

Of a Gaussian G is Faddeeva's function; of a semicircle the law stays one, R_t² = 2 + (R₀² - 2) e^{-2t}.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from scipy.special import betaincinv, ndtri, wofz

from problems.arrays import Complexes, Reals
from problems.laws import Density, Gaussian
from problems.validation import require_number, require_positive

GAUSS_NODES, GAUSS_WEIGHTS = np.polynomial.legendre.leggauss(8)
# ∫ from -1 to node i of the polynomial through the values at the nodes: row i of it times the values.
_INTEGRATION = np.stack(
    [
        np.polynomial.legendre.Legendre(np.linalg.solve(np.polynomial.legendre.legvander(GAUSS_NODES, 7), unit)).integ(
            lbnd=-1
        )(GAUSS_NODES)
        for unit in np.eye(8)
    ],
    axis=1,
)
CELLS = 1000
TOLERANCE = 1e-12
ROUNDS = 16
ITERATIONS = 100
FEW = 12
LOWEST = -660.0
# Beyond FAR the terms (2k + 1)!! / (2ζ²)^k of w'(ζ), k < len(TERMS), leave out 1e-17 of it.
FAR = 10.0
TERMS = np.cumprod([1.0, *(k + 0.5 for k in range(1, 14))])
# A normal law of variance σ² has the free cumulants σ², σ⁴, ...: below this σ²/s only the first is left beside s.
NARROW = 1e-8


@dataclass(frozen=True)
class Semicircle(Density):
    """The semicircle law 2/(πR²) √(R² - (x - mean)²) of ``radius`` R about ``mean``.

    Raises ``ValueError`` unless ``radius`` is finite and > 0 and ``mean`` finite.
    """

    mean: float
    radius: float

    def __post_init__(self) -> None:
        require_number("semicircle", mean=self.mean)
        require_positive("semicircle", radius=self.radius)

    @property
    def dim(self) -> int:
        return 1

    @property
    def support_radius(self) -> float:
        return self.radius

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        # The first coordinate of a uniform point of the disc.
        radius, turn = torch.rand(2, n, generator=generator, dtype=torch.float64)
        places: torch.Tensor = self.mean + self.radius * radius.sqrt() * torch.cos(2 * math.pi * turn)
        return places[:, None]

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        inside = 1 - ((x[:, 0].double() - self.mean) / self.radius).square()
        log_density: torch.Tensor = 0.5 * inside.clamp(min=0).log() + math.log(2 / (math.pi * self.radius))
        return log_density

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.tensor([self.mean], dtype=torch.float64),
            torch.tensor([[self.radius**2 / 4]], dtype=torch.float64),
        )

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        places = self.radius * torch.from_numpy(2 * betaincinv(1.5, 1.5, levels.double().numpy()) - 1)
        return self.mean * directions.double() + places

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return self.radius * torch.from_numpy(np.sqrt(betaincinv(0.5, 1.5, levels.double().numpy())))


@dataclass(frozen=True)
class FreeGaussian(Density):
    """N(``mean``, ``variance``) convolved freely with the semicircle law of variance ``added``.

    Density and quantiles are right to about 1e-10 of the law's width, but for 1e-5 in the
    outermost millionths where little of the variance is the normal law's; the moments are exact.

    Raises ``ValueError`` unless both variances are finite and > 0 and ``mean`` is finite.
    """

    mean: float
    variance: float
    added: float

    def __post_init__(self) -> None:
        require_number("free convolution", mean=self.mean)
        require_positive("free convolution", variance=self.variance, added=self.added)

    @property
    def dim(self) -> int:
        return 1

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.tensor([self.mean], dtype=torch.float64),
            torch.tensor([[self.variance + self.added]], dtype=torch.float64),
        )

    def _transform(self, omega: Complexes) -> tuple[Complexes, Complexes]:
        """Return G and G' at ``omega`` (n,) in the upper half-plane, about the mean."""
        scale = math.sqrt(2 * self.variance)
        zeta = omega / scale
        w = wofz(zeta)
        factor = math.sqrt(math.pi) / scale
        return -1j * factor * w, -1j * factor / scale * faddeeva_slope(zeta, w)

    def _log_heights(self, u: Reals) -> Reals:
        """Return log v at ``u`` (n,), shape (n,), by Newton's method for log v between bounds that close in."""
        high = np.full(len(u), 0.5 * math.log(self.added))
        low = np.full(len(u), LOWEST)
        found = high - 0.1
        waiting = np.arange(len(u))
        for _ in range(ITERATIONS):
            v = np.exp(found[waiting])
            transform, slope = self._transform(u[waiting] + 1j * v)
            with np.errstate(divide="ignore", invalid="ignore"):
                excess = np.log(-self.added * transform.imag) - found[waiting]
                newton = found[waiting] - excess / (v * slope.real / transform.imag - 1)
            low[waiting] = np.where(excess > 0, found[waiting], low[waiting])
            high[waiting] = np.where(excess > 0, high[waiting], found[waiting])
            inside = (newton > low[waiting]) & (newton < high[waiting])
            moved = np.where(inside, newton, 0.5 * (low[waiting] + high[waiting]))
            settled = np.abs(moved - found[waiting]) <= 1e-14 * (1 + np.abs(moved))
            found[waiting] = moved
            waiting = waiting[~settled]
            if not len(waiting):
                break
        return found

    def _curve(self, u: Reals) -> tuple[Reals, Reals, Reals]:
        """Return x, log ρ(x) and dx/du at ``u`` (n,), each (n,), about the mean."""
        log_v = self._log_heights(u)
        transform, slope = self._transform(u + 1j * np.exp(log_v))
        stretch = 1 / (1 / (1 + self.added * slope)).real
        return u + self.added * transform.real, log_v - math.log(math.pi * self.added), stretch

    @cached_property
    def _cells(self) -> tuple[Reals, Reals, Reals, Reals]:
        """Edges in u (k + 1,), and x, masses ρ dx and u at Gauss points (k, 8), refined until masses are settled."""
        deviation, reach = math.sqrt(self.variance), math.sqrt(self.added)
        end = max(9 * deviation, reach + 3 * deviation)
        edges = np.linspace(-end, end, CELLS + 1)
        for round_ in range(ROUNDS):
            x, masses, u = self._at_gauss_points(edges)
            middles = 0.5 * (edges[1:] + edges[:-1])
            finer = self._at_gauss_points(np.sort(np.concatenate([edges, middles])))[1]
            halves = finer.sum(1).reshape(-1, 2).sum(1)
            rough = np.abs(halves - masses.sum(1)) > TOLERANCE
            if not rough.any() or round_ == ROUNDS - 1:
                break
            edges = np.sort(np.concatenate([edges, middles[rough]]))
        return edges, x, masses, u

    def _at_gauss_points(self, edges: Reals) -> tuple[Reals, Reals, Reals]:
        half = 0.5 * np.diff(edges)
        u = edges[:-1, None] + half[:, None] * (1 + GAUSS_NODES)
        x, log_density, stretch = (values.reshape(u.shape) for values in self._curve(u.ravel()))
        return x, half[:, None] * GAUSS_WEIGHTS * np.exp(log_density) * stretch, u

    @cached_property
    def _inverse(self) -> CubicSpline:
        """The place as a function of the normal score of its rank, about the mean."""
        edges, _, masses, _ = self._cells
        of_cells = masses.sum(1)
        total = of_cells.sum()
        below = np.concatenate([[0.0], np.cumsum(of_cells)]) / total
        above = np.concatenate([np.cumsum(of_cells[::-1])[::-1], [0.0]]) / total
        lower = below < above
        scores = np.where(lower, ndtri(np.minimum(below, above)), -ndtri(np.minimum(below, above)))
        x = self._curve(edges)[0]
        kept = np.isfinite(scores)
        kept[np.flatnonzero(kept)[1:]] &= np.diff(scores[kept]) > 1e-9
        return CubicSpline(scores[kept], x[kept])

    def _places(self, scores: Reals) -> Reals:
        inside = np.clip(scores, self._inverse.x[0], self._inverse.x[-1])
        return np.asarray(self._inverse(inside) + self._inverse(inside, 1) * (scores - inside))

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        scores = torch.randn(n, generator=generator, dtype=torch.float64).numpy()
        return torch.from_numpy(self.mean + self._places(scores))[:, None]

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return self.mean * directions.double() + torch.from_numpy(self._places(ndtri(levels.double().numpy())))

    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._places(ndtri(0.5 + 0.5 * levels.double().numpy())))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        places = x[:, 0].double().numpy() - self.mean
        u, log_v = self._start
        _, at, _, _ = self._cells
        outside = (places <= at[0, 0]) | (places >= at[-1, -1]) | np.isnan(places)
        found = np.empty(len(places))
        found[outside] = self._log_tail(places[outside])
        inner = places[~outside]
        nearest = np.interp(inner, at.ravel(), u), np.interp(inner, at.ravel(), log_v)
        found[~outside] = self._log_inside(inner, *nearest) - math.log(math.pi * self.added)
        return torch.from_numpy(found)

    @cached_property
    def _start(self) -> tuple[Reals, Reals]:
        """u and log v at the Gauss points of all cells, both (8 k,)."""
        u = self._cells[3].ravel()
        return u, self._log_heights(u)

    def _log_tail(self, x: Reals) -> Reals:
        """Return log ρ at ``x`` (n,) where v is so small that ρ = g(u) / (1 + s Re G'(u)), x = u + s Re G(u)."""
        u = x.copy()
        for _ in range(ITERATIONS):
            transform, slope = self._transform(u.astype(np.complex128))
            moved = u - (u + self.added * transform.real - x) / (1 + self.added * slope.real)
            if not (np.abs(moved - u) > 1e-14 * np.abs(u)).any():
                break
            u = moved
        log_normal = -0.5 * u * u / self.variance - 0.5 * math.log(2 * math.pi * self.variance)
        return np.asarray(log_normal - np.log1p(self.added * self._transform(u.astype(np.complex128))[1].real))

    def _log_inside(self, x: Reals, u: Reals, log_v: Reals) -> Reals:
        """Return log v at ``x`` (n,), by Newton's method in u and log v from near them, (n,) each.

        The equations are u + s Re G = x and log(-s Im G) = log v.
        """
        waiting, unit = np.arange(len(x)), math.sqrt(self.variance + self.added)
        for _ in range(FEW):
            v = np.exp(np.clip(log_v[waiting], LOWEST, None))
            transform, slope = self._transform(u[waiting] + 1j * v)
            off = u[waiting] + self.added * transform.real - x[waiting]
            excess = np.log(np.maximum(-self.added * transform.imag, 1e-300)) - log_v[waiting]
            a, b = 1 + self.added * slope.real, -self.added * v * slope.imag
            height = np.minimum(transform.imag, -1e-300)
            c, d = slope.imag / height, v * slope.real / height - 1
            determinant = a * d - b * c
            with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
                move_u, move_v = (d * off - b * excess) / determinant, (a * excess - c * off) / determinant
            move_u = np.clip(move_u, -unit, unit)
            u[waiting] -= move_u
            log_v[waiting] -= np.clip(move_v, -1, 1)
            # What is NaN by now is unsettled, too.
            unsettled = ~((np.abs(move_u) <= 1e-13 * unit) & (np.abs(move_v) <= 1e-11 * (1 + np.abs(log_v[waiting]))))
            waiting = waiting[unsettled]
            if not len(waiting):
                break
        if len(waiting):
            log_v[waiting] = self._log_heights(self._roots(x[waiting]))
        return log_v

    def _roots(self, x: Reals) -> Reals:
        """Return u (n,) with x(u) = ``x`` (n,), by Newton's method and bisection between the edges of cells."""
        edges = self._cells[0]
        at_edges = self._curve(edges)[0]
        cell = np.clip(np.searchsorted(at_edges, x) - 1, 0, len(edges) - 2)
        low, high = edges[cell], edges[cell + 1]
        u = 0.5 * (low + high)
        for _ in range(ITERATIONS):
            found, _, slope = self._curve(u)
            low, high = np.where(found < x, u, low), np.where(found < x, high, u)
            newton = u - (found - x) / slope
            moved = np.where((newton > low) & (newton < high), newton, 0.5 * (low + high))
            settled = (np.abs(moved - u) <= 1e-15 * np.abs(edges[-1])).all()
            u = moved
            if settled:
                break
        return u

    def free_energy(self) -> float:
        """Return ½∬(½(x - y)² - log|x - y|) of the law, by quadrature."""
        edges, x, masses, u = self._cells
        masses = masses / masses.sum()
        # L(x) = ∫ log|x - y| has the slope Re G_t = (x - u)/s, and far to the left is a sum without singularities.
        start = self._curve(edges[:1])[0][0]
        at_start = float((masses * np.log(x - start + 0.0)).sum())
        stretched = (x - u) / self.added * self._curve(u.ravel())[2].reshape(u.shape)
        half = 0.5 * np.diff(edges)[:, None]
        of_cells = (half * GAUSS_WEIGHTS * stretched).sum(1)
        begins = at_start + np.concatenate([[0.0], np.cumsum(of_cells)[:-1]])
        potential = begins[:, None] + half * (stretched @ _INTEGRATION.T)
        return 0.5 * (self.variance + self.added) - 0.5 * float((masses * potential).sum())


def faddeeva_slope(zeta: Complexes, w: Complexes) -> Complexes:
    """Return w'(ζ) at ``zeta`` (n,) in the upper half-plane, shape (n,), where Faddeeva's function is ``w``.

    Far from 0 it is the asymptotic series -i/(√π ζ²) (1 + 3/2ζ² + 15/4ζ⁴ + ...): of 2i/√π - 2ζw less and less is left
    there. Next to the real axis, where the imaginary part of the series vanishes, e^{-ζ²} is added.
    """
    slope = 2j / math.sqrt(math.pi) - 2 * zeta * w
    far = np.abs(zeta) > FAR
    z = zeta[far]
    inverse = 1 / z**2
    series = -1j / math.sqrt(math.pi) * inverse * np.polynomial.polynomial.polyval(inverse, TERMS)
    beside = np.abs(z.imag) < 1
    series[beside] -= 2 * z[beside] * np.exp(-(z[beside] ** 2))
    slope[far] = series
    return np.asarray(slope)


def semicircle_energy(radius: float) -> float:
    """Return ½∬(½(x - y)² - log|x - y|) of the semicircle law of this radius."""
    return radius**2 / 8 - 0.5 * math.log(radius / 2) + 0.125


def gaussian_energy(variance: float) -> float:
    """Return ½∬(½(x - y)² - log|x - y|) of the normal law of this variance on the line."""
    return 0.5 * variance - 0.25 * math.log(variance) + 0.25 * float(np.euler_gamma)


def log_gas_marginal(initial: Gaussian | Semicircle, time: float) -> Gaussian | Semicircle | FreeGaussian:
    """Return the exact law at ``time`` ≥ 0 of the flow that starts from ``initial``.

    Of a Gaussian it is a semicircle once its share in the variance is less than 1e-8: what tells the two apart is of
    the square of that, 1e-16 of the width, but for a mass of e^{-5e7} outside.
    """
    if time == 0:
        return initial
    decay, added = math.exp(-2 * time), -0.5 * math.expm1(-2 * time)
    if isinstance(initial, Semicircle):
        return Semicircle(initial.mean, math.sqrt(4 * added + initial.radius**2 * decay))
    mean, variance = float(initial.mean), decay * float(initial.covariance)
    if variance <= NARROW * added:
        return Semicircle(mean, 2 * math.sqrt(variance + added))
    return FreeGaussian(mean, variance, added)
