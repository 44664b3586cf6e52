"""A flow on the line in the units of its own law: lengths from its median in its deviation s, energies in β⁻¹.

With x = c + sy a step of h in V is one of τ = h/(βs²) in βV(c + sy) at β = 1. Differences of quantiles then keep their
digits wherever the law is, and what a step is solved to means the same in all units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.potentials import Potential
from solvers.one_dimensional.quantile_map import node_masses
from solvers.solver import Diverged


@dataclass(frozen=True, eq=False)
class OwnPotential(Potential):
    """βV(c + sy) as a function of y, with c = ``centre`` and s = ``length``."""

    base: Potential
    centre: float
    length: float
    inverse_temperature: float

    @property
    def dim(self) -> int:
        return 1

    def outside(self, y: torch.Tensor) -> torch.Tensor:
        """Return x of coordinates ``y`` (n, 1)."""
        return self.centre + self.length * y

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.inverse_temperature * self.base.value(self.outside(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.inverse_temperature * self.length * self.base.gradient(self.outside(x))

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        return self.inverse_temperature * self.length**2 * self.base.hessian(self.outside(x))


@dataclass(frozen=True, eq=False)
class OwnUnits:
    """The units of quantiles: ``potential`` is V in them, ``time`` the h of τ = 1."""

    potential: OwnPotential

    @classmethod
    def of(cls, values: Reals, flow: GradientFlow) -> OwnUnits:
        """Return the units of a law with quantiles ``values`` (n,).

        Raises ``Diverged`` where they have no finite deviation above 0.
        """
        around, _ = node_masses(len(values))
        centre = float(np.median(values))
        moved = values - centre
        length = float(np.sqrt(around @ (moved * moved)))
        if not (np.isfinite(length) and length > 0):
            raise Diverged(f"starts from quantiles with the deviation {length:.3g}")
        return cls(OwnPotential(flow.potential, centre, length, flow.inverse_temperature))

    @property
    def time(self) -> float:
        """The step h of the flow that is one of 1 here."""
        return self.potential.inverse_temperature * self.potential.length**2

    def inside(self, values: Reals) -> Reals:
        """Return y of quantiles x (n,)."""
        return (values - self.potential.centre) / self.potential.length

    def outside(self, values: Reals) -> Reals:
        """Return x of quantiles y (n,)."""
        return self.potential.centre + self.potential.length * values
