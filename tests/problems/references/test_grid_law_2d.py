"""Laws given by a log-density on a grid in the plane: what is evaluated is what is drawn."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM
from problems.laws import Gaussian
from problems.references.grid_law_2d import GridLaw2D
from seeding import fixed_generator, generator


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


GAUSSIAN = Gaussian(tensor([0.5, -1.0]), tensor([[1.0, 0.6], [0.6, 1.5]]))


def on_grid(law, nodes: int, reach: float = 10.0) -> GridLaw2D:
    # Unevenly spaced, and not normalised.
    x, y = (tensor(np.sinh(np.linspace(-1, 1, nodes)) / np.sinh(1) * reach + shift) for shift in (0.3, -0.8))
    points = torch.cartesian_prod(x, y)
    return GridLaw2D(x, y, law.log_prob(points).reshape(nodes, nodes) + 3.0)


def rough() -> GridLaw2D:
    """A law whose density changes by factors from node to node."""
    nodes = torch.linspace(-1, 1, 8, dtype=torch.float64)
    return GridLaw2D(nodes, 2 * nodes, 0.5 * torch.randn(8, 8, generator=fixed_generator(4), dtype=torch.float64))


def test_quadratic_log_density_is_exact():
    law = on_grid(GAUSSIAN, 61)
    x = GAUSSIAN.sample(2000, generator())
    torch.testing.assert_close(law.log_prob(x), GAUSSIAN.log_prob(x), rtol=0, atol=3e-8)
    for ours, exact in zip(law.moments(), GAUSSIAN.moments(), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-7, atol=1e-7)


def test_interpolation_is_of_sixth_order():
    class Heavy:
        def log_prob(self, x):
            return -2 * (1 + (x * x).sum(1)).log() - 0.05 * (x * x).sum(1).square().sqrt()

    x = torch.rand(500, 2, generator=generator(), dtype=torch.float64) * 4 - 2
    errors = []
    for nodes in (41, 81):
        law, exact = on_grid(Heavy(), nodes), Heavy().log_prob(x)
        difference = law.log_prob(x) - exact
        errors.append(float((difference - difference.mean()).abs().max()))
    assert math.log2(errors[0] / errors[1]) > 5.3


def test_draws_of_a_gaussian():
    """Kolmogorov-Smirnov on both whitened coordinates and the radius."""
    draws = on_grid(GAUSSIAN, 61).sample(20_000, generator(1))
    white = torch.linalg.solve_triangular(GAUSSIAN.cholesky, (draws - GAUSSIAN.mean).T, upper=False)
    for values, law in ((white[0], stats.norm()), (white[1], stats.norm()), ((white**2).sum(0), stats.chi2(2))):
        assert stats.kstest(values.numpy(), law.cdf).pvalue > FALSE_ALARM / 3


def test_draws_follow_the_density_that_is_evaluated():
    """χ² of 40,000 draws on 12 × 12 boxes against the integral of ``log_prob`` on a fine midpoint grid."""
    law = rough()
    draws = law.sample(40_000, generator(2)).numpy()
    fine = 12 * 20
    x, y = ((np.arange(fine) + 0.5) / fine * width - width / 2 for width in (2, 4))
    points = tensor(np.stack(np.meshgrid(x, y, indexing="ij"), -1).reshape(-1, 2))
    density = law.log_prob(points).exp().numpy().reshape(12, 20, 12, 20).sum((1, 3)) * (2 / fine) * (4 / fine)
    assert density.sum() == pytest.approx(1, abs=2e-4)
    counts, _, _ = np.histogram2d(*draws.T, bins=12, range=((-1, 1), (-2, 2)))
    expected = density.ravel() * len(draws) / density.sum()
    assert expected.min() > 5
    assert stats.chisquare(counts.ravel(), expected).pvalue > FALSE_ALARM


def test_expectations_by_quadrature():
    points, masses = on_grid(GAUSSIAN, 61).quadrature()
    assert float(masses.sum()) == pytest.approx(1, abs=1e-12)
    wave = float((masses * torch.cos(points @ tensor([1.0, 2.0]))).sum())
    # E cos(a·X) of a Gaussian.
    direction = tensor([1.0, 2.0])
    exact = math.exp(-0.5 * float(direction @ GAUSSIAN.covariance @ direction)) * math.cos(
        float(direction @ GAUSSIAN.mean)
    )
    assert wave == pytest.approx(exact, abs=1e-7)


def test_outside_and_not_a_number():
    law = rough()
    found = law.log_prob(tensor([[0.0, 0.0], [1.1, 0.0], [0.0, -2.1], [math.nan, 0.0], [1.0, 2.0]]))
    assert torch.isfinite(found[[0, 4]]).all()
    assert torch.equal(found[1:3], tensor([-math.inf, -math.inf]))
    assert math.isnan(found[3])


def test_the_number_of_threads_changes_nothing(on_threads):
    def answers():
        law = on_grid(GAUSSIAN, 61)
        draws = law.sample(500, generator(3))
        return draws, law.log_prob(draws), *law.moments()

    assert all(map(torch.equal, *on_threads(answers, (1, 2))))
    assert on_grid(GAUSSIAN, 61).sample(0, generator()).shape == (0, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.linspace(1, 0, 8, dtype=torch.float64)}, "x must hold at least 6 increasing nodes"),
        ({"y": torch.linspace(0, 1, 5, dtype=torch.float64)}, "y must hold at least 6 increasing nodes"),
        ({"log_density": torch.zeros(8, 7, dtype=torch.float64)}, r"must be float64 of shape \(8, 8\)"),
        ({"log_density": torch.zeros(8, 8)}, "got torch.float32"),
        ({"log_density": torch.full((8, 8), -math.inf, dtype=torch.float64)}, "64 value"),
    ],
)
def test_bad_grids_are_refused(change, message):
    law = rough()
    with pytest.raises(ValueError, match=message):
        GridLaw2D(**{"x": law.x, "y": law.y, "log_density": law.log_density} | change)
