import pytest
import torch

from seeding import generator
from solvers.preconditioning.learnt import refined


def curvature(dim, condition, seed=1):
    """A Hessian (D, D) with eigenvalues from 1/√condition to √condition in random directions."""
    basis, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator(seed), dtype=torch.float64))
    return (basis * condition ** torch.linspace(-0.5, 0.5, dim, dtype=torch.float64)) @ basis.T


def cube(n, dim, seed=2):
    return torch.rand(n, dim, generator=generator(seed), dtype=torch.float64) + 5


def remaining_condition(factor, hessian):
    rates = torch.linalg.eigvalsh(factor.T @ hessian @ factor)
    return float(rates[-1] / rates[0])


@pytest.mark.parametrize(("n", "dim"), [(2, 6), (50, 6), (50, 1)])
def test_inverse_curvature_is_kept_whatever_the_points(n, dim):
    """ΣGΣ = C at Σ = H⁻¹ for any points of a quadratic V, fewer than dimensions too, and with both shrunk."""
    hessian, points = curvature(dim, 1e4), cube(n, dim)
    root = torch.linalg.cholesky(hessian)
    factor = root.T @ refined(torch.linalg.cholesky(hessian.inverse()), points, points @ hessian)
    # In the units of the curvature, where every direction has its own digits. Rounding grows with the condition and
    # with the shrinkage's inverse: 1e-10 in the median over 900 instances, 1e-8 at most.
    torch.testing.assert_close(factor @ factor.T, torch.eye(dim, dtype=torch.float64), rtol=0, atol=1e-7)


@pytest.mark.parametrize(("n", "looks"), [(20, 8), (2000, 4)])
def test_inverse_curvature_is_found_from_points_that_tell_nothing_of_it(n, looks):
    """In a cube C says that all directions are alike; few looks at the gradients there mend a condition of 1e10."""
    hessian, factor = curvature(10, 1e10), torch.eye(10, dtype=torch.float64)
    for look in range(looks):
        points = cube(n, 10, seed=look) @ factor.T
        factor = refined(factor, points, points @ hessian)
    assert remaining_condition(factor, hessian) < 1.01


def test_units_do_not_matter():
    """In units of x and of V other by s and t, Σ is s²/t times as large, and otherwise the same."""
    hessian, points = curvature(5, 100.0), cube(30, 5)
    eye = torch.eye(5, dtype=torch.float64)
    factor = refined(eye, points, points @ hessian)
    other = refined(eye, 1e-3 * points, 1e4 * points @ hessian)
    torch.testing.assert_close(other @ other.T, 1e-7 * factor @ factor.T, rtol=1e-10, atol=0.0)


def test_flat_potential_and_equal_points_leave_a_metric():
    points = cube(20, 3)
    for places, gradients in ((points, torch.zeros_like(points)), (torch.ones_like(points), torch.ones_like(points))):
        factor = refined(torch.eye(3, dtype=torch.float64), places, gradients)
        assert float(torch.linalg.eigvalsh(factor @ factor.T)[0]) > 0
