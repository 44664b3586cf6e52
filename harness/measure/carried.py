"""SymKL of a density that is known at particles only, up to a constant, by self-normalised importance weights.

Particles x_1, …, x_n, draws of the law p with the unnormalised density ρ, become draws of the truth q by weights
w_i ∝ q(x_i)/ρ(x_i), Σ w_i = 1 (Owen, Monte Carlo theory, methods and examples, 2013, section 9.2). Then
KL(q‖p) ≈ Σ w_i log(q/ρ)_i + log c and KL(p‖q) ≈ -n⁻¹ Σ log(q/ρ)_i - log c with the same unknown constant, so that

    SymKL(p, q) ≈ Σ_i (w_i - 1/n) log(q/ρ)(x_i) ≥ 0,

in which neither a normalisation of ρ nor a kernel density appears.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.measure import Figure, Measure, Subject
from harness.measure.symkl import type_name, without_divergence
from problems.laws import Density
from solvers.estimates import ParticleDensity


@dataclass(frozen=True)
class CarriedSymKL(Measure):
    """KL(fit‖true) + KL(true‖fit) of the density that particles carry, evaluated at the particles.

    It is 0 for exact draws with their exact density. It asks whether the carried values have the shape of the true
    density wherever particles are: mass of the truth where there are none, and particles that are not distributed by
    the density they carry, go unseen here, but not in ``symkl``, which looks at the particles alone. The estimator's
    name has the effective sample size 1/Σw²; where it is small, KL(true‖fit) hangs on a few particles and is too low.
    The standard error is that of the delta method, for independent particles. ``draws`` is not used.

    The value is infinite where particles lie where the true density is zero.
    """

    name: ClassVar[str] = "symkl-carried"

    def unsuited(self, subject: Subject) -> str | None:
        estimate = subject.estimate
        if not isinstance(estimate, ParticleDensity):
            return f"{type_name(estimate)} carries no density at particles"
        if estimate.log_weights is not None:
            return "the particles are weighted"
        if len(estimate.points) < 2:
            return "one particle says nothing of the shape of a density"
        return without_divergence(subject.truth)

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        truth, estimate = subject.truth, subject.estimate
        assert isinstance(truth, Density)
        assert isinstance(estimate, ParticleDensity)
        count = len(estimate.points)
        ratio = (truth.log_prob(estimate.points.double()).double() - estimate.log_density.double()).numpy()
        undefined = int((np.isnan(ratio) | np.isposinf(ratio)).sum())
        if undefined:
            raise ArithmeticError(f"log true - log carried density is NaN or +inf at {undefined} of {count} particles")
        excluded = int(np.isneginf(ratio).sum())
        if excluded:
            where = f"{excluded} of {count} particles lie where the true density is zero"
            return Figure(math.inf, 0.0, f"self-normalised importance weights; {where}")
        ratio -= ratio.max()
        relative = np.exp(ratio)
        relative /= relative.mean()
        by_truth, by_fit = float(np.mean(relative * ratio)), float(np.mean(ratio))
        influence = relative * (ratio - by_truth) - (ratio - by_fit)
        effective = count / float(np.mean(relative**2))
        return Figure(
            by_truth - by_fit,
            float(np.std(influence)) / math.sqrt(count),
            f"self-normalised importance weights, ESS {effective:.1f} of {count}",
        )
