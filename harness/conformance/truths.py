"""Checks of a problem's truth: its laws fit their draws, start at the initial law, and obey the equation."""

from __future__ import annotations

import math

import torch

from harness.conformance.contract import generator, require
from harness.conformance.densities import STANDARD_ERRORS, check_density, require_moments
from harness.conformance.instances import ProblemTrial
from harness.conformance.summaries import check_law
from harness.measure.energy_estimates import energy_of, size_of_terms
from problems.flow import Entropy, GradientFlow
from problems.laws import Density, Empirical, Law
from problems.observations import same_time
from problems.problem import Problem
from solvers.estimates import Exact

DRAWS = 20_000
SHAPE_TOLERANCE = 0.02
"""Of a log-density, in deviations of βV, or in nats where these are more."""


def draws_from(law: Law, seed: int) -> torch.Tensor:
    """Return independent draws (n, D); of a law that is a set of reference draws, each once."""
    count = min(DRAWS, len(law.draws)) if isinstance(law, Empirical) else DRAWS
    return law.sample(count, generator(seed))


def truth_is_a_law(trial: ProblemTrial) -> str:
    """Draws of the truth, and of the initial law, have the stated moments and density; raises what breaks that."""
    count = 0
    starts = [(f"{each.title}, initial law", each, each.problem.flow.initial) for each in trial.instances]
    for where, instance, law in starts + [(where, instance, law) for where, instance, _, law in trial.truths()]:
        draws = draws_from(law, 1)
        require(
            law.dim == instance.dim and draws.shape[1:] == (instance.dim,),
            f"{where}: dimension {law.dim}, draws of shape {tuple(draws.shape)}, not dimension {instance.dim}",
        )
        require(draws.dtype == torch.float64, f"{where}: draws are {draws.dtype}, not torch.float64")
        require(bool(torch.isfinite(draws).all()), f"{where}: draws are not finite")
        mean, covariance = law.moments()
        shapes = (tuple(mean.shape), tuple(covariance.shape))
        expected = ((instance.dim,), (instance.dim, instance.dim))
        require(shapes == expected, f"{where}: moments have shapes {shapes}, not {expected}")
        require_moments(draws, mean, covariance, where)
        if isinstance(law, Density):
            check_density(law.log_prob, draws, where)
        if not isinstance(law, Empirical):
            check_law(law, draws, where)
        count += 1
    return f"{count} laws have their moments and densities"


def truth_starts_at_the_initial_law(trial: ProblemTrial) -> str:
    """As t → 0 the truth becomes the initial law; the truth of a stationary problem is one law at all times."""
    seen: dict[str, None] = {}
    for instance in trial.instances:
        problem = instance.problem
        if problem.truth is None:
            seen["no truth"] = None
            continue
        if problem.stationary:
            start, end = problem.truth(problem.flow.times[0]), problem.truth(2 * problem.flow.horizon)
            seen["one law at all times"] = None
        else:
            start, end = problem.flow.initial, problem.truth(1e-6 * problem.flow.times[0])
            seen["starts at the initial law"] = None
        variance = float(start.moments()[1].abs().max())
        scales = {"mean": math.sqrt(variance), "covariance": variance}  # in whatever units, wherever the law is
        for (what, scale), left, right in zip(scales.items(), start.moments(), end.moments(), strict=True):
            change = float((left - right).abs().max()) / scale
            require(change < 1e-3, f"{instance.title}: the {what} jumps by {change:.3g}")
    return "; ".join(seen)


def truth_obeys_the_equation(trial: ProblemTrial) -> str:
    """The truth moves as ∂ρ = ∇·(ρ∇(V + U'(ρ) + W∗ρ)) says of its mean and its second moments.

    d E[X]/dt = -E[∇V], and d E[XXᵀ]/dt = 2 E[P(ρ)/ρ] I + E[XFᵀ + FXᵀ], F = -∇V(X) - ∇W(X - X') with X' an independent
    copy and P the pressure. Checked within five standard errors of the expectations on the right.
    """
    count = 0
    for where, instance, t, law in trial.truths():
        centre, covariance = law.moments()
        deviation = math.sqrt(float(covariance.diagonal().max()))
        # About the mean at t, held fixed, where squares do not cancel.
        for what, size, rate, samples in zip(
            ("mean", "second moment matrix"),
            (deviation, deviation**2),
            observed_rates(instance.problem, t, centre),
            stated_rates(instance.problem.flow, law, centre),
            strict=False,
        ):
            error = samples.std(0) / math.sqrt(len(samples))
            # What differences leave out is in proportion to the law and its time, in small units, too.
            truncation = 1e-3 * (min(1.0, size / t) + rate.abs().max())
            excess = ((samples.mean(0) - rate).abs() - truncation) / error.clamp_min(1e-300)
            worst = excess.argmax()
            require(
                float(excess.max()) <= STANDARD_ERRORS,
                f"{where}: the {what} changes at rate {rate[worst]:.6g}, the equation says "
                f"{samples.mean(0)[worst]:.6g} ± {error[worst]:.2g}",
            )
        count += 1
    return f"{count} marginals move as the equation says" if count else "no truth"


def stated_values_fit(trial: ProblemTrial) -> str:
    """The free energy and the evidence that an instance states are those of its truth, where that has a density.

    Both are expectations over its draws, held to five standard errors and a thousandth of their terms: F itself, and
    log Z = E[-βV - log ρ] of the stationary law ρ, above which no other law comes. Other values raise ``Violation``.
    """
    count = 0
    for where, instance, t, law in trial.truths():
        problem, flow = instance.problem, instance.problem.flow
        if problem.free_energy is not None and (isinstance(law, Density) or flow.energy.internal is None):
            stated, found = problem.free_energy(t), energy_of(Exact(law), flow.energy, DRAWS, generator(5))
            size = size_of_terms(law, flow.energy, DRAWS, generator(5)).value
            room = STANDARD_ERRORS * found.standard_error + 1e-3 * size
            require(
                stated == found.value or abs(found.value - stated) <= room,
                f"{where}: the free energy is stated as {stated:.6g}, the truth says {found.value:.6g} "
                f"± {found.standard_error:.2g}",
            )
            count += 1
        plain = isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None
        if problem.evidence is not None and isinstance(law, Density) and plain:
            x = draws_from(law, 5)
            terms = -flow.inverse_temperature * flow.potential.value(x) - law.log_prob(x)
            stated, bound = problem.evidence.log_value, float(terms.mean())
            error = math.hypot(float(terms.std()) / math.sqrt(len(x)), problem.evidence.standard_error)
            room = STANDARD_ERRORS * error + 1e-3 * max(1.0, abs(bound))
            require(
                bound - stated <= room and (not problem.stationary or stated - bound <= room),
                f"{where}: the log-evidence is stated as {stated:.6g}, the truth says {bound:.6g} ± {error:.2g}"
                + ("" if problem.stationary else " or more"),
            )
            count += 1
    return f"{count} values are those of the truth" if count else "no free energy or evidence to compare"


def truth_is_at_rest(trial: ProblemTrial) -> str:
    """The density of a stationary truth is exp(-βV) up to a factor; raises ``Violation`` where it is another.

    Moments tell little of it: each of several clusters far apart keeps its own, whatever weights are stated.
    """
    count = 0
    for where, instance, _, law in trial.truths():
        flow = instance.problem.flow
        plain = isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None
        if not (instance.problem.stationary and plain and isinstance(law, Density)):
            continue
        x = draws_from(law, 5)
        potential = flow.inverse_temperature * flow.potential.value(x)
        ratio = potential + law.log_prob(x)
        apart = float((ratio - ratio.mean()).abs().max())
        require(
            apart <= SHAPE_TOLERANCE * max(1.0, float(potential.std())),
            f"{where}: the law at rest is exp(-βV), but the logarithm of the truth's density differs from -βV by "
            f"{apart:.3g} more at some draws than at others",
        )
        count += 1
    return f"{count} laws are at rest" if count else "no stationary law with a density"


def stated_rates(flow: GradientFlow, law: Law, centre: torch.Tensor) -> list[torch.Tensor]:
    """Return samples whose means are the rates of the mean (n, D) and of second moments about ``centre`` (n, D²).

    The latter are left out where the pressure is not known: of a law without a density, unless it is an entropy's.
    """
    internal, interaction = flow.energy.internal, flow.energy.interaction
    x = draws_from(law, 2)
    force = -flow.potential.gradient(x)
    if interaction is not None:
        # Pairs of independent draws; the draws of a finite reference are all one can have.
        gap = x - x.roll(1, 0) if isinstance(law, Empirical) else x - draws_from(law, 3)
        force = force - interaction.gradient(gap)
    product = (x - centre)[:, :, None] * force[:, None]
    widening = (product + product.mT).flatten(1)
    every_way = torch.eye(flow.dim, dtype=x.dtype).flatten()
    if internal is None:
        return [force, widening]
    if isinstance(internal, Entropy):
        return [force, widening + 2 / flow.inverse_temperature * every_way]
    if not isinstance(law, Density):
        return [force]
    return [force, widening + 2 * internal.pressure(law.log_prob(x))[:, None] * every_way]


def observed_rates(problem: Problem, t: float, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return d E[X]/dt (D,) and d E[(X - centre)(X - centre)ᵀ]/dt (D²,) of the truth at t, by differences of times."""
    assert problem.truth is not None
    flow = problem.flow
    if problem.stationary:
        return torch.zeros(flow.dim, dtype=torch.float64), torch.zeros(flow.dim**2, dtype=torch.float64)
    offsets, weights = difference_rule(problem, t)

    def second(mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        return (covariance + torch.outer(mean - centre, mean - centre)).flatten()

    mean_rate, second_rate = (torch.zeros(size, dtype=torch.float64) for size in (flow.dim, flow.dim**2))
    for offset, weight in zip(offsets, weights, strict=True):
        mean, covariance = problem.truth(t + offset).moments()
        mean_rate += weight * mean
        second_rate += weight * second(mean, covariance)
    return mean_rate, second_rate


def difference_rule(problem: Problem, t: float) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return times about t, less t, and weights of a difference quotient of second order that meets no observation.

    At an observation a truth jumps, and at its time it is the law after it: the times are all from the last one to
    before the next, to both sides of t where there is room, else to one.
    """
    times = problem.observations.times if problem.observations is not None else ()
    before = min((max(0.0, t - time) for time in times if time <= t or same_time(time, t)), default=math.inf)
    after = min((time - t for time in times if time > t and not same_time(time, t)), default=math.inf)
    step = 0.01 * t
    if before > step and after > step:
        return (-step, step), (-0.5 / step, 0.5 / step)
    forward = after >= before
    step = min(step, (after if forward else before) / 3)
    sign = 1.0 if forward else -1.0
    return (0.0, sign * step, sign * 2 * step), tuple(sign * weight / (2 * step) for weight in (-3.0, 4.0, -1.0))
