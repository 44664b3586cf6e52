"""JKO steps in maps that are gradients of input-convex neural networks.

The scheme ρ_{k+1} = argmin_ρ W₂²(ρ, ρ_k)/2h + ∫Vρ + β⁻¹∫ρ log ρ (Jordan, Kinderlehrer, Otto, SIAM J. Math. Anal. 29,
1998) is solved for the optimal map T from ρ_k to ρ_{k+1}, a gradient of a convex function by Brenier's theorem:

    T = argmin_{T=∇ψ, ψ convex} E_{x~ρ_k} [ ‖T(x)-x‖²/2h + V(T(x)) - β⁻¹ log det ∇T(x) ],

for other energies with U(ρ)/ρ at ρ = ρ_k(x)/det ∇T(x) in the place of β⁻¹ log ρ, or without it, and for interactions
with ½ E W(T(x)-T(y)) (``solvers.icnn.step_objective``): particles carry log ρ_k along, and ∫ρᵐ is the mean of ρᵐ⁻¹ at
them. ψ is an input-convex network trained on particles of ρ_k (Mokrov, Korotin, Li, Genevay, Solomon, Burnaev, NeurIPS
2021). Under an entropy alone particles carry the score ∇ log ρ_k as well, where the initial law has one, and networks
learn by the forces on them, which vanish at every particle where a step is done (``solvers.icnn.path_forces``): small
batches do, and no noise of the particles adds up over steps. ``order=2`` replaces the step by an exponentially fitted
one, a JKO step in a metric of its own and an extrapolation, which damps what is stiff (``solvers.icnn.fitted_weight``).
What differs from the published method: derivatives in closed form, a quadratic skip connection to the output, which
makes affine maps exact and the identity the start of training, and a pool of particles that every map is applied to
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch

from problems.flow import Entropy, InternalEnergy, PowerEntropy
from problems.laws import Density
from problems.potentials import FiniteSum
from problems.problem import Problem
from solvers.checkpoint import Checkpoint
from solvers.estimates import DensityEstimate
from solvers.filtering import assimilate
from solvers.icnn.batch_run import follow
from solvers.icnn.chosen_steps import ChosenSteps
from solvers.icnn.filter import NetworkSteps, all_have_slopes
from solvers.icnn.flow_state import FlowState
from solvers.icnn.joint_steps import JointSteps
from solvers.icnn.population import entropic, scored
from solvers.icnn.settings import ICNNSettings
from solvers.maps import pushed_law
from solvers.preconditioning.curvature import unsupported_preconditioner
from solvers.reproducibility import batches_are_alike, warn_of_batches
from solvers.solver import Cost, Diverged, Solution, Solver, step_counts
from solvers.threads import workers


@dataclass(frozen=True, kw_only=True)
class ICNNJKO(ICNNSettings, Solver):
    """ICNNJKO takes JKO steps of ``step_size``, each a network trained for ``iterations`` on batches from a pool.

    Every flow is followed in the units of its particles, as they are before every step (``solvers.icnn.units``): moved,
    turned or in other units of length and time it is followed alike, and ``learning_rate``, ``tolerance`` and
    ``shrinkage`` are in these units. ``learning_rate`` is for steps that move particles by a twentieth of their spread;
    shorter ones take less.

    A step starts at the best affine map (``solvers.icnn.affine_step``), or at the map of the step before where that is
    better on 8,192 particles that no training sees; with ``start = "affine"`` always at the affine one. It is trained
    where these particles tell that a hidden unit would lower the objective (``solvers.icnn.examination``), one of the
    network's or of hundreds that are drawn about all of them (``solvers.icnn.candidates``), and stays affine if the
    trained map is no better on them. The steps of Gaussian laws in quadratic potentials are exact, and
    nothing is trained.

    The networks have ``depth`` layers of ``width`` units with quadratic forms of ``rank``, which begin up to
    ``sharpness`` times as steep as the law is wide: for potentials that vary on much shorter scales. Training follows
    Adam with a learning rate that falls from ``learning_rate`` along a cosine. A step whose objective falls by less
    than ``tolerance`` over a tenth of its schedule skips to the last fifth. ``shrinkage`` times the sum of the output
    weights is added to the objective of a step: hidden units that it does not need go, instead of drifting from step to
    step to where no particle is and the map then bends. ``minibatch`` is the number of cases by which a potential that
    is a sum over cases is estimated in an iteration; ``None`` takes all of them. Where there are more than 20 times as
    many cases, steps start at the map of the step before and are always trained. ``preconditioner = "hessian"`` is for
    stationary laws that are much wider in some directions than in others: the flow is then that in the coordinates of
    ``solvers.preconditioning.curvature``, with times and ``step_size`` in units of its relaxation.

    Diagnostics: ``fresh_gap``, the largest difference over the steps between what the objective gains on the pool and
    on particles that no training has seen, in standard errors of the difference; ``stationarity``, the largest
    residual h‖E[T̄]‖ or h‖sym E[T̄ (x-x̄)ᵀ + H̄]‖ over the steps, which are 0 in an exact step (lengths squared for the
    second; T̄ and H̄ as in ``solvers.icnn.step_objective``); and ``last_gain``, by how much at most the objective still
    fell over the last tenth of a step's training. Traces: these for every step, its ``iterations`` and its ``seconds``.

    On a GPU an iteration is recorded as a CUDA graph and replayed, see ``solvers.icnn.descent``; ``cuda_graph = False``
    is for potentials whose gradients cannot be, because they wait for the device. The law found is the same.

    Steps of ``order`` 2 are fitted to the mean curvature of V and W on the particles, by ``second_order = "fitted"``;
    with "midpoint" they are those of the implicit midpoint, which are for steps shorter than 2 over the largest
    curvature of V: longer ones overshoot, one map squeezes the law, the next stretches it again, and networks learn
    that badly.

    With ``step_size = "auto"`` the size and order of each step are chosen by an estimate of its error, for a SymKL of
    about ``symkl_tolerance`` or less to the exact law, down to what the noise of training leaves: ``noise_symkl`` is
    then above 0 (``solvers.adaptive_steps`` has the other diagnostics). Every step is trained as a whole and as two
    halves, which are the result. The traces have ``step_size`` and ``step_order`` as well, no checkpoint is kept, and
    the free energy must be an entropy and a potential.

    ``output_solve`` ends each step by a solve for the output weights, exact for the hidden units at hand, see
    ``solvers.icnn.output_steps``: in one and two dimensions on a grid that moves with the law, in more on the
    particles. ``start`` then says nothing, a step begins at the best affine map, and hidden units are trained only
    above one dimension and where the step is not affine. ``None`` solves in flows of power entropies, unless their
    interaction is a sum over all pairs. The traces ``solve_iterations`` and ``distance_left`` hold Newton's iterations
    and how far the particles are left from the minimiser, in their spread.

    In flows of any free energy but an entropy alone ``shrinkage`` is at least 3/√``pool_size``. A power entropy needs
    an initial law with a density. The traces ``free_energy`` and ``free_energy_error`` hold F after every step, by
    particles that no training has seen, and its standard error.

    With observations it is a filter, see ``solvers.icnn.filter``; steps are then of ``step_size`` at most, so that they
    reach every observation, and no checkpoint is kept.

    Raises ``ValueError`` for settings out of range or that exclude each other.
    """

    name: ClassVar[str] = "icnn-jko"
    version: ClassVar[int] = 13
    resumes: ClassVar[bool] = True
    batches_seeds: ClassVar[bool] = True
    assimilates: ClassVar[bool] = True
    internal_energies: ClassVar[tuple[type[InternalEnergy] | None, ...]] = (Entropy, PowerEntropy, None)
    interacts: ClassVar[bool] = True
    orders: ClassVar[tuple[int, ...]] = (1, 2)

    @property
    def order_in_time(self) -> int | None:
        return None if self.step_size == "auto" else self.order

    def check_times(self, times: Sequence[float]) -> None:
        if self.step_size != "auto":
            step_counts(times, self.step_size)

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        internal = flow.energy.internal
        plain = entropic(flow) and not self.output_solve
        if not isinstance(flow.initial, Density) and (plain or internal is not None):
            return f"the initial law must have a density, which {type(flow.initial).__name__} has not"
        if internal is not None and (why := internal.without_step(flow.dim)) is not None:
            return why
        if not plain:
            if self.step_size == "auto" and not entropic(flow):
                return "steps are chosen only where the free energy is an entropy and a potential"
            given = "an interaction" if flow.energy.interaction is not None else f"the internal energy {internal!r}"
            if problem.observations is not None:
                return f"observations need an Entropy alone, not {given}"
            if self.preconditioner != "identity":
                return f"preconditioner {self.preconditioner} needs an Entropy alone, not {given}"
        if self.batch_size <= flow.dim:
            return f"a batch of {self.batch_size} particles does not span dimension {flow.dim}"
        if self.minibatch is not None:
            if not isinstance(flow.potential, FiniteSum):
                return "minibatches need a potential that is a sum over cases"
            if self.minibatch > flow.potential.cases:
                return f"there are {flow.potential.cases} cases, fewer than a minibatch of {self.minibatch}"
        return unsupported_preconditioner(self.preconditioner, problem)

    def solve(
        self, problem: Problem, generator: torch.Generator, device: torch.device, checkpoint: Path | None = None
    ) -> Solution:
        if problem.observations is not None:
            with torch.no_grad(), workers() as run:
                steps = NetworkSteps(self, problem.flow, generator, device, run, all_have_slopes(problem))
                return assimilate(steps, problem, generator)
        if self.step_size == "auto":
            with torch.no_grad(), workers() as run:
                return self._chosen(JointSteps(self, [problem.flow], [generator], device, run), generator)
        (solution,) = self.solve_batch([problem], [generator], device, checkpoint)
        if isinstance(solution, Diverged):
            raise solution
        return solution

    def solve_batch(
        self,
        problems: Sequence[Problem],
        generators: Sequence[torch.Generator],
        device: torch.device,
        checkpoint: Path | None = None,
    ) -> list[Solution | Diverged]:
        """Return the solutions of several problems of one dimension and the same times, each with its own generator.

        Each solution is that of ``solve`` with the same generator, to the bit on the CPU, where they are solved one
        after the other, with a warning, if this process's products in a batch round otherwise than alone. A problem on
        which training fails gets its ``Diverged``, and the others don't notice. With a folder ``checkpoint``, what is
        needed to go on is kept there after every JKO step; a run that finds it goes on from there, to the same bits.
        Raises ``ForeignCheckpoint`` for the folder of another run, and ``ValueError`` for problems of several
        dimensions or times.
        """
        if self.step_size == "auto" or any(problem.observations is not None for problem in problems):
            return [self._alone(*one, device, None) for one in zip(problems, generators, strict=True)]
        unlike = len({scored(problem.flow) for problem in problems}) > 1
        rounded = len(problems) > 1 and device.type == "cpu" and not batches_are_alike()
        if rounded:
            warn_of_batches(self.name)
        if unlike or rounded:
            folders = [None if checkpoint is None else checkpoint / str(place) for place in range(len(problems))]
            return [
                self._alone(problem, generator, device, folder)
                for problem, generator, folder in zip(problems, generators, folders, strict=True)
            ]
        assert self.step_size != "auto"
        flows = [problem.flow for problem in problems]
        if len({(flow.dim, flow.times) for flow in flows}) != 1:
            raise ValueError(f"{self.name}: problems solved together must have the same dimension and times")
        counts = step_counts(flows[0].times, self.step_size)
        kept = None
        if checkpoint is not None:
            identity = (
                f"{self!r} version {self.version} in dimension {flows[0].dim} to {flows[0].times}, {len(flows)} at once"
            )
            kept = Checkpoint(checkpoint, identity)
        with torch.no_grad(), workers() as run:
            steps = JointSteps(self, flows, generators, device, run)
            earlier = follow(steps, self.scheme_of(self.step_size, self.order), counts[-1], kept)
        return [solution_of(state, counts, earlier) for state in steps.states]

    def _chosen(self, steps: JointSteps, generator: torch.Generator) -> Solution:
        """Return the solution of one flow by steps that choose their sizes."""
        (state,) = steps.states
        flow, counts, now = state.flow, list[int](), 0.0
        assert isinstance(flow.initial, Density)
        if state.failure is not None:
            raise Diverged(state.failure)
        chosen = ChosenSteps(self, steps, generator)
        for time in flow.times:
            law = pushed_law(flow.initial, tuple(steps.states[0].maps))
            assert isinstance(law, Density | DensityEstimate)
            state, now = chosen.advance(law, now, time), time
            counts.append(len(state.maps))
        found = solution_of(state, counts, 0.0)
        assert isinstance(found, Solution)
        return replace(
            found,
            diagnostics={**found.diagnostics, **chosen.diagnostics()},
            traces={**found.traces, **chosen.traces()},
        )

    def _alone(
        self, problem: Problem, generator: torch.Generator, device: torch.device, checkpoint: Path | None
    ) -> Solution | Diverged:
        try:
            return self.solve(problem, generator, device, checkpoint)
        except Diverged as error:
            return error


def solution_of(state: FlowState, counts: Sequence[int], earlier: float) -> Solution | Diverged:
    """Return the laws after so many steps as ``counts`` says, or the ``Diverged`` that says why there are none."""
    flow = state.flow
    if state.failure is not None:
        return Diverged(state.failure)
    return Solution(
        flow.times,
        tuple(pushed_law(flow.initial, tuple(state.maps[:steps])) for steps in counts),
        Cost(gradient_evaluations=state.evaluations, earlier_seconds=earlier),
        state.diagnostics(),
        state.traces,
    )
