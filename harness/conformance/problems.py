"""The contract of a problem family as checks: instances that repeat, derivatives that fit, and a truth that is true."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch

from harness.conformance.contract import (
    Violation,
    check_definition,
    check_round_trip,
    copies,
    generator,
    global_state,
    require,
    same_bits,
    tensors_in,
    touched,
)
from harness.conformance.densities import STANDARD_ERRORS, check_density, require_moments
from harness.conformance.gallery import title, variants
from harness.measure import CATALOGUE
from problems.flow import Entropy, GradientFlow
from problems.laws import Density, Empirical, Law
from problems.problem import Problem, ProblemFamily

DIMS = (1, 2, 3)
DRAWS = 20_000
POINTS = 64
DERIVATIVE_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Instance:
    """A built instance and what it is called."""

    title: str
    family: ProblemFamily
    dim: int
    problem: Problem


@dataclass(frozen=True)
class ProblemTrial:
    """A family and its instances number 0 in small dimensions, built once for all checks."""

    component: type[ProblemFamily]

    @cached_property
    def families(self) -> list[ProblemFamily]:
        """The kinds of problems that the family has."""
        return variants(self.component.name, self.component)

    @cached_property
    def instances(self) -> list[Instance]:
        """The instances that are looked at."""
        return [
            Instance(title(family, dim), family, dim, family.build(dim, 0, generator(0)))
            for family in self.families
            for dim in (family.dims() or DIMS)[: len(DIMS)]
        ]

    def truths(self) -> Iterator[tuple[str, Instance, float, Law]]:
        """Yield the true law of every instance at each of its times."""
        for instance in self.instances:
            if instance.problem.truth is not None:
                for t in instance.problem.flow.times:
                    yield f"{instance.title} at t = {t:g}", instance, t, instance.problem.truth(t)


def dimensions_are_sane(trial: ProblemTrial) -> str:
    """``dims`` is ``None`` or rising whole numbers ≥ 1, and always the same."""
    said: dict[str, None] = {}
    for family in trial.families:
        dims = family.dims()
        require(dims == family.dims(), "dims() changes from call to call")
        if dims is not None:
            whole = isinstance(dims, tuple) and bool(dims) and all(type(dim) is int and dim >= 1 for dim in dims)
            require(whole, f"dims() must be None or whole numbers >= 1, got {dims!r}")
            require(list(dims) == sorted(set(dims)), f"dims() must rise, got {dims!r}")
        said["any dimension" if dims is None else f"D = {', '.join(map(str, dims))}"] = None
    return "; ".join(said)


def refuses_bad_sizes(trial: ProblemTrial) -> str:
    """``build`` refuses dimensions that do not exist and negative seeds with a ``ValueError``."""
    for family in trial.families:
        dims = family.dims()
        absent = [0, -1] + ([] if dims is None else [max(dims) + 1])
        cases = [(dim, 0) for dim in absent] + [((dims or DIMS)[0], -1)]
        for dim, seed in cases:
            try:
                family.build(dim, seed, generator(0))
            except ValueError:
                continue
            raise Violation(f"dimension {dim} and seed {seed} are accepted")
    return "dimensions and seeds that do not exist are refused"


def builds_repeat(trial: ProblemTrial) -> str:
    """The same arguments give the same bits."""
    varies = False
    for instance in trial.instances:
        again = instance.family.build(instance.dim, 0, generator(0))
        other = instance.family.build(instance.dim, 1, generator(1))
        first = contents(instance.problem)
        require(same_bits(first, contents(again)), f"{instance.title}: a second build gives other numbers")
        varies |= not same_bits(first, contents(other))
    return "same bits twice; " + ("another seed is another instance" if varies else "every seed is the same instance")


def contents(problem: Problem) -> list[torch.Tensor]:
    """Return what must come out the same when an instance is built again."""
    flow = problem.flow
    points = flow.initial.sample(POINTS, generator(7))
    found = [*tensors_in((flow, problem.prediction)), points, flow.potential.value(points)]
    if problem.truth is not None:
        found += [problem.truth(t).sample(POINTS, generator(7)) for t in flow.times]
    return found


def leaves_global_state(trial: ProblemTrial) -> str:
    """Building, and asking for the truth, leave the global state alone."""
    for instance in trial.instances:
        before = global_state()
        problem = instance.family.build(instance.dim, 0, generator(0))
        held = copies(tensors_in(problem.flow))
        points = problem.flow.initial.sample(POINTS, generator(0))
        kept = points.clone()
        problem.flow.potential.gradient(points)
        problem.flow.potential.hessian(points[:2])
        if problem.truth is not None:
            problem.truth(problem.flow.horizon).sample(POINTS, generator(0))
        changed = touched(before, global_state())
        require(not changed, f"{instance.title}: {' and '.join(changed)} changed")
        require(torch.equal(points, kept), f"{instance.title}: the potential changes the points it is given")
        require(same_bits(held, tensors_in(problem.flow)), f"{instance.title}: the instance's tensors changed")
    return "random states, threads and modes are as before"


def is_complete(trial: ProblemTrial) -> str:
    """The flow has the family's times; measures exist; what is missing is explained."""
    names: dict[str, None] = {}
    for instance in trial.instances:
        problem, where = instance.problem, instance.title
        require(problem.flow.dim == instance.dim, f"{where}: the flow has dimension {problem.flow.dim}")
        require(
            problem.flow.times == instance.family.times,
            f"{where}: the flow's times {problem.flow.times} are not the setting {instance.family.times}",
        )
        require(bool(problem.measures), f"{where}: no measures")
        unknown = [name for name in problem.measures if name not in CATALOGUE]
        require(not unknown, f"{where}: unknown measures {', '.join(unknown)}")
        require(len(set(problem.measures)) == len(problem.measures), f"{where}: a measure is named twice")
        explained = problem.truth is not None or problem.truth_missing.strip() != ""
        require(explained, f"{where}: without a truth, truth_missing must say why")
        check_prediction(instance)
        names |= dict.fromkeys(problem.measures)
    return ", ".join(names)


def check_prediction(instance: Instance) -> None:
    """Check that the log-likelihood of held-out cases, if there are any, is one number ≤ 0 per point and case."""
    if instance.problem.prediction is not None:
        points = instance.problem.flow.initial.sample(POINTS, generator(1))
        found = instance.problem.prediction.log_likelihood(points)
        require(
            found.ndim == 2 and len(found) == POINTS and found.shape[1] >= 1,
            f"{instance.title}: log_likelihood of {POINTS} points has shape {tuple(found.shape)}, not ({POINTS}, cases)",
        )
        require(
            bool((found <= 0).all() and torch.isfinite(found).all()),
            f"{instance.title}: log-probabilities of labels must be finite and <= 0",
        )


def derivatives_fit(trial: ProblemTrial) -> str:
    """Gradient and Hessian have their shapes and are the derivatives of the value."""
    worst = 0.0
    for instance in trial.instances:
        problem, where = instance.problem, instance.title
        for potential in filter(None, (problem.flow.energy.potential, problem.flow.energy.interaction)):
            law = problem.flow.initial if problem.truth is None else problem.truth(problem.flow.horizon)
            x = torch.cat([problem.flow.initial.sample(POINTS, generator(1)), law.sample(POINTS, generator(2))])
            n, dim = x.shape
            value, gradient, hessian = potential.value(x), potential.gradient(x), potential.hessian(x)
            for what, found, shape in (
                ("value", value, (n,)),
                ("gradient", gradient, (n, dim)),
                ("hessian", hessian, (n, dim, dim)),
            ):
                require(found.shape == shape, f"{where}: {what} has shape {tuple(found.shape)}, not {shape}")
                require(found.dtype == torch.float64, f"{where}: {what} is {found.dtype} at float64 points")
                require(not found.requires_grad, f"{where}: {what} carries gradients")
                require(bool(torch.isfinite(found).all()), f"{where}: {what} is not finite")
            alone = potential.value(x[:1])
            require(
                bool((alone - value[:1]).abs() <= 1e-9 * (1 + value[:1].abs())),
                f"{where}: the value at a point depends on the points beside it",
            )
            asymmetry = float((hessian - hessian.mT).abs().max() / (1 + hessian.abs().max()))
            require(asymmetry < DERIVATIVE_TOLERANCE, f"{where}: the Hessian is not symmetric, by {asymmetry:.2g}")
            direction = torch.randn(n, dim, generator=generator(3), dtype=torch.float64)
            direction /= direction.norm(dim=1, keepdim=True)
            for what, stated, function in (
                ("gradient", (gradient * direction).sum(1), potential.value),
                ("Hessian", (hessian @ direction[:, :, None])[:, :, 0], potential.gradient),
            ):
                error = difference_error(function, x, direction, stated)
                require(
                    error < DERIVATIVE_TOLERANCE,
                    f"{where}: the {what} differs from finite differences by {error:.2g} of its size",
                )
                worst = max(worst, error)
    return f"finite differences agree to {worst:.1g}"


def difference_error(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    direction: torch.Tensor,
    stated: torch.Tensor,
) -> float:
    """Return how far a directional derivative is from differences of fourth order, over the size of the function."""
    step = 1e-4 * float(x.std(0).mean())
    near = function(x + step * direction) - function(x - step * direction)
    far = function(x + 2 * step * direction) - function(x - 2 * step * direction)
    differences = (8 * near - far) / (12 * step)
    size = 1 + max(float(stated.abs().max()), float(function(x).abs().max()))
    return float((differences - stated).abs().max()) / size


def draws_from(law: Law, seed: int) -> torch.Tensor:
    """Return independent draws; of a law that is a set of reference draws, each once."""
    count = min(DRAWS, len(law.draws)) if isinstance(law, Empirical) else DRAWS
    return law.sample(count, generator(seed))


def truth_is_a_law(trial: ProblemTrial) -> str:
    """Draws of the truth, and of the initial law, have the stated moments and density."""
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
        scale = 1 + max(float(moment.abs().max()) for moment in start.moments())
        for what, left, right in zip(("mean", "covariance"), start.moments(), end.moments(), strict=True):
            change = float((left - right).abs().max()) / scale
            require(change < 1e-3, f"{instance.title}: the {what} jumps by {change:.3g}")
    return "; ".join(seen)


def truth_obeys_the_equation(trial: ProblemTrial) -> str:
    """The truth moves as ∂ρ = ∇·(ρ∇V) + β⁻¹Δρ says: d E[X]/dt = -E[∇V] and d E|X|²/dt = 2D/β - 2E[X·∇V].

    Checked within five standard errors of the expectations on the right, where the flow is such an equation.
    """
    count = 0
    for where, instance, t, law in trial.truths():
        flow = instance.problem.flow
        if flow.energy.interaction is not None or not isinstance(flow.energy.internal, Entropy):
            continue
        x = draws_from(law, 2)
        gradient = flow.potential.gradient(x)
        centre = law.moments()[0]
        # About the mean at t, held fixed, where squares do not cancel.
        drift = 2 * flow.dim / flow.inverse_temperature - 2 * ((x - centre) * gradient).sum(1, keepdim=True)
        for what, rate, samples in zip(
            ("mean", "second moment"), observed_rates(instance.problem, t, centre), (-gradient, drift), strict=True
        ):
            error = samples.std(0) / math.sqrt(len(x))
            truncation = 1e-3 * (1 + rate.abs().max())
            excess = ((samples.mean(0) - rate).abs() - truncation) / error.clamp_min(1e-300)
            worst = excess.argmax()
            require(
                float(excess.max()) <= STANDARD_ERRORS,
                f"{where}: the {what} changes at rate {rate[worst]:.6g}, the equation says "
                f"{samples.mean(0)[worst]:.6g} ± {error[worst]:.2g}",
            )
        count += 1
    return f"{count} marginals move as the equation says" if count else "no truth of a linear Fokker-Planck equation"


def observed_rates(problem: Problem, t: float, centre: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return d E[X]/dt (D,) and d E|X - centre|²/dt (1,) of the truth at t, by central differences."""
    assert problem.truth is not None
    flow: GradientFlow = problem.flow
    if problem.stationary:
        return torch.zeros(flow.dim, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    step = 0.01 * t
    (mean_after, covariance_after), (mean_before, covariance_before) = (
        problem.truth(t + step).moments(),
        problem.truth(t - step).moments(),
    )

    def second(mean: torch.Tensor, covariance: torch.Tensor) -> torch.Tensor:
        return (covariance.trace() + (mean - centre).square().sum())[None]

    change = second(mean_after, covariance_after) - second(mean_before, covariance_before)
    return (mean_after - mean_before) / (2 * step), change / (2 * step)


CHECKS: Mapping[str, Callable[[ProblemTrial], str]] = {
    "definition": lambda trial: check_definition(trial.component, "problem", ProblemFamily),
    "default settings": lambda trial: check_round_trip(trial.component, "problem"),
    "dimensions": dimensions_are_sane,
    "refuses bad sizes": refuses_bad_sizes,
    "repeats to the bit": builds_repeat,
    "leaves global state alone": leaves_global_state,
    "is complete": is_complete,
    "derivatives": derivatives_fit,
    "truth is a law": truth_is_a_law,
    "truth starts at the initial law": truth_starts_at_the_initial_law,
    "truth obeys the equation": truth_obeys_the_equation,
}
