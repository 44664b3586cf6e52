"""Checks that draws and a density are of one law.

In one and two dimensions mass and moments are those on a grid; in more the mass is that by bridge sampling, between the
draws and those of a Gaussian of their moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from harness.conformance.contract import generator, require
from problems.linear_algebra import weighted_moments
from problems.posterior.bridge_sampling import log_normaliser

# Midpoints of a whitened grid: a density smooth on the scale of a tenth of a standard deviation is integrated to
# rounding, one with an edge, such as Barenblatt's, to about a thousandth.
NODES = {1: 4000, 2: 200}
MASS_TOLERANCE = 2e-3
STANDARD_ERRORS = 5.0
LEAST_DRAWS = 800
"""Draws by which a mass is estimated, in more dimensions than a grid has."""


def check_density(log_prob: Callable[[torch.Tensor], torch.Tensor], draws: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless ``draws`` (n, D), independent, could come from the density.

    The log-density must be finite at the draws, of shape (n,), and integrate to one. For D ≤ 2 its first two moments
    must also agree with those of the draws within five standard errors.
    """
    at_draws = log_prob(draws)
    require(
        at_draws.shape == draws.shape[:1],
        f"{where}: log_prob of {len(draws)} points has shape {tuple(at_draws.shape)}, not ({len(draws)},)",
    )
    bad = int((~torch.isfinite(at_draws)).sum())
    require(bad == 0, f"{where}: log_prob is not finite at {bad} of {len(draws)} of the law's own draws")
    if draws.shape[1] in NODES:
        grid, masses = integrate(log_prob, draws)
        total = float(masses.sum())
        require(abs(total - 1) <= MASS_TOLERANCE, f"{where}: the density integrates to {total:.6g}, not 1")
        shares = (masses / total).numpy()
        moments = weighted_moments(shares, grid.numpy())
        require_moments(draws, *moments, where=f"{where}, draws against the density")
    elif len(draws) >= max(LEAST_DRAWS, 10 * draws.shape[1]):
        try:
            found = log_normaliser(log_prob, draws, generator(6))
        except ArithmeticError:  # far from any Gaussian
            return
        require(
            abs(found.log_value) <= MASS_TOLERANCE + STANDARD_ERRORS * found.standard_error,
            f"{where}: the density integrates to {math.exp(found.log_value):.6g}, not 1, by bridge sampling with a "
            f"relative error of {found.standard_error:.2g}",
        )


def integrate(
    log_prob: Callable[[torch.Tensor], torch.Tensor], draws: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the nodes (m, D) and the masses (m,) of the midpoint rule, on half as much again as the draws cover.

    The grid is aligned with the principal axes of the draws.
    """
    dim = draws.shape[1]
    mean = draws.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(draws.T).reshape(dim, dim))
    scale = axes * variances.clamp_min(1e-300).sqrt()
    white = (draws - mean) @ axes / variances.clamp_min(1e-300).sqrt()
    reach = 1.5 * white.abs().amax(0)
    nodes = NODES[dim]
    midpoints = (torch.arange(nodes, dtype=draws.dtype) + 0.5) / nodes * 2 - 1
    grid = torch.cartesian_prod(*(midpoints * extent for extent in reach)).reshape(-1, dim)
    points = mean + grid @ scale.T
    volume = float((2 * reach / nodes * variances.sqrt()).prod())
    return points, log_prob(points).exp() * volume


def require_moments(draws: torch.Tensor, mean: torch.Tensor, covariance: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless the draws (n, D) have these moments within five standard errors, entry by entry."""
    centred = draws - mean
    count = len(draws)
    products = centred.T @ centred / count
    # Var of the products, without an array of all of them.
    variances = (centred**2).T @ (centred**2) / count - products**2
    for what, found, stated, variance in (
        ("mean", draws.mean(0), mean, draws.var(0)),
        ("covariance", products, covariance, variances),
    ):
        rounding = 1e-9 * (1 + stated.abs().max())
        error = (variance / count).clamp_min(1e-300).sqrt()
        excess = ((found - stated).abs() - rounding) / error
        worst = excess.argmax()
        require(
            float(excess.max()) <= STANDARD_ERRORS,
            f"{where}: the {what} is off by {float(excess.max()):.1f} standard errors of {count} draws "
            f"({found.flatten()[worst]:.6g} against {stated.flatten()[worst]:.6g})",
        )
