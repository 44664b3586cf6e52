"""Where points are counted from: in single precision, far from the origin, no digits would be left for where they are.

A law that is 10⁶ deviations from the origin has its points rounded by a tenth of a deviation in float32. Counted from
its mean they keep their digits, if the potential is asked in double precision where they are, or is itself moved.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.devices import to_device
from problems.laws import GaussianMixture, Law
from problems.potentials import MixturePotential, Potential

# Deviations from the origin beyond which points are counted from the mean: rounding is then 1e-4 of a deviation.
FAR = 1e3


@dataclass(frozen=True, eq=False)
class PotentialAbout(Potential):
    """V(``origin`` + y) as a function of y, in float64; origin (D,) and V are float64 on the points' device."""

    base: Potential
    origin: torch.Tensor

    @property
    def dim(self) -> int:
        return self.base.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.base.value(self.origin + x.double()).to(x.dtype)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.base.gradient(self.origin + x.double()).to(x.dtype)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return self.base.hessian(self.origin + x.double()).to(x.dtype)


def origin_of(law: Law, dtype: torch.dtype) -> torch.Tensor | None:
    """Return the mean (D,) of a law that is far from the origin for points in ``dtype``, or ``None`` if it is not."""
    mean, covariance = law.moments()
    far = bool((mean.abs() > FAR * covariance.diagonal().sqrt()).any())
    return mean if far and dtype != torch.float64 else None


def potential_about(
    potential: Potential, origin: torch.Tensor | None, device: torch.device, dtype: torch.dtype
) -> Potential:
    """Return V as a function of points from the ``origin`` (D,), of ``None`` as it is, for points on ``device``."""
    if origin is None:
        return to_device(potential, device, dtype)
    if isinstance(potential, MixturePotential):
        law = potential.stationary
        moved = GaussianMixture(law.weights, law.means - origin, law.covariances)
        return to_device(MixturePotential(moved, potential.inverse_temperature), device, dtype)
    return PotentialAbout(to_device(potential, device, torch.float64), origin.to(device))
