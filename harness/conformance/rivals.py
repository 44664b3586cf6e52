"""The check that an answer is nearer to the true law than to those of a rival: another noise, drift, sign or time.

On a flow whose laws have closed forms, each draw x of the answer at a time has the log-likelihood ratio

    ℓ(x) = log N(x; m', C') - log N(x; m, C)

of a rival's mean m' and covariance C' to the true ones. Over an answer q of those moments or others, E ℓ > 0 is that q
is nearer to the rival, in Kullback-Leibler divergence where all are Gaussian, else in the score of Dawid & Sebastiani
(1999, Ann. Statist. 27), which no law betters at its own moments. So a right method may be biased: steps that are
coarse, kernels that widen, nodes and grids pass as long as they are nearer to the truth than to the rival.

The answer fails where the mean of ℓ over its draws is above 0 by more standard errors than Student's t is with chance
``FALSE_ALARM``, of as many degrees of freedom as there are independent groups of draws. A right method does so with a
chance below 1e-6 in all looks, even one whose bias brings its law as near to a rival as to the truth; one that draws
from the truth has nine standard deviations more (tests/conformance/test_rivals.py). Fewer than ``LEAST_DRAWS`` draws
decide nothing: further seeds are added, as they are where the mean is above 0 and not clearly so, ``MOST_SOLVES`` at
most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import stdtrit

from harness.conformance.contract import generator, require
from harness.conformance.gallery import DIMS, TIMES
from harness.conformance.runs import BOUND, CPU, SolverTrial
from harness.measure.groups import groups_of, mean_variance
from problems.barenblatt import Barenblatt, ball
from problems.energies import Entropy, PowerEntropy
from problems.flow import FreeEnergy, GradientFlow
from problems.laws import Gaussian, Law
from problems.potentials import Quadratic
from problems.problem import Problem
from problems.references.elliptical_flow import unit_radius_time
from solvers.estimates import Estimate, Particles
from solvers.solver import Solution, Solver

DRAWS = 4096
FALSE_ALARM = 4e-11  # 6.5 standard errors of many draws: means of squares have wider tails than normal ones
LEAST_DRAWS = 1000
MOST_SOLVES = 8

# In units of the stationary law's deviation and of the well's relaxation time: from a law so narrow that the noise soon
# makes half of its variance, at a distance at which the drift soon moves it by its own width.
START_VARIANCE, START_DISTANCE = 0.1, 5.0
# Stationary laws are sought from near by, so that a walk which is not yet there is no wider than the law by much.
NEAR = 0.5
# Of a power entropy, whose flow starts from a small ball for the same reason.
EXPONENT, START_RADIUS = 2.0, 0.5

Moments = tuple[torch.Tensor, torch.Tensor]
Mean = tuple[float, float]
"""A mean over draws and its standard error."""


@dataclass(frozen=True, eq=False)
class Probe:
    """A problem with what its law would be at a ``time`` under each error, by moments (D,) and (D, D)."""

    title: str
    problem: Problem
    rivals: Mapping[str, Moments]
    time: float = TIMES[-1]


def diffusion(dim: int) -> Probe:
    """Return a flow by V = ½|x|² with β = 1 from a narrow Gaussian far from the middle, and its rivals."""
    middle, identity = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)

    def law(time: float, temperature: float = 1.0, slope: float = 1.0) -> Gaussian:
        # problems.references.quadratic_flow, for potentials that repel, too
        gained = -temperature * math.expm1(-2 * slope * time) / slope
        variance = START_VARIANCE * math.exp(-2 * slope * time) + gained
        return Gaussian(START_DISTANCE * math.exp(-slope * time) * identity[0], variance * identity)

    flow = GradientFlow(law(0.0), FreeEnergy(Quadratic(identity, middle), Entropy(1.0)), TIMES)
    problem = Problem(flow, ("energy-distance",), law)
    return Probe(f"an Ornstein-Uhlenbeck flow D={dim}", problem, errors_of(law))


def porous(dim: int) -> Probe:
    """Return a flow by V = ½|x|² and U = ρ² from a small ball far from the middle, and its rivals."""
    middle, identity = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    power, unit = unit_radius_time(EXPONENT, dim, 1.0)

    def law(time: float, temperature: float = 1.0, slope: float = 1.0) -> Barenblatt:
        # problems.references.elliptical_flow, for potentials that repel, too
        gained = -temperature * math.expm1(-power * slope * time) / (power * unit * slope)
        radius = (START_RADIUS**power * math.exp(-power * slope * time) + gained) ** (1 / power)
        return ball(START_DISTANCE * math.exp(-slope * time) * identity[0], radius, EXPONENT)

    flow = GradientFlow(law(0.0), FreeEnergy(Quadratic(identity, middle), PowerEntropy(EXPONENT)), TIMES)
    problem = Problem(flow, ("energy-distance",), law)
    return Probe(f"a porous medium flow D={dim}", problem, errors_of(law))


def errors_of(law: Callable[..., Law]) -> dict[str, Moments]:
    """Return the moments at the last time of flows with an error, and those of the right flow at other times."""
    first, last = TIMES[0], TIMES[-1]
    laws = {
        f"the true law at t = {first:g}, the first time,": law(first),
        "the law with half the noise": law(last, temperature=0.5),
        "the law with twice the noise": law(last, temperature=2.0),
        "the law with half the gradient": law(last, slope=0.5),
        "the law with twice the gradient": law(last, slope=2.0),
        "the law with the gradient's sign turned": law(last, slope=-1.0),
    }
    return {name: each.moments() for name, each in laws.items()}


def earlier(probe: Probe) -> list[Probe]:
    """Return the same flow at its first time, at which the law may be that of another time; none of a law at rest."""
    if probe.problem.stationary:
        return []
    assert probe.problem.truth is not None
    laws = {
        "the initial law": probe.problem.flow.initial,
        f"the true law at t = {TIMES[-1]:g}, the last time,": probe.problem.truth(TIMES[-1]),
    }
    rivals = {name: each.moments() for name, each in laws.items()}
    return [replace(probe, rivals=rivals, time=TIMES[0])]


def stationary(dim: int) -> Probe:
    """Return the search for the stationary law N(0, I) of V = ½|x|² and β = 1, from near by, and its rivals."""
    middle, identity = torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64)
    initial, rest = Gaussian(NEAR * identity[0], identity), Gaussian(middle, identity)
    flow = GradientFlow(initial, FreeEnergy(Quadratic(identity, middle), Entropy(1.0)), TIMES)
    problem = Problem(flow, ("energy-distance",), lambda _: rest, stationary=True)
    rivals = {
        "the law with half the noise": (middle, 0.5 * identity),
        "the law with twice the noise": (middle, 2.0 * identity),
    }
    return Probe(f"a stationary Gaussian law D={dim}", problem, rivals)


@cache
def probes() -> tuple[tuple[Probe, ...], ...]:
    """Return the probes by kind, each in the plane first, where a draw says twice as much, and then on the line."""
    return tuple(tuple(make(dim) for dim in sorted(DIMS, reverse=True)) for make in (diffusion, porous, stationary))


def entered(solver: Solver) -> list[Probe]:
    """Return one probe of each kind that the solver applies to; the stationary law's where it applies to no other."""
    found = [next((each for each in kind if solver.refusal(each.problem) is None), None) for kind in probes()]
    *moving, resting = found
    return [each for each in moving if each is not None] or [each for each in (resting,) if each is not None]


def nearer_to_the_truth(trial: SolverTrial) -> str:
    """The answer at each time is nearer to the truth than to what wrong noise, drift, sign or time would give."""
    if trial.component.name == BOUND:
        return "the bound itself"
    found = entered(trial.solver)
    for probe in found:
        solved = cache(partial(solution, trial.solver, probe.problem))
        for each in (probe, *earlier(probe)):
            nearer = nearest_rival(trial.solver, each, solved)
            require(nearer is None, f"{each.title}: at t = {each.time:g} the answer is {nearer}")
    titles = " and ".join(probe.title for probe in found)
    return f"nearer to the truth than to any error: {titles}" if found else "no flow whose rivals are known is solved"


def solution(solver: Solver, problem: Problem, seed: int) -> Solution:
    """Return the answer of a solver from a seed."""
    return solver.solve(problem, generator(seed), CPU)


def nearest_rival(solver: Solver, probe: Probe, solved: Callable[[int], Solution] | None = None) -> str | None:
    """Return which rival the answer is nearer to than to the truth, and by how much, or ``None``.

    ``solved`` gives the answer from a seed, where it is known; else it is worked out.
    """
    answers: list[Ratios] = []
    for seed in range(1, MOST_SOLVES + 1):
        found = solution(solver, probe.problem, seed) if solved is None else solved(seed)
        answer = found.estimates[TIMES.index(probe.time)]
        answers.append(log_likelihood_ratios(answer, probe))
        figures = {name: pool([each.means[name] for each in answers]) for name in probe.rivals}
        if all(mean <= 0 for mean, _ in figures.values()):
            return None
        if sum(each.draws for each in answers) < LEAST_DRAWS:
            continue
        clearly = -float(stdtrit(sum(each.groups - 1 for each in answers), FALSE_ALARM))
        nearer = {name: figure for name, figure in figures.items() if figure[0] > clearly * figure[1]}
        if nearer:
            name, (mean, error) = max(nearer.items(), key=lambda item: item[1][0])
            return f"nearer to {name} than to the true one, by {mean:.3g} ± {error:.2g} of log-likelihood a draw"
    return None


class Ratios(NamedTuple):
    """The mean of ℓ for each rival, over so many different ``draws`` in so many independent ``groups``."""

    means: Mapping[str, Mean]
    draws: float
    groups: int


def log_likelihood_ratios(answer: Estimate, probe: Probe) -> Ratios:
    """Return the means of ℓ over the particles of an answer, or over draws from it."""
    draws: float = DRAWS
    x, weights, groups = answer.sample(DRAWS, generator(2)).double(), None, None
    if isinstance(answer, Particles):
        x, groups = answer.points.double(), groups_of(answer)
        weights = answer.normalised_log_weights.exp().numpy()
        draws = min(len(x.unique(dim=0)), answer.effective_sample_size)
    assert probe.problem.truth is not None
    true = log_score(x, probe.problem.truth(probe.time).moments())
    means = {}
    for name, moments in probe.rivals.items():
        ratio = (log_score(x, moments) - true).numpy()
        mean = float(ratio.mean() if weights is None else np.sum(weights * ratio))
        means[name] = mean, math.sqrt(mean_variance(ratio, groups, weights))
    return Ratios(means, draws, len(x) if groups is None else len(groups.unique()))


def log_score(x: torch.Tensor, moments: Moments) -> torch.Tensor:
    """Return the log-density at ``x`` (n, D) of the Gaussian of these moments, shape (n,)."""
    return Gaussian(*moments).log_prob(x)


def pool(figures: Sequence[Mean]) -> Mean:
    """Return the mean of independent means, and its standard error."""
    count = len(figures)
    return sum(mean for mean, _ in figures) / count, math.hypot(*(error for _, error in figures)) / count
