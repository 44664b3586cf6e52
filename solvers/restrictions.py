"""What several methods cannot solve, in words; ``None`` where they can."""

from __future__ import annotations

from problems.flow import Entropy
from problems.problem import Problem


def interaction_between_particles(problem: Problem) -> str | None:
    """Say so where particles act on each other."""
    if problem.flow.energy.interaction is not None:
        return "the free energy must have no interaction term: particles are followed independently"
    return None


def beyond_linear_on_the_line(problem: Problem) -> str | None:
    """Say why the flow is not a linear Fokker-Planck equation in one dimension."""
    if problem.flow.dim != 1:
        return f"one-dimensional problems only, this one has dimension {problem.flow.dim}"
    if problem.flow.energy.interaction is not None or not isinstance(problem.flow.energy.internal, Entropy):
        return "linear Fokker-Planck equations only: an entropy and no interaction"
    return None
