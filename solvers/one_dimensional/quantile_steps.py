"""The flow of a law in a potential on the line by steps of its quantiles: plain, midpoint, fitted, of chosen size.

From one time to the next they are taken in the units of the law as it is in the beginning
(``solvers.one_dimensional.own_units``), in which quantiles, step sizes and velocities below are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal, Protocol

import numpy as np

from problems.arrays import Reals
from problems.flow import GradientFlow
from solvers.adaptive_steps import AdaptiveSteps
from solvers.estimates import Estimate
from solvers.filtering import Propagation, equal_steps
from solvers.one_dimensional.fitted_weights import node_weights, sqrt_symkl
from solvers.one_dimensional.own_units import OwnUnits
from solvers.one_dimensional.quantile_map import QuantileMap, initial_values
from solvers.one_dimensional.quantile_step import CONVERGED, QuantileObjective, minimise
from solvers.solver import Cost, Diverged

# The Newton decrement of a last step: from within 1e-6 of the minimiser to within rounding of it.
NEAR = 1e-12


class QuantileSettings(Protocol):
    """What of a solver's settings decides its steps."""

    name: ClassVar[str]

    @property
    def step_size(self) -> float | Literal["auto"]: ...

    @property
    def nodes(self) -> int: ...

    @property
    def order(self) -> int: ...

    @property
    def second_order(self) -> str: ...

    @property
    def tolerance(self) -> float: ...


class QuantileSteps(Propagation):
    """A propagation by exact steps from one map to the next, which counts their iterations."""

    def __init__(self, settings: QuantileSettings, flow: GradientFlow) -> None:
        self.settings, self.flow = settings, flow
        self.iterations, self.decrement, self.fallen_back = 0, 0.0, 0
        # Of the last fitted step: where the next one starts to look. What it finds differs by rounding alone.
        self.velocity = np.zeros(settings.nodes)
        self.units: OwnUnits | None = None
        self.adaptive = AdaptiveSteps[Reals](
            lambda before, size: self.guessed(before, size / self._unit.time),
            lambda before, size: self.fitted(before, size / self._unit.time),
            sqrt_symkl,
            settings.tolerance,
            flow.horizon,
        )

    @property
    def _unit(self) -> OwnUnits:
        assert self.units is not None
        return self.units

    def start(self) -> Estimate:
        return QuantileMap(initial_values(self.flow, self.settings.nodes))

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, QuantileMap)
        before, step_size = self.units, self.settings.step_size
        units = self.units = OwnUnits.of(estimate.values, self.flow)
        if before is not None:
            self.velocity *= before.potential.length / units.potential.length * units.time / before.time
        values = units.inside(estimate.values)
        if step_size == "auto":
            return QuantileMap(units.outside(self.adaptive.advance(values, start, stop)))
        take = self.plain if self.settings.order == 1 else self.second_order
        count, step_size = equal_steps(stop - start, step_size)
        for step in range(1, count + 1):
            try:
                values = take(values, step_size / units.time)
            except Diverged as error:
                raise Diverged(f"{self.settings.name}: the step to t = {start + step * step_size:g} {error}") from error
        return QuantileMap(units.outside(values))

    def plain(self, before: Reals, step_size: float) -> Reals:
        """Return the values (n,) after a JKO step from ``before`` (n,).

        Raises ``Diverged`` where it is not found.
        """
        return self._minimised(before, step_size, None)

    def guessed(self, before: Reals, step_size: float) -> Reals:
        """Return the values (n,) after a JKO step from ``before`` (n,), the same to rounding, in fewer iterations.

        Raises ``Diverged`` where it is not found.
        """
        return self._minimised(before, step_size, before + step_size * self.velocity)

    def _minimised(self, before: Reals, step_size: float | Reals, guess: Reals | None) -> Reals:
        objective = QuantileObjective(self._unit.potential, 1.0, step_size, before)
        # A law that leaves every box does so in infinities, of which the search says what it meets.
        with np.errstate(over="ignore", invalid="ignore"):
            values, iterations, decrement = minimise(objective, guess, CONVERGED if guess is None else NEAR)
        self.iterations += iterations
        self.decrement = max(self.decrement, decrement)
        return values

    def second_order(self, before: Reals, step_size: float) -> Reals:
        """Return the values (n,) after a step of order 2 as the settings have it; of order 1 where a fitted one folds.

        Raises ``Diverged`` where a step is not found or the midpoint's folds the line.
        """
        if self.settings.second_order == "midpoint":
            values = 2 * self.plain(before, step_size / 2) - before
            if not np.diff(values).min() > 0:
                raise Diverged("folds the line, which steps of order 2 do when too long: lower step_size")
            return np.asarray(values)
        try:
            return self.fitted(before, step_size)
        except FoldsTheLine:
            self.fallen_back += 1
            return self.plain(before, step_size)

    def fitted(self, before: Reals, step_size: float) -> Reals:
        """Return the values (n,) after an exponentially fitted step.

        Raises ``Diverged`` where it is not found, ``FoldsTheLine`` where it folds the line.
        """
        share = node_weights(self._unit.potential, step_size, before)
        middle = self._minimised(before, step_size * share, before + step_size * share * self.velocity)
        values = before + (middle - before) / share
        self.velocity = (values - before) / step_size
        if not np.diff(values).min() > 0:
            raise FoldsTheLine("folds the line: lower step_size")
        return np.asarray(values)

    def cost(self) -> Cost:
        return Cost(gradient_evaluations=self.iterations * self.settings.nodes)

    def diagnostics(self) -> dict[str, float | int | str]:
        found: dict[str, float | int | str] = {
            "newton_iterations": self.iterations,
            "newton_decrement": self.decrement,
        }
        if self.settings.step_size == "auto":
            return found | self.adaptive.diagnostics()
        if self.settings.order == 2 and self.settings.second_order == "fitted":
            found["first_order_steps"] = self.fallen_back
        return found

    def traces(self) -> Mapping[str, Sequence[float]]:
        return self.adaptive.traces() if self.settings.step_size == "auto" else {}


class FoldsTheLine(Diverged):
    """The error of a step whose map is not increasing."""
