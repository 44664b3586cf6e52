"""Potentials written in JAX, for libraries that differentiate and compile them: V at one point x (D,), a scalar.

Quadratic    ½ (x-b)ᵀA(x-b)
mixture      -β⁻¹ log Σ_k exp(log peak_k - ½ (x-m_k)ᵀ P_k (x-m_k))
double well  height (x²-1)² + tilt x
posterior    w Σ_i log(1 + exp(-y_i wᵀφ_i)) + e^ℓ (b + ½‖w‖²) - (d/2 + a) ℓ + c, x = (w, ℓ)

The numbers that they hold are passed in beside x, as arrays, so that they are no constants of the compiled program.
Tests compare them with ours in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from problems.arrays import Reals
from problems.double_well import DoubleWellPotential
from problems.flow import GradientFlow
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import MixturePotential, Potential, Quadratic
from problems.problem import Problem

Parameters = tuple[Reals, ...]
Value = Callable[[Any, Any], Any]
"""V as a function of parameters and a point (D,)."""


def quadratic(parameters: Any, x: Any) -> Any:
    """Return ½ (x-b)ᵀA(x-b), parameters A (D, D) and b (D,)."""
    precision, centre = parameters
    centred = x - centre
    return 0.5 * centred @ (precision @ centred)


def mixture(parameters: Any, x: Any) -> Any:
    """Return -β⁻¹ log of the mixture, parameters log peaks (K,), means (K, D), precisions (K, D, D) and β."""
    import jax

    log_peaks, means, precisions, beta = parameters
    centred = x - means
    squares = ((precisions @ centred[:, :, None])[:, :, 0] * centred).sum(1)
    return -jax.nn.logsumexp(log_peaks - 0.5 * squares) / beta


def double_well(parameters: Any, x: Any) -> Any:
    """Return height (x²-1)² + tilt x, parameters height and tilt."""
    height, tilt = parameters
    return height * (x[0] * x[0] - 1) ** 2 + tilt * x[0]


def posterior(parameters: Any, x: Any) -> Any:
    """Return the logistic posterior, parameters y_i φ_i (cases, d) and (weight, a, b, c)."""
    import jax

    features, (weight, shape, rate, constant) = parameters
    weights, log_precision = x[:-1], x[-1]
    loss = jax.nn.softplus(-(features @ weights)).sum()
    by_precision = jax.numpy.exp(log_precision) * (rate + 0.5 * weights @ weights)
    return weight * loss + by_precision - (0.5 * len(weights) + shape) * log_precision + constant


def parameters_of(potential: Potential) -> Parameters:
    """Return the numbers of a potential that ``VALUES`` has, float64; raises ``KeyError`` for another kind."""
    return PARAMETERS[type(potential)](potential)


def _posterior_parameters(potential: LogisticPosterior) -> Parameters:
    d, a, b = potential.dim - 1, potential.prior_shape, potential.prior_rate
    constant = 0.5 * d * math.log(2 * math.pi) + math.lgamma(a) - a * math.log(b)
    return potential.signed_features.numpy(), np.array([potential.likelihood_weight, a, b, constant])


PARAMETERS: Mapping[type[Potential], Callable[[Any], Parameters]] = {
    Quadratic: lambda v: (v.precision.numpy(), v.centre.numpy()),
    MixturePotential: lambda v: (
        v.stationary.log_peaks.numpy(),
        v.stationary.means.numpy(),
        v.stationary.precisions.numpy(),
        np.array(v.inverse_temperature),
    ),
    DoubleWellPotential: lambda v: (np.array(v.height), np.array(v.tilt)),
    LogisticPosterior: _posterior_parameters,
}
VALUES: Mapping[type[Potential], Value] = {
    Quadratic: quadratic,
    MixturePotential: mixture,
    DoubleWellPotential: double_well,
    LogisticPosterior: posterior,
}
"""Potentials by the classes of ours that they are: an instance of a subclass may be something else."""


def unwritten(problem: Problem) -> str | None:
    """Return why the potential of a problem cannot be had in JAX, in one line, or ``None`` where it can."""
    kind = type(problem.flow.potential)
    if kind in VALUES:
        return None
    return f"written in JAX are {', '.join(each.__name__ for each in VALUES)}, not {kind.__name__}"


def log_density(flow: GradientFlow) -> tuple[Value, Parameters]:
    """Return -βV, the log-density of the stationary law up to a constant, and its parameters (β, those of V)."""
    value = VALUES[type(flow.potential)]

    def function(parameters: Any, x: Any) -> Any:
        beta, *rest = parameters
        return -beta * value(tuple(rest), x)

    return function, (np.array(flow.inverse_temperature), *parameters_of(flow.potential))
