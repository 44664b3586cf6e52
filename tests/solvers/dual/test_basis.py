import numpy as np
import pytest
import torch

from seeding import generator
from solvers.dual.basis import Factored, GaussianKernels, Layout, Polynomials, one_dimensional, polynomial_count


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize(("family", "rule"), [("legendre", "leggauss"), ("hermite", "hermegauss")])
def test_polynomials_are_orthonormal_and_span_the_monomials(family, rule):
    module = np.polynomial.legendre if family == "legendre" else np.polynomial.hermite_e
    nodes, weights = (torch.from_numpy(each) for each in getattr(module, rule)(8))
    grid = torch.cartesian_prod(nodes, nodes)
    products = torch.cartesian_prod(weights, weights).prod(1)
    # u = W (x - c) takes the law of x to the standard one.
    whitening, centre = torch.tensor([[2.0, 0.0], [0.7, 0.4]]).double(), torch.tensor([1.0, -2.0]).double()
    x = centre + torch.linalg.solve(whitening, grid.T).T
    values = Polynomials(centre, whitening, family, 3)(x).values().T
    assert values.shape == (64, 10) == (64, polynomial_count(2, 3))
    gram = values.T @ (values * (products / products.sum())[:, None])
    torch.testing.assert_close(gram, torch.eye(10).double(), rtol=0, atol=1e-12)
    cubic = x[:, 0] ** 2 * x[:, 1] - 3 * x[:, 1] ** 3 + x[:, 0]
    assert float((values @ torch.linalg.lstsq(values, cubic[:, None]).solution - cubic[:, None]).abs().max()) < 1e-9


def test_powers_are_the_monomials_in_any_dimension():
    x = normals(7, 4)
    values = Polynomials(torch.zeros(4).double(), torch.eye(4).double(), "power", 3, 1e-4)(x).values().T
    assert values.shape == (7, 35)
    torch.testing.assert_close(values[:, 0], torch.full((7,), 1e-4).double())
    for monomial in (x[:, 2], x[:, 0] * x[:, 3], x[:, 1] ** 3, x[:, 0] * x[:, 2] * x[:, 3], x[:, 0] ** 2 * x[:, 1]):
        assert float((values - 1e-4 * monomial[:, None]).abs().amax(0).min()) < 1e-15


def test_kernels_are_orthonormal_over_their_sample_and_span_themselves():
    x = 2 * normals(2000, 1)
    basis = GaussianKernels.orthonormal(x, 50, 0.3)
    values = basis(x).values().T
    assert values.shape == (2000, basis.size)
    assert 10 < basis.size < 51
    gram = values[:, 1:].T @ values[:, 1:] / 2000
    torch.testing.assert_close(gram, torch.eye(basis.size - 1).double(), rtol=0, atol=1e-5)
    kernel = torch.exp(-((x - x[7]) ** 2) / 0.6)
    rest = values @ torch.linalg.lstsq(values, kernel).solution - kernel
    assert float(rest.abs().max()) < 1e-3


@pytest.mark.parametrize(("dim", "degree"), [(1, 3), (4, 1), (3, 2), (5, 3), (2, 4)])
def test_factored_polynomials_are_the_multiplied_ones(dim, degree):
    """Combinations, sums and chosen points of a table that keeps factors are those of all values."""
    x, count = normals(50, dim), polynomial_count(dim, degree)
    table = Factored.of(Layout(dim, degree), torch.stack(one_dimensional(x.T, "hermite", degree)), 0.5)
    values = table.values()
    assert (table.size, table.points) == values.shape == (count, 50)
    coefficients, weights = normals(count, seed=1), normals(50, seed=2)
    torch.testing.assert_close(table.combined(coefficients), coefficients @ values, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(table.sums(weights), values @ weights, rtol=1e-12, atol=1e-12)
    chosen = torch.tensor([3, 7, 44])
    torch.testing.assert_close(table.at(chosen).values(), values[:, chosen])


def test_many_polynomials_are_not_multiplied_out():
    x = normals(4, 12)
    cubic = Polynomials(torch.zeros(12).double(), torch.eye(12).double(), "legendre", 3)
    table = cubic(x)
    assert isinstance(table, Factored)
    assert cubic.entries == 127
    values = torch.cat(one_dimensional(x.T, "legendre", 3))
    for row in values:
        assert float((table.values() - row).abs().amax(1).min()) < 1e-12
