"""Measures of filters: scores of the hidden state itself, and the evidence of the observations.

The continuous ranked probability score of a law F for the outcome x (Gneiting & Raftery, J. Am. Stat. Assoc. 2007),

    CRPS(F, x) = ∫ (F(y) - 1{y ≥ x})² dy = E|X - x| - ½ E|X - X'|,

is proper: on average no filter can beat the exact one. A calibrated filter's probability integral transforms F(x) are
uniform over instances (Dawid, J. R. Stat. Soc. A 147, 1984); its central intervals hold the hidden state as often as
they say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import groups_of, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.transport import ROWS_PER_TILE
from problems.observations import same_time
from problems.references.grid_law import GridLaw
from solvers.estimates import Estimate, Nodes, Particles
from solvers.filtering import fixed_stream
from solvers.threads import workers


@dataclass(frozen=True)
class CRPS(Measure):
    """CRPS of the hidden state at the time of the estimate; in more dimensions |·| is the norm: the energy score.

    A grid is integrated. Weighted particles are the law that they are; of others, up to ``draws`` particles or as many
    draws estimate the score without bias. The standard error is from the influence of each, in groups
    that depend on each other.
    """

    name: ClassVar[str] = "crps"
    version: ClassVar[int] = 2

    def proper(self, estimate: Estimate) -> bool:
        """Return whether the score is estimated without bias: not from weighted particles."""
        return not isinstance(estimate, Particles) or estimate.log_weights is None

    def unsuited(self, subject: Subject) -> str | None:
        return _without_state(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        estimate, state = subject.estimate, _state(subject)
        assert state is not None
        grid = estimate.grid
        if grid is not None:
            return Figure(_integrated(grid, state), 0.0, f"quadrature on {grid.cells} cells")
        groups = None
        if isinstance(estimate, Particles) and len(estimate.points) <= draws:
            points, weights, weighted = estimate.points.double(), *_weights_of(estimate)
            groups = groups_of(estimate)
            estimator = f"{len(points)} {'weighted ' if weighted else ''}particles"
        else:
            points, weights, weighted = estimate.sample(draws, generator).double(), torch.ones(draws) / draws, False
            weights, estimator = weights.double(), f"{draws} draws"
        count, distance = len(points), (points - state).norm(dim=1)
        if count == 1:
            return Figure(float(distance), math.inf, "one particle")
        apart = mean_distances(points, weights)
        if not weighted:
            apart *= count / (count - 1)
        share = weights.numpy()
        influence = (distance - apart).numpy()
        placed = isinstance(estimate, Nodes) and len(estimate.points) == count
        error = 0.0 if placed else math.sqrt(mean_variance(influence, groups, share))
        return Figure(float(share @ (distance - 0.5 * apart).numpy()), error, estimator)


@dataclass(frozen=True)
class PIT(Measure):
    """F(x) of the hidden state x at the time of the estimate, in one dimension."""

    name: ClassVar[str] = "pit"
    has_target: ClassVar[bool] = True

    def unsuited(self, subject: Subject) -> str | None:
        return _without_state(subject) or _not_on_the_line(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        state = _state(subject)
        assert state is not None
        return Figure(subject.estimate.cumulative(float(state), fixed_stream()), 0.0, "mass below the hidden state")


@dataclass(frozen=True)
class _Coverage(Measure):
    """Share of the hidden states, at the observations so far, in the central interval of the posterior there.

    The standard error is binomial, at the share that is right.
    """

    level: ClassVar[float]
    ends: ClassVar[tuple[str, str]]

    def unsuited(self, subject: Subject) -> str | None:
        reason = _without_hidden(subject) or _not_on_the_line(subject) or _without_record(subject)
        if reason is None and not self._seen(subject):
            reason = "the hidden state is not known at any observation so far"
        return reason

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        seen = self._seen(subject)
        error = math.sqrt(self.level * (1 - self.level) / len(seen))
        return Figure(sum(seen) / len(seen), error, f"posterior intervals at {len(seen)} observations")

    def _seen(self, subject: Subject) -> list[bool]:
        """Return, for each observation so far whose hidden state is known, whether the interval holds it."""
        observations, noted = subject.problem.observations, subject.assimilated
        assert observations is not None
        assert observations.hidden is not None
        low, high = (noted[f"posterior_{end}"] for end in self.ends)
        found = []
        for place in _so_far(subject):
            state = observations.hidden.at(noted["observation_time"][place])
            if state is not None:
                found.append(low[place] <= float(state) <= high[place])
        return found


@dataclass(frozen=True)
class Coverage50(_Coverage):
    """Share of hidden states between the posterior's quartiles."""

    name: ClassVar[str] = "coverage-50"
    has_target: ClassVar[bool] = True

    level: ClassVar[float] = 0.5
    ends: ClassVar[tuple[str, str]] = ("q25", "q75")


@dataclass(frozen=True)
class Coverage90(_Coverage):
    """Share of hidden states between the posterior's quantiles at 5 and 95 %."""

    name: ClassVar[str] = "coverage-90"
    has_target: ClassVar[bool] = True

    level: ClassVar[float] = 0.9
    ends: ClassVar[tuple[str, str]] = ("q05", "q95")


@dataclass(frozen=True)
class LogEvidenceError(Measure):
    """Distance of the log-evidence of the observations so far from the true one."""

    name: ClassVar[str] = "log-evidence-error"

    def unsuited(self, subject: Subject) -> str | None:
        if subject.problem.log_evidence is None:
            return "the true evidence is not known"
        return _without_record(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        assert subject.problem.log_evidence is not None
        assert subject.t is not None
        gained = math.fsum(subject.assimilated["log_evidence"][place] for place in _so_far(subject))
        return Figure(
            abs(gained - subject.problem.log_evidence(subject.t)), 0.0, f"{len(_so_far(subject))} observations"
        )


@dataclass(frozen=True)
class EffectiveShare(Measure):
    """The smallest (E L)² / E L² of the likelihoods L so far: the effective sample size per predictive draw."""

    name: ClassVar[str] = "effective-share"
    higher_is_better: ClassVar[bool] = True

    def unsuited(self, subject: Subject) -> str | None:
        return _without_record(subject)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        shares = [subject.assimilated["effective_share"][place] for place in _so_far(subject)]
        return Figure(min(shares, default=1.0), 0.0, f"{len(shares)} observations")


def mean_distances(points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return Σ_j w_j |x_i - x_j| for each of the points (n, D) and weights (n,), shape (n,); in 1-D by sorting."""
    if points.shape[1] > 1:
        with workers() as run:
            return torch.cat(run(lambda tile: torch.cdist(tile, points) @ weights, points.split(ROWS_PER_TILE)))
    x, order = points[:, 0].sort()
    # About the middle, where sums do not cancel.
    x = x - x[len(x) // 2]
    mass = np.cumsum(weights[order].numpy())
    moment = np.cumsum((weights[order] * x).numpy())
    sums = x.numpy() * (2 * mass - mass[-1]) + moment[-1] - 2 * moment
    found = torch.empty_like(x)
    found[order] = torch.from_numpy(sums)
    return found


def _so_far(subject: Subject) -> list[int]:
    """Return the places, among the observations taken in, of those made by the time of the estimate."""
    assert subject.t is not None
    times = subject.assimilated.get("observation_time", ())
    return [place for place, time in enumerate(times) if time < subject.t or same_time(time, subject.t)]


def _state(subject: Subject) -> torch.Tensor | None:
    """Return the hidden state (D,) at the time of the estimate, or ``None`` where it is not known."""
    observations = subject.problem.observations
    if observations is None or observations.hidden is None or subject.t is None:
        return None
    return observations.hidden.at(subject.t)


def _without_hidden(subject: Subject) -> str | None:
    observations = subject.problem.observations
    return "no hidden path is known" if observations is None or observations.hidden is None else None


def _without_state(subject: Subject) -> str | None:
    if _state(subject) is None:
        return _without_hidden(subject) or "the hidden state at this time is not known"
    return None


def _without_record(subject: Subject) -> str | None:
    if subject.t is None or "observation_time" not in subject.assimilated:
        return "the solution has no record of observations"
    return None


def _not_on_the_line(subject: Subject) -> str | None:
    dim = subject.estimate.dim
    return None if dim == 1 else f"on the line only, this is dimension {dim}"


def _weights_of(particles: Particles) -> tuple[torch.Tensor, bool]:
    return particles.normalised_log_weights.exp(), particles.log_weights is not None


def _integrated(grid: GridLaw, state: torch.Tensor) -> float:
    """Return the CRPS of a grid law, its distribution function taken as straight between edges and the state."""
    edges = torch.cat([grid.edges(), state]).sort().values
    below, after = grid.cumulative(edges).numpy(), (edges[:-1] >= state).numpy()
    left, right = below[:-1] - after, below[1:] - after
    return float(np.sum(edges.diff().numpy() * (left * left + left * right + right * right)) / 3)
