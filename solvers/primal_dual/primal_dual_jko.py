"""JKO steps as saddle points of a map and a density (Fan, Zhang, Taghvaei, Chen, ICML 2022).

The step ρ_{k+1} = argmin_ρ W₂²(ρ, ρ_k)/2h + F(ρ) of F(ρ) = ∫Vρ + ∫U(ρ) + ½∬W(x-y)ρ(x)ρ(y) is one in the map T that
takes ρ_k there. Its term ∫U needs the density of T(X), which the variational form of U replaces by the best h ≥ 0:

    min over T, max over h ≥ 0 of
    E_{x~ρ_k}[ ‖T(x)-x‖²/2h + V(T(x)) + ½(W∗ρ)(T(x)) + U'(h(T(x))) ] - E_γ[ P(h)/γ ],   P(h) = hU'(h) - U(h),

with γ a law to draw from (``solvers.primal_dual.variational``). Both are networks, trained by turns on draws alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from problems.flow import Entropy, InternalEnergy, PowerEntropy
from problems.laws import Density
from problems.problem import Problem
from solvers.checkpoint import Checkpoint
from solvers.estimates import Estimate, Particles
from solvers.maps import Pushforward
from solvers.primal_dual.flow_state import FlowState
from solvers.primal_dual.settings import PrimalDualSettings
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts
from solvers.threads import workers


@dataclass(frozen=True, kw_only=True)
class PrimalDualJKO(PrimalDualSettings, Solver):
    """PrimalDualJKO takes JKO steps of ``step_size``, each the saddle point of a map and a dual network.

    ``map`` is "residual", T = identity + a perceptron of ``depth`` hidden layers of ``width`` units; "icnn", the
    gradient of an input-convex network of ``depth`` layers with quadratic forms of ``rank``; or "affine". ``order`` 2
    replaces the step by its implicit midpoint rule. The dual is h = γg, of a perceptron of ``dual_depth`` layers of
    ``dual_width`` units, with a quadratic form added if ``dual_quadratic``, and g made positive by ``output``
    (``solvers.primal_dual.dual_network``). γ, the ``reference``, is "carried", the law of T(x) itself by the density
    that particles carry, "gaussian", with the moments of the law, or "box", uniform on a cube ``box_scale`` times as
    wide as the particles (``solvers.primal_dual.references``). Units of first layers are up to ``sharpness`` steeper on
    the line than the law is wide, its D-th root in D dimensions. Activations are "silu", "tanh", "softplus", "celu" or
    "prelu". The ``interaction`` is taken "inside" the step, by two independent halves of a batch, or before it by an
    explicit step, "forward-backward".

    A step is trained for ``iterations`` of ``inner_updates`` of the dual and one of the map, each iteration on another
    batch of ``batch_size`` from an even pool of ``pool_size`` particles, by Adam with ``learning_rate`` and
    ``dual_learning_rate`` for networks whose inputs and values are of order 1: in coordinates in which the law has mean
    0 and covariance I, and displacements are in units of a step's. With ``decay`` rates fall along a cosine. Training
    begins at the best affine map with ``start = "affine"`` (``solvers.primal_dual.affine_step``), at the map of the
    step before with "previous".

    With a ``density`` the answer has one, by the Jacobian of the maps, NaN where a map folds, and steps are judged by
    it: one that has gained nothing over its start, by three standard errors, after ``patience`` tenths of its
    iterations keeps the start, and no map is kept that does not gain. ``patience = 0`` takes every map as it comes out.
    Without a density the answer consists of the particles of the pool. The law must have one all the same where there
    is an internal energy, known or not: continuous maps keep points points and curves curves, on which it is infinite.

    The published runs have map and dual of 64 units, depth 2, ``reference = "gaussian"``, ``sharpness = 1``,
    ``patience = 0``, ``decay = False``, ``dual_quadratic = False``, ``start = "previous"``, no density and, for
    Ornstein-Uhlenbeck flows, activation "prelu", output "square", rates 5e-3, 500 iterations; for mixtures "sigmoid"
    and 1e-3; for porous media ``reference = "box"``, ``map = "affine"`` (what their map of one hidden layer is), a
    "celu" dual of width 16, 1e-3.

    Diagnostics: ``dual_gap``, the largest difference between ∫U by the carried density and by the dual, in units of the
    mean pressure, not below 0 but for the noise of draws; ``dual_residual``, how far h is from the total it should be;
    ``learnt_steps``, in how many steps a network was kept. Traces: these, ``gain`` over the start, ``free_energy``,
    ``iterations`` and ``seconds`` of every step.

    Raises ``ValueError`` for settings out of range or that exclude each other. ``solve`` raises ``Diverged``, naming
    the step, where the gradient of the potential or the training is not finite, or particles leave the box, and at the
    start where there is an internal energy and most of the pool lies at less than a thousand places.
    """

    name: ClassVar[str] = "primal-dual-jko"
    version: ClassVar[int] = 2
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    resumes: ClassVar[bool] = True

    @property
    def sample_size(self) -> int | None:
        return None if self.density else self.pool_size

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if self.batch_size <= flow.dim:
            return f"a batch of {self.batch_size} particles does not span dimension {flow.dim}"
        if self.density and not isinstance(flow.initial, Density):
            return (
                f"the initial law must have a density, which {type(flow.initial).__name__} has not: "
                "density = false, patience = 0 and reference = 'gaussian' or 'box' do with draws of one that is not "
                "known, but no step is judged, and points and curves stay points and curves"
            )
        internal = flow.energy.internal
        if isinstance(internal, PowerEntropy) and internal.exponent < 1:
            return f"the exponent must be above 1, got {internal.exponent:g}: references have no tails that are heavy"
        if self.interaction == "forward-backward" and flow.energy.interaction is None:
            return "there is no interaction to take a forward step in"
        return None

    def solve(
        self, problem: Problem, generator: torch.Generator, device: torch.device, checkpoint: Path | None = None
    ) -> Solution:
        """Return the laws at the flow's times.

        With a folder ``checkpoint``, what is needed to go on is kept there after every step. Raises ``Diverged`` with
        the step that broke down, and ``ForeignCheckpoint`` for the folder of another run.
        """
        flow, counts = problem.flow, step_counts(problem.flow.times, self.step_size)
        kept = None
        if checkpoint is not None:
            run_of = f"{self!r} version {self.version} in dimension {flow.dim} to {flow.times}"
            kept = Checkpoint(checkpoint, run_of)
        estimates: list[Estimate] = []
        with torch.no_grad(), workers() as run:
            state = FlowState(self, flow, generator, device, run)
            found = None if kept is None else kept.load()
            given = [] if found is None else found[0]
            earlier = 0.0
            if found is not None:
                state.restore(found[1])
                earlier = sum(state.traces["seconds"])
            answers = {step: given[step - 1] for step in counts if step <= len(given)}
            for step in range(len(state.counts) + 1, counts[-1] + 1):
                try:
                    state.take_step()
                except Diverged as error:
                    raise Diverged(f"step {step} of {counts[-1]} (t = {step * self.step_size:g}): {error}") from error
                if step in counts:
                    answers[step] = state.pool
                if kept is not None:
                    kept.save(
                        step, state.pool if step in counts and not self.density else torch.zeros(0), state.state()
                    )
        for step in counts:
            if self.density:
                assert isinstance(flow.initial, Density)
                estimates.append(Pushforward(flow.initial, tuple(state.maps[: state.counts[step - 1]])))
            else:
                estimates.append(Particles(answers[step]))
        traces = {name: values for name, values in state.traces.items() if len(values) == counts[-1]}
        worst: dict[str, float | int | str] = {
            name: max(traces[name]) for name in ("dual_gap", "dual_residual") if name in traces
        }
        return Solution(
            flow.times,
            tuple(estimates),
            Cost(gradient_evaluations=state.evaluations, earlier_seconds=earlier),
            {**worst, "learnt_steps": int(sum(traces["learnt"]))},
            traces,
        )
