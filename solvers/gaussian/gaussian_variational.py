"""Gaussian variational inference: the Gaussian of least KL(· ‖ exp(-βV)), by the gradient flow that leads there.

The steps are those of JKO in a potential V of any kind, restricted to Gaussians (``gaussian.flow_among_gaussians`` has
the equations and their sources). In a quadratic potential they are those of ``gaussian-jko``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.laws import Gaussian
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import Exact
from solvers.gaussian.averages import Averages, needs_nodes
from solvers.gaussian.exact_step import Moments
from solvers.gaussian.extrapolation import extrapolated, require_definite
from solvers.gaussian.flow_among_gaussians import SCHEMES, StepRecord, come_to_rest, follow, stationarity
from solvers.gaussian.pareto_smoothing import smoothed_weights
from solvers.limits import IMPORTANCE, Limit
from solvers.solver import Cost, Solution, Solver, step_counts
from solvers.threads import one_thread


@dataclass(frozen=True, kw_only=True)
class GaussianVariational(Solver):
    """The flow among Gaussians towards the one of least KL(· ‖ exp(-βV)), from a Gaussian: for stationary laws.

    ``order=1`` are the steps themselves, with an error of O(h) in the moments. ``order=2`` extrapolates the moments of
    whole runs (Richardson): twice those of a run at ``step_size``/2 minus those of a run at ``step_size``.
    ``until_rest`` goes on past the last time, in steps that double, and gives the optimum as the answer at every time,
    of no order: where V is flat in some direction, the flow takes far longer to get there than the times of a problem.

    Where the potential does not know its own averages over Gaussians, ``nodes`` points, a power of 2, take them in more
    than three dimensions. ``scheme="forward-backward"`` is explicit in the potential: ``step_size`` times the largest
    mean curvature must stay below 1. On the posterior of breast-cancer under a Gamma(4, 4) prior that is 1/365: at
    least 3,650 evaluations to t = 10, for which implicit steps of 0.5 took 247. In a quadratic potential they also
    follow a flow in time; implicit ones are then those of ``gaussian-jko``.

    Diagnostics: ``stationarity`` at the last time, 0 at the optimum (see ``flow_among_gaussians.stationarity``),
    ``iterations`` of all steps and the number of ``halved_steps``; ``pareto_k`` of the importance weights of exp(-βV)
    against the last Gaussian, reliable below 0.7, the ``effective_share`` of the draws that they leave and
    ``log_evidence_psis``, what they say of log ∫ exp(-βV). Averages that the potential knows count as one evaluation of
    ∇V. The trace ``iterations`` has each step of each run, to the one that moved nothing.

    Raises ``ValueError`` for settings out of range or that exclude each other.
    """

    name: ClassVar[str] = "gaussian-variational"
    version: ClassVar[int] = 2
    limits: ClassVar[Mapping[str, Limit]] = IMPORTANCE
    orders: ClassVar[tuple[int, ...]] = (1, 2)
    step_size: float = 0.05
    order: int = 1
    scheme: str = "jko"
    nodes: int = 1024
    until_rest: bool = False

    def __post_init__(self) -> None:
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, (1, 2))
        require_choice(self.name, "scheme", self.scheme, SCHEMES)
        require_choice(self.name, "until_rest", self.until_rest, (False, True))
        require_counts(self.name, nodes=self.nodes)
        if self.nodes < 2 or self.nodes.bit_count() != 1:
            raise ValueError(f"{self.name}: nodes must be a power of 2, at least 2, got {self.nodes}")
        if self.until_rest and self.scheme != "jko":
            raise ValueError(f"{self.name}: until_rest takes implicit steps: scheme must be 'jko', got {self.scheme!r}")

    @property
    def order_in_time(self) -> int | None:
        return None if self.until_rest else self.order

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)

    def not_alike(self) -> Mapping[str, str]:
        return {
            "turn": "averages over Gaussians are taken at nodes along the axes, of which SymKL is off by 1e-4 or less"
        }

    def unsupported(self, problem: Problem) -> str | None:
        flow = problem.flow
        if not isinstance(flow.initial, Gaussian):
            return f"the initial law must be Gaussian, not {type(flow.initial).__name__}"
        if not problem.stationary and self.scheme == "jko":
            return "stationary problems only: the flow of a quadratic potential is followed in time by gaussian-jko"
        if not problem.stationary and not isinstance(flow.potential, Quadratic):
            return f"to be followed in time, the potential must be quadratic, not {type(flow.potential).__name__}"
        if needs_nodes(flow.potential) and self.nodes < 4 * flow.dim:
            return f"{self.nodes} nodes are too few in {flow.dim} dimensions: at least {4 * flow.dim}"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the Gaussians at the flow's times; nothing is random, and all of it runs on the CPU.

        Raises ``Diverged`` with the step that finds no minimum, or the time at which an extrapolation is no Gaussian.
        """
        flow, initial, potential = problem.flow, problem.flow.initial, problem.flow.potential
        assert isinstance(initial, Gaussian)
        beta, counts = flow.inverse_temperature, step_counts(flow.times, self.step_size)
        averages, records = Averages(potential, self.nodes), list[StepRecord]()

        def run(refinement: int) -> list[Moments]:
            refined, step_size = tuple(refinement * count for count in counts), self.step_size / refinement
            moments, record = follow(initial.moments(), averages, beta, step_size, refined, self.scheme)
            records.append(record)
            return moments

        with torch.no_grad(), one_thread():
            moments = run(1)
            if self.until_rest:
                rest, record = come_to_rest(moments[-1], averages, beta, self.step_size)
                records.append(record)
                moments = [rest] * len(counts)
            elif self.order == 2:
                moments = [extrapolated(fine, coarse) for fine, coarse in zip(run(2), moments, strict=True)]
            for time, (_, covariance) in zip(flow.times, moments, strict=True):
                require_definite(covariance, time, self.step_size)
            laws = [Gaussian(mean, covariance) for mean, covariance in moments]
            distance = stationarity(moments[-1], averages.at(*moments[-1]), beta)
            weights = smoothed_weights(laws[-1], potential, beta)
        iterations = [count for record in records for count in record.iterations]
        return Solution(
            flow.times,
            tuple(Exact(law) for law in laws),
            Cost(gradient_evaluations=averages.evaluations),
            {
                "stationarity": distance,
                "iterations": sum(iterations),
                "halved_steps": sum(record.halved for record in records),
                "pareto_k": weights.k,
                "effective_share": weights.effective_share,
                "log_evidence_psis": weights.log_mean,
            },
            {"iterations": iterations},
        )
