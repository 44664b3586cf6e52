"""The symmetrised Kullback-Leibler divergence, SymKL(p, q) = KL(p‖q) + KL(q‖p): the sum, not its half.

With ℓ = log p - log q and the mixture ½(p + q), (p - q)/½(p + q) = 2 tanh(ℓ/2), so that

    SymKL(p, q) = ∫ (p - q) ℓ = E_{x ~ ½(p+q)} [ 2 ℓ tanh(ℓ/2) ].

The integrand is non-negative and O(ℓ²) near p = q, where log-ratios averaged over each law separately are O(ℓ) and
cancel only in the mean. Drawing equally from both laws makes the average unbiased (a stratified sample of the mixture).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.kde import KernelDensity, SingularPoints
from harness.measure.kernel_noise import PARTS, kernel_variance, particle_variance, with_particles
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import placed
from problems.arrays import Reals
from problems.laws import Density, Law
from problems.references.grid_law import GridLaw
from solvers.estimates import DensityEstimate, Estimate, Exact, Nodes, Particles
from solvers.solver import Diverged

# A law with more of its mass than this outside the cells of the other's grid is at infinite divergence from it.
NEGLIGIBLE_MASS = 1e-9
# Where that mass is looked for: cells within so many standard deviations of the mean.
OUTER_DEVIATIONS = 10.0
OUTER_CELLS = 4096


@dataclass(frozen=True)
class SymKL(Measure):
    """KL(fit‖true) + KL(true‖fit), by the best estimator that the types of fit and truth allow.

    - A grid on either side, in one dimension: midpoint quadrature of (p - q) log(p/q) over the cells of the
      estimate's grid (the truth's, if the estimate has none), standard error 0.
    - Two densities: the mean of 2ℓ tanh(ℓ/2) over ``draws`` from each side, with the standard error of a stratified
      mean, √(Var_p/n + Var_q/n) / 2.
    - Particles: the same for their Gaussian kernel density estimate (Scott's rule), by quadrature on the truth's grid
      or on draws from it and from the truth, never on the particles it was fitted to. The standard error has the
      noise of the draws and of the particles in it (a jackknife over 16 contiguous parts of them), not the density's
      own bias, which is in the figure of exact draws too.

    The value is infinite, with standard error 0, where one law is found to have mass that the other excludes; the
    estimator's name then says so. Between laws of bounded support it is infinite unless the supports are the same to
    the last digit, which draws may or may not show: there is no figure beside a truth of bounded support, and ``l1``,
    ``hellinger`` and ``w2`` are for it. Raises ``Diverged`` when the fit's log-density is NaN.
    """

    name: ClassVar[str] = "symkl"
    version: ClassVar[int] = 4
    kernel_density: ClassVar[str] = "Scott KDE"

    def fitted(self, particles: Particles) -> Density:
        """Return the kernel density of particles; raises ``SingularPoints`` where none can be fitted to them."""
        return KernelDensity(particles.points, particles.log_weights)

    def proper(self, estimate: Estimate) -> bool:
        """Return whether the estimate has a density of its own: a kernel's rewards draws that are too narrow."""
        return not isinstance(estimate, Particles)

    def unsuited(self, subject: Subject) -> str | None:
        missing = without_divergence(subject.truth)
        if missing is not None:
            return missing
        if isinstance(subject.estimate, Particles):
            return too_few(subject.estimate)
        if subject.estimate.density is None:
            return f"{type_name(subject.estimate)} has neither a density nor particles"
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth = subject.truth
        assert isinstance(truth, Density)
        if isinstance(subject.estimate, Particles):
            try:
                kde = self.fitted(subject.estimate)
            except SingularPoints as singular:
                return Figure(math.inf, 0.0, f"no density: {singular}")
            if isinstance(truth, GridLaw):
                return _of_kernels_on_a_grid(kde, truth, self.kernel_density)
            estimator = f"J of the {self.kernel_density} on fresh draws, {{}} a side"
            return _mean_over_draws(kde, truth, draws, generator, estimator)
        fit = subject.estimate.density
        assert fit is not None
        grid = subject.estimate.grid
        if grid is not None:
            return _quadrature(grid, truth)
        if isinstance(truth, GridLaw):
            return _quadrature(truth, fit)
        return _mean_over_draws(fit, truth, draws, generator, "J, {} draws a side")


def _mean_over_draws(
    fit: DensityEstimate | Density, truth: Density, draws: int, generator: torch.Generator, estimator: str
) -> Figure:
    """Mean of 2ℓ tanh(ℓ/2) over ``draws`` from each side."""
    if isinstance(fit, KernelDensity):
        own = fit.sample(draws, generator)
    else:
        own, log_own = fit.sample_with_log_prob(draws, generator)
    true = truth.sample(draws, generator).double()
    log_truths = truth.log_prob(own), truth.log_prob(true)
    if isinstance(fit, KernelDensity):
        log_fit, log_without = fit.log_prob_by_parts(torch.cat([own, true]), PARTS)
        log_fits = log_fit.tensor_split(2)
    else:
        log_fits = log_own, fit.log_prob(true)
    ratios = [log_ratio(*logs) for logs in zip(log_fits, log_truths, strict=True)]
    sides = [2 * ratio * np.tanh(0.5 * ratio) for ratio in ratios]
    estimator = estimator.format(draws)
    excluded = sum(int(np.isinf(side).sum()) for side in sides)
    if excluded:
        return Figure(math.inf, 0.0, f"{estimator}; {excluded} lie where the other density is zero")
    (fit_mean, fit_error), (true_mean, true_error) = (sample_mean(side) for side in sides)
    variance = 0.25 * (fit_error**2 + true_error**2)
    if isinstance(fit, KernelDensity):
        weights = np.full(2 * draws, 0.5 / draws)
        noise = particle_variance(log_fit, log_without, torch.cat(log_truths), weights, symmetrised)
        variance = with_particles(variance, noise)
    return Figure(0.5 * (fit_mean + true_mean), math.sqrt(variance), estimator)


def _of_kernels_on_a_grid(kde: Density, truth: GridLaw, name: str) -> Figure:
    """Return the quadrature of a kernel density, with the noise of its particles if it is ours."""
    figure = _quadrature(truth, kde)
    estimator = f"{name} by {figure.estimator}"
    if math.isinf(figure.value) or not isinstance(kde, KernelDensity):
        return Figure(figure.value, 0.0, estimator)
    x, width = truth.centres()[:, None], (truth.upper - truth.lower) / len(truth.masses)
    log_truth = truth.log_prob(x)
    weights = 0.5 * width * (kde.log_prob(x).exp() + log_truth.exp()).numpy()
    noise = kernel_variance(kde, x, log_truth, weights, symmetrised)
    return Figure(figure.value, math.sqrt(with_particles(0.0, noise)), estimator)


def symmetrised(fit: Reals, truth: Reals) -> Reals:
    """Return (ρ - σ) log(ρ/σ) of densities (k,), 0 where one is 0."""
    both = (fit > 0) & (truth > 0)
    logs = np.log(np.where(both, fit, 1.0)) - np.log(np.where(both, truth, 1.0))
    return np.asarray((fit - truth) * logs)


def log_ratio(fit: torch.Tensor, truth: torch.Tensor) -> np.ndarray:
    """Return ℓ = ``fit`` - ``truth``, log-densities (n,) at the same points, shape (n,); 0 where both vanish.

    Raises ``Diverged`` where that of the fit is NaN, and ``ArithmeticError`` where that of the truth is.
    """
    log_fit, log_truth = fit.double().numpy(), truth.double().numpy()
    if np.isnan(log_fit).any():
        raise Diverged(f"the log-density of the fit is NaN at {int(np.isnan(log_fit).sum())} of {len(fit)} points")
    if np.isnan(log_truth).any():
        raise ArithmeticError(f"the true log-density is NaN at {int(np.isnan(log_truth).sum())} of {len(fit)} points")
    neither = np.isneginf(log_fit) & np.isneginf(log_truth)
    return np.where(neither, 0.0, log_fit - np.where(neither, 0.0, log_truth))


def sample_mean(values: np.ndarray, weights: np.ndarray | None = None) -> tuple[float, float]:
    """Return the (weighted) mean of values (n,) and its standard error; (±inf, 0) when a value is infinite."""
    if np.isinf(values).any():
        return float(np.sum(values[np.isinf(values)])), 0.0
    if weights is None:
        return float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(len(values))
    mean = float(np.sum(weights * values))
    return mean, math.sqrt(float(np.sum((weights * (values - mean)) ** 2)))


def _quadrature(grid: GridLaw, other: DensityEstimate | Density) -> Figure:
    """Midpoint rule for ∫ (p - q) log(p/q) over the cells of ``grid``, and ∞ if ``other`` has mass outside them.

    The rule converges faster than any power of the cell width for smooth densities that vanish at the ends.
    """
    x, width = grid.centres()[:, None], (grid.upper - grid.lower) / len(grid.masses)
    log_p, log_q = grid.log_prob(x).numpy(), other.log_prob(x).double().numpy()
    undefined = int((np.isnan(log_p) | np.isnan(log_q)).sum())
    if undefined:
        raise Diverged(f"a log-density is NaN at {undefined} of {len(x)} cell centres")
    p, q = np.exp(log_p), np.exp(log_q)
    both = np.isfinite(log_p) & np.isfinite(log_q)
    excluded = width * float(np.sum((p + q)[~both])) + _outer_mass(grid, other)
    # There a grid's log-density is that of a floor, which may decide nothing.
    for law, density in ((grid, q), (other, p)):
        if isinstance(law, GridLaw):
            excluded += width * float(np.sum(density[both & law.beyond_support(x[:, 0]).numpy()]))
    estimator = f"quadrature on {len(x)} cells"
    if excluded > NEGLIGIBLE_MASS:
        return Figure(math.inf, 0.0, f"{estimator}; mass {excluded:.3g} lies where the other density is zero")
    log_ratio = np.subtract(log_p, log_q, where=both, out=np.zeros_like(log_p))
    return Figure(width * float(np.sum((p - q) * log_ratio)), 0.0, estimator)


def _outer_mass(grid: GridLaw, other: DensityEstimate | Density) -> float:
    """Mass of ``other`` outside the cells of ``grid``, by the midpoint rule."""
    if isinstance(other, GridLaw):
        low, high = other.lower, other.upper
    elif isinstance(other, Density):
        mean, variance = other.moments()
        reach = OUTER_DEVIATIONS * math.sqrt(float(variance))
        low, high = float(mean) - reach, float(mean) + reach
    else:
        low, high = 2 * grid.lower - grid.upper, 2 * grid.upper - grid.lower
    mass = 0.0
    for start, end in ((low, min(high, grid.lower)), (max(low, grid.upper), high)):
        if start < end:
            width = (end - start) / OUTER_CELLS
            x = start + width * (torch.arange(OUTER_CELLS, dtype=torch.float64) + 0.5)
            mass += width * float(np.exp(other.log_prob(x[:, None]).double().numpy()).sum())
    return mass


def without_true_density(truth: Law | None) -> str | None:
    """Return why there is no true density to compare with, or ``None`` when there is."""
    if truth is None:
        return "the true law is not known"
    if not isinstance(truth, Density):
        return f"the truth ({type(truth).__name__}) has no density"
    return None


def without_divergence(truth: Law | None) -> str | None:
    """Return why the divergence from the truth is not known or never finite, or ``None`` where it may be."""
    missing = without_true_density(truth)
    if missing is not None:
        return missing
    assert truth is not None
    if truth.support_radius is not None:
        return "the truth has bounded support, from which SymKL is infinite; l1, hellinger and w2 are finite"
    return None


def too_few(particles: Particles) -> str | None:
    """Return why no kernel density can be fitted to the particles, or ``None`` when one can."""
    if isinstance(particles, Nodes):
        return placed(particles)
    n = len(particles.points)
    return None if n > particles.dim else f"{n} particle(s) do not span dimension {particles.dim}"


def type_name(estimate: Estimate) -> str:
    """Return the kind of an estimate in words."""
    name = type(estimate).__name__
    return f"{name} of {type(estimate.law).__name__}" if isinstance(estimate, Exact) else name
