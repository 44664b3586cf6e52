"""The JKO scheme on the line for any free energy, order 1 or 2, as maps of a reference law.

Order 2 is the implicit midpoint in Wasserstein space: half a step to (x + T(x))/2, and as far again,

    S = argmin  E|S - X|²/a + F(S),        T = 2 S - X.
"""

from __future__ import annotations

import numpy as np

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.laws import Density
from solvers.estimates import Estimate
from solvers.filtering import Propagation, equal_steps
from solvers.one_dimensional.initial_map import initial_map
from solvers.one_dimensional.mapped_energy import MappedEnergy
from solvers.one_dimensional.mapped_step import minimise
from solvers.one_dimensional.reference_map import ReferenceMap
from solvers.solver import Cost, Diverged
from solvers.threads import one_thread

# Quantiles of masses that nothing keeps apart may come to stand in the wrong order by rounding: so far, over all width.
CROSSED = 1e-10


class MappedSteps(Propagation):
    """A propagation by exact steps of ``step_size`` at most, of ``order`` 1 or 2, on about so many ``nodes``."""

    def __init__(self, name: str, flow: GradientFlow, step_size: float, order: int, nodes: int) -> None:
        self.name, self.flow, self.step_size, self.order, self.nodes = name, flow, step_size, order, nodes
        self.iterations, self.distance = 0, 0.0

    def start(self) -> Estimate:
        """Return the map of the initial law.

        Raises ``Diverged`` where its density is not finite.
        """
        law, energy = self.flow.initial, self.flow.energy
        assert isinstance(law, Density)
        try:
            return initial_map(law, energy.internal, energy.interaction, self.nodes)
        except ValueError as error:
            raise Diverged(str(error)) from error

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, ReferenceMap)
        energy = MappedEnergy(self.flow.energy, estimate.mesh, estimate.origin)
        values = estimate.values
        count, step_size = equal_steps(stop - start, self.step_size)
        with one_thread():
            for step in range(1, count + 1):
                try:
                    values = self._step(energy, step_size, values)
                except Diverged as error:
                    when = start + step * step_size
                    raise Diverged(f"{self.name}: the step to t = {when:g} {error}") from error
        return ReferenceMap(estimate.mesh, values, estimate.origin)

    def _step(self, energy: MappedEnergy, step_size: float, before: Reals) -> Reals:
        found, iterations, left = minimise(energy, step_size / self.order, before)
        self.iterations += iterations
        self.distance = max(self.distance, left)
        after = 2 * found - before if self.order == 2 else found
        gaps = np.diff(after)
        if energy.keeps_apart and not gaps.min() > 0:
            raise Diverged("folds the line, which steps of order 2 do when they are too long: lower step_size")
        if gaps.min() < -CROSSED * (after[-1] - after[0]):
            raise Diverged("lets quantiles pass each other, which no shorter step does: lower step_size")
        return np.asarray(np.maximum.accumulate(after))

    def cost(self) -> Cost:
        return Cost(gradient_evaluations=self.iterations * self.nodes)

    def diagnostics(self) -> dict[str, float | int | str]:
        return {"newton_iterations": self.iterations, "distance_left": self.distance}
