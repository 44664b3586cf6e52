import math
from itertools import islice

import torch

from problems.laws import Gaussian
from seeding import generator
from solvers.particles.particle_pool import Batches, matched, places, spread_draws, stratified_batches


def covariance(points: torch.Tensor) -> torch.Tensor:
    centred = points - points.mean(0)
    return centred.T @ centred / len(points)


def test_matched_points_have_the_moments_asked_for():
    points = torch.randn(50, 3, dtype=torch.float64, generator=generator(4)) + 5
    factor = torch.tensor([[2.0, 0, 0], [0.3, 1.0, 0], [-1.0, 0.2, 0.1]], dtype=torch.float64)
    mean = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    moved = matched(points[None], mean, factor[None])[0]
    torch.testing.assert_close(moved.mean(0), mean)
    torch.testing.assert_close(covariance(moved), factor @ factor.T)
    # An affine map: second differences of points in arithmetic progression stay zero.
    line = points.new_tensor([[0.0, 0, 0], [1, 2, 3], [2, 4, 6]])
    line = matched(torch.cat([points, line])[None], mean, factor[None])[0, -3:]
    torch.testing.assert_close(line[0] + line[2], 2 * line[1])
    # Clouds do not notice each other, nor one that lies in a plane.
    flat = points.clone()
    flat[:, 2] = 0
    both = matched(torch.stack([points, flat]), mean, factor.expand(2, -1, -1))
    assert torch.equal(both[0], moved)
    assert both[1].isnan().all()


def test_places_are_shared_by_what_rounding_alone_tells_apart():
    points = torch.randn(5, 2, dtype=torch.float64, generator=generator()) + 100
    which = torch.tensor([0, 3, 1, 3, 3, 2, 4, 0])
    place, counts = places(points[which] + 1e-13 * torch.arange(8)[:, None])
    assert torch.equal(place[:, None] == place, which[:, None] == which)
    assert sorted(counts.tolist()) == [1, 1, 1, 2, 3]
    assert places(torch.ones(4, 2, dtype=torch.float64))[1].tolist() == [4]


def test_spread_draws_have_the_moments_of_the_law(mixture):
    gaussian = Gaussian(*mixture.moments())
    for law in (mixture, gaussian):
        points = spread_draws(law, 1000, generator(5))
        mean, spread = law.moments()
        torch.testing.assert_close(points.mean(0), mean)
        torch.testing.assert_close(covariance(points), spread)
        assert torch.equal(points, spread_draws(law, 1000, generator(5)))
        assert not torch.equal(points, spread_draws(law, 1000, generator(6)))


def test_spread_draws_of_a_gaussian_are_more_even_than_independent_ones():
    # E sin(x)·x³ and E cos(2x) over N(0, 1) miss their values by a fraction of the independent draws' standard error.
    law = Gaussian(torch.zeros(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64))
    # Over twenty sets of draws: by a quarter and by a hundredth. Independent draws would be at one, give or take .08.
    for function, value in ((lambda x: x.sin() * x**3, 2 * math.exp(-0.5)), (lambda x: (2 * x).cos(), math.exp(-2))):
        sets = torch.stack([function(spread_draws(law, 4096, generator(seed))) for seed in range(20)])
        standard_error = float(sets.std()) / math.sqrt(4096)
        assert float((sets.mean(1) - value).square().mean().sqrt()) < 0.5 * standard_error


def test_batches_use_up_the_pool_and_have_its_moments():
    pool = torch.randn(100, 2, dtype=torch.float64, generator=generator(8)).exp()
    batches = Batches([pool, 3 * pool], 25, [generator(9), generator(8)])
    points = torch.empty(2, 25, 2, dtype=torch.float64)

    def drawn() -> torch.Tensor:
        batches.draw([0], points)
        return points[0].clone()

    first, second = (torch.cat([drawn() for _ in range(4)]) for _ in range(2))
    assert torch.equal(points[1], 3 * pool[:25]), "of a pool that nothing is drawn from, the batch stays"
    assert not torch.equal(first, second)
    for batch in first.split(25):
        torch.testing.assert_close(batch.mean(0), pool.mean(0))
        torch.testing.assert_close(covariance(batch), covariance(pool))
    # With one batch the size of the pool nothing has to be moved.
    whole = torch.empty(1, 100, 2, dtype=torch.float64)
    Batches([pool], 100, [generator(9)]).draw([0], whole)
    torch.testing.assert_close(whole[0].sort(0).values, pool.sort(0).values)


def test_stratified_batches_use_up_the_pool_and_are_even():
    """On the line a batch has one point from each of as many cells; in the plane halves of it meet half of the pool."""
    pool = torch.randn(256, 1, dtype=torch.float64, generator=generator(3))
    rank = pool[:, 0].argsort().argsort()
    rows = list(islice(stratified_batches(pool, 32, generator(4)), 8))
    assert torch.equal(torch.cat(rows).sort().values, torch.arange(256))
    for row in rows:
        assert torch.equal((rank[row] // 8).sort().values, torch.arange(32))
        assert not torch.equal(rank[row], rank[row].sort().values)
    plane = torch.randn(300, 2, dtype=torch.float64, generator=generator(5))
    for row in islice(stratified_batches(plane, 20, generator(6)), 15):
        below = (plane[row] < plane.median(0).values).double().mean(0)
        assert bool(((below - 0.5).abs() <= 0.15).all())
