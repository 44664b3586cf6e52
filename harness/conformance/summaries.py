"""Checks that what laws and estimates say of themselves, beside their draws and density, fits their draws."""

from __future__ import annotations

import math

import torch

from harness.conformance.contract import generator, require
from harness.conformance.densities import STANDARD_ERRORS, require_moments
from problems.laws import Density, Law
from solvers.estimates import DensityEstimate, Estimate, Particles

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
DIRECTIONS = 3
# Of a law on a grid, whose quantiles lie inside its cells.
ROUNDING = 2e-3
# Of log-densities that come with draws, and are worked out in another way than at given points.
LOG_ROUNDING = 1e-6
# Of a score, beside its largest value and one over the width of the law.
SLOPE_TOLERANCE = 1e-3


def check_law(law: Law, draws: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless what a law states fits its ``draws`` (n, D), independent.

    That is its quantiles along directions and of the distance from its mean, the radius of its support, the log-density
    that comes with draws, and its score.
    """
    dim = draws.shape[1]
    directions = torch.randn(DIRECTIONS, dim, generator=generator(6), dtype=torch.float64)
    directions /= directions.norm(dim=1, keepdim=True)
    levels = torch.tensor(LEVELS, dtype=torch.float64)
    along = law.marginal_quantiles(directions, levels)
    if along is not None:
        for direction, quantiles in zip(directions, along, strict=True):
            require_quantiles(draws @ direction, quantiles, f"{where}: marginal_quantiles")
    distances = (draws - law.moments()[0]).norm(dim=1)
    radial = law.radial_quantiles(levels)
    if radial is not None:
        require_quantiles(distances, radial, f"{where}: radial_quantiles")
    radius = law.support_radius
    if radius is not None:
        far = float(distances.max())
        require(far <= radius * (1 + 1e-9), f"{where}: support_radius is {radius:.6g}, but draws are {far:.6g} away")
    if isinstance(law, Density):
        check_log_prob_of_draws(law, where)
        check_score(law, draws, where)


def check_estimate(estimate: Estimate, draws: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless what an estimate states fits its ``draws`` (n, D), independent.

    That is its moments, on the line its quantiles and distribution function, and the log-density that comes with draws.
    Particles are their own draws.
    """
    if isinstance(estimate, Particles):
        return
    kind = type(estimate)
    if kind.moments is not Estimate.moments:
        mean, covariance = estimate.moments(generator(6))
        if bool(torch.isfinite(covariance).all()):
            require_moments(draws, mean, covariance, f"{where}: moments")
    if estimate.dim == 1:
        places = torch.tensor(estimate.quantiles(LEVELS, generator(6)), dtype=torch.float64)
        own = kind.quantiles is not Estimate.quantiles
        if own:
            require_quantiles(draws[:, 0], places, f"{where}: quantiles")
        if kind.cumulative is not Estimate.cumulative:
            below = [estimate.cumulative(float(place), generator(6)) for place in places]
            shares = torch.tensor(below, dtype=torch.float64)
            require_shares(draws[:, 0], places, shares, f"{where}: cumulative")
    if isinstance(estimate, DensityEstimate):
        check_log_prob_of_draws(estimate, where)


def check_log_prob_of_draws(density: Density | DensityEstimate, where: str) -> None:
    """Raise ``Violation`` unless the log-density that comes with draws is that at them."""
    if type(density).sample_with_log_prob in (Density.sample_with_log_prob, DensityEstimate.sample_with_log_prob):
        return
    points, stated = density.sample_with_log_prob(256, generator(6))
    gap = float((density.log_prob(points) - stated).abs().max())
    room = LOG_ROUNDING * max(1.0, float(stated.abs().max()))
    require(gap <= room, f"{where}: sample_with_log_prob differs from log_prob at its own draws, by {gap:.3g}")


def check_score(law: Density, draws: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless the score that a law may give is the slope of its log-density, everywhere.

    ``draws`` (n, D) are independent. Of a law that is positive and smooth everywhere E[s·(x-m)] is -D; an edge or a
    jump would take from it, which slopes at single points do not see.
    """
    points = draws[:256]
    found = law.score(points)
    if found is None:
        return
    require(
        found.shape == points.shape,
        f"{where}: the score at points {tuple(points.shape)} has shape {tuple(found.shape)}",
    )
    width = 1e-6 * float(draws.std(0).max())
    for axis in range(draws.shape[1]):
        shift = torch.zeros(draws.shape[1], dtype=torch.float64)
        shift[axis] = width
        slope = (law.log_prob(points + shift) - law.log_prob(points - shift)) / (2 * width)
        gap, size = float((found[:, axis] - slope).abs().max()), float(found.abs().max())
        require(
            gap <= SLOPE_TOLERANCE * max(size, 1e-6 / width),
            f"{where}: the score differs from finite differences of log_prob, by {gap:.3g}; it is up to {size:.3g}",
        )
    whole = law.score(draws)
    assert whole is not None
    along = (whole * (draws - law.moments()[0])).sum(1)
    mean, error = float(along.mean()), float(along.std()) / math.sqrt(len(along))
    require(
        abs(mean + draws.shape[1]) <= STANDARD_ERRORS * error + ROUNDING,
        f"{where}: E[score·(x - mean)] is {mean:.4g}, not minus the dimension: the density has edges or jumps; "
        "its score must be None",
    )


def require_quantiles(values: torch.Tensor, quantiles: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless ``quantiles`` (l,) at ``LEVELS`` are those of independent ``values`` (n,)."""
    require(
        quantiles.shape == (len(LEVELS),),
        f"{where}: {len(LEVELS)} levels have values of shape {tuple(quantiles.shape)}",
    )
    require_shares(values, quantiles, torch.tensor(LEVELS, dtype=torch.float64), where)


def require_shares(values: torch.Tensor, places: torch.Tensor, shares: torch.Tensor, where: str) -> None:
    """Raise ``Violation`` unless the ``shares`` (l,) of a law below ``places`` (l,) fit independent ``values`` (n,)."""
    for place, share in zip(places.tolist(), shares.tolist(), strict=True):
        found = float((values < place).double().mean() + 0.5 * (values == place).double().mean())
        error = math.sqrt(max(share * (1 - share), 1 / len(values)) / len(values))
        require(
            abs(found - share) <= STANDARD_ERRORS * error + ROUNDING,
            f"{where}: {share:.4g} of the law is said to lie below {place:.6g}, {found:.4g} of {len(values)} draws do",
        )
