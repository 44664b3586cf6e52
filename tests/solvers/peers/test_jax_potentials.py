"""Potentials written in JAX are ours: values, gradients and log-densities in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from problems.double_well import DoubleWell
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.logistic_regression import LogisticRegression
from problems.nonlinear_filtering import NonlinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import MixturePotential, Quadratic
from problems.problem import Problem
from seeding import generator
from solvers.peers.jax_potentials import VALUES, log_density, parameters_of, unwritten
from solvers.peers.jax_runs import in_double_precision


def mixture_problem(mixture):
    dim = mixture.dim
    initial = Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(MixturePotential(mixture, 2.0), Entropy(2.0)), (1.0,))
    return Problem(flow, (), None, "not asked for")


def problem_of(kind, mixture):
    if kind == "mixture":
        return mixture_problem(mixture)
    families = {
        "quadratic": OrnsteinUhlenbeck(instance="random", inverse_temperature=3.0),
        "double well": DoubleWell(),
        "posterior": LogisticRegression(prior_shape=4.0, prior_rate=4.0),
    }
    dims = {"quadratic": 3, "double well": 1, "posterior": 31}
    return families[kind].build(dims[kind], 1, generator(0))


@pytest.mark.parametrize("kind", ["quadratic", "mixture", "double well", "posterior"])
def test_values_and_gradients_are_ours(kind, mixture):
    jax = pytest.importorskip("jax")
    flow = problem_of(kind, mixture).flow
    points = flow.initial.sample(40, generator(1))
    value = VALUES[type(flow.potential)]
    with in_double_precision():
        each = jax.vmap(jax.value_and_grad(value, argnums=1), (None, 0))
        values, gradients = map(np.array, each(parameters_of(flow.potential), points.numpy()))
        function, parameters = log_density(flow)
        densities = np.array(jax.vmap(function, (None, 0))(parameters, points.numpy()))
    assert values.dtype == gradients.dtype == np.float64
    expected = flow.potential.value(points)
    close = {"rtol": 1e-10, "atol": 1e-9}
    torch.testing.assert_close(torch.from_numpy(values), expected, **close)
    torch.testing.assert_close(torch.from_numpy(gradients), flow.potential.gradient(points), **close)
    torch.testing.assert_close(torch.from_numpy(densities), -flow.inverse_temperature * expected, **close)


def test_double_precision_is_put_back():
    jax = pytest.importorskip("jax")
    before = jax.numpy.ones(2).dtype
    with in_double_precision():
        assert jax.numpy.ones(2).dtype == np.float64
    assert jax.numpy.ones(2).dtype == before == np.float32


def test_other_potentials_are_named():
    problem = NonlinearFiltering(instance="random").build(1, 0, generator(0))
    assert unwritten(problem) == (
        "written in JAX are Quadratic, MixturePotential, DoubleWellPotential, LogisticPosterior, not SineWell"
    )

    class Steeper(Quadratic):
        """Not what its base is."""

    steeper = Steeper(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    flow = GradientFlow(problem.flow.initial, FreeEnergy(steeper, Entropy(1.0)), (1.0,))
    assert "not Steeper" in unwritten(Problem(flow, (), None, "not asked for"))
