"""A particle in a tilted double well: bimodal, metastable, and without a closed form.

V(x) = height (x² - 1)² + tilt x has wells near ±1 and a barrier near 0; mass crosses it at a rate that falls like
exp(-β height) (Kramers 1940, Physica 7). The truth is a grid, refined until it no longer changes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Potential
from problems.problem import Problem, ProblemFamily
from problems.references.marginals_1d import reference_marginal
from problems.validation import require_number, require_positive, require_seed, require_times

MEASURES = ("symkl", "kl", "symkl-published", "energy-distance", "sliced-w2", "bures-w2")


@dataclass(frozen=True)
class DoubleWellPotential(Potential):
    """The tilted double well V(x) = height (x² - 1)² + tilt x on the line.

    Raises ``ValueError`` unless ``height`` is > 0 and ``tilt`` finite.
    """

    height: float
    tilt: float

    def __post_init__(self) -> None:
        require_positive("double-well potential", height=self.height)
        require_number("double-well potential", tilt=self.tilt)

    @property
    def dim(self) -> int:
        return 1

    def value(self, x: torch.Tensor) -> torch.Tensor:
        place = x[:, 0]
        return self.height * (place * place - 1).square() + self.tilt * place

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return 4 * self.height * x * (x * x - 1) + self.tilt

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return (4 * self.height * (3 * x * x - 1))[:, :, None]


@dataclass(frozen=True, kw_only=True)
class DoubleWell(ProblemFamily):
    """Fokker-Planck flow in a double well from N(initial_mean, initial_std²), at ``inverse_temperature`` β.

    Instance 0 has the settings as they are. Every other instance adds to the tilt a normal draw of standard deviation
    height / 10 and to the initial mean one of standard deviation initial_std / 2.

    Raises ``ValueError`` for settings that are not finite or out of range, and for any dimension but 1.
    """

    name: ClassVar[str] = "double-well"
    measures: ClassVar[tuple[str, ...]] = MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("symkl", "kl", "energy-distance")
    times: tuple[float, ...] = (0.25, 1.0, 4.0)
    height: float = 1.0
    tilt: float = 0.25
    inverse_temperature: float = 2.0
    initial_mean: float = 0.75
    initial_std: float = 0.5

    def __post_init__(self) -> None:
        require_positive(
            self.name,
            height=self.height,
            inverse_temperature=self.inverse_temperature,
            initial_std=self.initial_std,
        )
        require_number(self.name, tilt=self.tilt, initial_mean=self.initial_mean)
        require_times(self.name, self.times)

    def dims(self) -> tuple[int, ...]:
        return (1,)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        if dim != 1:
            raise ValueError(f"{self.name}: exists in dimension 1 only, got {dim}")
        require_seed(self.name, seed)
        shift = torch.randn(2, generator=generator, dtype=torch.float64).tolist() if seed else (0.0, 0.0)
        tilt = self.tilt + 0.1 * self.height * shift[0]
        mean = self.initial_mean + 0.5 * self.initial_std * shift[1]
        flow = GradientFlow(
            Gaussian(
                torch.tensor([mean], dtype=torch.float64), torch.tensor([[self.initial_std**2]], dtype=torch.float64)
            ),
            FreeEnergy(DoubleWellPotential(self.height, tilt), Entropy(self.inverse_temperature)),
            self.times,
        )
        return Problem(
            flow,
            MEASURES,
            functools.cache(functools.partial(reference_marginal, flow)),
        )
