"""The Wasserstein-2 distance from a true law whose quantiles are known, so that the truth is not drawn.

On the line W₂² = ∫₀¹ (F⁻¹ - G⁻¹)² du. In more dimensions there are lower bounds by one-dimensional distances:

    W₂²(X, Y) ≥ D · E_θ W₂²(θ·X, θ·Y)                           θ uniform on the sphere,
    W₂²(X, Y) ≥ |E X - E Y|² + W₂²(|X - E X|, |Y - E Y|),

the first since E_θ (θ·z)² = |z|²/D for any coupling, the second since means split off and |·| is 1-Lipschitz. Both are
equalities where one law is the other moved and scaled about its mean, the second wherever both laws are the same in all
directions about their means (Villani, Topics in Optimal Transportation, 2003, chapters 2 and 7; Bonneel, Rabin, Peyré
and Pfister, J. Math. Imaging Vis. 51, 2015).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import groups_of, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.two_densities import on_the_line
from problems.arrays import Reals
from problems.laws import Law
from solvers.estimates import Estimate, Exact, GridDensity, Nodes, Particles
from solvers.threads import one_thread

LEAST = 6
PROJECTIONS = 128
# Places in the share of quantiles that one draw stands for: Gauss's rule, exact to the seventh power.
PLACES, SHARES = np.polynomial.legendre.leggauss(4)
# Half as many nodes of the double exponential rule for exact quantiles, and where it ends: levels of 1e-13.
HALF_RULE = 2**11
RULE_END = 2.95


@dataclass(frozen=True)
class W2(Measure):
    """Wasserstein-2 distance (not squared) of the fit from the truth's exact quantiles.

    - On the line: exact, by the fit's quantiles where it knows them, has a density or is nodes (standard error 0), else
      by its particles.
    - Elsewhere √D times the sliced distance along 128 random directions, against the truth's exact marginals: a lower
      bound, equal where the fit is the truth moved and scaled. Exact laws are drawn as all other answers are, so that
      the truth's own figure is the floor of the others'.
    - Where only radii of the truth are known: by the mean and the distances from it, a lower bound that is blind to
      what depends on the direction.

    Draws are all particles up to ``draws`` of them (weighted ones are drawn by weight), or ``draws`` draws of the fit.
    Between finite samples and their own law it is positive, of order n^-½: compare it with its value on exact draws of
    the same number. The standard error is from the influence of each draw, its Kantorovich potential (del Barrio &
    Loubes 2019, Ann. Probab. 47), in groups of draws that depend on each other, and the variance over directions; where
    the laws agree it is overstated, never understated.
    """

    name: ClassVar[str] = "w2"
    version: ClassVar[int] = 2

    def proper(self, estimate: Estimate) -> bool:
        """Return whether the distance is that of the law itself: on the line, and of an answer that is not draws.

        Draws that spread less than their law come nearer to the truth's quantiles, and a sliced distance is of draws.
        """
        return estimate.dim == 1 and (isinstance(estimate, Nodes) or not isinstance(estimate, Particles))

    def unsuited(self, subject: Subject) -> str | None:
        truth, estimate = subject.truth, subject.estimate
        if truth is None:
            return "the true law is not known"
        if isinstance(estimate, Particles) and len(estimate.points) < LEAST:
            return f"{len(estimate.points)} particle(s) are too few; {LEAST} are needed"
        if _radial(truth, _half()) is None and _marginals(truth, _axis(truth.dim), _half()) is None:
            return "no quantiles of the truth are known; sliced-w2 takes draws of both sides"
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth, estimate = subject.truth, subject.estimate
        assert truth is not None
        levels, weights = rule()
        directions = _directions(estimate.dim, generator)
        if _marginals(truth, directions[:1], _half()) is None:
            return _by_radii(truth, *_points(estimate, draws, generator))
        if isinstance(estimate, Nodes) and estimate.dim == 1:
            return _of_nodes(truth, estimate)
        known = _known(estimate, directions, levels, generator)
        if known is None:
            return _sliced(truth, *_points(estimate, draws, generator), directions)
        true = _marginals(truth, directions, levels)
        assert true is not None
        return Figure(math.sqrt(float(np.sum(weights * (known - true)[0] ** 2))), 0.0, "exact, by quantiles")


def rule() -> tuple[torch.Tensor, Reals]:
    """Return levels in (0, 1) and weights, both (k,), of the double exponential rule, for what is singular at the ends.

    Takahasi and Mori, Publ. RIMS 9, 1974.
    """
    t = np.linspace(-RULE_END, RULE_END, 2 * HALF_RULE + 1)
    inner = math.pi * np.sinh(t)
    levels = 1 / (1 + np.exp(-inner))
    weights = math.pi * np.cosh(t) / (2 + 2 * np.cosh(inner))
    return torch.from_numpy(levels), weights / weights.sum()


def _half() -> torch.Tensor:
    return torch.tensor([0.5], dtype=torch.float64)


def _axis(dim: int) -> torch.Tensor:
    return torch.eye(dim, dtype=torch.float64)[:1]


def _directions(dim: int, generator: torch.Generator) -> torch.Tensor:
    """Return unit vectors (k, D): the line has one, of others there are random ones."""
    if dim == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    directions = torch.randn(PROJECTIONS, dim, generator=generator, dtype=torch.float64)
    unit: torch.Tensor = directions / directions.norm(dim=1, keepdim=True)
    return unit


def _marginals(law: Law, directions: torch.Tensor, levels: torch.Tensor) -> Reals | None:
    """Return a law's exact quantiles (k, l) along ``directions`` (k, D), or ``None`` where it does not know them."""
    with one_thread():
        found = law.marginal_quantiles(directions, levels)
    return None if found is None else np.asarray(found.double().numpy())


def _radial(law: Law, levels: torch.Tensor) -> Reals | None:
    """Return a law's exact quantiles (l,) of the distance from its mean, or ``None`` where it does not know them."""
    found = law.radial_quantiles(levels)
    return None if found is None else np.asarray(found.double().numpy())


def _known(
    estimate: Estimate, directions: torch.Tensor, levels: torch.Tensor, generator: torch.Generator
) -> Reals | None:
    """Return the quantiles (1, l) of a fit on the line, other than particles, that has some without draws, or ``None``.

    They are its own, or of its density by the distribution function on a fine grid.
    """
    if estimate.dim > 1 or isinstance(estimate, Particles):
        return None
    if isinstance(estimate, Exact | GridDensity):
        own = _marginals(estimate.law, directions, levels)
        if own is not None:
            return own
    elif type(estimate).quantiles is not Estimate.quantiles:
        return np.array(estimate.quantiles(levels.tolist(), generator))[None]
    density = estimate.density
    found = None if density is None else on_the_line((density,), generator)
    if found is None:
        return None
    x, width, (log_density,) = found
    below = np.concatenate([[0.0], np.cumsum(log_density.exp().numpy())])
    edges = np.concatenate([x[:, 0].numpy() - 0.5 * width, [float(x[-1, 0]) + 0.5 * width]])
    return np.asarray(np.interp(levels.numpy(), below / below[-1], edges)[None])


def _points(estimate: Estimate, draws: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return draws (n, D) of a fit, and their groups (n,): of weighted particles, which ones they are, if no others."""
    if not isinstance(estimate, Particles) or isinstance(estimate, Nodes):
        return estimate.sample(draws, generator).double(), None
    places = estimate.places(min(draws, len(estimate.points)), generator)
    groups = groups_of(estimate)
    if groups is None:
        return estimate.points[places].double(), None if estimate.log_weights is None else places
    return estimate.points[places].double(), groups[places]


def _levels(count: int) -> torch.Tensor:
    """Return the levels (4 n,) of Gauss's places in each of n equal shares."""
    return torch.from_numpy(((np.arange(count)[:, None] + 0.5 + 0.5 * PLACES) / count).ravel())


def _of_nodes(truth: Law, nodes: Nodes) -> Figure:
    """Return the distance on the line of nodes, each of which stands for the quantiles of a share, its weight."""
    x, order = nodes.points.double()[:, 0].sort()
    shares = nodes.normalised_log_weights.exp()[order]
    below = (shares.cumsum(0) - shares)[:, None]
    levels = (below + shares[:, None] * torch.from_numpy(0.5 + 0.5 * PLACES)).clamp(1e-300, 1 - 2**-53)
    quantiles = _marginals(truth, _axis(1), levels.ravel())
    assert quantiles is not None
    squares = 0.5 * np.sum(SHARES * (x.numpy()[:, None] - quantiles.reshape(levels.shape)) ** 2, axis=1)
    return Figure(math.sqrt(float(np.sum(shares.numpy() * squares))), 0.0, f"{len(x)} nodes against exact quantiles")


def _to_quantiles(x: Reals, quantiles: Reals) -> tuple[Reals, Reals]:
    """Return W₂² (k,) of sorted draws ``x`` (k, n) from quantiles (k, 4 n), and each draw's mean partner (k, n)."""
    apart = quantiles.reshape(*x.shape, len(PLACES))
    squares = 0.5 * np.sum(SHARES * (x[:, :, None] - apart) ** 2, axis=2)
    return squares.mean(axis=1), 0.5 * np.sum(SHARES * apart, axis=2)


def _potential(x: Reals, partner: Reals) -> Reals:
    """Return φ (k, n) at sorted ``x`` (k, n) with φ' = 2 (x - T(x)), of mean zero along each row."""
    slope = x - partner
    steps = (slope[:, 1:] + slope[:, :-1]) * np.diff(x, axis=1)
    along = np.concatenate([np.zeros((len(x), 1)), np.cumsum(steps, axis=1)], axis=1)
    return np.asarray(along - along.mean(axis=1, keepdims=True))


def _sliced(truth: Law, x: torch.Tensor, groups: torch.Tensor | None, directions: torch.Tensor) -> Figure:
    with one_thread():
        along, order = torch.sort(directions @ x.T, dim=1)
    quantiles = _marginals(truth, directions, _levels(len(x)))
    assert quantiles is not None
    squares, partner = _to_quantiles(along.numpy(), quantiles)
    potential = torch.from_numpy(_potential(along.numpy(), partner))
    influence = torch.zeros_like(potential).scatter_(1, order, potential).numpy().mean(axis=0)
    variance = mean_variance(influence, groups)
    if x.shape[1] == 1:
        return _rooted(1, squares, variance, f"{len(x)} draws against exact quantiles")
    return _rooted(x.shape[1], squares, variance, f"{len(x)} draws against exact marginals")


def _rooted(dim: int, squares: Reals, variance: float, estimator: str) -> Figure:
    """Return √D times the root of the mean of ``squares`` (k,), whose draws give that mean this ``variance``."""
    if dim > 1:
        variance += float(np.var(squares, ddof=1)) / len(squares)
        estimator = f"√D · sliced, {len(squares)} directions, {estimator}"
    return _root(dim, float(squares.mean()), variance, estimator)


def _root(dim: int, square: float, variance: float, estimator: str) -> Figure:
    """Return (D ``square``)^½, given the variance of ``square``; infinite, with its error, where it overflows."""
    if math.isinf(square):
        return Figure(math.inf, math.inf, f"{estimator}: squares of distances overflow")
    error = 0.5 * math.sqrt(dim * variance / square) if square > 0 else 0.0
    return Figure(math.sqrt(dim * square), error, estimator)


def _by_radii(truth: Law, x: torch.Tensor, groups: torch.Tensor | None) -> Figure:
    """Return the distance by mean and radii alone."""
    points = x.numpy()
    mean = points.mean(axis=0)
    shift = mean - truth.moments()[0].double().numpy()
    radii = np.sqrt(np.sum((points - mean) ** 2, axis=1))
    order = np.argsort(radii, kind="stable")
    quantiles = _radial(truth, _levels(len(x)))
    assert quantiles is not None
    squares, partner = _to_quantiles(radii[order][None], quantiles[None])
    influence = np.empty(len(x))
    influence[order] = _potential(radii[order][None], partner)[0]
    influence += 2 * (points - mean) @ shift
    square = float(shift @ shift + squares[0])
    what = f"mean and radii of {len(x)} draws against exact radii"
    return _root(1, square, mean_variance(influence, groups), what)
