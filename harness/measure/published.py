"""SymKL by the estimators that the published comparison used, kept so that its figures can be reproduced."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.kde import KernelDensity, SingularPoints
from harness.measure.kernel_noise import PARTS, jackknife
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.symkl import log_ratio, sample_mean, too_few, type_name, without_divergence
from problems.arrays import Array
from problems.laws import Density
from solvers.dual.unnormalised_density import UnnormalisedDensity, in_blocks
from solvers.estimates import ParticleDensity, Particles
from solvers.solver import Diverged

# Particles that the published estimator is averaged over, at most.
PUBLISHED_EVALUATIONS = 10_000
# No density counts as smaller than this in the published estimator for carried densities.
PUBLISHED_LEAST_DENSITY = 1e-15
# Nor than this in the one for densities known up to a constant.
PUBLISHED_LEAST_UNNORMALISED = 1e-16


@dataclass(frozen=True)
class PublishedSymKL(Measure):
    """SymKL as Mokrov et al. (2021) estimated it for particles: a property of the density estimate above all.

    A Gaussian KDE (Scott's rule) is fitted to the particles, and log p̂ - log q is averaged *over the same particles*,
    each on top of its own kernel; log q - log p̂ is averaged over as many draws of the truth. On exact draws this
    reports 0.06, 1.2 and 5.3 at n = 1000 and D = 2, 6 and 12. With more than 10,000 particles the averages are taken
    over a random 10,000. The standard error is a jackknife over 16 contiguous parts of the particles, with the noise of
    the draws of the truth. ``draws`` is not used: the particles decide.

    A density ρ that particles carry is normalised and judged at all particles x_i, fresh draws taking no part. With the
    KDE p̂, f = ρ / mean(ρ/p̂) and r = q/f, the figure is mean(log f - log q) + mean(r log r): the second is KL(true‖fit)
    if the particles are draws of f. Neither f nor p̂ counts as less than 1e-15, and the estimator's name says how often
    f would. The standard error is that of the means for independent particles and given p̂.

    A density f̃ known up to its constant is normalised with the truth q as the proposal: with r = f̃/(Zq) over 10,000
    draws of q, Z making their mean 1, the figure is mean(r log r) - mean(log r). Mass that f̃ has where q has none is
    not seen, nor where f̃ ends for want of data: its formula is evaluated everywhere. In log r, f̃/Z counts as at least
    1e-16.
    """

    name: ClassVar[str] = "symkl-published"
    version: ClassVar[int] = 3

    def unsuited(self, subject: Subject) -> str | None:
        if isinstance(subject.estimate, UnnormalisedDensity):
            return without_divergence(subject.truth)
        if not isinstance(subject.estimate, Particles):
            return f"the published estimator is for particles, not for {type_name(subject.estimate)}"
        return without_divergence(subject.truth) or too_few(subject.estimate)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth, particles = subject.truth, subject.estimate
        assert isinstance(truth, Density)
        if isinstance(particles, UnnormalisedDensity):
            return _of_unnormalised(particles, truth, truth.sample(PUBLISHED_EVALUATIONS, generator))
        assert isinstance(particles, Particles)
        try:
            kde = KernelDensity(particles.points, particles.log_weights)
        except SingularPoints as singular:
            return Figure(math.inf, 0.0, f"no density: {singular}")
        if isinstance(particles, ParticleDensity) and particles.log_weights is None:
            return _of_carried_density(particles, kde, truth)
        points, weights, places = particles.points.double(), None, torch.arange(len(particles.points))
        estimator = f"published: KDE on its own {len(points)} particles"
        if len(points) > PUBLISHED_EVALUATIONS:
            estimator = f"published: KDE on {PUBLISHED_EVALUATIONS} of its own {len(points)} particles"
            places = particles.places(PUBLISHED_EVALUATIONS, generator)
            points = points[places]
        elif particles.log_weights is not None:
            weights = torch.softmax(particles.log_weights.double(), dim=0).numpy()
        log_fit, log_without = kde.log_prob_by_parts(points, PARTS)
        log_truth = truth.log_prob(points)
        fit_side = sample_mean(log_ratio(log_fit, log_truth), weights)[0]
        true = truth.sample(len(points), generator).double()
        log_fit_there, log_without_there = kde.log_prob_by_parts(true, PARTS)
        true_side, true_error = sample_mean(-log_ratio(log_fit_there, truth.log_prob(true)))
        if math.isinf(fit_side + true_side):
            return Figure(math.inf, 0.0, f"{estimator}; some lie where the true density is zero")
        kept = np.ones(len(points)) if weights is None else weights
        sides = (log_without - log_truth[:, None]).numpy(), (log_without_there - truth.log_prob(true)[:, None]).numpy()
        part = part_of(particles, log_without.shape[1])[places.numpy()]
        without = [
            np.average(of_fit, weights=kept * (part != number)) - of_true.mean()
            for number, (of_fit, of_true) in enumerate(zip(*(side.T for side in sides), strict=True))
        ]
        return Figure(fit_side + true_side, math.sqrt(jackknife(np.array(without)) + true_error**2), estimator)


def part_of(particles: Particles, parts: int) -> Array:
    """Return which of so many parts, contiguous and equal in particles of non-zero weight, each is of, shape (n,)."""
    present = (particles.normalised_log_weights > -torch.inf).numpy()
    rank = np.cumsum(present) - 1
    ends = present.sum() * np.arange(1, parts + 1) // parts
    return np.asarray(np.searchsorted(ends, rank, side="right").clip(max=parts - 1))


def _of_carried_density(particles: ParticleDensity, kde: KernelDensity, truth: Density) -> Figure:
    points, count = particles.points.double(), len(particles.points)
    least = math.log(PUBLISHED_LEAST_DENSITY)
    log_kde = kde.log_prob(points).clamp(min=least).numpy()
    carried = particles.log_density.double().numpy()
    log_constant = float(np.logaddexp.reduce(carried - log_kde)) - math.log(count)
    log_truth = truth.log_prob(points).double().numpy()
    log_fit = np.maximum(carried - log_constant, least)
    estimator = f"published: carried density, normalised by the KDE of its {count} particles"
    raised = int((carried - log_constant < least).sum())
    if raised:
        estimator += f"; {raised} below 1e-15 raised to it"
    excluded = int(np.isneginf(log_truth).sum())
    if excluded:
        return Figure(math.inf, 0.0, f"{estimator}; {excluded} lie where the true density is zero")
    ratio = log_truth - log_fit
    relative = np.exp(ratio)
    # What the constant's own sampling error does to each term, by the delta method.
    constant = np.exp(carried - log_kde - log_constant)
    to_constant = float(np.mean((carried - log_constant >= least) * (relative * (ratio + 1) - 1)))
    terms = relative * ratio - ratio
    return Figure(
        float(np.mean(terms)), float(np.std(terms + to_constant * constant, ddof=1)) / math.sqrt(count), estimator
    )


def _of_unnormalised(fit: UnnormalisedDensity, truth: Density, x: torch.Tensor) -> Figure:
    log_truth = truth.log_prob(x).double().numpy()
    log_ratio = in_blocks(fit.log_density, x).numpy() - log_truth
    undefined = int((np.isnan(log_ratio) | (log_ratio == np.inf)).sum())
    if undefined:
        raise Diverged(f"the log-density of the fit is NaN or infinite at {undefined} of {len(x)} points")
    estimator = f"published: normalised by {len(x)} draws of the truth"
    total = float(np.logaddexp.reduce(log_ratio))
    if total == -math.inf:
        return Figure(math.inf, 0.0, f"{estimator}, all of which lie where the fit is zero")
    log_ratio = log_ratio - (total - math.log(len(x)))
    ratio = np.exp(log_ratio)
    floored = np.maximum(log_ratio, math.log(PUBLISHED_LEAST_UNNORMALISED) - log_truth)
    weighted = np.where(ratio > 0, ratio * np.where(ratio > 0, log_ratio, 0.0), 0.0)
    # The constant's own sampling error, by the delta method, takes mean(r log r) r from each term.
    influence = weighted - weighted.mean() * ratio - floored
    error = float(np.std(influence, ddof=1)) / math.sqrt(len(x))
    return Figure(float(weighted.mean() - floored.mean()), error, estimator)
