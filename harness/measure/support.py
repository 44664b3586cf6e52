"""Where a fit's mass lies beside a true law of bounded support: how large it is, and what is outside.

The largest of n draws says little of the radius R of a support, and is always below it. The second moment says more: of
laws that differ by their scale alone, such as the balls of the porous-medium equation, R is in proportion to
(tr Cov)^½, so that R_fit/R_true = (tr Cov_fit / tr Cov_true)^½.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import groups_of, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from problems.laws import Density, Law
from problems.linear_algebra import weighted_sum
from problems.references.grid_law import GridLaw
from solvers.estimates import Exact, GridDensity, Nodes, Particles

ROUNDING = 1e-9
"""A point is outside a support without density, a ring's say, if this times the radius further out."""


@dataclass(frozen=True)
class SupportRadius(Measure):
    """Relative error |R_fit/R_true - 1| of the radius of the support, by the second moment.

    Exact laws, grids and nodes give their own moments (standard error 0), particles their weighted ones (unbiased), and
    any other estimate those of ``draws`` samples. The moments of the truth count as exact.
    """

    name: ClassVar[str] = "support-radius"
    version: ClassVar[int] = 2

    def unsuited(self, subject: Subject) -> str | None:
        if isinstance(subject.estimate, Particles) and len(subject.estimate.points) < 2:
            return "one particle has no radius"
        return without_bounds(subject.truth)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        assert subject.truth is not None
        estimate = subject.estimate
        true_square = float(subject.truth.moments()[1].double().trace())
        if isinstance(estimate, Exact | GridDensity | Nodes):
            square = float(estimate.moments(generator)[1].double().trace())
            known = f"{len(estimate.points)} nodes" if isinstance(estimate, Nodes) else None
            estimator = f"second moment of {known}" if known else "closed form of the fit's second moment"
            return Figure(abs(math.sqrt(square / true_square) - 1), 0.0, estimator)
        points, weights, what = weighted_points(subject, draws, generator)
        concentration = float(np.sum(weights**2))
        if concentration >= 1:
            return Figure(1.0, 0.0, f"second moment of {what}: one holds all the weight")
        squares = np.sum((points - weighted_sum(weights, points)) ** 2, axis=1)
        square = float(np.sum(weights * squares))
        if math.isinf(square):
            return Figure(math.inf, math.inf, f"second moment of {what}: it overflows")
        error = math.sqrt(mean_variance(squares, groups_of(estimate), weights))
        ratio = math.sqrt(square / (1 - concentration) / true_square)
        relative = error / (2 * square) if square > 0 else 0.0
        return Figure(abs(ratio - 1), ratio * relative, f"second moment of {what}")


@dataclass(frozen=True)
class MassOutside(Measure):
    """Mass of the fit where the true density is zero, outside the support.

    Where the truth has no density, as on a ring, that is the mass further from its mean than the support's radius. A
    grid's is added up cell by cell and that of nodes one by one (standard error 0), particles count by their weights,
    for any other estimate it is the share of ``draws`` samples. The standard error is that of a share with two more on
    either side (Agresti and Coull, Am. Stat. 52, 1998), so that finding none is not taken for certain, or over groups
    of particles that depend on each other, where that is larger.
    """

    name: ClassVar[str] = "mass-outside"
    version: ClassVar[int] = 2

    def unsuited(self, subject: Subject) -> str | None:
        return without_bounds(subject.truth)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth, grid = subject.truth, subject.estimate.grid
        assert truth is not None
        if grid is not None:
            mass = float(grid.masses.numpy()[outside(truth, grid.centres()[:, None])].sum())
            return Figure(max(0.0, mass), 0.0, f"sum over {grid.cells} cells")
        points, weights, what = weighted_points(subject, draws, generator)
        beyond = outside(truth, torch.from_numpy(points))
        share = min(1.0, float(np.sum(weights[beyond])))
        if isinstance(subject.estimate, Nodes):
            return Figure(share, 0.0, f"{int(beyond.sum())} of {what}")
        effective = 1 / float(np.sum(weights**2))
        padded = (share * effective + 2) / (effective + 4)
        error = math.sqrt(padded * (1 - padded) / effective)
        groups = groups_of(subject.estimate)
        if groups is not None:
            error = max(error, math.sqrt(mean_variance(beyond.astype(float), groups, weights)))
        return Figure(share, error, f"{int(beyond.sum())} of {what}")


def without_bounds(truth: Law | None) -> str | None:
    """Return why the truth has no bounded support, or ``None`` when it has one."""
    if truth is None:
        return "the true law is not known"
    if truth.support_radius is None:
        return "the true law has mass everywhere, or says nothing of its support"
    return None


def outside(truth: Law, x: torch.Tensor) -> np.ndarray:
    """Return where points ``x`` (n, D) lie outside the support, shape (n,)."""
    if isinstance(truth, Density) and not isinstance(truth, GridLaw):
        return np.asarray(truth.log_prob(x).double().isneginf().numpy())
    radius = truth.support_radius
    assert radius is not None
    distance = (x - truth.moments()[0].double()).norm(dim=1)
    return np.asarray((distance > (1 + ROUNDING) * radius).numpy())


def weighted_points(subject: Subject, draws: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray, str]:
    """Return all particles (n, D) with weights (n,) that sum to 1, or ``draws`` draws of a fit, and what they are."""
    estimate = subject.estimate
    if isinstance(estimate, Particles):
        weights = estimate.normalised_log_weights.exp().numpy()
        return estimate.points.double().numpy(), weights / weights.sum(), f"{len(weights)} particles"
    points = estimate.sample(draws, generator).double().numpy()
    return points, np.full(draws, 1 / draws), f"{draws} draws"
