"""How much of two densities overlaps: distances that are finite between laws of different support.

    L1(ρ, σ) = ∫ |ρ - σ| = E_g[ 2 tanh(|ℓ|/2) ]                      in [0, 2], twice the total variation
    H²(ρ, σ) = ½ ∫ (√ρ - √σ)² = E_g[ 1 - 1/cosh(ℓ/2) ]               in [0, 1]

with ℓ = log ρ - log σ and the mixture g = ½(ρ + σ) (``harness.measure.two_densities``). Both integrands are bounded,
and zero where the densities agree. H² ≤ ½ L1 ≤ H √(2 - H²) (Le Cam, Ann. Statist. 1, 1973).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.kde import SingularPoints
from harness.measure.kernel_noise import with_particles
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.two_densities import TwoDensities, two_densities, without_two_densities
from problems.arrays import Reals
from solvers.estimates import Estimate, Particles


@dataclass(frozen=True)
class _Overlap(Measure):
    """A distance of densities: by quadrature on the line (standard error 0), elsewhere over draws of both laws.

    Of particles the standard error has their own noise in it: a jackknife over 16 contiguous parts of them.

    Particles are judged by their Gaussian kernel density (Scott's rule), in one and two dimensions only, and the
    estimator says so: it has a bias of its own, which is larger than the sampling error and is in the figure of exact
    draws too. Raises ``Diverged`` when the fit's log-density is NaN.
    """

    furthest: ClassVar[float]

    def proper(self, estimate: Estimate) -> bool:
        """Return whether the estimate has a density of its own: a kernel's rewards draws that are too narrow."""
        return not isinstance(estimate, Particles)

    def unsuited(self, subject: Subject) -> str | None:
        return without_two_densities(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        try:
            pair = two_densities(subject, draws, generator)
        except SingularPoints as singular:
            return Figure(self.furthest, 0.0, f"no density: {singular}")
        return self._of(pair, pair.log_ratio)

    @abstractmethod
    def _of(self, pair: TwoDensities, log_ratio: Reals) -> Figure:
        """Return the figure, given ℓ (k,)."""


@dataclass(frozen=True)
class L1(_Overlap):
    """The L1 distance ∫ |ρ - σ| of the densities of fit and truth, from 0 to 2."""

    name: ClassVar[str] = "l1"
    version: ClassVar[int] = 3
    furthest: ClassVar[float] = 2.0

    def _of(self, pair: TwoDensities, log_ratio: Reals) -> Figure:
        value, error = pair.mean(2 * np.tanh(0.5 * np.abs(log_ratio)))
        noise = pair.particle_variance(lambda fit, truth: np.abs(fit - truth))
        return Figure(value, math.sqrt(with_particles(error**2, noise)), pair.estimator)


@dataclass(frozen=True)
class Hellinger(_Overlap):
    """The Hellinger distance H = (½ ∫ (√ρ - √σ)²)^½, not squared, from 0 to 1.

    It is the finite stand-in for SymKL, which is 8 H² to leading order for densities that are near each other.
    """

    name: ClassVar[str] = "hellinger"
    version: ClassVar[int] = 3
    furthest: ClassVar[float] = 1.0

    def _of(self, pair: TwoDensities, log_ratio: Reals) -> Figure:
        # 1 - 1/cosh(x) = 2 sinh²(x/2)/cosh(x), without cancellation; 1 where cosh overflows.
        half = np.minimum(0.5 * np.abs(log_ratio), 350.0)
        square, error = pair.mean(2 * np.sinh(0.5 * half) ** 2 / np.cosh(half))
        noise = pair.particle_variance(lambda fit, truth: 0.5 * (np.sqrt(fit) - np.sqrt(truth)) ** 2)
        error = math.sqrt(with_particles(error**2, noise))
        distance = math.sqrt(square)
        return Figure(distance, error / (2 * distance) if distance > 0 else 0.0, pair.estimator)
