"""Checks of a problem family: instances repeat, derivatives fit, and nothing else is touched."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
from harness.conformance.instances import Instance, ProblemTrial
from harness.conformance.truths import (
    stated_values_fit,
    truth_is_a_law,
    truth_is_at_rest,
    truth_obeys_the_equation,
    truth_starts_at_the_initial_law,
)
from problems.potentials import Potential
from problems.problem import Problem, ProblemFamily

POINTS = 64
DERIVATIVE_TOLERANCE = 1e-6


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
    """``build`` raises ``ValueError`` for dimensions that do not exist; the check raises ``Violation`` where not."""
    for family in trial.families:
        dims = family.dims()
        if dims is not None and len(dims) == 1:
            continue  # plans ask for no other
        for dim in [0, -1] + ([] if dims is None else [max(dims) + 1]):
            try:
                family.build(dim, 0, generator(0))
            except ValueError:
                continue
            raise Violation(f"dimension {dim} is accepted")
    return "dimensions that do not exist are refused"


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
    """Return the tensors, of shapes (...,), that must come out the same when an instance is built again."""
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
        unknown = [name for name in problem.measures if name not in trial.measures]
        require(not unknown, f"{where}: unknown measures {', '.join(unknown)}")
        declared = instance.family.measures or problem.measures
        more = [name for name in problem.measures if name not in declared]
        require(not more, f"{where}: names {', '.join(more)}, which the family's ``measures`` do not declare")
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
            f"{instance.title}: log_likelihood of {POINTS} points must have shape ({POINTS}, cases), "
            f"got {tuple(found.shape)}",
        )
        require(
            bool((found <= 0).all() and torch.isfinite(found).all()),
            f"{instance.title}: log-probabilities of labels must be finite and <= 0",
        )


def derivatives_fit(trial: ProblemTrial) -> str:
    """Gradient and Hessian have their shapes and are the derivatives of the value."""
    worst = 0.0
    for instance in trial.instances:
        problem = instance.problem
        law = problem.flow.initial if problem.truth is None else problem.truth(problem.flow.horizon)
        x = torch.cat([problem.flow.initial.sample(POINTS, generator(1)), law.sample(POINTS, generator(2))])
        functions: list[tuple[Potential, torch.Tensor]] = [(problem.flow.potential, x)]
        if problem.flow.energy.interaction is not None:
            functions.append((problem.flow.energy.interaction, differences(x)))
        for function, places in functions:
            check_shapes(function, places, instance.title)
            worst = max(worst, check_differences(function, places, instance.title))
    return f"finite differences agree to {worst:.1g}"


def differences(x: torch.Tensor) -> torch.Tensor:
    """Return differences of points ``x`` (n, D), without the smallest tenth, which a singular interaction may blow up.

    The shape is (m, D), m < n.
    """
    gaps = x - x.roll(1, 0)
    sizes = gaps.norm(dim=1)
    return gaps[sizes > sizes.quantile(0.1)]


def interaction_is_even(trial: ProblemTrial) -> str:
    """W(-z) = W(z) and ∇W(-z) = -∇W(z) at differences of points, and ∇W(0) = 0 unless W is declared singular."""
    found = 0
    for instance in trial.instances:
        interaction = instance.problem.flow.energy.interaction
        if interaction is None:
            continue
        found += 1
        z = differences(instance.problem.flow.initial.sample(POINTS, generator(1)))
        for what, there, back in (
            ("W(-z) is not W(z)", interaction.value(z), interaction.value(-z)),
            ("∇W(-z) is not -∇W(z)", interaction.gradient(z), -interaction.gradient(-z)),
        ):
            gap = float((there - back).abs().max()) / (float(there.abs().max()) or 1.0)
            require(
                gap <= 1e-9, f"{instance.title}: the interaction must be even, but {what}, by {gap:.2g} of its size"
            )
        if not interaction.singular:
            force = interaction.gradient(torch.zeros(1, instance.dim, dtype=z.dtype))
            elsewhere = min(1.0, float(there.abs().max()))
            require(
                bool((force.abs() <= 1e-9 * elsewhere).all()),
                f"{instance.title}: ∇W(0) is {force[0].tolist()}, not 0: an interaction that is singular must say so",
            )
    return f"even, in {found} instances" if found else "no interaction"


def check_shapes(potential: Potential, x: torch.Tensor, where: str) -> None:
    """Check shapes and types at ``x`` (n, D), that points do not see each other, and the symmetry of the Hessian."""
    n, dim = x.shape
    for what, function, shape in (
        ("value", potential.value, (n,)),
        ("gradient", potential.gradient, (n, dim)),
        ("Hessian", potential.hessian, (n, dim, dim)),
    ):
        found = function(x)
        require(found.shape == shape, f"{where}: the {what} has shape {tuple(found.shape)}, not {shape}")
        require(found.dtype == torch.float64, f"{where}: the {what} is {found.dtype} at float64 points")
        require(not found.requires_grad, f"{where}: the {what} carries gradients")
        require(bool(torch.isfinite(found).all()), f"{where}: the {what} is not finite")
        alone = float((function(x[:1]) - found[:1]).abs().max())
        size = 1 + float(found.abs().max())
        require(alone <= 1e-9 * size, f"{where}: the {what} at a point depends on the points beside it")
    asymmetry = float((found - found.mT).abs().max()) / size
    require(asymmetry < DERIVATIVE_TOLERANCE, f"{where}: the Hessian is not symmetric, by {asymmetry:.2g} of its size")


def check_differences(potential: Potential, x: torch.Tensor, where: str) -> float:
    """Check derivatives at ``x`` (n, D) in random directions; return the largest error over the function's size."""
    direction = torch.randn(x.shape, generator=generator(3), dtype=x.dtype)
    direction /= direction.norm(dim=1, keepdim=True)
    errors = {
        "gradient": difference_error(potential.value, x, direction, stated=(potential.gradient(x) * direction).sum(1)),
        "Hessian": difference_error(
            potential.gradient, x, direction, stated=(potential.hessian(x) @ direction[:, :, None])[:, :, 0]
        ),
    }
    for what, error in errors.items():
        require(
            error < DERIVATIVE_TOLERANCE,
            f"{where}: the {what} differs from finite differences by {error:.2g} of its size",
        )
    return max(errors.values())


def difference_error(
    function: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    direction: torch.Tensor,
    stated: torch.Tensor,
) -> float:
    """Return the distance of a derivative from differences of fourth order, over the size of the function.

    ``function`` maps points (n, D), such as ``x``, to values whose derivative along ``direction`` (n, D) is ``stated``,
    of their shape.
    """
    spread = float(x.std(0).mean())
    step = 1e-4 * spread
    near = function(x + step * direction) - function(x - step * direction)
    far = function(x + 2 * step * direction) - function(x - 2 * step * direction)
    differences = (8 * near - far) / (12 * step)
    slope, value = float(stated.abs().max()), float(function(x).abs().max())
    # Values count by the slope that they would have over the spread of the points, whatever the units.
    size = min(1 + max(slope, value), max(slope, value / spread))
    return float((differences - stated).abs().max()) / (size or 1.0)


CHECKS: Mapping[str, Callable[[ProblemTrial], str]] = {
    "definition": lambda trial: check_definition(trial.component, "problem", ProblemFamily),
    "default settings": lambda trial: check_round_trip(trial.component, "problem"),
    "dimensions": dimensions_are_sane,
    "refuses bad sizes": refuses_bad_sizes,
    "repeats to the bit": builds_repeat,
    "leaves global state alone": leaves_global_state,
    "is complete": is_complete,
    "derivatives": derivatives_fit,
    "interaction": interaction_is_even,
    "truth is a law": truth_is_a_law,
    "truth starts at the initial law": truth_starts_at_the_initial_law,
    "truth obeys the equation": truth_obeys_the_equation,
    "truth is at rest": truth_is_at_rest,
    "stated values": stated_values_fit,
}
