"""Aggregation by an interaction alone, ∂ρ = ∇·(ρ ∇(V + W∗ρ)): particles gather, repel, and come to rest on a shape.

    log-gas   D = 1     W(z) = ½z² - log|z|                             semicircle of radius √2
    disc      D = 2     W(z) = ½|z|² - log|z|, V(x) = -g log|x|          uniform on √g < r < √(1 + g)
    shell     any D     W(z) = ¼|z|⁴ - ½|z|²                             sphere of radius² D/(2(D + 1))

(Carrillo, Craig, Wang, Wei, Found. Comput. Math. 22, 2022, §4.2.3, §4.3.1, §4.3.2; a sphere in D = 1 is two points.)
All are known exactly at every time: ``problems.references.log_gas`` and ``problems.references.ring_laws``. The ring of
Fan, Zhang, Taghvaei, Chen (ICML 2022) is the shell in the plane from N(0, ¼ I), with steps of .05: the defaults.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from problems.flow import FreeEnergy, GradientFlow
from problems.interactions import Interaction, LogarithmicInteraction, QuarticInteraction
from problems.laws import Gaussian, Law
from problems.potentials import Flat, Potential
from problems.problem import Problem, ProblemFamily
from problems.references.log_gas import (
    FreeGaussian,
    Semicircle,
    gaussian_energy,
    log_gas_marginal,
    semicircle_energy,
)
from problems.references.ring_laws import Charges, gathering, resting_charges, resting_shell
from problems.validation import (
    require_choice,
    require_counts,
    require_default,
    require_number,
    require_positive,
    require_seed,
    require_times,
)

SHAPES = ("energy-gap", "w2", "sliced-w2", "energy-distance", "bures-w2", "support-radius", "mass-outside")
DENSITIES = ("l1", "hellinger")
STARTS = {"log-gas": ("normal", "semicircle"), "disc": ("normal", "disc"), "shell": ("normal",)}
DIMS = {"log-gas": (1,), "disc": (2,)}


@dataclass(frozen=True, eq=False)
class Charge(Potential):
    """The potential V(x) = -g log|x - c| of a charge g = ``strength`` > 0 at c = ``place`` (D,), which repels.

    Raises ``ValueError`` unless g is finite and > 0.
    """

    place: torch.Tensor
    strength: float

    def __post_init__(self) -> None:
        require_positive("charge", strength=self.strength)

    @property
    def dim(self) -> int:
        return len(self.place)

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return -0.5 * self.strength * (x - self.place).square().sum(1).log()

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        gap = x - self.place
        return -self.strength * gap / gap.square().sum(1, keepdim=True)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        gap = x - self.place
        square = gap.square().sum(1)[:, None, None]
        identity = torch.eye(self.dim, dtype=x.dtype, device=x.device)
        return -self.strength * (identity / square - 2 * gap[:, :, None] * gap[:, None, :] / square.square())


@dataclass(frozen=True, kw_only=True)
class Aggregation(ProblemFamily):
    """Flows of the ``kernel`` "log-gas", "disc" or "shell", see above, with their exact laws.

    They start from the law ``initial``, of the size ``initial_size``: "normal", N(0, size² I), or for the log gas a
    "semicircle", for the disc a uniform "disc" of this radius. ``charge`` g is for the disc. ``stationary`` asks for
    the law at rest. Instance 0 is as the settings say; others have their centre moved by a normal draw of the size's
    standard deviation, and the size multiplied by exp(N(0, 1)/5).

    Raises ``ValueError`` for values out of range or that the kernel does not use, and for another dimension than the
    kernel's.
    """

    name: ClassVar[str] = "aggregation"
    known_between: ClassVar[bool] = True
    measures: ClassVar[tuple[str, ...]] = SHAPES + DENSITIES
    deciding: ClassVar[tuple[str, ...]] = ("l1", "w2", "energy-distance")
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"kernel": "log-gas"},
        {"kernel": "disc", "initial": "disc", "charge": 0.25},
        {"kernel": "shell"},
    )
    times: tuple[float, ...] = (0.5, 1.0, 2.0)
    kernel: str = "shell"
    initial: str = "normal"
    initial_size: float = 0.5
    charge: float = 0.0
    stationary: bool = False

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_choice(self.name, "kernel", self.kernel, tuple(STARTS))
        require_choice(self.name, f"initial of kernel={self.kernel!r}", self.initial, STARTS[self.kernel])
        require_positive(self.name, initial_size=self.initial_size)
        require_number(self.name, at_least=0, charge=self.charge)
        if not isinstance(self.stationary, bool):
            raise ValueError(f"{self.name}: stationary must be true or false, got {self.stationary!r}")
        if self.kernel != "disc":
            require_default(self, ("charge",), f"only kernel='disc' uses it, not kernel={self.kernel!r}")

    def dims(self) -> tuple[int, ...] | None:
        return DIMS.get(self.kernel)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        require_counts(self.name, dim=dim)
        require_seed(self.name, seed)
        allowed = self.dims()
        if allowed is not None and dim not in allowed:
            raise ValueError(f"{self.name}: kernel={self.kernel!r} exists in dimension {allowed[0]} only, got {dim}")
        centre, size = torch.zeros(dim, dtype=torch.float64), self.initial_size
        if seed:
            shift = torch.randn(dim + 1, generator=generator, dtype=torch.float64)
            centre, size = size * shift[:-1], size * math.exp(0.2 * float(shift[-1]))
        law, energy_of = self._laws(centre, size)
        potential: Potential = Charge(centre, self.charge) if self.charge else Flat(dim)
        interaction: Interaction = QuarticInteraction(dim) if self.kernel == "shell" else LogarithmicInteraction(dim)
        flow = GradientFlow(law(0.0), FreeEnergy(potential, None, interaction), self.times)
        measures = SHAPES if self.kernel == "shell" else SHAPES + DENSITIES
        if not self.stationary:
            return Problem(flow, measures, law, free_energy=lambda t: energy_of(law(t)))
        at_rest = self._at_rest(centre)
        return Problem(flow, measures, lambda t: at_rest, free_energy=lambda t: energy_of(at_rest), stationary=True)

    def _laws(self, centre: torch.Tensor, size: float) -> tuple[Callable[[float], Law], Callable[[Law], float]]:
        """Return the law as a function of time, and the free energy as one of the law."""
        normal = Gaussian(centre, size**2 * torch.eye(len(centre), dtype=torch.float64))
        if self.kernel == "log-gas":
            initial = normal if self.initial == "normal" else Semicircle(float(centre), size)
            return functools.cache(functools.partial(log_gas_marginal, initial)), log_gas_energy
        if self.kernel == "disc":
            return (
                lambda t: Charges(centre, size, self.initial == "normal", self.charge, t),
                lambda law: law.free_energy(),
            )
        return (
            functools.cache(functools.partial(gathering, centre, size)),
            lambda law: law.free_energy(),
        )

    def _at_rest(self, centre: torch.Tensor) -> Law:
        if self.kernel == "log-gas":
            return Semicircle(float(centre), math.sqrt(2))
        return resting_charges(centre, self.charge) if self.kernel == "disc" else resting_shell(centre)


def log_gas_energy(law: Law) -> float:
    """Return F of a law of the log gas."""
    if isinstance(law, Semicircle):
        return semicircle_energy(law.radius)
    if isinstance(law, Gaussian):
        return gaussian_energy(float(law.covariance))
    assert isinstance(law, FreeGaussian)
    return law.free_energy()
