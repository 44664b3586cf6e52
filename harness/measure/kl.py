"""The divergence KL(fit‖true) = E_fit[log fit - log true], in nats, of a density or of draws alone.

Of n draws x_i the entropy is found by the distances ε_i to their k-th nearest neighbours (Kozachenko, Leonenko, Probl.
Inf. Transm. 23, 1987; Kraskov, Stögbauer, Grassberger, Phys. Rev. E 69, 2004), after an affine map A that makes their
own covariance the identity:

    KL ≈ -n⁻¹ Σ_i [ log(n-1) - ψ(k) + log c_D + D log ε_i - log|det A| + log true(x_i) ],    c_D the unit ball's volume.

Its bias at D = 12, n = 1000 is -.26, but it moves with an affine map of the draws exactly as KL does: of draws that
are wrong by such a map the excess over as many exact draws is right. So as many draws of the truth are measured in the
same way and their figure is taken off, and with it the truth's normaliser, which need not be known.

The noise of log ε_i adds about ``NOISE`` to n times the variance whatever the law is (a central limit theorem:
Delattre, Fournier, J. Stat. Plan. Inference 185, 2017; for k = 3 by simulation .62 on tori of D = 1 to 4, and .6 to .7
up to D = 6), and ψ'(k) to the variance of a single term. On the line k grows as √n/2: what lies between so many
neighbours is still a small part of the law, their bias is that of the draws of the truth, and the noise falls as 1/k
(1.7 to 2.1 over k for k = 3 to 100 on a ring), so that with many draws little but the law's own variance is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from scipy.spatial import KDTree
from scipy.special import digamma, expit, gammaln

from harness.measure.evidence import EvidenceGap, log_joint
from harness.measure.groups import mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import grouped_sides, placed, unsampled
from harness.measure.symkl import NEGLIGIBLE_MASS, without_divergence
from harness.measure.two_densities import two_densities
from problems.arrays import Reals
from problems.flow import Entropy
from problems.laws import Density
from solvers.estimates import Estimate, Nodes, Particles
from solvers.threads import one_thread

NEIGHBOUR = 3
NOISE = 0.62
TREE_DIM = 12
"""The largest dimension in which a tree finds neighbours faster than all distances do."""
ROWS_PER_TILE = 512
REPEATED_MASS = 0.05
"""Of draws by weight, this much of the mass may be in points that stand for more than one draw."""
POTENTIAL_ROWS = 2**10


@dataclass(frozen=True)
class KL(Measure):
    """The divergence KL(fit‖true) in nats: the mean of log fit - log true over the fit; 0 for the truth alone.

    - Two densities: quadrature on the line (standard error 0), elsewhere ∫ [ρ log(ρ/σ) - ρ + σ] over ``draws`` draws of
      either law, whose integrand is nowhere negative.
    - A density against a truth that has draws, and a log-density up to its constant: log-evidence - ELBO, where the
      evidence is known.
    - Particles, and fits without density: by nearest neighbours, less what as many draws of the truth get, so that
      it is negative at times. All particles up to ``draws`` of them. Repeated or weighted ones are thinned to equal
      weight first, so that they count by their effective number; the estimator's name has what is left. Of a finite
      reference half the draws are used, and no more of any answer. Nodes are no draws: they have no figure.

    Right for affine errors in any dimension; for others it comes closer with more draws, slowly in many dimensions. It
    is blind to a mode that is missing: of a mode of weight w, far from the others, it sees -log(1 - w). The value is
    infinite, with standard error 0, where the fit has mass that the truth excludes or lies in a plane. The standard
    error has both samples' noise in it, and that of groups that depend on each other. Raises ``Diverged`` where the
    fit's log-density is NaN.
    """

    name: ClassVar[str] = "kl"
    version: ClassVar[int] = 2

    def proper(self, estimate: Estimate) -> bool:
        return not isinstance(estimate, Nodes)

    def unsuited(self, subject: Subject) -> str | None:
        truth, estimate = subject.truth, subject.estimate
        if isinstance(estimate, Nodes):
            return placed(estimate)
        if isinstance(truth, Density):
            missing = without_divergence(truth)
        else:
            missing = unsampled(subject, 1) or _without_potential(subject)
        if missing is not None:
            return missing
        if estimate.density is not None and not isinstance(truth, Density):
            return EvidenceGap().unsuited(subject)
        return unsampled(subject, 2 * (estimate.dim + NEIGHBOUR + 1)) if estimate.density is None else None

    def least_draws(self, subject: Subject) -> int:
        """Return how many draws have that many neighbours, and a covariance that is not singular; 2 of densities."""
        dim = subject.estimate.dim
        return max(NEIGHBOUR, dim) + 1 if subject.estimate.density is None else super().least_draws(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth, estimate = subject.truth, subject.estimate
        assert truth is not None
        if estimate.density is not None:
            return _of_densities(subject, draws, generator)
        if isinstance(estimate, Particles):
            estimate = thinned(estimate, generator)
        subject = replace(subject, estimate=estimate)
        least = estimate.dim + NEIGHBOUR + 1
        if isinstance(estimate, Particles) and len(estimate.points) <= least:
            return Figure(math.inf, 0.0, f"nearest neighbours: {len(estimate.points)} distinct draws of equal weight")
        sides = grouped_sides(subject, draws, generator, halves=True, alike=True)
        estimator = f"nearest neighbours, {len(sides.fit)} draws a side"
        log_fit, log_true = (_log_truth(subject, side) for side in (sides.fit, sides.true))
        excluded = int(np.isneginf(log_fit).sum())
        if excluded:
            return Figure(math.inf, 0.0, f"{estimator}; {excluded} lie where the true density is zero")
        terms = divergence_terms(sides.fit, log_fit)
        if terms is None:
            return Figure(math.inf, 0.0, f"{estimator}, which lie in a plane")
        exact = divergence_terms(sides.true, log_true)
        assert exact is not None
        count = len(terms)
        noise = NOISE * NEIGHBOUR / neighbour(count, estimate.dim)
        floor = max(noise, float(exact.var())) / count
        spread = mean_variance(terms, sides.groups) - float(exact.var()) / count
        return Figure(float(terms.mean() - exact.mean()), math.sqrt(max(0.0, spread) + 2 * floor), estimator)


def _of_densities(subject: Subject, draws: int, generator: torch.Generator) -> Figure:
    """Return the figure of a fit that has a density."""
    if not isinstance(subject.truth, Density):
        return EvidenceGap()(subject, draws, generator)
    pair = two_densities(subject, draws, generator)
    ratio = pair.log_ratio
    fit, true = 2 * expit(ratio), 2 * expit(-ratio)
    with np.errstate(invalid="ignore"):
        values = np.where(fit > 0, fit * ratio, 0.0) - fit + true
    beyond = np.isposinf(values)
    excluded = 2 * float(pair.weights @ beyond)
    if excluded > NEGLIGIBLE_MASS:
        return Figure(math.inf, 0.0, f"{pair.estimator}: mass {excluded:.3g} lies where the true density is zero")
    return Figure(*pair.mean(np.where(beyond, 0.0, values)), pair.estimator)


def thinned(particles: Particles, generator: torch.Generator) -> Particles:
    """Return particles of equal weight that are distributed as the given, equal points taken together.

    Each is kept by chance, in proportion to its weight. Those as they are where all are different and unweighted.
    """
    points, first, place = np.unique(particles.points.numpy(), axis=0, return_index=True, return_inverse=True)
    if particles.log_weights is None and len(points) == len(particles.points):
        return particles
    weights = np.bincount(place.ravel(), particles.normalised_log_weights.exp().numpy())
    heaviest = np.sort(weights)
    level = heaviest[min(int(np.searchsorted(np.cumsum(heaviest), 1 - REPEATED_MASS)), len(heaviest) - 1)]
    chance = torch.rand(len(weights), generator=generator, dtype=torch.float64).numpy()
    kept = np.sort(first[weights > level * chance])
    groups = None if particles.groups is None else particles.groups[kept]
    return Particles(particles.points[kept], groups=groups)


def divergence_terms(x: torch.Tensor, log_true: Reals) -> Reals | None:
    """Return the term of each of the distinct points ``x`` (n, D) in the mean above, shape (n,).

    ``log_true`` (n,) are log-densities of the truth there, up to a constant. ``None`` for points in a plane.
    """
    count, dim = x.shape
    white = whitened(x.numpy())
    if white is None:
        return None
    points, log_volume = white
    k = neighbour(count, dim)
    distances = neighbour_distances(points, k)
    log_ball = 0.5 * dim * math.log(math.pi) - gammaln(0.5 * dim + 1)
    surprise = math.log(count - 1) - digamma(k) + log_ball + dim * np.log(distances) + log_volume
    return np.asarray(-surprise - log_true)


def whitened(x: Reals) -> tuple[Reals, float] | None:
    """Return points (n, D) moved and mapped so that their covariance is I, and log|det A⁻¹|; ``None`` in a plane."""
    centred = x - x.mean(0)
    scale = centred.std(0)
    if not (scale > 0).all():
        return None
    centred = centred / scale
    variances, axes = np.linalg.eigh(centred.T @ centred / len(x))
    if not variances[0] > 10 * len(variances) * np.finfo(float).eps * variances[-1]:
        return None
    return centred @ axes / np.sqrt(variances), float(np.log(scale).sum() + 0.5 * np.log(variances).sum())


def neighbour(count: int, dim: int) -> int:
    """Return which neighbour is asked for the distance to it, of so many points in so many dimensions."""
    return NEIGHBOUR if dim > 1 else max(NEIGHBOUR, round(0.5 * math.sqrt(count)))


def neighbour_distances(x: Reals, k: int = NEIGHBOUR) -> Reals:
    """Return the distance of each of ``x`` (n, D) to its ``k``-th nearest other point, shape (n,)."""
    if x.shape[1] == 1:
        return line_distances(x[:, 0], k)
    if x.shape[1] <= TREE_DIM:
        return np.asarray(KDTree(x).query(x, k=[k + 1])[0]).ravel()
    points = torch.from_numpy(x)
    with one_thread():
        found = [
            torch.cdist(tile, points).topk(k + 1, dim=1, largest=False).values[:, k]
            for tile in points.split(ROWS_PER_TILE)
        ]
    return np.asarray(torch.cat(found).numpy())


def line_distances(x: Reals, k: int) -> Reals:
    """Return the distance of each of ``x`` (n,) to its ``k``-th nearest other point, shape (n,).

    Of the k nearest some j lie below and k-j above: the distance is that of the further end, for the j of which it is
    nearest. O(nk); a tree takes far longer for many neighbours.
    """
    order = np.argsort(x)
    rising = x[order]
    padded = np.concatenate([np.full(k, -np.inf), rising, np.full(k, np.inf)])
    nearest = np.full(len(x), np.inf)
    for below in range(k + 1):
        low = rising - padded[k - below : k - below + len(x)]
        high = padded[2 * k - below : 2 * k - below + len(x)] - rising
        nearest = np.minimum(nearest, np.maximum(low, high))
    found = np.empty_like(nearest)
    found[order] = nearest
    return found


def _log_truth(subject: Subject, points: torch.Tensor) -> Reals:
    """Return the log-density of the truth at ``points`` (n, D), up to a constant, shape (n,)."""
    truth = subject.truth
    if isinstance(truth, Density):
        values = truth.log_prob(points)
    else:
        values = log_joint(subject.problem.flow, points, POTENTIAL_ROWS)
    undefined = int(values.isnan().sum())
    if undefined:
        raise ArithmeticError(f"the true log-density is NaN at {undefined} of {len(points)} points")
    return np.asarray(values.double().numpy())


def _without_potential(subject: Subject) -> str | None:
    """Return why exp(-βV) is not the truth up to a constant, or ``None`` when it is."""
    problem = subject.problem
    if not problem.stationary or problem.observations is not None or problem.flow.energy.interaction is not None:
        return f"the truth ({type(subject.truth).__name__}) has no density"
    if not isinstance(problem.flow.energy.internal, Entropy):
        return f"the truth ({type(subject.truth).__name__}) has no density"
    return None
