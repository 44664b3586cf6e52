"""A plugin with a family of every kind of free energy, with its truth, for solvers to solve or to refuse.

With V = ½κ|x|², where it is not flat, and W = ½λ|z|², Gaussian laws stay Gaussian and Barenblatt's stay Barenblatt's.
The mean moves by V alone; about it, the two wells are one of stiffness κ + λ.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.barenblatt import ball, log_pressure
from problems.flow import Entropy, FreeEnergy, GradientFlow, InternalEnergy, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Gaussian, Law
from problems.potentials import Flat, Quadratic
from problems.problem import Problem, ProblemFamily
from problems.validation import require_counts

START = 0.25


@dataclass(frozen=True, kw_only=True)
class Family(ProblemFamily):
    """A flow by V and W of the given ``stiffness`` κ and ``attraction`` λ; ``stationary`` asks for its end, unknown."""

    times: tuple[float, ...] = (0.1, 0.2)
    stationary: bool = False
    stiffness: ClassVar[float] = 0.0
    attraction: ClassVar[float] = 0.0
    internal: ClassVar[InternalEnergy | None] = None

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        identity, centre = torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64)
        mean = 1 + torch.randn(dim, generator=generator, dtype=torch.float64)

        def law(t: float) -> Law:
            return self.law(t, math.exp(-self.stiffness * t) * mean)

        energy = FreeEnergy(
            Quadratic(self.stiffness * identity, centre) if self.stiffness else Flat(dim),
            self.internal,
            QuadraticInteraction(dim, self.attraction) if self.attraction else None,
        )
        flow = GradientFlow(law(0.0), energy, self.times)
        measures = ("symkl", "energy-distance", "sliced-w2", "bures-w2", "symkl-gaussian", "elbo", "mode-weights")
        if self.stationary:
            return Problem(flow, measures, None, "nobody has worked it out", stationary=True)
        return Problem(flow, measures, law)

    @abstractmethod
    def law(self, t: float, mean: torch.Tensor) -> Law:
        """Return the law at time t about its mean then."""


class Spreading(Family):
    """Gaussian laws, by an entropy or none."""

    def law(self, t: float, mean: torch.Tensor) -> Law:
        rate, temperature = self.stiffness + self.attraction, 0.0
        if isinstance(self.internal, Entropy):
            temperature = 1 / self.internal.inverse_temperature
        gained = 2 * temperature * t if rate == 0 else temperature * -math.expm1(-2 * rate * t) / rate
        variance = START * math.exp(-2 * rate * t) + gained
        return Gaussian(mean, variance * torch.eye(len(mean), dtype=torch.float64))


@dataclass(frozen=True, kw_only=True)
class Porous(Family):
    """A power entropy in two wells: with q = D + 2 and κₘ of exponent 2, dR/dt = κₘ R^(1-q) - (κ + λ) R."""

    name: ClassVar[str] = "porous"
    stiffness: ClassVar[float] = 1.0
    attraction: ClassVar[float] = 0.5
    internal: ClassVar[InternalEnergy | None] = PowerEntropy(2.0)

    def law(self, t: float, mean: torch.Tensor) -> Law:
        power, rate = len(mean) + 2, self.stiffness + self.attraction
        rest = math.exp(log_pressure(2.0, len(mean))) / rate
        return ball(mean, (rest + (START - rest) * math.exp(-power * rate * t)) ** (1 / power), 2.0)


@dataclass(frozen=True, kw_only=True)
class PorousAlone(Porous):
    """A power entropy and nothing else."""

    name: ClassVar[str] = "porous-alone"
    stiffness: ClassVar[float] = 0.0
    attraction: ClassVar[float] = 0.0

    def law(self, t: float, mean: torch.Tensor) -> Law:
        power = len(mean) + 2
        grown = math.exp(log_pressure(2.0, len(mean))) * power * t
        return ball(mean, (START + grown) ** (1 / power), 2.0)


@dataclass(frozen=True, kw_only=True)
class Herd(Spreading):
    """McKean and Vlasov's equation: an entropy, a well, and an interaction."""

    name: ClassVar[str] = "herd"
    stiffness: ClassVar[float] = 0.5
    attraction: ClassVar[float] = 1.0
    internal: ClassVar[InternalEnergy | None] = Entropy(2.0)


@dataclass(frozen=True, kw_only=True)
class Gathering(Spreading):
    """An interaction and nothing else."""

    name: ClassVar[str] = "gathering"
    attraction: ClassVar[float] = 1.0


@dataclass(frozen=True, kw_only=True)
class Sliding(Spreading):
    """A potential and nothing else."""

    name: ClassVar[str] = "sliding"
    stiffness: ClassVar[float] = 1.0


@dataclass(frozen=True, kw_only=True)
class Heat(Spreading):
    """An entropy and nothing else."""

    name: ClassVar[str] = "heat"
    internal: ClassVar[InternalEnergy | None] = Entropy(1.0)
