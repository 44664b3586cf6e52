"""The free energy F(ρ) = ∫Vρ + ∫U(ρ) + ½∬W(x-y)ρ(x)ρ(y) of an estimate, and its distance from that of the true law.

How both are worked out is in ``harness.measure.energy_estimates``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from harness.measure.energy_estimates import difference, energy_of, size_of_terms
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.two_densities import without_density, without_two_densities
from solvers.estimates import Estimate, Exact, Particles

SIDES = {-1: "below", 0: "at", 1: "above"}
TOLD_APART = 3.0
"""Standard errors by which F of the truth must differ from 0 to be a scale."""
ROUNDING = 1e-9
"""What of the size of its terms may be left of a free energy that is 0."""


@dataclass(frozen=True)
class FreeEnergyOfFit(Measure):
    """The free energy of the estimate, whose target is that of the true law: lower is not better at a given time.

    A density on the line is integrated (standard error 0). Elsewhere it is the mean over ``draws`` draws of the fit,
    with the log-density that comes with them. Where there is no internal energy particles need no density: all of them
    are taken, with their weights; otherwise in one and two dimensions a kernel density stands for them. Of interactions
    that are summed over pairs at most 4096 points are taken. Infinite where the fit has no density and needs one.
    Raises ``Diverged`` when the fit's log-density is NaN.
    """

    name: ClassVar[str] = "free-energy"
    has_target: ClassVar[bool] = True

    def unsuited(self, subject: Subject) -> str | None:
        return without_energy(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        return energy_of(subject.estimate, subject.problem.flow.energy, draws, generator)


@dataclass(frozen=True)
class EnergyGap(Measure):
    """The relative energy gap |F(fit) - F(true)| / |F(true)|.

    F of the true law is the problem's where it says so, else worked out as that of a fit is. Where fit and truth both
    have densities the difference is taken at the same points, and its noise vanishes with it; otherwise
    it is that of two figures. Where F may be shifted by a constant, as by that of a potential, so is the scale. Where
    F(true) is 0 up to rounding, below 1e-9 of the size of its terms E[|V| + |U(ρ)/ρ| + ½|W∗ρ|] under the true law ρ,
    that size is the scale instead of |F(true)|, and the estimator's name says so. The value is infinite where F(true)
    cannot be told from 0 by its draws.
    """

    name: ClassVar[str] = "energy-gap"

    def unsuited(self, subject: Subject) -> str | None:
        why = without_energy(subject)
        if why is not None or _known(subject) is not None:
            return why
        if subject.truth is None:
            return "the true law is not known"
        if subject.problem.flow.energy.internal is not None:
            return without_two_densities(subject)
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        energy = subject.problem.flow.energy
        known = _known(subject)
        if known is None:
            assert subject.truth is not None
            true = energy_of(Exact(subject.truth), energy, draws, generator)
        else:
            true = Figure(known, 0.0, "")
        untold = Figure(math.inf, 0.0, f"F of the truth, {true.value:.3g}, is not told from 0")
        if true.standard_error > 0 and not abs(true.value) > TOLD_APART * true.standard_error:
            return untold
        bare = isinstance(subject.estimate, Particles) and energy.internal is None
        if bare or without_two_densities(subject) is not None:
            fit = energy_of(subject.estimate, energy, draws, generator)
            gap = Figure(fit.value - true.value, math.hypot(fit.standard_error, true.standard_error), fit.estimator)
        else:
            gap = difference(subject, draws, generator)
        if not math.isfinite(gap.value):
            return Figure(abs(gap.value), 0.0, gap.estimator)
        scale = Figure(abs(true.value), true.standard_error, "")
        if subject.truth is not None:
            # Last of all, so that it takes no draws from the others.
            terms = size_of_terms(subject.truth, energy, draws, generator)
            if math.isfinite(terms.value) and abs(true.value) <= ROUNDING * terms.value:
                scale = replace(terms, estimator=f", which is 0; relative to its terms, {terms.value:.3g}")
        if not scale.value > 0:
            return untold
        error = math.hypot(gap.standard_error, gap.value * scale.standard_error / scale.value) / scale.value
        side = SIDES[int(np.sign(gap.value))]
        return Figure(abs(gap.value) / scale.value, error, f"{gap.estimator}; {side} the true F{scale.estimator}")


def without_energy(subject: Subject) -> str | None:
    """Return why the free energy of the estimate cannot be worked out or means nothing, or ``None`` when it can."""
    if subject.problem.observations is not None:
        return "the law asked for is conditioned on observations, which the free energy knows nothing of"
    internal = subject.problem.flow.energy.internal
    if internal is None:
        return "one particle has no pair" if _count(subject.estimate) == 1 else None
    infinite = internal.without_step(subject.estimate.dim)
    return infinite if infinite is not None else without_density(subject.estimate)


def _count(estimate: Estimate) -> int | None:
    return len(estimate.points) if isinstance(estimate, Particles) else None


def _known(subject: Subject) -> float | None:
    """F of the true law as the problem has it, or ``None``."""
    known = subject.problem.free_energy
    return None if known is None or subject.t is None else float(known(subject.t))
