"""NUTS draws of the posteriors of ``logistic-regression``, by numpyro in float64.

The log-density is written here a second time, in jax, from the unsigned data; at random points it must equal the
project's potential to 1e-8. The chains move in coordinates of their own, ``Coordinates``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from problems.arrays import Reals
from problems.data.datasets import Split
from problems.logistic_regression import LogisticRegression

SPREAD_OF_STARTS = 2.0
# Logits: what is far from a bound, and what is so far beyond one that no mass is left (e⁻³⁰ of it).
FAR, BEYOND = 100.0, 30.0


@dataclass(frozen=True)
class Sampling:
    """How NUTS is run: numbers of chains and of iterations a chain, and the acceptance it tunes its step size to."""

    chains: int = 16
    warmup: int = 1000
    draws: int = 2500
    target_acceptance: float = 0.98


def design_matrix(family: LogisticRegression, split: Split) -> Reals:
    """Return the training features (n, d), with a column of ones where there is an intercept."""
    features = split.training_features
    return np.hstack([features, np.ones((len(features), 1))]) if family.intercept else features


def log_density(family: LogisticRegression, split: Split) -> Callable[[Any], Any]:
    """Return log p(y, w, log α) of one point (d + 1,) as a jax function, from textbook densities."""
    import jax.numpy as jnp
    from jax.scipy import stats

    design, positive = jnp.asarray(design_matrix(family, split)), jnp.asarray(split.training_labels > 0, dtype=float)

    def evaluate(x: Any) -> Any:
        weights, log_precision = x[:-1], x[-1]
        precision = jnp.exp(log_precision)
        logits = design @ weights
        log_partition = jnp.maximum(logits, 0.0) + jnp.log1p(jnp.exp(-jnp.abs(logits)))
        likelihood = (positive * logits - log_partition).sum()
        prior = stats.norm.logpdf(weights, 0.0, 1 / jnp.sqrt(precision)).sum()
        hyperprior = stats.gamma.logpdf(precision, family.prior_shape, scale=1 / family.prior_rate)
        return likelihood + prior + hyperprior + log_precision

    return evaluate


def assert_agreement(family: LogisticRegression, split: Split, points: int = 200, tolerance: float = 1e-8) -> float:
    """Return the largest relative difference of value and gradient to the project's potential at random points.

    Raises ``ArithmeticError`` when it exceeds ``tolerance``.
    """
    import jax

    rng = np.random.default_rng(20210601)
    scale = rng.choice([0.1, 1.0, 10.0], size=(points, 1))
    x = scale * rng.standard_normal((points, family.dims()[0]))
    x[:, -1] = rng.uniform(-8, 2, size=points)
    potential = family.posterior(split)
    ours = torch.from_numpy(x)
    values, gradients = jax.vmap(jax.value_and_grad(log_density(family, split)))(x)
    differences = [
        np.abs(np.asarray(theirs) + mine.numpy()) / (1 + np.abs(mine.numpy()))
        for theirs, mine in ((values, potential.value(ours)), (gradients, potential.gradient(ours)))
    ]
    largest = max(float(difference.max()) for difference in differences)
    if not largest < tolerance:
        raise ArithmeticError(f"the two log-densities differ by {largest:.3g}, more than {tolerance:g}")
    return largest


def one_sided(features: Reals, labels: Reals) -> tuple[Reals, Reals]:
    """Return which of d weights the data bound on one side alone, (d,), and coordinates y = A w that show it, A (d, d).

    Such is the weight of a feature of two values, one of which goes with one label ±1 only: a rare soil, say. Its y is
    the mean logit of these cases, free on the side of the label that is returned; of all other weights y is the weight
    itself, and 0 is returned.
    """
    free_side, matrix = np.zeros(features.shape[1]), np.eye(features.shape[1])
    for feature, column in enumerate(features.T):
        if len(values := np.unique(column)) != 2:
            continue
        for its in (column == value for value in values):
            if np.ptp(labels[its]) == 0:
                free_side[feature], matrix[feature] = labels[its][0], features[its].mean(0)
    return free_side, matrix


@dataclass(frozen=True)
class Coordinates:
    """Coordinates (z, ℓ) of (w, ℓ = log α) in which NUTS moves: (d,) and a number.

    All weights are w = z e^{-ℓ/4}, half way between the centred and the non-centred parametrisation (Papaspiliopoulos,
    Roberts and Sköld 2007): either end of that scale mixes several times more slowly in ℓ. But logits that are bounded
    on one side are 3z towards the bound, where the density falls as e^{-c|z|}, and 3 sinh z away from it, where the
    density falls only as the prior does, hundreds of logits away. Where their mode m is that far from the bound they
    are linear in z there and exponential towards the bound, (m/3) log(1 + e^z) less 30, beyond which there is no mass.

    ``free_side`` and ``matrix`` are those of ``one_sided``; ``near`` (d,) says which logits are bounded and not far
    from it, ``far`` (d,) has the modes m of those that are, and 0.
    """

    free_side: Reals
    matrix: Reals
    near: NDArray[np.bool_]
    far: Reals

    def placed(self, point: Any) -> tuple[Any, Any]:
        """Return (w, ℓ) at ``point`` (D,), and the log-determinant of its derivative, up to a constant."""
        import jax
        import jax.numpy as jnp

        z, log_precision = point[:-1], point[-1]
        bent = jnp.where(self.near & (z * self.free_side > 0), z, 0.0)
        from_bound = jnp.sign(self.far) * (jnp.abs(self.far) / 3 * jax.nn.softplus(z) - BEYOND)
        cases = [self.near, self.far != 0]
        seen = jnp.select(cases, [3 * (z - bent + jnp.sinh(bent)), from_bound], z * jnp.exp(-log_precision / 4))
        log_stretch = jnp.select(cases, [jnp.log(jnp.cosh(bent)), jax.nn.log_sigmoid(z)], -log_precision / 4)
        return jnp.append(np.linalg.inv(self.matrix) @ seen, log_precision), log_stretch.sum()

    def at_modes(self, logits: Reals) -> Coordinates:
        """Return the same for modes at ``logits`` (d,)."""
        bounded, distant = self.free_side != 0, np.abs(logits) >= FAR
        return Coordinates(self.free_side, self.matrix, bounded & ~distant, np.where(bounded & distant, logits, 0.0))


def gaussian_fit(potential: Callable[[Any], Any], start: Reals) -> tuple[Reals, Reals]:
    """Return the minimum (D,) of a potential and the Cholesky factor (D, D) of its inverse Hessian there.

    Raises ``ArithmeticError`` where the search ends at no minimum.
    """
    import jax

    gradient, hessian = jax.jit(jax.grad(potential)), jax.jit(jax.hessian(potential))
    found = minimize(jax.jit(potential), start, jac=gradient, hess=hessian, method="trust-exact")
    if not found.success:
        raise ArithmeticError(f"the mode was not found: {found.message}")
    return found.x, np.linalg.cholesky(np.linalg.inv(hessian(found.x)))


def sample(family: LogisticRegression, split: Split, seed: int, sampling: Sampling) -> tuple[Reals, dict[str, Reals]]:
    """Return draws (chains, draws, D) of (w, ℓ = log α) and the sampler's statistics, each (chains, draws).

    NUTS starts about the mode, from points spread wider than the Gaussian fitted there, whose covariance is its mass
    matrix.
    """
    import jax
    from numpyro.infer import MCMC, NUTS

    density = log_density(family, split)
    dim = family.dims()[0]

    def potential_in(coordinates: Coordinates) -> Callable[[Any], Any]:
        def potential(point: Any) -> Any:
            unknowns, log_jacobian = coordinates.placed(point)
            return -density(unknowns) - log_jacobian

        return potential

    free_side, matrix = one_sided(design_matrix(family, split), split.training_labels)
    coordinates = Coordinates(free_side, matrix, np.zeros(dim - 1, dtype=bool), np.zeros(dim - 1))
    start = np.append(np.zeros(dim - 1), math.log(family.prior_shape / family.prior_rate))
    mode, widths = gaussian_fit(potential_in(coordinates), start)
    if free_side.any():
        coordinates = coordinates.at_modes(matrix @ np.asarray(coordinates.placed(mode)[0])[:-1])
        mode, widths = gaussian_fit(potential_in(coordinates), start)
    potential = potential_in(coordinates)
    mcmc = MCMC(
        NUTS(
            potential_fn=lambda point: potential(mode + widths @ point),
            dense_mass=True,
            adapt_mass_matrix=False,
            target_accept_prob=sampling.target_acceptance,
        ),
        num_warmup=sampling.warmup,
        num_samples=sampling.draws,
        num_chains=sampling.chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    start = SPREAD_OF_STARTS * np.random.default_rng([20210601, seed]).standard_normal((sampling.chains, dim))
    mcmc.run(jax.random.key(seed), init_params=start, extra_fields=("diverging", "accept_prob", "num_steps"))
    statistics = {name: np.asarray(field) for name, field in mcmc.get_extra_fields(group_by_chain=True).items()}
    points = mode + np.array(mcmc.get_samples(group_by_chain=True), dtype=np.float64) @ widths.T
    draws = jax.vmap(jax.vmap(lambda point: coordinates.placed(point)[0]))(points)
    return np.array(draws, dtype=np.float64), statistics
