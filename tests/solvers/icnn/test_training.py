"""Training of a JKO step: its objective, its particles, its optimiser."""

from functools import partial

import pytest
import torch

from problems.devices import to_device
from problems.flow import Entropy
from problems.laws import Gaussian
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.descent import Schedule
from solvers.icnn.parameter_gradients import Batch, gradients_at_once, gradients_in_blocks
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.training import Trainer
from solvers.networks.convex_derivatives import derivatives, fold
from solvers.networks.convex_network import Architecture
from solvers.particles.particle_pool import spread_draws
from solvers.threads import workers


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_networks_are_convex_after_every_iteration(mixture, depth):
    architecture = Architecture(2, 12, depth, 2)
    parameters = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(20)).parts()])
    weights = architecture.weights(parameters)
    pool = spread_draws(Gaussian(*mixture.moments()), 512, generator(21))
    objective = StepObjective(MixturePotential(mixture), Entropy(1.0), 0.2, 1.0)
    probes = 10 * torch.randn(1, 64, 2, dtype=torch.float64, generator=generator(22))
    clipped = 0
    with torch.no_grad(), workers() as run:
        for _ in range(60):
            slopes = partial(gradients_in_blocks, run)
            trainer = Trainer(architecture, parameters, Schedule(1, 256, 0.2), slopes)
            trainer.train([pool], lambda _: objective, [generator(23)], lambda _: torch.zeros(2), [0])
            clipped += sum(int((part == 0).sum()) for part in (weights.output, *weights.couplings))
            assert all(float(part.min()) >= 0 for part in (weights.output, *weights.couplings))
            _, hessian, _ = derivatives(fold(weights), probes)
            assert float(torch.linalg.eigvalsh(hessian).min()) > 9e-4
    assert clipped > 0, "the constraint must have been active for this to say anything"


@pytest.mark.parametrize("scored", [True, False])
def test_a_law_at_rest_is_left_alone_by_scores_whatever_batches_are_drawn(mixture, scored):
    architecture, objective = (
        Architecture(2, 12, 2, 2),
        StepObjective(MixturePotential(mixture), Entropy(1.0), 0.2, 1.0),
    )
    identity = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(24)).parts()])
    parameters, pool = identity.clone(), mixture.sample(512, generator(25))
    with torch.no_grad(), workers() as run:
        trainer = Trainer(
            architecture, parameters, Schedule(20, 64, 0.02), partial(gradients_in_blocks, run), scored=scored
        )
        scores = [mixture.score(pool)] if scored else None
        trainer.train([pool], lambda _: objective, [generator(26)], lambda _: torch.zeros(2), [0], scores=scores)
    moved = float((parameters - identity).abs().max())
    # By Jacobians every batch has noise, which is learnt.
    assert moved < 1e-12 if scored else moved > 1e-3


def test_shrinkage_takes_away_output_weights_that_nothing_holds_and_nothing_else(mixture):
    architecture, objective = Architecture(2, 6, 2, 2), StepObjective(MixturePotential(mixture), Entropy(1.0), 0.1, 1.0)
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
        trainer.train([pool], lambda _: objective, [generator(23)], lambda _: torch.zeros(2), [0])
        torch.testing.assert_close(weights.output, torch.full_like(weights.output, left))
        others = [place for place, part in enumerate(weights.parts()) if part is not weights.output]
        assert all(torch.equal(before[place], weights.parts()[place]) for place in others)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("networks", [1, 3])
def test_iterations_replayed_on_a_gpu_are_those_worked_on_one_by_one(mixture, networks):
    architecture, device = Architecture(2, 32, 3, 2), torch.device("cuda")
    start = torch.cat([part.flatten() for part in architecture.identity(2.0, generator(20)).parts()]).float()
    potential = to_device(MixturePotential(mixture), device, torch.float32)
    pool = spread_draws(Gaussian(*mixture.moments()), 2048, generator(21)).to(device, torch.float32)
    found = []
    for recorded in (False, True):
        parameters = start.repeat(networks).to(device)
        trainer = Trainer(architecture, parameters, Schedule(100, 256, 0.02), gradients_at_once, recorded)
        # Two steps, of different lengths: the second has to be recorded anew.
        for step_size in (0.1, 0.2):
            objective = StepObjective(potential, Entropy(1.0), step_size, 1.0)
            runs = trainer.train(
                [pool] * networks,
                partial(lambda objective, _: objective, objective),
                [generator(30 + network) for network in range(networks)],
                lambda _: torch.zeros(2),
                range(networks),
            )
            assert all(run.failure is None and run.iterations == 100 for run in runs)
        found.append(parameters.cpu())
    assert float((found[0] - start.repeat(networks)).abs().max()) > 1e-2
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-3)
