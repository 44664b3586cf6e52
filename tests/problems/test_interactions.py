"""Interactions: derivatives against automatic ones, and sums over pairs against the sums written out."""

from __future__ import annotations

import math

import pytest
import torch

from problems.interactions import (
    GaussianAttraction,
    Interaction,
    LogarithmicInteraction,
    QuadraticInteraction,
    QuarticInteraction,
)
from problems.potentials import Potential
from seeding import generator

KINDS = [
    QuadraticInteraction(2, 0.7),
    QuarticInteraction(2),
    QuarticInteraction(2, 0.3, 1.5),
    LogarithmicInteraction(2),
    LogarithmicInteraction(2, -0.4, 0.0),
    GaussianAttraction(2),
    GaussianAttraction(2, 2.0, 0.6),
]
kinds = pytest.mark.parametrize("kind", KINDS, ids=repr)


def cloud(n, seed=1):
    return 2 + torch.randn(n, 2, generator=generator(seed), dtype=torch.float64)


def shares(n):
    weights = torch.rand(n, generator=generator(3), dtype=torch.float64) + 0.1
    return weights / weights.sum()


@kinds
def test_derivatives(kind):
    z = cloud(20)
    torch.testing.assert_close(kind.gradient(z), Potential.gradient(kind, z))
    torch.testing.assert_close(kind.hessian(z), Potential.hessian(kind, z))


@kinds
@pytest.mark.parametrize("weighted", [False, True])
def test_sums_over_pairs_are_the_sums_written_out(kind, weighted, monkeypatch):
    monkeypatch.setattr("problems.interactions.PAIRS", 40)  # several blocks
    x, y = cloud(7), cloud(11, 2)
    weights = shares(11) if weighted else None
    w = weights if weighted else torch.full((11,), 1 / 11, dtype=torch.float64)
    values = torch.stack([sum(w[j] * kind.value((a - y[j])[None])[0] for j in range(11)) for a in x])
    slopes = torch.stack([sum(w[j] * kind.gradient((a - y[j])[None])[0] for j in range(11)) for a in x])
    torch.testing.assert_close(kind.mean_value(x, y, weights), values)
    torch.testing.assert_close(kind.mean_gradient(x, y, weights), slopes)
    others = [[j for j in range(11) if j != i] for i in range(11)]
    own = [sum(w[j] * kind.value((y[i] - y[j])[None])[0] for j in others[i]) / (1 - w[i]) for i in range(11)]
    torch.testing.assert_close(kind.mean_value(y, y, weights, own=True), torch.stack(own))
    force = [sum(w[j] * kind.gradient((y[i] - y[j])[None])[0] for j in others[i]) for i in range(11)]
    torch.testing.assert_close(kind.mean_gradient(y, y, weights), torch.stack(force))


@kinds
def test_forces_between_particles_add_up_to_none(kind):
    y, w = cloud(50), shares(50)
    assert float((w @ kind.mean_gradient(y, y, w)).abs().max()) < 1e-12


@kinds
def test_gradient_of_the_value_of_draws_is_finite_where_they_leave_themselves_out(kind):
    y = cloud(9).requires_grad_()
    (slope,) = torch.autograd.grad(kind.mean_value(y, y, own=True).mean(), y)
    torch.testing.assert_close(slope, 2 * kind.mean_gradient(y, y).detach() / 8)


@pytest.mark.parametrize("kind", [QuadraticInteraction(2, 0.7), QuarticInteraction(2)], ids=repr)
def test_moments_keep_their_digits_far_from_the_origin(kind):
    x, y = cloud(7), cloud(11, 2)
    far = torch.tensor([1e6, -1e6], dtype=torch.float64)
    there, here = kind.mean_gradient(x + far, y + far), kind.mean_gradient(x, y)
    torch.testing.assert_close(there, here, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(
        kind.mean_value(x + far, y + far), Interaction.mean_value(kind, x, y), rtol=1e-7, atol=1e-7
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: QuarticInteraction(0), "size"),
        (lambda: QuarticInteraction(2, math.nan), "quartic must be finite"),
        (lambda: QuarticInteraction(2, -1.0), "at least 0"),
        (lambda: QuarticInteraction(2, 1.0, math.inf), "quadratic must be finite"),
        (lambda: LogarithmicInteraction(2, 0.0), "not 0"),
        (lambda: LogarithmicInteraction(2, 1.0, -1.0), "at least 0"),
        (lambda: GaussianAttraction(2, -1.0), "strength"),
        (lambda: GaussianAttraction(2, 1.0, 0.0), "width"),
    ],
)
def test_settings_out_of_range(make, words):
    with pytest.raises(ValueError, match=words):
        make()
