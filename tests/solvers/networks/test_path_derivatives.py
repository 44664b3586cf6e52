"""The derivatives that path gradients need, against automatic differentiation and against the whole pullback."""

import pytest
import torch

from seeding import generator
from solvers.networks.convex_derivatives import Folded, Tape, derivatives, fold, pullback
from solvers.networks.convex_network import Architecture, Weights, potential
from solvers.networks.path_derivatives import pullback_of_gradient, slope_of_hessian

DEPTHS = (1, 2, 3, 4)


def networks(depth: int) -> tuple[Weights, torch.Tensor]:
    architecture = Architecture(3, 7, depth, 2)
    parameters = 0.5 * torch.randn(2 * architecture.size, dtype=torch.float64, generator=generator(40))
    weights = architecture.weights(parameters)
    weights.project()
    return weights, torch.randn(2, 5, 3, dtype=torch.float64, generator=generator(41))


def forward(weights: Weights, x: torch.Tensor) -> tuple[Folded, torch.Tensor, Tape]:
    folded = fold(weights)
    _, hessian, tape = derivatives(folded, x)
    return folded, hessian, tape


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_slope_of_the_log_determinant_is_that_of_automatic_differentiation(depth):
    weights, x = networks(depth)
    folded, hessian, tape = forward(weights, x)
    found = slope_of_hessian(folded, tape, torch.linalg.inv(hessian))
    points = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(potential(weights, points).sum(), points, create_graph=True)
    rows = [torch.autograd.grad(first[:, :, axis].sum(), points, create_graph=True)[0] for axis in range(3)]
    (expected,) = torch.autograd.grad(torch.linalg.slogdet(torch.stack(rows, 2)).logabsdet.sum(), points)
    assert depth == 1 or expected.abs().max() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_pullback_of_the_gradient_is_the_whole_one_without_hessians(depth):
    weights, x = networks(depth)
    folded, hessian, tape = forward(weights, x)
    bar = torch.randn(x.shape, dtype=torch.float64, generator=generator(42))
    own, whole = (folded.like(x.new_zeros(folded.size)) for _ in range(2))
    pullback_of_gradient(folded, tape, bar, own)
    pullback(folded, tape, bar, torch.zeros_like(hessian), whole)
    for found, expected in zip(own.parts(), whole.parts(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
