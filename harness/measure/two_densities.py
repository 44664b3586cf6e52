"""Two densities at the same points, for measures that compare them there: nodes on the line, draws of both elsewhere.

With the mixture g = ½(ρ + σ) of fit ρ and truth σ and ℓ = log ρ - log σ,

    ∫ f(ρ, σ) = E_g[ f(ρ, σ)/g ],        (ρ - σ)/g = 2 tanh(ℓ/2),        √(ρσ)/g = 1/cosh(ℓ/2),

all of which is finite where one density is zero, as it is beyond the edge of a compact support. On the line E_g is a
midpoint rule. Elsewhere it is the mean over as many draws of either law, a stratified sample of the mixture: of
integrands that vanish where ρ = σ it gives 0 with error 0 for ρ = σ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from harness.measure.kde import KernelDensity
from harness.measure.kernel_noise import Integrand, kernel_variance
from harness.measure.measure import Subject
from harness.measure.symkl import OUTER_DEVIATIONS, log_ratio, too_few, type_name, without_true_density
from problems.arrays import Reals
from problems.laws import Density
from problems.references.grid_law import GridLaw
from solvers.estimates import DensityEstimate, Estimate, Particles

AnyDensity = DensityEstimate | Density

NODES = 2**13
LOST_MASS = 1e-4
"""A rule on the line must find all but so much of the mass of either law, or draws are taken."""
RANGE_DRAWS = 2**12
"""Draws that tell where a density on the line is that does not say so."""
KERNEL_DIM = 2
"""The largest dimension in which a kernel density stands for particles."""


@dataclass(frozen=True, eq=False)
class TwoDensities:
    """Log-densities of fit and truth (k,) at ``points`` (k, D), and weights (k,) by which sums over them are E_g.

    ``draws`` of either law are the two halves of the points, those of the fit first; it is ``None`` for a rule on the
    line. ``estimator`` says which, and by what density particles were judged; ``kernels`` is that.
    """

    points: torch.Tensor
    weights: Reals
    log_fit: torch.Tensor
    log_truth: torch.Tensor
    draws: int | None
    estimator: str
    kernels: KernelDensity | None = None

    @property
    def log_ratio(self) -> Reals:
        """ℓ = log ρ - log σ (k,), 0 where both are zero; raises as :func:`harness.measure.symkl.log_ratio` does."""
        return log_ratio(self.log_fit, self.log_truth)

    def mean(self, values: Reals) -> tuple[float, float]:
        """Return E_g of ``values`` (k,) and its standard error, 0 for a rule on the line."""
        if self.draws is None:
            return float(np.sum(self.weights * values)), 0.0
        halves = values[: self.draws], values[self.draws :]
        variance = sum(float(np.var(half, ddof=1)) / len(half) for half in halves)
        return 0.5 * (float(halves[0].mean()) + float(halves[1].mean())), 0.5 * math.sqrt(variance)

    def particle_variance(self, integrand: Integrand) -> float:
        """Return the variance that E_g of ``integrand`` (of ρ/g and σ/g) has over particles; 0 for other fits."""
        if self.kernels is None:
            return 0.0
        return kernel_variance(self.kernels, self.points, self.log_truth, self.weights, integrand)


def without_two_densities(subject: Subject) -> str | None:
    """Return why fit and truth do not both have a density that can be evaluated, or ``None`` when they have."""
    missing = without_true_density(subject.truth)
    return missing if missing is not None else without_density(subject.estimate)


def without_density(estimate: Estimate) -> str | None:
    """Return why an estimate has no density, or ``None`` when it has; particles have a kernel's in D ≤ 2."""
    if isinstance(estimate, Particles):
        if estimate.dim > KERNEL_DIM:
            return f"particles have no density, and in more than {KERNEL_DIM} dimensions a kernel's is not theirs"
        return too_few(estimate)
    if estimate.density is None:
        return f"{type_name(estimate)} has no density"
    return None


def density_of(estimate: Estimate) -> tuple[AnyDensity, str]:
    """Return the density of an estimate, and what its figures are to be called after.

    Raises ``SingularPoints`` (a ``ValueError``) for particles that lie in a plane.
    """
    if isinstance(estimate, Particles):
        return KernelDensity(estimate.points, estimate.log_weights), "Scott KDE by "
    density = estimate.density
    assert density is not None
    return density, ""


def two_densities(
    subject: Subject, draws: int, generator: torch.Generator, *, line: bool = True, nodes: int = NODES
) -> TwoDensities:
    """Return fit and truth at the nodes of a rule on the ``line``, else at ``draws`` draws of either law.

    Raises ``SingularPoints`` (a ``ValueError``) for particles that lie in a plane.
    """
    truth = subject.truth
    assert isinstance(truth, Density)
    fit, by = density_of(subject.estimate)
    kernels = fit if isinstance(fit, KernelDensity) else None
    if line and subject.estimate.dim == 1:
        found = on_the_line((fit, truth), generator, nodes)
        if found is not None:
            points, width, (log_fit, log_truth) = found
            weights = 0.5 * width * (log_fit.exp() + log_truth.exp()).numpy()
            estimator = f"{by}quadrature on {len(points)} nodes"
            return TwoDensities(points, weights, log_fit, log_truth, None, estimator, kernels)
    own, log_fit = fit.sample_with_log_prob(draws, generator)
    true = truth.sample(draws, generator).double()
    return TwoDensities(
        torch.cat([own, true]),
        np.full(2 * draws, 0.5 / draws),
        torch.cat([log_fit.double(), fit.log_prob(true).double()]),
        torch.cat([truth.log_prob(own).double(), truth.log_prob(true).double()]),
        draws,
        f"{by}{draws} draws a side",
        kernels,
    )


def on_the_line(
    densities: tuple[AnyDensity, ...], generator: torch.Generator, nodes: int = NODES
) -> tuple[torch.Tensor, float, tuple[torch.Tensor, ...]] | None:
    """Return the nodes (k, 1) of a midpoint rule, its width, and each log-density there (k,), -inf kept.

    ``None`` where the rule misses mass of one of them: tails that reach too far, or peaks too narrow.
    """
    ends = [_ends(density, generator) for density in densities]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    width = (high - low) / nodes
    if not (math.isfinite(width) and width > 0):
        return None
    x = low + width * (torch.arange(nodes, dtype=torch.float64) + 0.5)
    values = tuple(density.log_prob(x[:, None]).double() for density in densities)
    masses = [width * float(value.exp().sum()) for value in values if not bool(value.isnan().any())]
    lost = any(abs(mass - 1) > LOST_MASS for mass in masses)
    return None if lost else (x[:, None], width, values)


def _ends(density: AnyDensity, generator: torch.Generator) -> tuple[float, float]:
    """Return two places with next to all the mass of a density on the line between them."""
    if isinstance(density, GridLaw):
        return density.lower, density.upper
    if isinstance(density, Density) and not isinstance(density, KernelDensity):
        mean, variance = density.moments()
        reach = density.support_radius or OUTER_DEVIATIONS * math.sqrt(float(variance))
        return float(mean) - reach, float(mean) + reach
    x = density.sample(RANGE_DRAWS, generator)
    margin = 0.5 * float(x.max() - x.min())
    return float(x.min()) - margin, float(x.max()) + margin
