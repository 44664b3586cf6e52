"""What ends the steps of a flow: the best output weights for the hidden units at hand, before and after their training.

A step begins at the best affine map. In one and two dimensions hidden units are then laid out over the particles
(``solvers.icnn.spread_units``), in more they are those of the step before, and the output weights are solved for
(``solvers.icnn.output_solve``). Where none is above 0 the step is affine, as far as the particles can tell, and there
is nothing to train; nor is there on the line, where the units are a basis. Otherwise all weights are trained, the
output weights are solved for once more, and the better map is kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from problems.flow import GradientFlow
from problems.laws import Density
from solvers.icnn.affine_start import start_at
from solvers.icnn.affine_step import affine_step
from solvers.icnn.lagrangian_nodes import lagrangian_nodes
from solvers.icnn.output_objective import Nodes, OutputObjective
from solvers.icnn.output_solve import OutputSolution, solve_outputs
from solvers.icnn.pairs import SOME, sums_over_pairs
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.spread_units import spread_units
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.units import Frame
from solvers.networks.convex_derivatives import Folded, derivatives, fold
from solvers.networks.convex_network import Architecture, Weights, quadratic_matrix
from solvers.threads import Run

SOLVE_TRACES = ("solve_iterations", "distance_left")

# An output weight must be worth so many standard errors of its derivative over the particles.
NOISE = 3.0
# The same, where the mean over the particles is a quadrature, in their units: what makes units that are copies of each
# other, or that no particle meets, have one solution.
LEAST_PENALTY = 1e-7
# In two dimensions grids are coarser, and what they are off at the edge of a law is not to be bent for.
PLANE_PENALTY = 1e-4
# Dimensions in which units that are laid out are a basis.
BASIS = 1
SPREAD = 2


@dataclass(eq=False)
class OutputSteps:
    """The solves of one flow: the nodes that they are over, in the frame of the particles, and that under way."""

    architecture: Architecture
    nodes: Nodes | None
    hidden: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    problem: OutputObjective | None = None
    found: OutputSolution | None = None

    @classmethod
    def of(
        cls,
        flow: GradientFlow,
        settings: ICNNSettings,
        frame: Frame,
        generator: torch.Generator,
        device: torch.device,
    ) -> OutputSteps:
        """Return the solves of a flow that begins in the ``frame``, with nodes where its law allows them."""
        interaction, nodes = flow.energy.interaction, None
        if isinstance(flow.initial, Density):
            paired = interaction is not None and sums_over_pairs(interaction)
            found = lagrangian_nodes(flow.initial, generator, paired)
            if found is not None:
                nodes = Nodes(*(part.to(device) for part in found)).within(frame)
        return cls(settings.architecture(flow.dim), nodes)

    def begin(
        self, weights: Weights, objective: StepObjective, pool: torch.Tensor, density: torch.Tensor, run: Run
    ) -> bool:
        """Take the network (S = 1) to the best map for its units, and return whether these are to be trained.

        ``pool`` (n, D) are the particles and ``density`` (n,) their log-densities, for where there are no nodes. Raises
        ``Diverged`` where the objective is not finite at the best affine map.
        """
        nodes = self.nodes
        if nodes is None:
            # All particles: a part of them has not the law's moments, by which a step scales it.
            paired = objective.interaction is not None and sums_over_pairs(objective.interaction)
            chosen = slice(2 * SOME if paired else None)
            points = pool[chosen].double()
            nodes = Nodes(points, density[chosen].double(), torch.full_like(points[:, 0], 1 / len(points)))
        best = affine_step(objective, nodes.points, nodes.log_density, nodes.masses)
        start_at(weights, best.matrix, best.shift)
        if pool.shape[1] <= SPREAD:
            spread_units(weights, nodes.points, nodes.masses)
        self.hidden = flat(weights)
        self.problem = OutputObjective(objective, nodes, fold(double(weights)), self.architecture, run)
        self.found = self._solve(self.problem, outputs(self.problem, weights))
        if pool.shape[1] <= BASIS and self._bent:
            # The units gather where the map bends, and are weighted anew.
            network = self.problem.network(self.found.w)
            spread_units(weights, nodes.points, nodes.masses, partial(slope, network))
            self.problem = OutputObjective(objective, nodes, fold(double(weights)), self.architecture, run)
            self.found = self._solve(self.problem, outputs(self.problem, weights))
        take(weights, self.problem, self.found)
        self.hidden = flat(weights)
        return pool.shape[1] > BASIS and self._bent

    @property
    def _bent(self) -> bool:
        """Whether the map that was found is not affine."""
        assert self.problem is not None
        assert self.found is not None
        return bool((self.found.w[: self.problem.units] > 0).any())

    def finish(self, weights: Weights, trained: bool, run: Run) -> dict[str, float]:
        """Take the trained network to its best map, or back to that before its training; return the solve's traces."""
        problem, found = self.problem, self.found
        assert problem is not None
        assert found is not None
        iterations = found.iterations
        if trained:
            after = OutputObjective(problem.objective, problem.nodes, fold(double(weights)), self.architecture, run)
            start = outputs(after, weights)
            if after.value(start) < float("inf"):
                again = self._solve(after, start)
                iterations += again.iterations
                if after.value(again.w) <= problem.value(found.w):
                    take(weights, after, again)
                    problem, found = after, again
        if problem is self.problem:
            for part, before in zip(weights.parts(), self.architecture.weights(self.hidden).parts(), strict=True):
                part.copy_(before)
        self.problem = self.found = None
        return {"solve_iterations": float(iterations), "distance_left": found.distance}

    def _solve(self, problem: OutputObjective, start: torch.Tensor) -> OutputSolution:
        least = start.new_full((problem.units,), LEAST_PENALTY if problem.dim == 1 else PLANE_PENALTY)
        if self.nodes is not None or not problem.units:
            return solve_outputs(problem, start, least)
        # What the noise of the particles calls for is left out; the rest is not made to pay for it.
        slope, errors = problem.gradient(start)
        chosen = solve_outputs(problem, start, NOISE * errors[: problem.units], slope=slope)
        if not chosen.iterations and not bool(chosen.w[: problem.units].any()):
            return chosen
        again = solve_outputs(problem, chosen.w, least, chosen.w[: problem.units] > 0)
        return OutputSolution(again.w, chosen.iterations + again.iterations, again.distance, chosen.gain + again.gain)

    def move(self, weights: Weights, inner: Frame, run: Run) -> None:
        """Move the nodes by the map of a step, to the frame ``inner`` of the particles after it."""
        if self.nodes is not None:
            self.nodes = self.nodes.pushed(weights, run).within(inner)

    def state(self) -> dict[str, torch.Tensor] | None:
        """Return the nodes' tensors by name, if there are any: points (n, D), log-densities and masses (n,)."""
        own = self.nodes
        return None if own is None else {"points": own.points, "log_density": own.log_density, "masses": own.masses}

    def restore(self, state: Mapping[str, torch.Tensor] | None) -> None:
        """Go to where another one was when it gave this ``state``, of the shapes that it had."""
        if state is not None and self.nodes is not None:
            device = self.nodes.points.device
            self.nodes = Nodes(*(state[name].to(device) for name in ("points", "log_density", "masses")))


def slope(network: Folded, x: torch.Tensor) -> torch.Tensor:
    """Return T' of a map of the line at ``x`` (n, 1), shape (n,)."""
    return derivatives(network, x[None])[1][0, :, 0, 0]


def double(weights: Weights) -> Weights:
    """Return a copy in float64."""
    return weights.to(weights.output.device, torch.float64)


def flat(weights: Weights) -> torch.Tensor:
    """Return a copy of the parameters (size,) of one network."""
    return torch.cat([part.flatten() for part in weights.parts()])


def set_flat(weights: Weights, parameters: torch.Tensor) -> None:
    """Give one network (S = 1) the ``parameters`` (size,), in place."""
    parts = parameters.split([part.numel() for part in weights.parts()])
    for part, own in zip(weights.parts(), parts, strict=True):
        part.copy_(own.view(part.shape))


def outputs(problem: OutputObjective, weights: Weights) -> torch.Tensor:
    """Return w (size,) of one network."""
    exact = double(weights)
    return problem.flat(exact.output[0], quadratic_matrix(exact)[0], exact.shift[0])


def take(weights: Weights, problem: OutputObjective, found: OutputSolution) -> None:
    """Give one network the w that was found, in place."""
    w = found.w
    start_at(weights, problem.matrix(w), w[-problem.dim :])
    if problem.units:
        weights.output[0].copy_(w[: problem.units])
