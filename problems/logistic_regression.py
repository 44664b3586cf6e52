r"""The posterior of a Bayesian logistic regression whose prior precision is unknown too.

Labels y_i ∈ {-1, +1}, standardised features φ_i ∈ R^d, weights w and their precision α:

    y_i | w ~ σ(y_i wᵀφ_i),   w | α ~ N(0, α⁻¹ I_d),   α ~ Gamma(shape a, rate b).

The unknowns are x = (w, ℓ) ∈ R^{d+1} with ℓ = log α, whose density carries the Jacobian dα/dℓ = e^ℓ:

    V(x) = -log p(y, w, ℓ) = Σ_i log(1 + exp(-y_i wᵀφ_i)) + ½ e^ℓ ‖w‖² - (d/2) ℓ - a ℓ + b e^ℓ + c,
    c = (d/2) log 2π + log Γ(a) - a log b.

At β = 1 the posterior is the stationary law of dX = -∇V dt + √2 dW. The model is that of Gershman, Hoffman and Blei
(2012), used for particle methods by Liu and Wang (2016) and for JKO flows by Mokrov et al. (2021), whose released
code has a = 1, b = 100 (the paper prints Gamma(1, .01)) and no intercept.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, get_args

import numpy as np
import torch
from torch.nn.functional import softplus

from problems.data.datasets import SHAPES, ConstantFeatures, Split, load
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.gaussian_expectations import Expectations
from problems.laws import Empirical, Gaussian
from problems.posterior.logistic_expectations import logistic_expectations
from problems.potentials import FiniteSum
from problems.problem import Evidence, Prediction, Problem, ProblemFamily, View
from problems.validation import require_choice, require_finite, require_positive, require_times

MEASURES = ("accuracy", "log-predictive", "calibration-error", "energy-distance", "c2st", "elbo", "evidence-gap")
MOMENT_MEASURES = ("mean-error", "deviation-error", "marginal-w1", "symkl-gaussian", "bures-w2", "sliced-w2")
REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference" / "posterior"

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
    """log p(y_i | w) = log σ(y_i wᵀφ_i) of every case, given ``signed_features`` y_i φ_i of shape (cases, d)."""

    signed_features: torch.Tensor

    def __call__(self, points: torch.Tensor) -> torch.Tensor:
        """Return the log-probability of each case's label under ``points`` (n, d + 1), shape (n, cases)."""
        return -_softplus(-points[:, :-1] @ self.signed_features.T)


@dataclass(frozen=True, eq=False)
class LogisticPosterior(FiniteSum):
    """V of the module's equation, for ``signed_features`` y_i φ_i of shape (cases, d); points are (w, log α).

    ``likelihood_weight`` multiplies the sum over cases: 1 for the posterior, cases/size for a minibatch.
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


@dataclass(frozen=True)
class Reference:
    """A committed posterior, and its evidence; ``heavy_tailed`` says that its moments of order 4 do not exist."""

    law: Empirical
    heavy_tailed: bool
    evidence: Evidence | None


@dataclass(frozen=True, kw_only=True)
class LogisticRegression(ProblemFamily):
    """Posterior of (w, log α) on a named data set; instance ``seed`` is an 80/20 split of its rows.

    ``intercept`` appends a constant feature, whose weight has the same prior. With ``constant_features = "zero"`` a
    recorded feature that never varies in the training part is 0, and its weight follows its prior; by default it is
    refused. ``initial`` is N(0, I) for w and N(log(a/b), 1) for log α. The truth is a committed NUTS run, where one
    was made for the settings and the seed.

    Defaults are the published ones. On separable data, as every split of breast-cancer is, the posterior then keeps
    the tail of the prior of w, a multivariate t with 2a = 2 degrees of freedom: it has no variance, and a Langevin
    diffusion is still far from it at t = 100. Measures that rest on second moments are left out unless moments of
    order 4 exist, without which their estimates have no variance. With a = b = 4 they exist and t = 10 is enough.
    """

    name: ClassVar[str] = "logistic-regression"
    data: str = "breast-cancer"
    intercept: bool = False
    constant_features: ConstantFeatures = "error"
    prior_shape: float = 1.0
    prior_rate: float = 100.0
    times: tuple[float, ...] = (10.0,)

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        require_choice(self.name, "data", self.data, tuple(SHAPES))
        require_choice(self.name, "intercept", self.intercept, (False, True))
        require_choice(self.name, "constant_features", self.constant_features, get_args(ConstantFeatures))
        require_positive(self.name, prior_shape=self.prior_shape, prior_rate=self.prior_rate)

    def dims(self) -> tuple[int, ...]:
        """Return the one dimension there is: a weight for every feature, the intercept if any, and log α."""
        return (SHAPES[self.data][1] + int(self.intercept) + 1,)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        """Return the posterior of split ``seed``; the split depends on ``data`` and ``seed`` alone.

        Raises ``Unavailable`` where the data are neither on this machine nor to be had.
        """
        if dim not in self.dims():
            raise ValueError(f"{self.name}: data {self.data!r} has dimension {self.dims()[0]}, got {dim!r}")
        if seed < 0:
            raise ValueError(f"{self.name}: seed must be >= 0, got {seed!r}")
        split = load(self.data).split(seed, self.constant_features)
        potential = self.posterior(split)
        mean = torch.zeros(dim, dtype=torch.float64)
        mean[-1] = math.log(self.prior_shape / self.prior_rate)
        initial = Gaussian(mean, torch.eye(dim, dtype=torch.float64))
        reference, missing = self._reference(seed, split.checksum)
        return Problem(
            flow=GradientFlow(initial, FreeEnergy(potential, Entropy(1.0)), self.times),
            measures=MEASURES if reference is not None and reference.heavy_tailed else MEASURES + MOMENT_MEASURES,
            truth=None if reference is None else lambda time: reference.law,
            truth_missing=missing,
            prediction=Prediction(self.held_out(split)),
            stationary=True,
            evidence=None if reference is None else reference.evidence,
            view=View((0, 1), ("w₁", "w₂"), potential.log_marginal) if dim == 3 else None,
        )

    def posterior(self, split: Split) -> LogisticPosterior:
        """Return the potential of the training part."""
        signed = self._signed(split.training_features, split.training_labels)
        return LogisticPosterior(signed, self.prior_shape, self.prior_rate)

    def held_out(self, split: Split) -> LogisticLikelihood:
        """Return the log-likelihood of the held-out part."""
        return LogisticLikelihood(self._signed(split.held_out_features, split.held_out_labels))

    def reference_stem(self, seed: int) -> str:
        """Return the file name, without its suffix, of the reference for these settings."""
        choices = ("_intercept" if self.intercept else "") + ("_zero" if self.constant_features == "zero" else "")
        return f"{self.data}_gamma-{self.prior_shape:g}-{self.prior_rate:g}{choices}_seed-{seed}"

    def reference_command(self, seed: int) -> str:
        """Return the command, run at the root of the repository, that makes the reference for these settings."""
        command = f"python scripts/posterior_reference.py --data {self.data} --seeds {seed}"
        if (self.prior_shape, self.prior_rate) != (1.0, 100.0):
            command += f" --prior-shape {self.prior_shape!r} --prior-rate {self.prior_rate!r}"
        if self.constant_features != "error":
            command += f" --constant-features {self.constant_features}"
        return command + (" --intercept" if self.intercept else "")

    def _signed(self, features: np.ndarray, labels: np.ndarray) -> torch.Tensor:
        if self.intercept:
            features = np.column_stack([features, np.ones(len(features))])
        return torch.from_numpy(features * labels[:, None])

    def reference_settings(self) -> dict[str, str | bool | float]:
        """Return the settings that change the posterior; ``constant_features`` only where it may."""
        settings: dict[str, str | bool | float] = {
            "data": self.data,
            "intercept": self.intercept,
            "prior_shape": self.prior_shape,
            "prior_rate": self.prior_rate,
        }
        return settings | ({"constant_features": "zero"} if self.constant_features == "zero" else {})

    def _reference(self, seed: int, checksum: str) -> tuple[Reference | None, str]:
        stem = self.reference_stem(seed)
        summary_file = REFERENCE / f"{stem}.json"
        remedy = f"make it by: {self.reference_command(seed)}"
        if not summary_file.exists():
            return None, f"no reference for these settings and seed {seed}; {remedy}"
        summary = json.loads(summary_file.read_text())
        posed = {**summary["problem"], "checksum": summary["checksum"]}
        if posed != {**self.reference_settings(), "seed": seed, "checksum": checksum}:
            return None, f"the reference {stem} was made for other data or settings; {remedy}"
        order = summary["moments_exist_below"]
        evidence = Evidence(**summary["evidence"]) if "evidence" in summary else None
        law = _draws_and_moments(REFERENCE / f"{stem}.npz")
        return Reference(law, order is not None and order <= 4, evidence), ""


def _draws_and_moments(file: Path) -> Empirical:
    with np.load(file) as arrays:
        return Empirical(
            draws=torch.from_numpy(arrays["draws"].astype(np.float64)),
            mean=torch.from_numpy(arrays["mean"]),
            covariance=torch.from_numpy(arrays["covariance"]),
        )
