"""Every check of a problem family fails for a family that breaks that rule, and a sound one passes them all."""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pytest
import torch

from harness.conformance.contract import verdict
from harness.conformance.instances import ProblemTrial
from harness.conformance.motions import Motion, MovedPotential
from harness.conformance.problems import CHECKS
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.interactions import Interaction, QuadraticInteraction
from problems.laws import Gaussian, GaussianMixture, Law
from problems.potentials import MixturePotential, Quadratic
from problems.problem import Evidence, Prediction, Problem, ProblemFamily
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from problems.uniform import Uniform
from problems.validation import require_counts


@dataclass(frozen=True, kw_only=True)
class Sound(ProblemFamily):
    """An isotropic Ornstein-Uhlenbeck flow with a random start."""

    name: ClassVar[str] = "sound"

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        if seed < 0:
            raise ValueError(f"seed must be >= 0, got {seed}")
        one = torch.eye(dim, dtype=torch.float64)
        initial = Gaussian(3 + torch.randn(dim, generator=generator, dtype=torch.float64), 0.5 * one)
        energy = FreeEnergy(self.potential(one), Entropy(1.5), self.interaction(dim))
        flow = GradientFlow(initial, energy, self.times)
        return Problem(flow, ("symkl",), partial(self.truth, initial))

    def potential(self, one: torch.Tensor) -> Quadratic:
        return Quadratic(2 * one, torch.zeros(len(one), dtype=torch.float64))

    def interaction(self, dim: int) -> Interaction | None:
        return None

    def truth(self, initial: Gaussian, t: float) -> Law:
        quadratic = Sound.potential(self, torch.eye(initial.dim, dtype=torch.float64))
        return ornstein_uhlenbeck_marginal(initial, quadratic, 1.5, t)


class OffGradient(Quadratic):
    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return super().gradient(x) * 1.0001


class OffHessian(Quadratic):
    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return super().hessian(x) * 1.0001


class Asymmetric(Quadratic):
    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return super().hessian(x) + torch.ones(x.shape[1], x.shape[1], dtype=x.dtype).triu(1)


class Crowded(Quadratic):
    def value(self, x: torch.Tensor) -> torch.Tensor:
        return super().value(x - x.mean(0))


class Shapeless(Quadratic):
    def value(self, x: torch.Tensor) -> torch.Tensor:
        return super().value(x)[:, None]


class Twisted(QuadraticInteraction):
    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return super().gradient(x) + 0.1


class Logarithmic(QuadraticInteraction):
    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -x.norm(dim=1).log()

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return -x / x.square().sum(1, keepdim=True)


class OffMean(Gaussian):
    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean + 0.05, self.covariance


class OffCovariance(Gaussian):
    def moments(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.mean, 1.08 * self.covariance


class OffDensity(Gaussian):
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().log_prob(x) + 0.01


class MovedDensity(Gaussian):
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().log_prob(x - 0.05)


class OffAbove(Gaussian):
    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        return super().log_prob(x) + 0.05 * max(0, self.dim - 2)


class Tilted(Gaussian):
    """Says that its quantiles along directions are those of another law."""

    def marginal_quantiles(self, directions: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        deviations = (directions @ self.covariance * directions).sum(1).sqrt()
        return (directions @ self.mean)[:, None] + 1.1 * deviations[:, None] * torch.special.ndtri(levels)


class Ringed(Gaussian):
    def radial_quantiles(self, levels: torch.Tensor) -> torch.Tensor:
        return levels


class Bounded(Gaussian):
    @property
    def support_radius(self) -> float:
        return 1.0


class OffScore(Gaussian):
    def score(self, x: torch.Tensor) -> torch.Tensor:
        return 1.01 * super().score(x)


class Edged(Uniform):
    """Says that a box, whose density is flat and has edges, has the score 0."""

    def score(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class Told(Gaussian):
    def sample_with_log_prob(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.sample(n, generator)
        return x, self.log_prob(x) + 1e-3


class Single(Gaussian):
    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return super().sample(n, generator).float()


def broken(**members: Any) -> type[ProblemFamily]:
    body = {"name": "broken", "__doc__": "Broken.", "__module__": __name__} | members
    made: type[ProblemFamily] = dataclass(frozen=True, kw_only=True)(type("Broken", (Sound,), body))
    return made


def curved(kind: type[Quadratic]) -> dict[str, Any]:
    """Return a potential of another kind."""
    return {"potential": lambda self, one: kind(2 * one, torch.zeros(len(one), dtype=torch.float64))}


def true_as(kind: type[Gaussian]) -> dict[str, Any]:
    """Return a truth of another kind of law."""

    def truth(self: Sound, initial: Gaussian, t: float) -> Law:
        law = Sound.truth(self, initial, t)
        assert isinstance(law, Gaussian)
        return kind(law.mean, law.covariance)

    return {"truth": truth}


def edged(self: Sound, initial: Gaussian, t: float) -> Law:
    return Edged(initial.mean, torch.ones_like(initial.mean))


def turning(self: Sound, initial: Gaussian, t: float) -> Law:
    """Return a law whose coordinates come to depend on each other, with the moments of each as they should be."""
    law = Sound.truth(self, initial, t)
    assert isinstance(law, Gaussian)
    apart = torch.eye(law.dim, dtype=torch.float64) < 0.5
    return Gaussian(law.mean, law.covariance + 0.05 * t * apart)


def weighed(stated: tuple[float, float]) -> dict[str, Any]:
    """Return the search for the law at rest of two clusters of weights ¼ and ¾, and what is ``stated`` of these."""

    def build(self: Sound, dim: int, seed: int, generator: torch.Generator) -> Problem:
        means = torch.tensor([[-6.0], [6.0]], dtype=torch.float64).repeat(1, dim)
        shapes = torch.eye(dim, dtype=torch.float64).repeat(2, 1, 1)
        mixture, said = (
            GaussianMixture(torch.tensor(weights, dtype=torch.float64), means, shapes)
            for weights in ((0.25, 0.75), stated)
        )
        posed = Sound.build(self, dim, seed, generator)
        flow = dataclasses.replace(posed.flow, energy=FreeEnergy(MixturePotential(mixture, 1.0), Entropy(1.0)))
        return dataclasses.replace(posed, flow=flow, truth=lambda t: said, stationary=True)

    return {"build": build}


def warped(clock: Any) -> dict[str, Any]:
    """Return a truth that looks at another time."""
    return {"truth": lambda self, initial, t: Sound.truth(self, initial, clock(t))}


def changing(**changes: Any) -> dict[str, Any]:
    """Return a ``build`` whose problem has other fields."""
    return {"build": lambda self, *arguments: dataclasses.replace(Sound.build(self, *arguments), **changes)}


def in_small_units(**members: Any) -> dict[str, Any]:
    """Return the family's members in a unit of length of 1e-4."""

    def build(self: Sound, dim: int, seed: int, generator: torch.Generator) -> Problem:
        posed = Sound.build(self, dim, seed, generator)
        motion = Motion(torch.eye(dim, dtype=torch.float64), torch.zeros(dim, dtype=torch.float64), 1e-4)
        moved = motion.problem(posed)
        energy = dataclasses.replace(moved.flow.energy, potential=MovedPotential(posed.flow.potential, motion))
        return dataclasses.replace(moved, flow=dataclasses.replace(moved.flow, energy=energy))

    return {**members, "build": build}


def unseeded(self: Sound, dim: int, seed: int, generator: torch.Generator) -> Problem:
    return Sound.build(self, dim, seed, torch.Generator().manual_seed(next(counter)))


def from_global_stream(self: Sound, dim: int, seed: int, generator: torch.Generator) -> Problem:
    torch.rand(1)
    return Sound.build(self, dim, seed, generator)


counter = itertools.count()

BREACHES: list[tuple[str, dict[str, Any], str]] = [
    ("definition", {"__doc__": ""}, "no docstring"),
    ("default settings", {"dtype": torch.float32, "__annotations__": {"dtype": torch.dtype}}, "TypeError"),
    ("dimensions", {"dims": lambda self: (2, 1)}, "must rise"),
    ("dimensions", {"dims": lambda self: (0, 1)}, "whole numbers >= 1"),
    ("dimensions", {"dims": lambda self: (next(counter) + 1,)}, "changes from call to call"),
    ("refuses bad sizes", {"build": lambda self, dim, seed, g: Sound.build(self, max(dim, 1), seed, g)}, "accepted"),
    ("refuses bad sizes", {"dims": lambda self: (1, 2)}, "dimension 3 is accepted"),
    ("repeats to the bit", {"build": unseeded}, "a second build gives other numbers"),
    ("leaves global state alone", {"build": from_global_stream}, "torch's global random state changed"),
    ("is complete", changing(measures=("symlk",)), "unknown measures symlk"),
    ("is complete", changing(measures=()), "no measures"),
    ("is complete", changing(truth=None), "truth_missing must say why"),
    ("is complete", changing(prediction=Prediction(lambda x: 1 + x.square())), "must be finite and <= 0"),
    ("is complete", changing(prediction=Prediction(lambda x: -x[:, 0].square())), "must have shape (64, cases)"),
    (
        "is complete",
        {"build": lambda self, *a: Sound.build(dataclasses.replace(self, times=(9.0,)), *a)},
        "the flow's times",
    ),
    ("derivatives", curved(OffGradient), "the gradient differs from finite differences"),
    ("derivatives", curved(OffHessian), "the Hessian differs from finite differences"),
    ("derivatives", curved(Asymmetric), "the Hessian is not symmetric"),
    ("derivatives", curved(Crowded), "depends on the points beside it"),
    ("derivatives", curved(Shapeless), "the value has shape"),
    ("derivatives", {"interaction": lambda self, dim: Twisted(dim)}, "the gradient differs from finite differences"),
    ("interaction", {"interaction": lambda self, dim: Twisted(dim)}, "must be even, but ∇W(-z) is not -∇W(z)"),
    ("interaction", {"interaction": lambda self, dim: Logarithmic(dim)}, "that is singular must say so"),
    ("truth is a law", true_as(OffMean), "the mean is off"),
    ("truth is a law", true_as(OffCovariance), "the covariance is off"),
    ("truth is a law", true_as(OffDensity), "integrates to 1.01"),
    ("truth is a law", true_as(MovedDensity), "draws against the density: the mean is off"),
    ("truth is a law", true_as(OffAbove), "D=3 at t = 1: the density integrates to 1.05"),
    ("truth is a law", true_as(Tilted), "marginal_quantiles: 0.05 of the law is said to lie below"),
    ("truth is a law", true_as(Ringed), "radial_quantiles: "),
    ("truth is a law", true_as(Bounded), "support_radius is 1, but draws are"),
    ("truth is a law", true_as(OffScore), "the score differs from finite differences of log_prob, by"),
    ("truth is a law", {"truth": edged}, "not minus the dimension: the density has edges or jumps"),
    ("truth is a law", true_as(Told), "sample_with_log_prob differs from log_prob at its own draws, by 0.001"),
    ("truth is a law", true_as(Single), "draws are torch.float32"),
    ("truth starts at the initial law", warped(lambda t: t + 0.1), "jumps"),
    ("truth starts at the initial law", changing(stationary=True), "jumps"),
    (
        "truth obeys the equation",
        {"interaction": lambda self, dim: QuadraticInteraction(dim)},
        "second moment matrix changes",
    ),
    ("truth obeys the equation", warped(lambda t: 1.05 * t), "changes at rate"),
    ("truth obeys the equation", changing(stationary=True), "changes at rate"),
    ("truth obeys the equation", {"truth": turning}, "D=2 at t = 1: the second moment matrix changes at rate"),
    ("truth is at rest", weighed((0.5, 0.5)), "the law at rest is exp(-βV), but the logarithm"),
    ("stated values", changing(free_energy=lambda t: -123.0), "the free energy is stated as -123, the truth says"),
    ("stated values", changing(evidence=Evidence(-77.0)), "the log-evidence is stated as -77, the truth says"),
    ("derivatives", in_small_units(**curved(OffGradient)), "the gradient differs from finite differences"),
    ("truth starts at the initial law", in_small_units(**warped(lambda t: t + 0.1)), "jumps by"),
    ("truth obeys the equation", in_small_units(**warped(lambda t: 1.05 * t)), "changes at rate"),
]


@pytest.mark.parametrize("family", [Sound, broken(**in_small_units())], ids=["sound", "in small units"])
@pytest.mark.parametrize("check", CHECKS)
def test_sound_problem_passes(check: str, family: type[ProblemFamily]) -> None:
    found = verdict(check, CHECKS[check], ProblemTrial(family))
    assert found.passed, found.detail


@pytest.mark.parametrize(("check", "members", "said"), BREACHES, ids=[f"{c}: {s}" for c, _, s in BREACHES])
def test_breach_is_found(check: str, members: dict[str, Any], said: str) -> None:
    found = verdict(check, CHECKS[check], ProblemTrial(broken(**members)))
    assert not found.passed
    assert said in found.detail


def test_a_law_at_rest_passes() -> None:
    found = [verdict(check, CHECKS[check], ProblemTrial(broken(**weighed((0.25, 0.75))))) for check in CHECKS]
    assert [each.detail for each in found if not each.passed and each.check.startswith("truth")] == []


def test_every_check_can_fail() -> None:
    assert {check for check, _, _ in BREACHES} == set(CHECKS)
