"""The kernel Stein discrepancy, against its definition and on exact draws."""

import math

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions
from seeding import generator
from solvers.samplers.stein import TILE_ELEMENTS, kernel_stein_discrepancy


def normals(n, dim, seed=0):
    return torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


def one_by_one(function, items):
    return [function(item) for item in items]


def defined_discrepancy(x, score):
    """KSD² by its definition, pair by pair, derivatives of the kernel by automatic differentiation."""
    total = 0.0
    for a in x:
        for b in x:
            first, second = a.clone().requires_grad_(), b.clone().requires_grad_()
            value = (1 + ((first - second) ** 2).sum()) ** -0.5
            by_first, by_second = torch.autograd.grad(value, (first, second), create_graph=True)
            mixed = sum(torch.autograd.grad(by_first[i], second, retain_graph=True)[0][i] for i in range(len(a)))
            total += float((score(a) @ score(b) * value + score(a) @ by_second + score(b) @ by_first + mixed).detach())
    return total / len(x) ** 2


def test_discrepancy_is_the_definition():
    x = normals(6, 3) + 2
    ksd, _ = kernel_stein_discrepancy(x, -x, one_by_one)
    assert ksd**2 == pytest.approx(defined_discrepancy(x, lambda point: -point), rel=1e-12)


@repetitions(200, 10_000)
def test_discrepancy_of_exact_draws_and_of_others(repetitions):
    """Over sets of 50 draws the mean of KSD² is within its standard errors of what is stated for exact draws.

    The same draws moved by half a deviation stand 10 standard errors away.
    """
    seen, stated, moved = [], [], []
    for seed in range(repetitions):
        x = normals(50, 3, seed)
        ksd, of_exact_draws = kernel_stein_discrepancy(x, -x, one_by_one)
        seen.append(ksd**2)
        stated.append(of_exact_draws**2)
        moved.append(kernel_stein_discrepancy(x + 0.5, -x - 0.5, one_by_one)[0] ** 2)
    difference = np.array(seen) - np.array(stated)
    error = difference.std() / math.sqrt(len(seen))
    assert abs(difference.mean()) < mean_error(difference)
    assert np.mean(moved) - np.mean(stated) > 10 * error


def test_discrepancy_in_tiles():
    x = normals(1200, 2)
    ksd, _ = kernel_stein_discrepancy(x, -x, one_by_one)
    squared = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    u = 1 + squared
    terms = (x @ x.T) / u.sqrt() + (2 - squared) * u**-1.5 - 3 * squared * u**-2.5
    assert x.shape[0] ** 2 > TILE_ELEMENTS["cpu"]
    assert ksd == pytest.approx(math.sqrt(float(terms.mean())), rel=1e-9)
