"""The reference posterior of ``logistic-regression`` by a converged NUTS run; any other is refused.

The sampler is NUTS (``harness.reference.nuts``), the diagnostics are arviz's. A reference is written only if every
coordinate has R̂ < 1.01 and more than 4000 effective draws, bulk and tail (Vehtari et al. 2021), and no transition
diverged.

A seed gives two files: ``<stem>.npz`` (mean, covariance, quantiles, thinned draws) and ``<stem>.json`` (what was run,
its diagnostics, what the posterior predicts).
"""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from scipy.optimize import linprog
from scipy.sparse import csr_array, eye_array, hstack

from harness.reference.nuts import Sampling, assert_agreement, sample
from problems.arrays import Reals
from problems.data.datasets import Split, load
from problems.logistic_regression import LogisticRegression
from problems.posterior.bridge_sampling import log_normaliser

LEVELS = (0.005, 0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975, 0.995)
KEPT_DRAWS = 2000
LARGEST_RHAT = 1.01
LEAST_ESS = 4000.0
PACKAGES = ("numpyro", "jax", "jaxlib", "arviz", "numpy", "scipy", "scikit-learn", "torch")


@dataclass(frozen=True)
class Diagnostics:
    """The worst coordinate's figures, as arviz defines them, over all chains."""

    max_rhat: float
    min_ess_bulk: float
    min_ess_tail: float
    divergences: int
    mean_acceptance: float
    mean_leapfrog_steps: float
    max_mcse_of_mean: float
    """Largest Monte Carlo standard error of a mean, in posterior standard deviations."""
    max_mcse_of_deviation: float
    """Largest Monte Carlo standard error of a standard deviation, relative to it."""

    def shortcomings(self) -> list[str]:
        """Return what keeps the run from being a reference; empty when nothing does. A NaN counts as a failure."""
        found = []
        if not self.max_rhat < LARGEST_RHAT:
            found.append(f"R-hat {self.max_rhat:.4f} is not below {LARGEST_RHAT}")
        for name, ess in (("bulk", self.min_ess_bulk), ("tail", self.min_ess_tail)):
            if not ess > LEAST_ESS:
                found.append(f"{name} ESS {ess:.0f} is not above {LEAST_ESS:.0f}")
        if self.divergences:
            found.append(f"{self.divergences} transitions diverged")
        return found


def moments_exist_below(family: LogisticRegression, split: Split) -> float | None:
    """Return the order from which on posterior moments of w do not exist, or ``None`` where all of them do.

    With α integrated out the prior is p(w) ∝ (b + ½‖w‖²)^-(a + d/2). The likelihood stays away from 0 on the cone
    K = {w : y_i wᵀφ_i ≥ 0 for all i} of weights that get no case wrong; off it, it falls exponentially with the
    distance from K, for the worst margin is at least a multiple of that distance (Hoffman 1952). What is left of the
    integral of ‖w‖^m is that of r^{m - 2a - d} r^{k-1} with k = dim K, finite exactly for m < 2a + d - k unless
    K = {0}: 2a where the classes can be separated (for Cauchy priors: Ghosh, Li and Mitra 2018).

    K spans what the cases that no w in K gets strictly right are orthogonal to. These are found by maximising
    Σ t_i with 0 ≤ t_i ≤ min(1, y_i wᵀφ_i): as K is a cone, t_i is 1 for all others.
    """
    signed = family.posterior(split).signed_features.numpy()
    cases, features = signed.shape
    slack: Any = hstack([csr_array(-signed), eye_array(cases)])
    bounds = [(-math.inf, math.inf)] * features + [(0.0, 1.0)] * cases
    found = linprog(np.repeat([0.0, -1.0], [features, cases]), A_ub=slack, b_ub=np.zeros(cases), bounds=bounds)
    if found.x is None or not found.success:
        raise ArithmeticError(f"separability is undecided: {found.message}")
    never_right = signed[found.x[features:] < 0.5]
    cone = features - (np.linalg.matrix_rank(never_right) if len(never_right) else 0)
    return 2 * family.prior_shape + features - cone if cone else None


def diagnose(draws: Reals, statistics: dict[str, Reals]) -> Diagnostics:
    """Return the diagnostics of draws (chains, draws, D): the worst over all coordinates."""
    import arviz

    data = arviz.convert_to_dataset({"x": draws})

    def figure(estimate: Any) -> Reals:
        return np.asarray(estimate["x"])

    deviation = draws.std(axis=(0, 1))
    return Diagnostics(
        max_rhat=float(figure(arviz.rhat(data)).max()),
        min_ess_bulk=float(figure(arviz.ess(data, method="bulk")).min()),
        min_ess_tail=float(figure(arviz.ess(data, method="tail")).min()),
        divergences=int(statistics["diverging"].sum()),
        mean_acceptance=float(statistics["accept_prob"].mean()),
        mean_leapfrog_steps=float(statistics["num_steps"].mean()),
        max_mcse_of_mean=float((figure(arviz.mcse(data, method="mean")) / deviation).max()),
        max_mcse_of_deviation=float((figure(arviz.mcse(data, method="sd")) / deviation).max()),
    )


def condense(draws: Reals) -> dict[str, Any]:
    """Return mean, covariance and quantiles of all draws (chains, draws, D), and every so manyth of them.

    Raises ``ValueError`` for fewer draws than are kept.
    """
    flat = draws.reshape(-1, draws.shape[-1])
    if len(flat) < KEPT_DRAWS:
        raise ValueError(f"at least {KEPT_DRAWS} draws are needed, got {len(flat)}")
    spaced = np.linspace(0, len(flat) - 1, KEPT_DRAWS).round().astype(int)
    return {
        "mean": flat.mean(0),
        "covariance": np.cov(flat, rowvar=False),
        "levels": np.array(LEVELS),
        "quantiles": np.quantile(flat, LEVELS, axis=0),
        "draws": flat[spaced].astype(np.float32),
    }


def predict(family: LogisticRegression, split: Split, draws: Reals) -> dict[str, float]:
    """Return held-out accuracy and mean log-probability under the posterior predictive of all ``draws`` (n, D)."""
    flat = torch.from_numpy(draws.reshape(-1, draws.shape[-1]))
    log_predictive = torch.logsumexp(family.held_out(split)(flat), dim=0) - math.log(len(flat))
    return {
        "accuracy": float((log_predictive > math.log(0.5)).double().mean()),
        "log_predictive": float(log_predictive.mean()),
    }


def evidence(family: LogisticRegression, split: Split, draws: Reals, seed: int) -> dict[str, float]:
    """Return the log-evidence of the training labels and its standard error, by bridge sampling from draws (…, D).

    In the sampler's coordinates (w e^{ℓ/4}, ℓ) the posterior is nearer to a Gaussian than in (w, ℓ).
    """
    potential = family.posterior(split)
    flat = torch.from_numpy(draws.reshape(-1, draws.shape[-1]).astype(np.float64))
    flat[:, :-1] *= (flat[:, -1:] / 4).exp()

    def log_density(points: torch.Tensor) -> torch.Tensor:
        weights = points[:, :-1] * (-points[:, -1:] / 4).exp()
        log_jacobian = -weights.shape[1] * points[:, -1] / 4
        return log_jacobian - potential.value(torch.cat([weights, points[:, -1:]], dim=1))

    return vars(log_normaliser(log_density, flat, torch.Generator().manual_seed(seed)))


def add_evidence(family: LogisticRegression, seed: int, folder: Path) -> dict[str, float]:
    """Add the log-evidence, from the draws that were kept, to a reference that lacks it; return it.

    Raises ``ArithmeticError`` where there is no reference for this split.
    """
    split = load(family.data).split(seed, family.constant_features)
    stem = family.reference_stem(seed)
    path = folder / f"{stem}.json"
    summary = json.loads(path.read_text()) if path.exists() else {}
    if summary.get("checksum") != split.checksum:
        raise ArithmeticError(f"seed {seed}: {path} is not there or was made for other data")
    with np.load(folder / f"{stem}.npz") as arrays:
        summary["evidence"] = evidence(family, split, arrays["draws"], seed)
    put(path, lambda file: file.write(text_of(summary)))
    return dict(summary["evidence"])


def write(folder: Path, stem: str, arrays: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write both files of one reference; the summary comes last, so that it never describes a missing file.

    Either is whole or as it was before, whenever this ends.
    """
    text = text_of(summary)
    put(folder / f"{stem}.npz", lambda file: np.savez_compressed(file, **arrays))
    put(folder / f"{stem}.json", lambda file: file.write(text))


def text_of(summary: Mapping[str, Any]) -> bytes:
    """Return a summary as it is written."""
    return f"{json.dumps(summary, indent=2)}\n".encode()


def put(path: Path, fill: Callable[[BinaryIO], object]) -> None:
    """Write a file in its folder, which is made where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            fill(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make(family: LogisticRegression, seed: int, sampling: Sampling, folder: Path) -> dict[str, Any]:
    """Sample, diagnose and write the reference of one seed; return its summary.

    Raises ``ArithmeticError`` when the run is not good enough, and then writes nothing.
    """
    split = load(family.data).split(seed, family.constant_features)
    agreement = assert_agreement(family, split)
    begun = time.perf_counter()
    draws, statistics = sample(family, split, seed, sampling)
    seconds = time.perf_counter() - begun
    diagnostics = diagnose(draws, statistics)
    if shortcomings := diagnostics.shortcomings():
        raise ArithmeticError(f"seed {seed}: not written, {'; '.join(shortcomings)}")
    summary = {
        "problem": {**family.reference_settings(), "seed": seed},
        "checksum": split.checksum,
        "training_rows": len(split.training),
        "held_out_rows": len(split.held_out),
        "moments_exist_below": moments_exist_below(family, split),
        "sampling": vars(sampling),
        "kept_draws": KEPT_DRAWS,
        "diagnostics": vars(diagnostics),
        "largest_difference_to_potential": agreement,
        "prediction": predict(family, split, draws),
        "evidence": evidence(family, split, draws, seed),
        "sampling_seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }
    write(folder, family.reference_stem(seed), condense(draws), summary)
    return summary
