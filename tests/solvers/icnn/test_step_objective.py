import pytest
import torch

from problems.flow import Entropy
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.step_objective import StepObjective, derivatives_of


@pytest.mark.parametrize("implicitness", [1.0, 0.5])
def test_derivatives_of_the_objective_are_those_of_its_values(mixture, implicitness):
    objective = StepObjective(MixturePotential(mixture, 2.0), Entropy(2.0), 0.1, implicitness)
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
    objective = StepObjective(MixturePotential(mixture), Entropy(1.0), 0.1, implicitness)
    x = torch.randn(6, 2, dtype=torch.float64, generator=generator(1))
    gains = objective.values(x, x, torch.eye(2, dtype=torch.float64).repeat(6, 1, 1))
    torch.testing.assert_close(gains, torch.zeros_like(gains), rtol=0, atol=1e-14)
