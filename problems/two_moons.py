"""Two moons: a mixture of 16 Gaussians on two interleaved half-circles, known up to its constant.

    p̃(x) = Σ_k exp(-|x - m_k|²/(2 s²)),    Z = ∫p̃ = 16 · 2π s²,    V = -β⁻¹ log p̃,

so that the flow of ∫Vρ + β⁻¹∫ρ log ρ goes to p̃/Z, its free energy is β⁻¹(KL(ρ‖p̃/Z) - log Z), and log Z is what bounds
of the evidence are judged by.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential
from problems.problem import Evidence, Problem, ProblemFamily
from problems.references.marginals_2d import Marginals2D
from problems.validation import require_choice, require_positive, require_seed, require_times

MEASURES = (
    "symkl",
    "kl",
    "symkl-published",
    "energy-distance",
    "sliced-w2",
    "mode-weights",
    "elbo",
    "evidence-gap",
    "free-energy",
)
PER_MOON = 8
COMPONENTS = 2 * PER_MOON


@dataclass(frozen=True)
class UnnormalisedMixture(MixturePotential):
    """The potential V = -β⁻¹ (log ρ* + ``log_constant``) of a mixture that is known up to its constant.

    Raises ``ValueError`` unless β = ``inverse_temperature`` is finite and > 0.
    """

    log_constant: float = 0.0

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return super().value(x) - self.log_constant / self.inverse_temperature


@dataclass(frozen=True, kw_only=True)
class TwoMoons(ProblemFamily):
    """Relaxation from N(0, initial_std² I) to two moons in the plane, of ``radius`` and ``width`` s.

    Fan et al. (ICML 2022), section 4.1, draw 16 components on two moons without stating where; here they are, eight a
    moon, at equal angles on the half-circles of scikit-learn's ``make_moons`` moved about 0 and scaled by the radius r:
    r (cos t - ½, sin t - ¼) and r (½ - cos t, ¼ - sin t), t = 0, π/7, …, π. All instances are the same.

    ``truth`` says what answers are measured against: ``"stationary"`` is p̃/Z whatever the time, ``"marginal"`` ρ_t
    itself, by a converged grid. At the default time the exact flow has come to within 1e-4 in SymKL of p̃/Z.

    Raises ``ValueError`` for values out of range and any dimension but 2.
    """

    name: ClassVar[str] = "two-moons"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    times: tuple[float, ...] = (3.0,)
    radius: float = 1.5
    width: float = 0.3
    initial_std: float = 1.5
    inverse_temperature: float = 1.0
    truth: str = "stationary"

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_choice(self.name, "truth", self.truth, ("stationary", "marginal"))
        require_positive(
            self.name,
            radius=self.radius,
            width=self.width,
            initial_std=self.initial_std,
            inverse_temperature=self.inverse_temperature,
        )

    def dims(self) -> tuple[int, ...]:
        return (2,)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        if dim != 2:
            raise ValueError(f"{self.name}: exists in dimension 2 only, got {dim}")
        require_seed(self.name, seed)
        identity = torch.eye(2, dtype=torch.float64)
        target = GaussianMixture(
            torch.full((COMPONENTS,), 1 / COMPONENTS, dtype=torch.float64),
            centres(self.radius),
            (self.width**2 * identity).repeat(COMPONENTS, 1, 1),
        )
        log_constant = math.log(COMPONENTS * 2 * math.pi * self.width**2)
        potential = UnnormalisedMixture(target, self.inverse_temperature, log_constant)
        initial = Gaussian(torch.zeros(2, dtype=torch.float64), self.initial_std**2 * identity)
        flow = GradientFlow(initial, FreeEnergy(potential, Entropy(self.inverse_temperature)), self.times)
        evidence = Evidence(log_constant)
        if self.truth == "marginal":
            return Problem(flow, MEASURES, Marginals2D(flow), evidence=evidence)
        return Problem(
            flow,
            MEASURES,
            lambda time: target,
            stationary=True,
            free_energy=functools.partial(_lowest, log_constant, self.inverse_temperature),
            evidence=evidence,
        )


def centres(radius: float) -> torch.Tensor:
    """Return the centres (16, 2) of the components, the upper moon's first."""
    angle = torch.linspace(0, math.pi, PER_MOON, dtype=torch.float64)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], dim=1)
    return radius * torch.cat([upper, -upper])


def _lowest(log_constant: float, inverse_temperature: float, time: float) -> float:
    """F of the stationary law, -β⁻¹ log Z, at any time."""
    return -log_constant / inverse_temperature
