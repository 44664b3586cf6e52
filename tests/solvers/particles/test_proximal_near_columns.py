"""What is left out of sums over particles stays within its bound, wherever the particles and their densities are."""

import math

import pytest
import torch

from harness.threads import fix_threads
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from seeding import generator
from solvers.particles import proximal_near_columns
from solvers.particles.proximal_fixed_point import GibbsKernel, proximal_step
from solvers.particles.proximal_near_columns import FEWEST, LOSS, MOVE, NearKernel, groups
from solvers.particles.proximal_recursion import ProximalRecursion

CPU = torch.device("cpu")
REGULARISATION = 0.05
# Of sums whose exponents, worked out by an expanded square, are up to 10⁴.
ROUNDING = 1e-10


def in_turn(function, items):
    return [function(item) for item in items]


def cloud(dim, steepness=1.0, width=1.0, count=900, seed=0):
    """Return particles before and after a step, with log ρ and log ξ at them."""
    source = generator(seed)
    before = width * torch.randn(count, dim, generator=source, dtype=torch.float64)
    after = before + 0.02 * torch.randn(count, dim, generator=source, dtype=torch.float64)
    return before, after, -0.5 * steepness * (before**2).sum(1), -((before / width - 0.3) ** 2).sum(1)


@pytest.fixture
def small(monkeypatch):
    """Columns are chosen for any number of particles, in groups that several hundred make many of."""
    monkeypatch.setattr(proximal_near_columns, "FEWEST", 0)
    monkeypatch.setattr(proximal_near_columns, "ROWS_PER_GROUP", 20)


CLOUDS = {
    "plane": {"dim": 2, "width": 4.0},
    "six dimensions": {"dim": 6},
    "twelve dimensions": {"dim": 12},
    "wide": {"dim": 6, "width": 3.0},
    # From here on the densities of some particles are below e⁻²⁰⁰ of the largest.
    "heavy tails in the plane": {"dim": 2, "width": 8.0, "steepness": 2.0},
    "heavy tails": {"dim": 6, "width": 1.5, "steepness": 20.0},
    "heavy tails in twelve dimensions": {"dim": 12, "steepness": 20.0},
}


@pytest.mark.parametrize("negligible", [1e-2, 1e-4, 1e-7])
@pytest.mark.parametrize("case", CLOUDS)
@pytest.mark.usefixtures("small")
def test_sums_lack_no_more_than_the_share(case, negligible):
    before, after, log_density, log_gibbs = cloud(**CLOUDS[case])
    near = NearKernel(before, after, REGULARISATION, negligible)
    every = GibbsKernel(before, after, REGULARISATION)
    # At the second z the columns chosen at the first still do.
    for log_scaling in (log_gibbs / 50, log_gibbs / 50 + 0.9 * MOVE * torch.rand(900, generator=generator()).double()):
        found, found_own = near.transport(log_scaling, log_density, torch.float64, in_turn)
        expected, expected_own = every.transport(log_scaling, log_density, torch.float64, in_turn)
        assert near.share < 0.7
        assert float((found - expected).abs().max()) <= -math.log1p(-negligible) + ROUNDING
        surplus = found_own - expected_own
        assert float(surplus.min()) >= -ROUNDING
        assert float(surplus.max()) <= -math.log1p(-negligible) + ROUNDING


@pytest.mark.usefixtures("small")
def test_what_is_left_out_is_not_nothing():
    """The bound above has something to bound: an error far above rounding."""
    before, after, log_density, log_gibbs = cloud(**CLOUDS["wide"])
    transported = [
        kernel.transport(log_gibbs / 50, log_density, torch.float64, in_turn)[0]
        for kernel in (NearKernel(before, after, REGULARISATION, 1e-2), GibbsKernel(before, after, REGULARISATION))
    ]
    assert float((transported[0] - transported[1]).abs().max()) > 1e-9


@pytest.mark.parametrize("stiffness", [1.0, 50.0])
@pytest.mark.parametrize("case", CLOUDS)
@pytest.mark.usefixtures("small")
def test_the_fixed_point_is_off_by_no_more_than_the_share(case, stiffness):
    before, after, log_density, log_gibbs = cloud(**CLOUDS[case])
    start, negligible = torch.zeros_like(log_density), 1e-4
    found, expected = (
        proximal_step(kernel, log_density, log_gibbs, stiffness, start, 1e-10, 300, in_turn).log_density
        for kernel in (
            NearKernel(before, after, REGULARISATION, negligible),
            GibbsKernel(before, after, REGULARISATION),
        )
    )
    assert float((found - expected).abs().max()) <= -math.log1p(-negligible) + 1e-8


def same_as_all(before, after, log_density, log_scaling):
    """Return whether sums are those over all columns, to rounding, with hardly anything negligible."""
    near = NearKernel(before, after, REGULARISATION, 0.5)
    found = near.transport(log_scaling, log_density, torch.float64, in_turn)[0]
    every = GibbsKernel(before, after, REGULARISATION)
    expected = every.transport(log_scaling, log_density, torch.float64, in_turn)[0]
    return near.share == 1 and torch.allclose(found, expected, rtol=0, atol=1e-11)


@pytest.mark.usefixtures("small")
def test_takes_all_columns_where_most_are_near():
    before, after, log_density, log_gibbs = cloud(2, width=0.3)
    assert same_as_all(before, after, log_density, log_gibbs / 50)


@pytest.mark.usefixtures("small")
def test_takes_all_columns_where_a_density_falls_too_far():
    """One particle is e^40 times denser than all around it, and passes nearly all of that on to them."""
    before, after, log_density, log_gibbs = cloud(2, width=6.0)
    before[1:40], after[1:40] = before[0], after[0]
    log_density[0] += 40
    log_scaling = log_gibbs / 50
    near = NearKernel(before, after, REGULARISATION, 0.5)
    transported = near.transport(log_scaling, log_density, torch.float64, in_turn)[0]
    assert float((log_density - transported).max()) > LOSS
    assert same_as_all(before, after, log_density, log_scaling)


@pytest.mark.usefixtures("small")
def test_columns_are_chosen_anew_when_the_scaling_has_moved():
    before, after, log_density, _ = cloud(6)
    near, every = (
        NearKernel(before, after, REGULARISATION, 1e-3),
        GibbsKernel(before, after, REGULARISATION),
    )
    for log_scaling in (torch.zeros_like(log_density), 15 * before[:, 0]):
        found = near.transport(log_scaling, log_density, torch.float64, in_turn)[0]
        expected = every.transport(log_scaling, log_density, torch.float64, in_turn)[0]
        assert float((found - expected).abs().max()) <= 1.001e-3


def test_few_particles_are_computed_as_ever():
    before, after, log_density, log_gibbs = cloud(12)
    assert len(before) < FEWEST
    found, expected = (
        kernel.transport(log_gibbs, log_density, torch.float64, in_turn)
        for kernel in (NearKernel(before, after, REGULARISATION, 0.5), GibbsKernel(before, after, REGULARISATION))
    )
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_number_of_threads_does_not_matter():
    problem = OrnsteinUhlenbeck(times=(0.002,)).build(6, 0, generator())
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            fix_threads(threads)
            found.append(ProximalRecursion(particles=FEWEST).solve(problem, generator(), CPU).estimates[0].log_density)
    finally:
        fix_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("count", [1, 7, 64, 1000])
def test_groups_share_all_points_out(count):
    parts = groups(torch.randn(count, 3, generator=generator(), dtype=torch.float64), 10)
    assert max(map(len, parts)) <= 10
    assert torch.equal(torch.cat(parts).sort()[0], torch.arange(count))
