"""Linear filtering: an Ornstein-Uhlenbeck process seen through a matrix and Gaussian noise, in any dimension.

dX = -A (X - b) dt + √(2/β) dW from N(0, I), with y_k = H X(t_k) + N(0, σ² I). All posteriors are Gaussian and follow
from Kalman's recursion with the exact moments of the flow in between (Kalman & Bucy 1961, J. Basic Eng. 83): filters of
any dimension can be checked in closed form, their evidence too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.linear_algebra import random_spd, spread
from problems.observations import (
    FILTERING_MEASURES,
    GaussianNoise,
    HiddenPath,
    LinearObservation,
    Observations,
    distinct_times,
    require_observation_times,
)
from problems.potentials import Quadratic
from problems.problem import Problem, ProblemFamily
from problems.references.exact_filter import kalman_filter
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from problems.validation import require_counts, require_positive, require_seed, require_times

MEASURES = ("symkl", "kl", "symkl-gaussian", "bures-w2", *FILTERING_MEASURES)


@dataclass(frozen=True, kw_only=True)
class LinearFiltering(ProblemFamily):
    """The law of a hidden Ornstein-Uhlenbeck process given linear observations: Kalman's filter is the truth.

    A has Haar-distributed eigenvectors and eigenvalues spaced evenly in the logarithm over ``spectrum``; b ~ N(0, I),
    and H, of ``seen`` rows (D when ``None``), has independent entries N(0, 1/D), the identity in one dimension. The
    hidden path is drawn exactly.

    Raises ``ValueError`` for settings that are not finite or out of range.
    """

    name: ClassVar[str] = "linear-filtering"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({"observation_times": (0.05, 0.05, 0.15)},)
    times: tuple[float, ...] = (2.0,)
    spectrum: tuple[float, float] = (0.5, 2.0)
    inverse_temperature: float = 1.0
    observation_times: tuple[float, ...] = (0.4, 0.8, 1.2, 1.6)
    seen: int | None = None
    noise_std: float = 0.5

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_observation_times(self.name, self.observation_times)
        require_positive(self.name, inverse_temperature=self.inverse_temperature, noise_std=self.noise_std)
        if self.seen is not None:
            require_counts(self.name, seen=self.seen)
        if len(self.spectrum) != 2 or self.spectrum[0] > self.spectrum[1]:
            raise ValueError(f"{self.name}: spectrum must be (smallest, largest), got {self.spectrum!r}")
        require_positive(self.name, **{f"spectrum[{place}]": rate for place, rate in enumerate(self.spectrum)})

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        require_seed(self.name, seed)

        def normals(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        potential = Quadratic(random_spd(spread(*self.spectrum, dim), generator), normals(dim))
        identity = torch.eye(dim, dtype=torch.float64)
        initial = Gaussian(torch.zeros(dim, dtype=torch.float64), identity)
        flow = GradientFlow(initial, FreeEnergy(potential, Entropy(self.inverse_temperature)), self.times)
        size = dim if self.seen is None else self.seen
        matrix = identity if dim == size == 1 else normals(size, dim) / dim**0.5
        hidden = self._path(flow, potential, generator)
        states = [hidden.at(time) for time in self.observation_times]
        clean = torch.stack([matrix @ state for state in states if state is not None]) if states else normals(0, size)
        values = clean + self.noise_std * normals(*clean.shape)
        observations = Observations(
            self.observation_times,
            values,
            LinearObservation(matrix),
            GaussianNoise(self.noise_std),
            hidden=hidden,
        )
        truth = kalman_filter(flow, observations)
        return Problem(flow, MEASURES, truth.law, observations=observations, log_evidence=truth.log_evidence)

    def _path(self, flow: GradientFlow, potential: Quadratic, generator: torch.Generator) -> HiddenPath:
        """Return a path at time 0, at the observations and at the flow's times, from its exact transitions."""
        stops = distinct_times((0.0, *self.observation_times, *flow.times))
        states = [flow.initial.sample(1, generator)[0]]
        for start, stop in pairwise(stops):
            # From a point: the exact moments of a flow that starts almost without spread.
            known = Gaussian(states[-1], 1e-18 * torch.eye(flow.dim, dtype=torch.float64))
            moved = ornstein_uhlenbeck_marginal(known, potential, flow.inverse_temperature, stop - start)
            states.append(moved.sample(1, generator)[0])
        return HiddenPath(stops, torch.stack(states))
