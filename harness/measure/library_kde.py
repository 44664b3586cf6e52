"""Kernel density estimates of SciPy and scikit-learn, and SymKL of particles through them.

    p(x) = Σ_i w_i N(x; x_i, H),   H = n_eff^(-2/(D+4)) S   (SciPy 1.17.1 ``gaussian_kde``),
                                   H = n^(-2/(D+4)) I       (scikit-learn 1.9.1 ``KernelDensity(bandwidth="scott")``)

with S the covariance of the points. All else are the libraries' defaults; scikit-learn's bandwidth is 1 by default, and
"scott" is its own rule. Random numbers come from a seed of the generator passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from harness.measure.kde import SingularPoints
from harness.measure.measure import Subject
from harness.measure.symkl import SymKL, type_name
from problems.laws import Density
from problems.linear_algebra import weighted_moments
from solvers.estimates import Particles


@dataclass(frozen=True, eq=False)
class SciPyKernelDensity(Density):
    """SciPy's kernel density estimate of ``particles``.

    Raises ``SingularPoints`` (a ``ValueError``) where SciPy refuses them.
    """

    particles: Particles

    def __post_init__(self) -> None:
        try:
            self._fitted  # noqa: B018 - fitted now, so that what cannot be is said here
        except (np.linalg.LinAlgError, ValueError) as error:  # ValueError: of a covariance that overflows
            raise SingularPoints(f"gaussian_kde: {error}") from error

    @property
    def dim(self) -> int:
        return self.particles.dim

    @cached_property
    def _fitted(self) -> Any:
        from scipy.stats import gaussian_kde

        weights = None if self.particles.log_weights is None else self.particles.normalised_log_weights.exp().numpy()
        return gaussian_kde(self.particles.points.double().numpy().T, weights=weights)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return torch.from_numpy(self._fitted.resample(n, seed=seeded(generator)).T.copy())

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._fitted.logpdf(x.double().numpy().T))

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return widened(self.particles, torch.from_numpy(self._fitted.covariance))


@dataclass(frozen=True, eq=False)
class ScikitLearnKernelDensity(Density):
    """scikit-learn's kernel density estimate of ``particles``, by the rule that it calls Scott's."""

    particles: Particles

    @property
    def dim(self) -> int:
        return self.particles.dim

    @cached_property
    def _fitted(self) -> Any:
        from sklearn.neighbors import KernelDensity

        weights = None if self.particles.log_weights is None else self.particles.normalised_log_weights.exp().numpy()
        return KernelDensity(bandwidth="scott").fit(self.particles.points.double().numpy(), sample_weight=weights)

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        seed = int(torch.randint(2**31, (), generator=generator))
        return torch.from_numpy(self._fitted.sample(n, random_state=seed))

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self._fitted.score_samples(x.double().numpy()))

    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return widened(self.particles, self._fitted.bandwidth_**2 * torch.eye(self.dim, dtype=torch.float64))


def seeded(generator: torch.Generator) -> np.random.Generator:
    """Return a stream of NumPy's with a seed of the ``generator``'s."""
    return np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))


def widened(particles: Particles, kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the moments of particles, mean (D,) and covariance (D, D), with those of a ``kernel`` (D, D) added."""
    weights = particles.normalised_log_weights.exp().numpy()
    mean, covariance = weighted_moments(weights, particles.points.double().numpy())
    return mean, covariance + kernel


class LibrarySymKL(SymKL):
    """SymKL of particles through a library's kernel density; other answers have densities of their own."""

    def unsuited(self, subject: Subject) -> str | None:
        if not isinstance(subject.estimate, Particles):
            return f"for particles alone: {type_name(subject.estimate)} needs no kernel density"
        return super().unsuited(subject)


@dataclass(frozen=True)
class SciPySymKL(LibrarySymKL):
    """KL(fit‖true) + KL(true‖fit) of the particles' ``gaussian_kde``: the figure of ``symkl``, in SciPy's time."""

    name: ClassVar[str] = "symkl-scipy"
    version: ClassVar[int] = 2
    kernel_density: ClassVar[str] = "Scott KDE of SciPy"

    def fitted(self, particles: Particles) -> Density:
        return SciPyKernelDensity(particles)


@dataclass(frozen=True)
class ScikitLearnSymKL(LibrarySymKL):
    """KL(fit‖true) + KL(true‖fit) of the particles' ``KernelDensity`` of scikit-learn, of bandwidth "scott"."""

    name: ClassVar[str] = "symkl-scikit-learn"
    version: ClassVar[int] = 2
    kernel_density: ClassVar[str] = "Scott KDE of scikit-learn"

    def fitted(self, particles: Particles) -> Density:
        return ScikitLearnKernelDensity(particles)
