"""Particles in single precision a million widths from the origin: as at the origin, to rounding."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from harness.conformance.motions import Motion
from problems.double_well import DoubleWell
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.potentials import MixturePotential
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.estimates import Particles
from solvers.origin import origin_of
from solvers.particles.euler_maruyama import EulerMaruyama
from solvers.samplers.svgd import SVGD
from solvers.solver import Solver

CPU = torch.device("cpu")
# A power of 2, so that what is added to the points leaves their digits.
FAR = 2.0**22


def far(problem: Problem, known: bool) -> tuple[Problem, Motion]:
    """Return the problem moved, with its mixture as a mixture if ``known``, else as values and gradients."""
    dim = problem.flow.dim
    motion = Motion(torch.eye(dim, dtype=torch.float64), torch.full((dim,), FAR, dtype=torch.float64))
    moved, potential = motion.problem(problem), problem.flow.potential
    if not known:
        return moved, motion
    assert isinstance(potential, MixturePotential)
    law = MixturePotential(motion.law(potential.stationary), potential.inverse_temperature)  # type: ignore[arg-type]
    return replace(moved, flow=replace(moved.flow, energy=replace(moved.flow.energy, potential=law))), motion


def points(solver: Solver, problem: Problem, drawn: Callable[[int], torch.Generator] = generator) -> torch.Tensor:
    answer = solver.solve(problem, drawn(1), CPU).estimates[-1]
    assert isinstance(answer, Particles)
    return answer.points


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize(
    "solver",
    [
        EulerMaruyama(particles=500, step_size=0.01),
        SVGD(particles=100, iterations=20),
        SVGD(particles=100, iterations=20, preconditioner="hessian"),
    ],
)
def test_a_mixture_far_away_moves_its_particles_likewise(solver, known):
    """Particles between modes move apart, and rounding with them: the Hessian's steps on draws where few are there.

    Over 60 others their differences are 1.6e-5, at worst .002; all else is off by 3e-5 at most.
    """
    drawn = fixed_generator if getattr(solver, "preconditioner", None) == "hessian" else generator
    problem = GaussianMixtureFlow(times=(0.2,)).build(2, 0, generator())
    moved, motion = far(problem, known)
    there, here = points(solver, moved, drawn), points(solver, problem, drawn)
    torch.testing.assert_close(motion.back(there), here, rtol=0, atol=5e-4)


def test_any_potential_far_away_does():
    solver, problem = EulerMaruyama(particles=500, step_size=0.01), DoubleWell(times=(0.2,)).build(1, 0, generator())
    moved, motion = far(problem, known=False)
    torch.testing.assert_close(motion.back(points(solver, moved)), points(solver, problem), rtol=0, atol=1e-4)


def test_points_are_counted_from_the_origin_where_it_is_near_or_precision_double():
    problem = DoubleWell(times=(0.2,)).build(1, 0, generator())
    assert origin_of(problem.flow.initial, torch.float32) is None
    moved, _ = far(problem, known=False)
    assert origin_of(moved.flow.initial, torch.float64) is None
    assert origin_of(moved.flow.initial, torch.float32) is not None
