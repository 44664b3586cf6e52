"""Wasserstein distances of the laws of single coordinates from the true ones, in standard deviations of the truth.

On the line W₁(F, G) = ∫ |F - G| (Vallender 1974, Theory Probab. Appl. 18). By duality it is also E φ(X) - E φ(Y) for
the potential φ' = -sign(F - G), so that to first order a sample's noise enters by the mean of φ alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from harness.measure.groups import mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import grouped_sides, unsampled


@dataclass(frozen=True)
class MarginalW1(Measure):
    """Mean over coordinates of the Wasserstein-1 distance of the marginals, over the truth's standard deviation there.

    Between finite samples even of the same law it is positive, about .8 √(1/n + 1/m) ∫√(G(1 - G)) a coordinate, in
    standard deviations: for a Gaussian 1.29 √(1/n + 1/m). Compare it with its value on exact draws of the same number.
    Of a finite reference half the draws are used, and no more of any answer, so that the reference's own draws, the
    other half, are judged alike. The standard error is from the influence of each draw on the mean over coordinates,
    through their potentials, in groups of those that depend on each other.
    """

    name: ClassVar[str] = "marginal-w1"
    version: ClassVar[int] = 2

    def unsuited(self, subject: Subject) -> str | None:
        return unsampled(subject, 4)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        assert subject.truth is not None
        x, y, groups = grouped_sides(subject, draws, generator, halves=True)
        deviation = subject.truth.moments()[1].double().diagonal().sqrt()
        value, standard_error = marginal_w1(x / deviation, y / deviation, groups)
        return Figure(value, standard_error, f"{len(x)} against {len(y)} draws")


def marginal_w1(x: torch.Tensor, y: torch.Tensor, groups: torch.Tensor | None = None) -> tuple[float, float]:
    """Return the mean over coordinates of the W₁ of samples ``x`` (n, D) and ``y`` (m, D), and its standard error.

    Draws of ``x`` that depend on each other are of one of ``groups`` (n,).
    """
    n, m = len(x), len(y)
    joint, order = torch.cat([x, y]).sort(dim=0)
    steps = torch.tensor([1 / n] * n + [-1 / m] * m, dtype=torch.float64)
    gap = steps[order].cumsum(0)[:-1]
    # What is left of sums that cancel is no sign.
    gap = torch.where(gap.abs() < 1e-12, 0.0, gap)
    widths = joint.diff(dim=0)
    value = float((gap.abs() * widths).sum(0).mean())
    along = torch.cat([torch.zeros_like(joint[:1]), (-gap.sign() * widths).cumsum(0)])
    potential = torch.zeros_like(along).scatter_(0, order, along).mean(1)
    of_x, of_y = (side.numpy() for side in potential.split([n, m]))
    return value, math.sqrt(mean_variance(of_x, groups) + mean_variance(of_y, None))
