"""Where the dual JKO step is imposed: pairs (x, y) from a reference law, and the region that such a law covers.

``uniform``, as published: x and y independent and uniform on a box. Few pairs are near each other there, and in twelve
dimensions of 20,000 points about one lies where a standard normal has its mass.

``coupled``: y ~ N(m, (1 + 1/√D) Σ), with the moments of ρ_k, so that more than half of the sample stays effective for a
Gaussian in every dimension; a tenth of the y have a covariance 1 + 6/D times as large (a defensive mixture, Hesterberg,
Technometrics 37, 1995): ρ⁺ must be small there too, and polynomials grow fast where nothing holds them. Then

    x = m⁺ + T (y - m) + √(2h/β) T^{½} ξ,

where m⁺ and T are the mean and the map of the exact step of N(m, Σ) in a quadratic potential
(``solvers.gaussian.exact_step``) with the average slope of ∇V. In that step x = T(y) + δ leaves a slack of δᵀT⁻¹δ in
the constraint. So pairs lie where the constraint binds and x where ρ⁺ is; the guess decides on nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from problems.laws import Gaussian, GaussianMixture, standard_normal
from problems.linear_algebra import symmetrised
from problems.potentials import Potential
from solvers.dual.basis import Basis, Polynomials
from solvers.dual.regions import Box, Ellipsoid, Region
from solvers.gaussian.exact_step import jko_covariance
from solvers.solver import Diverged

# Share of the wide pairs, whose covariance is 1 + WIDER/D times as large.
WIDE_SHARE = 0.1
WIDER = 6.0
# Draws that the slope of ∇V is fitted to.
SLOPE_DRAWS = 2048


@dataclass(frozen=True, eq=False)
class Marginal:
    """A marginal is the law of x or of y alone: its log-density, region and polynomials.

    ``law`` is that of most draws; ``drawn`` is that of all, where they differ.
    """

    law: Gaussian | Box
    drawn: GaussianMixture | None = None

    @property
    def region(self) -> Region:
        """The region that the law is in, as good as surely."""
        return self.law if isinstance(self.law, Box) else Ellipsoid(self.law)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at its own draws ``x`` (n, D), shape (n,)."""
        if self.drawn is not None:
            return self.drawn.log_prob(x)
        if isinstance(self.law, Gaussian):
            return self.law.log_prob(x)
        return torch.full((len(x),), -x.shape[1] * math.log(2 * self.law.half_width), dtype=x.dtype)

    def monomials(self, degree: int, scale: float) -> Basis:
        """Return the monomials of at most ``degree`` of x - mean, multiplied by ``scale``."""
        centre = self.law.centre if isinstance(self.law, Box) else self.law.mean
        return Polynomials(centre, torch.eye(len(centre), dtype=centre.dtype), "power", degree, scale)

    def polynomials(self, degree: int) -> Basis:
        """Return the polynomials of at most ``degree``, orthonormal under the law."""
        if isinstance(self.law, Box):
            whitening = torch.eye(len(self.law.centre), dtype=self.law.centre.dtype) / self.law.half_width
            return Polynomials(self.law.centre, whitening, "legendre", degree)
        identity = torch.eye(self.law.dim, dtype=self.law.mean.dtype)
        whitening = torch.linalg.solve_triangular(self.law.cholesky, identity, upper=False)
        return Polynomials(self.law.mean, whitening, "hermite", degree)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs are draws x and y, both (n, D), row by row from the reference law of pairs, with its two marginals."""

    x: torch.Tensor
    y: torch.Tensor
    of_x: Marginal
    of_y: Marginal


def uniform_pairs(box: Box, n: int, generator: torch.Generator) -> Pairs:
    """Return ``n`` pairs of independent points of the box, each (n, D)."""
    shape = (2, n, len(box.centre))
    x, y = box.centre + box.half_width * (2 * torch.rand(shape, generator=generator, dtype=torch.float64) - 1)
    return Pairs(x, y, Marginal(box), Marginal(box))


@dataclass(frozen=True, eq=False)
class Guess:
    """A guess is a step from N(``mean``, ``covariance``) in a quadratic potential.

    y goes to ``stepped`` + ``map`` (y - mean).
    """

    mean: torch.Tensor
    covariance: torch.Tensor
    stepped: torch.Tensor
    map: torch.Tensor


def quadratic_guess(
    mean: torch.Tensor,
    covariance: torch.Tensor,
    potential: Potential,
    step_size: float,
    temperature: float,
    generator: torch.Generator,
) -> Guess:
    """Return the step in the quadratic potential that has the slope of ∇V, by least squares over draws of N(m, Σ).

    Negative curvatures count as none. Raises ``Diverged`` where the gradient is not finite.
    """
    law = Gaussian(mean, covariance)
    x = law.sample(SLOPE_DRAWS, generator)
    gradient = potential.gradient(x).double()
    if not bool(torch.isfinite(gradient).all()):
        raise Diverged("the gradient of the potential is not finite")
    white = torch.linalg.solve_triangular(law.cholesky, (x - mean).T, upper=False).numpy()
    design = np.concatenate([np.ones((1, SLOPE_DRAWS)), white])
    # In one order: see problems.linear_algebra. Points lie along the second axis here.
    normal, moment = np.einsum("in,jn->ij", design, design), np.einsum("in,nj->ij", design, gradient.numpy())
    fitted = torch.from_numpy(np.linalg.solve(normal, moment))
    slope = torch.linalg.solve_triangular(law.cholesky.T, fitted[1:], upper=True)
    rates, axes = torch.linalg.eigh(symmetrised(slope))
    rates = rates.clamp(min=0)
    within = jko_covariance(axes.T @ covariance @ axes, rates, step_size, temperature)
    inverse = torch.diag(1 + step_size * rates) - step_size * temperature * torch.linalg.inv(within)
    scale = 1 / (1 + step_size * rates)
    stepped = mean - step_size * axes @ (scale * (axes.T @ fitted[0]))
    return Guess(mean, covariance, stepped, axes @ torch.linalg.inv(symmetrised(inverse)) @ axes.T)


def coupled_pairs(guess: Guess, spread: float, n: int, generator: torch.Generator) -> Pairs:
    """Return ``n`` pairs about the guess, x with noise of covariance ``spread`` T."""
    mean, dim = guess.mean, len(guess.mean)
    near = (1 + 1 / math.sqrt(dim)) * guess.covariance
    noise = spread * symmetrised(guess.map)
    widths = (1.0, 1 + WIDER / dim)
    weights = torch.tensor([1 - WIDE_SHARE, WIDE_SHARE], dtype=mean.dtype)
    of_y = [width * near for width in widths]
    of_x = [guess.map @ each @ guess.map.T + noise for each in of_y]
    of_x = [symmetrised(each) for each in of_x]
    drawn_y = GaussianMixture(weights, torch.stack([mean, mean]), torch.stack(of_y))
    drawn_x = GaussianMixture(weights, torch.stack([guess.stepped, guess.stepped]), torch.stack(of_x))
    y = drawn_y.sample(n, generator)
    shift = standard_normal(n, dim, generator, y) @ torch.linalg.cholesky(noise).T
    x = guess.stepped + (y - mean) @ guess.map.T + shift
    return Pairs(x, y, Marginal(Gaussian(guess.stepped, of_x[0]), drawn_x), Marginal(Gaussian(mean, of_y[0]), drawn_y))
