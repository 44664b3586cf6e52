r"""The negative log-posterior of a logistic regression, and its likelihood of held-out cases.

With labels y_i ∈ {-1, +1}, features φ_i ∈ R^d and unknowns x = (w, ℓ), ℓ = log α (``problems.logistic_regression``),

    V(x) = -log p(y, w, ℓ) = Σ_i log(1 + exp(-y_i wᵀφ_i)) + ½ e^ℓ ‖w‖² - (d/2) ℓ - a ℓ + b e^ℓ + c,
    c = (d/2) log 2π + log Γ(a) - a log b.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from problems.gaussian_expectations import Expectations
from problems.posterior.logistic_expectations import logistic_expectations
from problems.potentials import FiniteSum
from problems.validation import require_finite, require_positive

BLOCK_ENTRIES = {"cpu": 2**18, "cuda": 2**26}
"""Entries of a (points, cases) array worked on at once: what a core's cache holds, or what keeps a GPU busy."""
LEAST_BLOCK = 256
"""Cases in such a block at the least, below which the products of matrices lose their speed."""


def _softplus(z: torch.Tensor) -> torch.Tensor:
    """Return log(1 + e^z), exact to rounding for z of any size."""
    # beyond the threshold torch takes z itself: at its default of 20 that costs 2e-9, at 40 nothing
    return softplus(z, threshold=40.0)


@dataclass(frozen=True, eq=False)
class LogisticLikelihood:
    """The log-likelihood log σ(y_i wᵀφ_i) of every case, for ``signed_features`` y_i φ_i of shape (cases, d)."""

    signed_features: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Return the log-probability of each case's label under ``points`` (n, d + 1), shape (n, cases)."""
        return -_softplus(-points[:, :-1] @ self.signed_features.T)


@dataclass(frozen=True, eq=False)
class LogisticPosterior(FiniteSum):
    """The potential V of the module's equation, for ``signed_features`` y_i φ_i of shape (cases, d).

    Points are (w, log α), D = d + 1. ``likelihood_weight`` multiplies the sum over cases: 1 for the posterior,
    cases/size for a minibatch.

    Raises ``ValueError`` for features that are not a finite matrix, and numbers that are not finite and > 0.
    """

    signed_features: torch.Tensor
    prior_shape: float
    prior_rate: float
    likelihood_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.signed_features.ndim != 2 or 0 in self.signed_features.shape:
            raise ValueError(
                "logistic posterior: signed_features must have shape (cases >= 1, d >= 1), "
                f"got {tuple(self.signed_features.shape)}"
            )
        require_finite("logistic posterior", signed_features=self.signed_features)
        require_positive(
            "logistic posterior",
            prior_shape=self.prior_shape,
            prior_rate=self.prior_rate,
            likelihood_weight=self.likelihood_weight,
        )

    @property
    def dim(self) -> int:
        return self.signed_features.shape[1] + 1

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self._value_with_prior(x, self._total_loss(x[:, :-1]))

    def _value_with_prior(self, x: torch.Tensor, loss: torch.Tensor) -> torch.Tensor:
        """Return V at ``x`` (n, D) given the likelihood's Σ_i log(1 + exp(-y_i wᵀφ_i)), shapes (n,)."""
        weights, log_precision = x[:, :-1], x[:, -1]
        d, a, b = self.dim - 1, self.prior_shape, self.prior_rate
        precision_terms = log_precision.exp() * (b + 0.5 * (weights * weights).sum(1)) - (0.5 * d + a) * log_precision
        constant = 0.5 * d * math.log(2 * math.pi) + math.lgamma(a) - a * math.log(b)
        return self.likelihood_weight * loss + precision_terms + constant

    def log_marginal(self, weights: torch.Tensor) -> torch.Tensor:
        """Return log p(y, w) = log ∫ exp(-V(w, ℓ)) dℓ at ``weights`` (n, d), shape (n,).

        The prior left by the precision is p(w) = Γ(a + d/2) / Γ(a) · bᵃ (2π)^-(d/2) · (b + ½‖w‖²)^-(a + d/2).
        """
        d, a, b = self.dim - 1, self.prior_shape, self.prior_rate
        loss = self._total_loss(weights)
        constant = math.lgamma(a + 0.5 * d) - math.lgamma(a) + a * math.log(b) - 0.5 * d * math.log(2 * math.pi)
        log_prior = constant - (a + 0.5 * d) * (b + 0.5 * (weights * weights).sum(1)).log()
        return log_prior - self.likelihood_weight * loss

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        # of the sign that makes σ(-m) the plain logistic function of the product
        opposite = -x[:, :-1]
        likelihood = torch.zeros_like(opposite)
        for features in self._blocks(x.shape[0]):
            likelihood.addmm_((opposite @ features.T).sigmoid_(), features)
        return self._gradient_with_prior(x, likelihood)

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        opposite = -x[:, :-1]
        loss, likelihood = x.new_zeros(len(x)), torch.zeros_like(opposite)
        for features in self._blocks(x.shape[0]):
            logits = opposite @ features.T
            loss += _softplus(logits).sum(1)
            likelihood.addmm_(logits.sigmoid_(), features)
        return self._value_with_prior(x, loss), self._gradient_with_prior(x, likelihood)

    def _gradient_with_prior(self, x: torch.Tensor, likelihood: torch.Tensor) -> torch.Tensor:
        """Return ∇V at ``x`` (n, D) given the ``likelihood``'s Σ_i σ(-y_i wᵀφ_i) y_i φ_i, shape (n, d)."""
        weights, precision = x[:, :-1], x[:, -1:].exp()
        by_weights = precision * weights
        squares = torch.linalg.vecdot(by_weights, weights)[:, None]
        by_weights.sub_(likelihood, alpha=self.likelihood_weight)
        by_log_precision = precision.mul_(self.prior_rate).add_(squares, alpha=0.5)
        return torch.cat([by_weights, by_log_precision.sub_(0.5 * (self.dim - 1) + self.prior_shape)], dim=1)

    def _total_loss(self, weights: torch.Tensor) -> torch.Tensor:
        """Return Σ_i log(1 + exp(-y_i wᵀφ_i)) at ``weights`` (n, d), shape (n,)."""
        return sum(
            (_softplus(-weights @ features.T).sum(1) for features in self._blocks(len(weights))),
            start=weights.new_zeros(len(weights)),
        )

    def _blocks(self, points: int) -> tuple[torch.Tensor, ...]:
        """Return the features in pieces for which an array of (points, cases) stays in a core's cache."""
        entries = BLOCK_ENTRIES.get(self.signed_features.device.type, BLOCK_ENTRIES["cpu"])
        cases = max(LEAST_BLOCK, entries // max(1, points))
        if self.cases <= cases:
            return (self.signed_features,)
        blocks: tuple[torch.Tensor, ...] = self.signed_features.split(cases)
        return blocks

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        weights, precision = x[:, :-1], x[:, -1:].exp()
        margins = weights @ self.signed_features.T
        # σ(m) σ(-m) keeps its relative accuracy in both tails, σ(m) (1 - σ(m)) does not
        curvature = self.likelihood_weight * torch.sigmoid(margins) * torch.sigmoid(-margins)
        hessian = x.new_empty(len(x), self.dim, self.dim)
        hessian[:, :-1, :-1] = (self.signed_features.T * curvature[:, None, :]) @ self.signed_features
        hessian[:, :-1, :-1].diagonal(dim1=1, dim2=2).add_(precision)
        hessian[:, :-1, -1] = hessian[:, -1, :-1] = precision * weights
        hessian[:, -1, -1] = precision[:, 0] * (self.prior_rate + 0.5 * (weights * weights).sum(1))
        return hessian

    def expectations(self, mean: torch.Tensor, covariance: torch.Tensor) -> Expectations:
        """Return E V, E ∇V and E ∇²V over N(``mean`` (D,), ``covariance`` (D, D)), to 1e-11 a case."""
        return logistic_expectations(
            self.signed_features, self.prior_shape, self.prior_rate, self.likelihood_weight, mean, covariance
        )

    @property
    def cases(self) -> int:
        return self.signed_features.shape[0]

    def subsample(self, chosen: torch.Tensor) -> LogisticPosterior:
        # Not made anew: the features have been checked, and a minibatch must cost little.
        batch = object.__new__(type(self))
        features = self.signed_features.index_select(0, chosen.to(self.signed_features.device))
        weight = self.likelihood_weight * self.cases / chosen.shape[0]
        vars(batch).update(vars(self), signed_features=features, likelihood_weight=weight)
        return batch
