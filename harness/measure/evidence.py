"""Bounds of the evidence Z = ∫ exp(-βV) from a density that was fitted to exp(-βV).

For a density q, with V including its constants,

    ELBO(q) = E_q[ -βV - log q ] = log Z - KL(q ‖ exp(-βV)/Z) ≤ log Z,

so that no truth and no second sample is needed to rank answers, and log Z - ELBO is their KL(fit‖true).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from harness.measure.measure import Figure, Measure, Subject
from harness.measure.symkl import sample_mean
from problems.flow import Entropy, GradientFlow
from problems.potentials import FiniteSum
from solvers.estimates import Estimate
from solvers.solver import Diverged
from solvers.threads import workers

# Terms (points × cases) of a sum over cases that are added in all, and at a time (32 MiB).
MOST_TERMS = 2**30
TERMS_PER_TILE = 2**22
LEAST_DRAWS = 1000


@dataclass(frozen=True)
class ELBO(Measure):
    """Mean over draws of the fit of -βV - log q, in nats: a lower bound of log Z, which it reaches where q is exact.

    Potentials that are sums over very many cases get fewer draws than asked for, at least 1000. The value is -∞, with
    standard error 0, where the fit has mass that the potential excludes. Raises ``Diverged`` when the log-density of
    the fit is NaN.
    """

    name: ClassVar[str] = "elbo"
    higher_is_better: ClassVar[bool] = True

    def proper(self, estimate: Estimate) -> bool:
        """Return ``True``: it is KL(fit‖true), up to a constant, estimated without bias."""
        return True

    def unsuited(self, subject: Subject) -> str | None:
        if subject.estimate.density is None:
            return "the estimate has no density"
        energy = subject.problem.flow.energy
        if not isinstance(energy.internal, Entropy):
            return "an evidence is that of exp(-βV), the stationary law where the internal energy is an Entropy"
        if energy.interaction is not None:
            return "the stationary law of an interaction is not exp(-βV)"
        if subject.problem.observations is not None:
            return "the law asked for is not the stationary one"
        return None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        flow, estimate = subject.problem.flow, subject.estimate
        cases = flow.potential.cases if isinstance(flow.potential, FiniteSum) else 1
        draws = min(draws, max(LEAST_DRAWS, MOST_TERMS // cases))
        density = estimate.density
        assert density is not None
        points, log_density = density.sample_with_log_prob(draws, generator)
        undefined = int(log_density.isnan().sum())
        if undefined:
            raise Diverged(f"the log-density of the fit is NaN at {undefined} of {draws} of its own draws")
        values = log_joint(flow, points, max(1, TERMS_PER_TILE // cases)) - log_density.double()
        undefined = int(values.isnan().sum())
        if undefined:
            raise ArithmeticError(f"the potential is NaN at {undefined} of {draws} draws of the fit")
        excluded = int(values.isneginf().sum())
        if excluded:
            return Figure(-math.inf, 0.0, f"{draws} draws of the fit; {excluded} lie where the density is zero")
        return Figure(*sample_mean(values.numpy()), f"{draws} draws of the fit")


@dataclass(frozen=True)
class EvidenceGap(Measure):
    """log Z - ELBO = KL(fit‖true) in nats, where Z is known; its standard error has that of log Z in it.

    As an estimate of a divergence it is not kept from being negative.
    """

    name: ClassVar[str] = "evidence-gap"

    def proper(self, estimate: Estimate) -> bool:
        """Return ``True``: it is KL(fit‖true), up to a constant, estimated without bias."""
        return True

    def unsuited(self, subject: Subject) -> str | None:
        if subject.problem.evidence is None:
            return "the evidence is not known"
        return ELBO().unsuited(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        evidence = subject.problem.evidence
        assert evidence is not None
        bound = ELBO()(subject, draws, generator)
        error = math.hypot(bound.standard_error, evidence.standard_error)
        return Figure(evidence.log_value - bound.value, error, bound.estimator)


def log_joint(flow: GradientFlow, points: torch.Tensor, rows: int) -> torch.Tensor:
    """Return -βV at ``points`` (n, D), shape (n,), so many rows at a time."""
    with workers() as run:
        values = run(flow.potential.value, points.split(rows))
    return -flow.inverse_temperature * torch.cat(values).double()
