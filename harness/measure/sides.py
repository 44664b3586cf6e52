"""Draws of a fit and of its truth that share no point, for measures that equal points would mislead.

A finite reference (``Empirical``) has no fresh draws. Exact draws taken from it, the oracle's, meet themselves among
the truth's: two samples that should be independent are then the same points, and a distance between them is zero, not
the floor that two samples have.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from harness.measure.measure import Subject
from problems.laws import Empirical
from solvers.estimates import Nodes, Particles


class Sides(NamedTuple):
    """Draws ``fit`` (n, D) and ``true`` (m, D) without a common point, and the ``groups`` (n,) of those of the fit.

    Draws of one group depend on each other; ``None``: all are independent.
    """

    fit: torch.Tensor
    true: torch.Tensor
    groups: torch.Tensor | None


def two_sides(
    subject: Subject, most: int, generator: torch.Generator, *, halves: bool = False, alike: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return draws (n, D) of the estimate and (m, D) of the truth, n, m ≤ ``most``, float64, without a common point.

    ``halves`` takes no more than half of a finite reference on either side, so that its own draws, which can only be
    dealt out to both, are judged in the same number as any other answer's. ``alike`` makes n = m.
    """
    return grouped_sides(subject, most, generator, halves=halves, alike=alike)[:2]


def grouped_sides(
    subject: Subject, most: int, generator: torch.Generator, *, halves: bool = False, alike: bool = False
) -> Sides:
    """Return what :func:`two_sides` does, with the groups of the estimate's draws.

    They are those that its particles have (:class:`solvers.estimates.Particles`); else draws at one point are a group:
    particles that were drawn by weight, and more than once, or that the answer itself repeats. Draws of ``Nodes`` are
    independent, as those of a density, and as many as are asked for.
    """
    truth, estimate = subject.truth, subject.estimate
    assert truth is not None
    available = most
    if isinstance(truth, Empirical):
        available = min(most, len(truth.draws))
        most = min(most, len(truth.draws) // 2) if halves else available
    finite = isinstance(estimate, Particles) and not isinstance(estimate, Nodes)
    count = min(most, len(estimate.points)) if isinstance(estimate, Particles) and finite else most
    if alike and not isinstance(truth, Empirical):
        available = count
    groups = None
    if isinstance(estimate, Particles):
        places = estimate.places(count, generator)
        fit = estimate.points[places].double()
        groups = None if estimate.groups is None else estimate.groups[places]
    else:
        fit = estimate.sample(count, generator).double()
    true = truth.sample(available, generator).double()
    in_fit, in_true, repeated = separation(fit, true, generator)
    if groups is None and finite:
        groups = repeated
    fit, true = fit[in_fit], true[in_true]
    groups = None if groups is None else groups[in_fit]
    if alike:
        most = min(len(fit), len(true))
    return Sides(fit[:most], true[:most], None if groups is None else groups[:most])


def placed(nodes: Nodes) -> str:
    """Return why ``nodes`` have no figure by a measure that takes them for draws, or for a density that was drawn."""
    return f"{len(nodes.points)} nodes are placed by a rule: their distances tell how, and not the density of their law"


def separated(x: torch.Tensor, y: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ``x`` and ``y`` (n, D), each common point left to one of them: by chance, to make their sizes alike."""
    in_x, in_y, _ = separation(x, y, generator)
    return x[in_x], y[in_y]


def separation(
    x: torch.Tensor, y: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return which of ``x`` and ``y`` (n, D) are kept, each common point left to one of them, to make sizes alike.

    Which is left to whom is by chance. Last are the numbers of the points of ``x``, shape (n,), where some are equal.
    """
    points, place = torch.unique(torch.cat([x, y]), dim=0, return_inverse=True)
    in_x, in_y = place.split([len(x), len(y)])
    counts = torch.stack([torch.bincount(side, minlength=len(points)) for side in (in_x, in_y)])
    common = torch.nonzero((counts > 0).all(0))[:, 0]
    common = common[torch.randperm(len(common), generator=generator)]
    surplus = len(x) - len(y) + len(common)
    taken = max(0, min(len(common), surplus // 2))
    off_x, off_y = torch.zeros(2, len(points), dtype=torch.bool)
    off_x[common[:taken]], off_y[common[taken:]] = True, True
    return ~off_x[in_x], ~off_y[in_y], in_x if bool((counts[0] > 1).any()) else None


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
