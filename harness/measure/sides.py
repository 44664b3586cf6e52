"""Draws of a fit and of its truth that share no point, for measures that equal points would mislead.

A finite reference (``Empirical``) has no fresh draws. Exact draws taken from it, the oracle's, meet themselves among
the truth's: two samples that should be independent are then the same points, and a distance between them is zero, not
the floor that two samples have.
"""

from __future__ import annotations

import torch

from harness.measure.measure import Subject
from problems.laws import Empirical
from solvers.estimates import Particles


def two_sides(
    subject: Subject, most: int, generator: torch.Generator, *, halves: bool = False, alike: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return draws (n, D) of the estimate and (m, D) of the truth, n, m ≤ ``most``, float64, without a common point.

    ``halves`` takes no more than half of a finite reference on either side, so that its own draws, which can only be
    dealt out to both, are judged in the same number as any other answer's. ``alike`` makes n = m.
    """
    truth, estimate = subject.truth, subject.estimate
    assert truth is not None
    available = most
    if isinstance(truth, Empirical):
        available = min(most, len(truth.draws))
        most = min(most, len(truth.draws) // 2) if halves else available
    count = min(most, len(estimate.points)) if isinstance(estimate, Particles) else most
    if alike and not isinstance(truth, Empirical):
        available = count
    fit = estimate.sample(count, generator).double()
    fit, true = separated(fit, truth.sample(available, generator).double(), generator)
    if alike:
        most = min(len(fit), len(true))
    return fit[:most], true[:most]


def separated(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``x`` and ``y`` (n, D), each common point left to one of them: by chance, to make their sizes alike."""
    points, place = torch.unique(torch.cat([x, y]), dim=0, return_inverse=True)
    in_x, in_y = place.split([len(x), len(y)])
    counts = torch.stack([torch.bincount(side, minlength=len(points)) for side in (in_x, in_y)])
    common = torch.nonzero((counts > 0).all(0))[:, 0]
    common = common[torch.randperm(len(common), generator=generator)]
    surplus = len(x) - len(y) + len(common)
    taken = max(0, min(len(common), surplus // 2))
    off_x, off_y = torch.zeros(2, len(points), dtype=torch.bool)
    off_x[common[:taken]], off_y[common[taken:]] = True, True
    return x[~off_x[in_x]], y[~off_y[in_y]]


def unsampled(subject: Subject, least: int) -> str | None:
    """Return why there are not ``least`` draws of both sides, or ``None`` when there are."""
    if subject.truth is None:
        return "the true law is not known"
    sides = {
        "particle(s)": len(subject.estimate.points) if isinstance(subject.estimate, Particles) else least,
        "draw(s) of the truth": len(subject.truth.draws) if isinstance(subject.truth, Empirical) else least,
    }
    return next(
        (f"{count} {name} are too few; {least} are needed" for name, count in sides.items() if count < least), None
    )
