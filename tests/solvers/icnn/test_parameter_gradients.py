from dataclasses import replace

import pytest
import torch

from problems.devices import to_device
from problems.flow import Entropy, PowerEntropy
from problems.interactions import GaussianAttraction, LogarithmicInteraction, QuarticInteraction
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.parameter_gradients import Batch, gradients_at_once, gradients_in_blocks
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import Architecture
from solvers.networks.convex_network import potential as network_potential
from solvers.threads import workers


def test_all_networks_at_once_have_the_derivatives_of_blocks(mixture):
    architecture, count = Architecture(2, 6, 3, 2), 3
    parameters = 0.5 * torch.randn(count * architecture.size, dtype=torch.float64, generator=generator(30))
    weights = architecture.weights(parameters)
    weights.project()
    objectives = [StepObjective(MixturePotential(mixture, beta), Entropy(beta), 0.1, 0.5) for beta in (0.5, 1.0, 2.0)]
    points = torch.randn(count, 700, 2, dtype=torch.float64, generator=generator(31))
    batch = Batch(architecture, weights, points, objectives, range(count))
    at_once = gradients_at_once(batch)
    with workers() as run:
        in_blocks = gradients_in_blocks(run, batch)
    torch.testing.assert_close(at_once, in_blocks, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize("fitted", [False, True])
def test_networks_of_any_energies_at_once_have_the_derivatives_of_blocks_and_of_automatic_differentiation(
    mixture, fitted
):
    architecture, potential = Architecture(2, 6, 3, 2), MixturePotential(mixture)
    energies = [
        (PowerEntropy(2.0, 0.2), LogarithmicInteraction(2)),
        (Entropy(2.0), QuarticInteraction(2)),
        (None, GaussianAttraction(2)),
        (PowerEntropy(0.7), None),
    ]
    curvature = torch.tensor([[3.0, 1.0], [1.0, -2.0]], dtype=torch.float64)
    weight = FittedWeight.of(curvature, 0.1, torch.device("cpu")) if fitted else None
    objectives = [
        StepObjective(potential, internal, 0.1, 1.0 if fitted else 0.5, interaction, weight)
        for internal, interaction in energies
    ]
    parameters = 0.5 * torch.randn(len(energies) * architecture.size, dtype=torch.float64, generator=generator(30))
    weights = architecture.weights(parameters)
    weights.project()
    points = torch.randn(len(energies), 700, 2, dtype=torch.float64, generator=generator(31))
    density = torch.randn(len(energies), 700, dtype=torch.float64, generator=generator(32))
    batch = Batch(architecture, weights, points, objectives, range(len(energies)), density)
    at_once = gradients_at_once(batch)
    with workers() as run:
        in_blocks = gradients_in_blocks(run, batch)
        alone = [gradients_in_blocks(run, replace(batch, active=[network])) for network in range(len(energies))]
    torch.testing.assert_close(at_once, in_blocks, rtol=1e-10, atol=1e-9)
    for network, found in enumerate(alone):
        assert torch.equal(found[network], in_blocks[network])

    def objective(flat: torch.Tensor, network: int) -> torch.Tensor:
        own, x = objectives[network], points[network].clone().requires_grad_()
        value = network_potential(architecture.weights(flat), x[None]).sum()
        (mapped,) = torch.autograd.grad(value, x, create_graph=True)
        rows = [torch.autograd.grad(mapped[:, axis].sum(), x, create_graph=True)[0] for axis in range(2)]
        plain, interaction = replace(own, interaction=None), own.interaction
        total = plain.values(x.detach(), mapped, torch.stack(rows, 1), density[network]).sum()
        if interaction is not None:
            place = own.intermediate_places(x.detach(), mapped)
            first, second = (place, place) if network == 1 else (place[:350], place[350:])
            pairs = interaction.value((first[:, None] - second).reshape(-1, 2)).sum()
            count = 700 * 699 if network == 1 else 350 * 350
            total = total + 0.5 * 700 * pairs / count / own.implicitness
        return total

    for network in range(len(energies)):
        flat = parameters.view(len(energies), -1)[network].clone().requires_grad_()
        (expected,) = torch.autograd.grad(objective(flat, network), flat)
        torch.testing.assert_close(at_once[network], expected, rtol=1e-8, atol=1e-7)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_derivatives_on_a_gpu_are_those_on_the_cpu(mixture):
    architecture = Architecture(2, 32, 3, 2)
    parameters = 0.5 * torch.randn(2 * architecture.size, dtype=torch.float64, generator=generator(30))
    architecture.weights(parameters).project()
    points = torch.randn(2, 700, 2, dtype=torch.float64, generator=generator(31))
    found = []
    for device in (torch.device("cpu"), torch.device("cuda")):
        potential = to_device(MixturePotential(mixture), device, torch.float64)
        weights = architecture.weights(parameters.to(device))
        objectives = [StepObjective(potential, Entropy(1.0), 0.1, 1.0)] * 2
        batch = Batch(architecture, weights, points.to(device), objectives, range(2))
        found.append(gradients_at_once(batch).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-8)
