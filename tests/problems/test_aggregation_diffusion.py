"""The clusters' early laws by finite volumes, and the disc that they end in, which finite volumes come to."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from problems.aggregation_diffusion import AggregationDiffusion, GatheringLaws
from problems.flow import GradientFlow
from problems.references.cell_law_2d import CellLaw2D
from problems.references.finite_volumes import FiniteVolumes
from problems.references.finite_volumes_box import initial_density
from problems.references.finite_volumes_steps import Trace, march
from problems.references.radial_equilibrium import RadialEquilibrium
from problems.uniform import Uniform
from seeding import fixed_generator, generator


def test_the_law_at_rest_is_what_finite_volumes_come_to() -> None:
    """From a small square, which is one cluster and soon at rest."""
    problem = AggregationDiffusion(half_width=1.0, times=(15.0,), stationary=True).build(2, 0, generator())
    disc = problem.truth(15.0)
    assert isinstance(disc, RadialEquilibrium)
    assert problem.free_energy is not None
    errors = []
    for cells in (24, 48):
        box = (-1.5, -1.5), (1.5, 1.5)
        scheme, trace = FiniteVolumes(problem.flow.energy, *box, (cells, cells)), Trace()
        start = initial_density(problem.flow.initial, *box, scheme.shape)
        (found,) = march(scheme, start, (15.0,), trace)
        exact = initial_density(disc, *box, scheme.shape)
        errors.append(scheme.volume * float(np.abs(found - exact).sum()))
        assert trace.energies[-1] == pytest.approx(problem.free_energy(15.0), abs=4e-5)
        assert max(np.diff(trace.energies)) < 1e-12
    assert errors[1] < 0.5 * errors[0] < 0.03


def test_early_laws_come_with_an_error() -> None:
    problem = AggregationDiffusion(times=(10.0,)).build(2, 0, generator())
    truth, law = problem.truth, problem.truth(10.0)
    assert isinstance(truth, GatheringLaws)
    assert isinstance(law, CellLaw2D)
    assert truth(10.0) is law, "worked out twice"
    assert 0.005 < truth.error(10.0) < 0.02
    # By an independent code: -.012300 on 64² cells, -.012323 on 128², -.012331 on 256² here.
    assert problem.free_energy(10.0) == pytest.approx(-0.012335, abs=1e-5)
    at_once = problem.truth(1e-5)
    torch.testing.assert_close(at_once.moments()[1], 3 * torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-3)


def test_where_the_truth_is_known() -> None:
    for times, known in (((30.0,), True), ((10.0, 400.0), True), ((50.0,), False), ((20.0, 150.0), False)):
        problem = AggregationDiffusion(times=times).build(2, 0, generator())
        assert (problem.truth is not None) == known
        assert known or "known at times to 30 and from 400 on" in problem.truth_missing
    late = AggregationDiffusion(times=(400.0,)).build(2, 0, generator())
    assert late.free_energy(400.0) == pytest.approx(-0.0867637175666078, abs=1e-14)
    other = AggregationDiffusion(times=(400.0,), coefficient=0.2).build(2, 0, generator())
    assert other.truth is None
    assert AggregationDiffusion(times=(1.0,), coefficient=0.2, stationary=True).build(2, 0, generator()).truth


def test_other_instances_are_moved() -> None:
    first, second = (AggregationDiffusion(stationary=True).build(2, seed, fixed_generator(seed)) for seed in (0, 1))
    shift = second.flow.initial.moments()[0]
    assert float(shift.norm()) > 0.1
    assert isinstance(first.flow, GradientFlow)
    assert isinstance(first.flow.initial, Uniform)
    x = first.flow.initial.sample(100, generator())
    torch.testing.assert_close(second.truth(1.0).log_prob(x + shift), first.truth(1.0).log_prob(x))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="exponent must be above 1"):
        AggregationDiffusion(exponent=0.9)
    with pytest.raises(ValueError, match="half_width must be a finite number > 0"):
        AggregationDiffusion(half_width=-1.0)
    with pytest.raises(ValueError, match="dimension 2 only, got 3"):
        AggregationDiffusion().build(3, 0, generator())
