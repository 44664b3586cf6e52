"""JKO steps in networks between observations: a density that is pushed forward, conditioned, pushed forward again.

With T_k the composed maps from one observation to the next and L_k the likelihood of the k-th, the density after K of
them is known at every point, whatever the particles do:

    log ρ_K(x_K) = log ρ_0(x_0) + Σ_k [ log L_k(x_k) - log p(y_k | y_1…y_{k-1}) - log det ∇T_k(x_{k-1}) ],
    x_k = T_k(x_{k-1}).

Particles carry the score of that density, to which an observation adds ∇ log L_k, and networks learn by the forces on
them (``solvers.icnn.path_forces``), which vanish at every particle where a step is done, however few are effective.
Where the noise or the function of an observation has no known slope, steps go without.

Particles carry the product of the likelihoods as their weight and are never replaced; training draws them by weight,
systematically. On the line they are kept in order, which increasing maps preserve: they are then a quadrature rule for
ρ_0 with new nodes and weights, and what they are used for errs far less than with independent draws of the same
effective size. The published filter (Mokrov et al., NeurIPS 2021, section 5.4) instead draws from ρ_K by a
Metropolis-Hastings chain with independent proposals from ρ_0, pushed forward, at a cost that grows with every step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from problems.flow import GradientFlow
from problems.laws import Density
from problems.observations import Likelihood
from problems.problem import Problem
from solvers.estimates import Conditioned, DensityEstimate, LogLikelihood, Particles, importance
from solvers.filtering import Propagation, equal_steps
from solvers.icnn.chosen_steps import ChosenSteps
from solvers.icnn.flow_state import FlowState
from solvers.icnn.joint_steps import JointSteps
from solvers.icnn.settings import ICNNSettings
from solvers.maps import ScoreCarryingMap
from solvers.particles.resampling import systematic
from solvers.solver import Cost, Diverged
from solvers.threads import Run


@dataclass(frozen=True, eq=False)
class FilteredPushforward(DensityEstimate):
    """A filtered pushforward is ``base`` pushed by ``maps``, then conditioned: the module's density, with particles.

    ``factors`` are the log-likelihoods since the last map, each with its log-evidence. ``points`` (n, D) with
    ``log_weights`` (n,), normalised, are distributed alike; draws are of them, by weight.
    """

    base: Density | FilteredPushforward
    maps: tuple[ScoreCarryingMap, ...]
    points: torch.Tensor
    log_weights: torch.Tensor
    factors: tuple[tuple[LogLikelihood, float], ...] = ()

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        return Particles(self.points, self.log_weights).sample(n, generator)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        gained = torch.zeros(len(x), dtype=torch.float64)
        for log_likelihood, log_evidence in self.factors:
            gained += log_likelihood(x).double() - log_evidence
        for step in reversed(self.maps):
            x, log_det = step.inverse(x)
            gained -= log_det
        return self.base.log_prob(x) + gained

    def condition(self, log_likelihood: LogLikelihood, generator: torch.Generator) -> Conditioned:
        log_weights, log_evidence, share = importance(self.log_weights, log_likelihood(self.points))
        factors = (*self.factors, (log_likelihood, log_evidence))
        return Conditioned(replace(self, log_weights=log_weights, factors=factors), log_evidence, share)

    def defect(self) -> str | None:
        return Particles(self.points, self.log_weights).defect()


def slope_of(log_likelihood: LogLikelihood, x: torch.Tensor) -> torch.Tensor | None:
    """Return ∇ log L at ``x`` (n, D), of the same shape, or ``None`` where it is not known."""
    return log_likelihood.score(x) if isinstance(log_likelihood, Likelihood) else None


def all_have_slopes(problem: Problem) -> bool:
    """Return whether the likelihoods of a problem's observations all have slopes."""
    seen, (mean, _) = problem.observations, problem.flow.initial.moments()
    if seen is None:
        return True
    taken = [seen.likelihood(index) for index in range(len(seen)) if not seen.is_missing(index)]
    return all(slope_of(each, mean[None].double()) is not None for each in taken)


class NetworkSteps(Propagation):
    """JKO steps of one flow from one observation to the next, each warm-started by the last."""

    def __init__(
        self,
        settings: ICNNSettings,
        flow: GradientFlow,
        generator: torch.Generator,
        device: torch.device,
        run: Run,
        scored: bool,
    ) -> None:
        """Begin at time 0; steps go by scores if all may be ``scored``, as ``all_have_slopes`` says."""
        assert isinstance(flow.initial, Density)
        self.initial, self.settings = flow.initial, settings
        self.steps = JointSteps(settings, [flow], [generator], device, run, scored)
        # Systematic draws of points in order are the more even ones.
        if flow.dim == 1:
            self.state.particles.sort()
        self.least_share = 1.0
        # Particles that no training sees, with weights of their own: the estimate's evidence is an average over the
        # pool alone, which is the more even sample.
        self.fresh = Particles(self.state.points()[1])
        self.scores = None if self.steps.scores is None else flow.initial.score(self.state.points()[0])
        auto = settings.step_size == "auto"
        self.chosen = ChosenSteps(settings, self.steps, generator) if auto else None

    @property
    def state(self) -> FlowState:
        """The state of the flow."""
        return self.steps.states[0]

    def start(self) -> FilteredPushforward:
        points, _ = self.state.points()
        return FilteredPushforward(self.initial, (), points, torch.full((len(points),), 1 / len(points)).double().log())

    def advance(self, estimate: FilteredPushforward, start: float, stop: float) -> FilteredPushforward:  # type: ignore[override]
        before = len(self.state.maps)
        weights = estimate.log_weights.exp()
        share = float(1 / (weights.square().sum() * len(weights)))
        self.least_share = min(self.least_share, share)
        if share * len(weights) < 2 * self.initial.dim:
            raise Diverged(
                f"at t = {start:g} {share * len(weights):.1f} of {len(weights)} particles are left effective"
            )
        points, fresh, scores = estimate.points, self.fresh.points, self.scores
        log_weights = self.fresh.normalised_log_weights
        for log_likelihood, _ in estimate.factors:
            log_weights = torch.log_softmax(log_weights + log_likelihood(fresh).double(), dim=0)
            if scores is not None:
                slope = slope_of(log_likelihood, points)
                assert slope is not None, "scores are carried where all likelihoods have slopes"
                scores = scores + slope
        if bool(log_weights.isnan().any()):
            raise Diverged(f"at t = {start:g} the likelihood is zero at all {len(fresh)} fresh particles")
        effective = float(1 / (log_weights.exp().square().sum() * len(log_weights)))
        drawn = self.drawn(weights)
        own = None if scores is None else scores[drawn]
        self.state.replace_particles(points[drawn], fresh[self.drawn(log_weights.exp())], effective, own)
        if self.chosen is not None:
            self.chosen.advance(estimate, start, stop)
        else:
            self.take(start, stop)
        maps = self.state.maps[before:]
        for step in maps:
            fresh = step.push(fresh)
            if scores is None:
                points = step.push(points)
            else:
                points, scores = step.push_with_score(points, scores)
        self.scores = scores
        self.fresh = Particles(fresh, log_weights)
        return FilteredPushforward(estimate, tuple(maps), points, estimate.log_weights)

    def take(self, start: float, stop: float) -> None:
        """Take equal steps; raises ``Diverged`` where one fails."""
        assert self.settings.step_size != "auto"
        count, step_size = equal_steps(stop - start, self.settings.step_size)
        scheme = self.settings.scheme_of(step_size, self.settings.order)
        for step in range(1, count + 1):
            self.steps.take(scheme, f"step {step} of {count} to t = {stop:g}")
            if self.state.failure is not None:
                raise Diverged(self.state.failure)

    def drawn(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the places (n,) of as many points as there are ``weights`` (n,), drawn by them, in random order.

        The order is random because diagnostics look at the first part of a pool.
        """
        chosen = systematic(weights, len(weights), self.state.generator)
        return chosen[torch.randperm(len(weights), generator=self.state.generator)]

    def cost(self) -> Cost:
        return Cost(gradient_evaluations=self.state.evaluations)

    def diagnostics(self) -> dict[str, float | int | str]:
        chosen = {} if self.chosen is None else self.chosen.diagnostics()
        return {**self.state.diagnostics(), "smallest_particle_share": self.least_share, **chosen}

    def traces(self) -> Mapping[str, Sequence[float]]:
        return self.state.traces if self.chosen is None else {**self.state.traces, **self.chosen.traces()}
