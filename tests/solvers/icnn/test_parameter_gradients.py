import pytest
import torch

from problems.flow import Entropy
from problems.devices import placed
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.parameter_gradients import Batch, gradients_at_once, gradients_in_blocks
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import Architecture
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
        objectives = [StepObjective(potential, Entropy(1.0), 0.1, 1.0)] * 2
        batch = Batch(architecture, weights, points.to(device), objectives, range(2))
        found.append(gradients_at_once(batch).cpu())
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-8)
