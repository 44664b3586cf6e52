import pytest
import torch

from instances import ornstein_uhlenbeck
from seeding import generator
from solvers.gaussian.exact_step import jko_moments


def root(matrix):
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T


def functional(mean, covariance, before, potential, step_size, inverse_temperature):
    """W₂²/2h + F of N(mean, covariance), up to a constant, from the Bures formula."""
    half = root(before.covariance)
    cross = torch.trace(root(half @ covariance @ half))
    shift = mean - before.mean
    distance = shift @ shift + torch.trace(before.covariance) + torch.trace(covariance) - 2 * cross
    offset = mean - potential.centre
    energy = 0.5 * offset @ potential.precision @ offset + 0.5 * torch.trace(potential.precision @ covariance)
    return float(distance / (2 * step_size) + energy - 0.5 * torch.logdet(covariance) / inverse_temperature)


@pytest.mark.parametrize("step_size", [0.05, 1.0])
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_a_step_minimises_the_jko_functional(dim, step_size):
    """Stationary in random directions to the error of central differences, and smaller than everything near."""
    problem = ornstein_uhlenbeck(dim)
    before, potential = problem.flow.initial, problem.flow.potential
    if dim > 1:
        commutator = before.covariance @ potential.precision - potential.precision @ before.covariance
        assert float(commutator.norm()) > 0.01
    [(mean, covariance)] = jko_moments(before, potential, 0.7, step_size, [1])

    def along(direction, tangent, size):
        moved_covariance = covariance + size * 0.5 * (tangent + tangent.T)
        return functional(mean + size * direction, moved_covariance, before, potential, step_size, 0.7)

    stream = generator(1)
    for _ in range(10):
        direction = torch.randn(dim, generator=stream, dtype=torch.float64)
        tangent = torch.randn(dim, dim, generator=stream, dtype=torch.float64)
        size = 1e-4 * float(torch.linalg.eigvalsh(covariance)[0])
        centre, forth, back = (along(direction, tangent, s) for s in (0.0, size, -size))
        curvature = (forth - 2 * centre + back) / size**2
        assert curvature > 0
        # how far the minimum along this line lies from the step, in units of the covariance
        assert abs(forth - back) / (2 * size) / curvature < 1e-6
        for far in (0.1, -0.1):
            assert along(direction, tangent, far * float(torch.linalg.eigvalsh(covariance)[0])) > centre
