"""Training of a JKO step: its objective, its particles, its optimiser."""

import math
from functools import partial

import pytest
import torch

from problems.devices import placed
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.descent import ADAM_EPSILON, Adam, Schedule
from solvers.icnn.parameter_gradients import Batch, slopes_at_once, slopes_in_blocks
from solvers.icnn.step_objective import StepObjective, derivatives_of
from solvers.icnn.training import Trainer
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_network import Architecture
from solvers.particles.particle_pool import Batches, matched, spread_draws
from solvers.threads import workers


def covariance(points: torch.Tensor) -> torch.Tensor:
    centred = points - points.mean(0)
    return centred.T @ centred / len(points)


@pytest.fixture
def mixture() -> GaussianMixture:
    means = torch.tensor([[2.0, 0.0], [-2.0, 1.0]], dtype=torch.float64)
    spread = torch.tensor([[[1.0, 0.4], [0.4, 0.8]], [[0.5, 0.0], [0.0, 0.3]]], dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.7, 0.3], dtype=torch.float64), means, spread)


@pytest.mark.parametrize("implicitness", [1.0, 0.5])
def test_derivatives_of_the_objective_are_those_of_its_values(mixture, implicitness):
    objective = StepObjective(MixturePotential(mixture, 2.0), 2.0, 0.1, implicitness)
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator(1))
    mapped = torch.randn(6, 2, dtype=torch.float64, generator=generator(2)).requires_grad_()
    root = torch.randn(6, 2, 2, dtype=torch.float64, generator=generator(3))
    hessian = (root @ root.mT + torch.eye(2, dtype=torch.float64)).requires_grad_()
    reference = torch.autograd.grad(objective.values(x, mapped, hessian).sum(), (mapped, hessian))
    found = derivatives_of([objective], x[None], mapped.detach()[None], hessian.detach()[None])
    for derivative, expected in zip(found, reference, strict=True):
        torch.testing.assert_close(derivative[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("implicitness", [1.0, 0.5])
def test_the_identity_gains_nothing(mixture, implicitness):
    objective = StepObjective(MixturePotential(mixture), 1.0, 0.1, implicitness)
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator(1))
    gains = objective.values(x, x, torch.eye(2, dtype=torch.float64).repeat(6, 1, 1))
    torch.testing.assert_close(gains, torch.zeros_like(gains), rtol=0, atol=1e-14)


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


def test_adam_is_torchs():
    start = torch.randn(2, 7, dtype=torch.float64, generator=generator(10))
    ours, theirs = start.clone(), start.clone().requires_grad_()
    optimiser = Adam(ours, torch.ones(7, dtype=torch.float64), 20)
    reference = torch.optim.Adam([theirs], lr=0.01, betas=(0.9, 0.99), eps=ADAM_EPSILON)
    for step in range(20):
        slope = torch.randn(2, 7, dtype=torch.float64, generator=generator(11 + step))
        optimiser.step(slope, torch.full((2, 1), 0.01, dtype=torch.float64))
        theirs.grad = slope.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-10, atol=1e-12)
    # Starting again is starting anew.
    again, slope = (torch.ones(2, 7, dtype=torch.float64) for _ in range(2))
    fresh = again.clone()
    optimiser.parameters = again
    optimiser.restart()
    for each in (optimiser, Adam(fresh, torch.ones(7, dtype=torch.float64), 20)):
        each.step(slope, torch.full((2, 1), 0.01, dtype=torch.float64))
    assert torch.equal(again, fresh)


def test_the_learning_rate_ends_near_zero():
    *rates, behind = Schedule(500, 1, 0.02).rates()
    assert len(rates) == 500
    assert rates[0] == 0.02
    assert rates[-1] == pytest.approx(2e-5)
    assert behind == 0
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_networks_are_convex_after_every_iteration(mixture, depth):
    architecture = Architecture(2, 12, depth, 2)
    parameters = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(20)).parts()])
    weights = architecture.weights(parameters)
    pool = spread_draws(Gaussian(*mixture.moments()), 512, generator(21))
    objective = StepObjective(MixturePotential(mixture), 1.0, 0.2, 1.0)
    probes = 10 * torch.randn(1, 64, 2, dtype=torch.float64, generator=generator(22))
    clipped = 0
    with torch.no_grad(), workers() as run:
        for _ in range(60):
            slopes = partial(slopes_in_blocks, run)
            trainer = Trainer(architecture, parameters, Schedule(1, 256, 0.2), slopes)
            trainer.train([pool], lambda _: objective, [generator(23)], lambda _: 0.0, [0])
            clipped += sum(int((part == 0).sum()) for part in (weights.output, *weights.couplings))
            assert all(float(part.min()) >= 0 for part in (weights.output, *weights.couplings))
            _, hessian, _ = derivatives(fold(weights), probes)
            assert float(torch.linalg.eigvalsh(hessian).min()) > 9e-4
    assert clipped > 0, "the constraint must have been active for this to say anything"


def test_shrinkage_takes_away_output_weights_that_nothing_holds_and_nothing_else(mixture):
    architecture, objective = Architecture(2, 6, 2, 2), StepObjective(MixturePotential(mixture), 1.0, 0.1, 1.0)
    pool = spread_draws(Gaussian(*mixture.moments()), 64, generator(21))

    def flat(batch: Batch) -> torch.Tensor:
        return torch.zeros(1, batch.architecture.size, dtype=torch.float64)

    for shrinkage, left in ((0.0, 0.05), (1e-3, 0.0)):
        parameters = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(20)).parts()])
        weights = architecture.weights(parameters)
        weights.output.fill_(0.05)
        before = [part.clone() for part in weights.parts()]
        schedule = Schedule(100, 64, 0.02, shrinkage=shrinkage)
        trainer = Trainer(architecture, parameters, schedule, flat)
        trainer.train([pool], lambda _: objective, [generator(23)], lambda _: 0.0, [0])
        torch.testing.assert_close(weights.output, torch.full_like(weights.output, left))
        others = [place for place, part in enumerate(weights.parts()) if part is not weights.output]
        assert all(torch.equal(before[place], weights.parts()[place]) for place in others)


def test_all_networks_at_once_have_the_derivatives_of_blocks(mixture):
    architecture, count = Architecture(2, 6, 3, 2), 3
    parameters = 0.5 * torch.randn(count * architecture.size, dtype=torch.float64, generator=generator(30))
    weights = architecture.weights(parameters)
    weights.project()
    objectives = [StepObjective(MixturePotential(mixture, beta), beta, 0.1, 0.5) for beta in (0.5, 1.0, 2.0)]
    points = torch.randn(count, 700, 2, dtype=torch.float64, generator=generator(31))
    batch = Batch(architecture, weights, points, objectives, range(count))
    at_once = slopes_at_once(batch)
    with workers() as run:
        in_blocks = slopes_in_blocks(run, batch)
    torch.testing.assert_close(at_once, in_blocks, rtol=1e-10, atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_derivatives_on_a_gpu_are_those_on_the_cpu(mixture):
    architecture = Architecture(2, 32, 3, 2)
    parameters = 0.5 * torch.randn(2 * architecture.size, dtype=torch.float64, generator=generator(30))
    architecture.weights(parameters).project()
    points = torch.randn(2, 700, 2, dtype=torch.float64, generator=generator(31))
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        potential = placed(MixturePotential(mixture), device, torch.float64)
        weights = architecture.weights(parameters.to(device))
        objectives = [StepObjective(potential, 1.0, 0.1, 1.0)] * 2
        batch = Batch(architecture, weights, points.to(device), objectives, range(2))
        found.append(slopes_at_once(batch).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-8)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("networks", [1, 3])
def test_iterations_replayed_on_a_gpu_are_those_worked_on_one_by_one(mixture, networks):
    architecture, device = Architecture(2, 32, 3, 2), torch.device("cuda")
    start = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(20)).parts()]).float()
    potential = placed(MixturePotential(mixture), device, torch.float32)
    pool = spread_draws(Gaussian(*mixture.moments()), 2048, generator(21)).to(device, torch.float32)
    found = []
    for recorded in (False, True):
        parameters = start.repeat(networks).to(device)
        trainer = Trainer(architecture, parameters, Schedule(100, 256, 0.02), slopes_at_once, recorded)
        # Two steps, of different lengths: the second has to be recorded anew.
        for step_size in (0.1, 0.2):
            objective = StepObjective(potential, 1.0, step_size, 1.0)
            runs = trainer.train(
                [pool] * networks,
                partial(lambda objective, _: objective, objective),
                [generator(30 + network) for network in range(networks)],
                lambda _: 0.0,
                range(networks),
            )
            assert all(run.failure is None and run.iterations == 100 for run in runs)
        found.append(parameters.cpu())
    assert float((found[0] - start.repeat(networks)).abs().max()) > 1e-2
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)
