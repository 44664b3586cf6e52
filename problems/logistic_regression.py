r"""The posterior of a Bayesian logistic regression whose prior precision is unknown too.

Labels y_i ∈ {-1, +1}, standardised features φ_i ∈ R^d, weights w and their precision α:

    y_i | w ~ σ(y_i wᵀφ_i),   w | α ~ N(0, α⁻¹ I_d),   α ~ Gamma(shape a, rate b).

The unknowns are x = (w, ℓ) ∈ R^{d+1} with ℓ = log α, whose density carries the Jacobian dα/dℓ = e^ℓ, and V(x) is
-log p(y, w, ℓ) (``problems.posterior.logistic_posterior``).

At β = 1 the posterior is the stationary law of dX = -∇V dt + √2 dW. The model is that of Gershman, Hoffman and Blei
(2012), used for particle methods by Liu and Wang (2016) and for JKO flows by Mokrov et al. (2021), whose released
code has a = 1, b = 100 (the paper prints Gamma(1, .01)) and no intercept.
"""

from __future__ import annotations

import json
import math
import shlex
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Any, ClassVar, get_args
from zipfile import BadZipFile

import numpy as np
import torch

from problems.data.data_folder import data_folder
from problems.data.datasets import (
    SHAPES,
    ConstantFeatures,
    Split,
    feature_count,
    in_folder,
    load,
    unknown_data,
)
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Empirical, Gaussian
from problems.posterior.logistic_posterior import LogisticLikelihood, LogisticPosterior
from problems.problem import Evidence, Prediction, Problem, ProblemFamily, View
from problems.validation import require_choice, require_positive, require_seed, require_times

MEASURES = ("accuracy", "log-predictive", "calibration-error", "kl", "energy-distance", "c2st", "elbo", "evidence-gap")
MOMENT_MEASURES = ("mean-error", "deviation-error", "marginal-w1", "symkl-gaussian", "bures-w2", "sliced-w2")
REFERENCE = Path(__file__).resolve().parents[1] / "results" / "reference" / "posterior"
OWN_REFERENCES = "reference"
"""The folder beside data of one's own that holds the references that were made for them."""


@dataclass(frozen=True)
class SampledPosterior:
    """A posterior that was sampled and committed, and its evidence, if that was estimated.

    ``heavy_tailed`` says that its moments of order 4 do not exist.
    """

    law: Empirical
    heavy_tailed: bool
    evidence: Evidence | None


@dataclass(frozen=True, kw_only=True)
class LogisticRegression(ProblemFamily):
    """Posterior of (w, log α) on a named data set; instance ``seed`` is an 80/20 split of its rows.

    ``data`` is one of those that the project knows, or NAME of a file NAME.csv.gz in the folder of ``--data``.
    ``intercept`` appends a constant feature, whose weight has the same prior. With ``constant_features = "zero"`` a
    recorded feature that never varies in the training part is 0, and its weight follows its prior; by default it is
    refused. ``initial`` is N(0, I) for w and N(log(a/b), 1) for log α. The truth is a NUTS run, one that comes with
    the project or that ``wgfbench reference`` has made beside the data, for the settings and the seed.

    Defaults are the published ones. On separable data, as every split of breast-cancer is, the posterior then keeps
    the tail of the prior of w, a multivariate t with 2a = 2 degrees of freedom: it has no variance, and a Langevin
    diffusion is still far from it at t = 100. Measures that rest on second moments are left out unless moments of
    order 4 exist, without which their estimates have no variance. With a = b = 4 they exist and t = 10 is enough.

    Raises ``ValueError`` for an unknown data set and for settings that are not finite or out of range.
    """

    name: ClassVar[str] = "logistic-regression"
    measures: ClassVar[tuple[str, ...]] = MEASURES + MOMENT_MEASURES
    deciding: ClassVar[tuple[str, ...]] = ("kl", "evidence-gap", "energy-distance", "c2st")
    data: str = "breast-cancer"
    intercept: bool = False
    constant_features: ConstantFeatures = "error"
    prior_shape: float = 1.0
    prior_rate: float = 100.0
    times: tuple[float, ...] = (10.0,)

    def __post_init__(self) -> None:
        require_times(self.name, self.times)
        if self.data not in SHAPES and in_folder(self.data, data_folder()) is None:
            raise ValueError(f"{self.name}: {unknown_data(self.data)}")
        require_choice(self.name, "intercept", self.intercept, (False, True))
        require_choice(self.name, "constant_features", self.constant_features, get_args(ConstantFeatures))
        require_positive(self.name, prior_shape=self.prior_shape, prior_rate=self.prior_rate)

    def dims(self) -> tuple[int, ...]:
        """Return the one dimension there is: a weight for every feature, the intercept if any, and log α."""
        return (feature_count(self.data) + int(self.intercept) + 1,)

    def data_files(self, folder: Path | None) -> tuple[Path, ...]:
        """Return the data set's file in ``folder``, if it is there, and references that were made there.

        Data from anywhere else are pinned, and so are the references that come with the project.
        """
        found = in_folder(self.data, folder)
        made = (
            () if folder is None else sorted((folder / OWN_REFERENCES).glob(self._stem(escape(self.data), "*") + ".*"))
        )
        return (*(() if found is None else (found,)), *made)

    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        """Return the posterior of split ``seed``; the split depends on ``data`` and ``seed`` alone.

        Raises ``ValueError`` for another dimension or a seed below 0, and ``Unavailable`` where the data are neither on
        this machine nor to be had.
        """
        if dim not in self.dims():
            raise ValueError(f"{self.name}: data {self.data!r} has dimension {self.dims()[0]}, got {dim!r}")
        require_seed(self.name, seed)
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
        """Return the potential V of the training part, in d + 1 dimensions."""
        signed = self._signed(split.training_features, split.training_labels)
        return LogisticPosterior(signed, self.prior_shape, self.prior_rate)

    def held_out(self, split: Split) -> LogisticLikelihood:
        """Return the log-likelihood of the held-out part."""
        return LogisticLikelihood(self._signed(split.held_out_features, split.held_out_labels))

    def reference_stem(self, seed: int) -> str:
        """Return the file name, without its suffix, of the reference for these settings."""
        return self._stem(self.data, seed)

    def _stem(self, data: str, seed: int | str) -> str:
        choices = ("_intercept" if self.intercept else "") + ("_zero" if self.constant_features == "zero" else "")
        return f"{data}_gamma-{brief(self.prior_shape)}-{brief(self.prior_rate)}{choices}_seed-{seed}"

    def reference_command(self, seed: int) -> str:
        """Return the command that makes the reference for these settings."""
        command = f"wgfbench reference {shlex.quote(self.data)} --seeds {seed}:{seed}"
        if in_folder(self.data, data_folder()) is not None:
            command += f" --data {shlex.quote(str(data_folder()))}"
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

    def _reference(self, seed: int, checksum: str) -> tuple[SampledPosterior | None, str]:
        stem = self.reference_stem(seed)
        own = data_folder()
        folders = [REFERENCE] if own is None else [own / OWN_REFERENCES, REFERENCE]
        place = next((each for each in folders if (each / f"{stem}.json").exists()), None)
        remedy = f"make it by: {self.reference_command(seed)}"
        if place is None:
            return None, f"no reference yet for these settings and seed {seed}; {remedy}"
        try:
            summary = json.loads((place / f"{stem}.json").read_text())
            posed = {**summary["problem"], "checksum": summary["checksum"]}
            if posed != {**self.reference_settings(), "seed": seed, "checksum": checksum}:
                return None, f"the reference {stem} was made for other data or settings; {remedy}"
            return _sampled(place / f"{stem}.npz", summary), ""
        except (OSError, EOFError, ValueError, LookupError, TypeError, BadZipFile, zlib.error) as error:
            return None, f"the reference {stem} in {place} is damaged ({type(error).__name__}: {error}); {remedy}"


def brief(number: float) -> str:
    """Return a number in as few digits as tell it from others."""
    return f"{number:g}" if float(f"{number:g}") == number else repr(number)


def _sampled(file: Path, summary: Mapping[str, Any]) -> SampledPosterior:
    """Return the posterior of a file of draws and moments and of its summary; raises what the two do not hold."""
    with np.load(file) as arrays:
        law = Empirical(
            draws=torch.from_numpy(arrays["draws"].astype(np.float64)),
            mean=torch.from_numpy(arrays["mean"]),
            covariance=torch.from_numpy(arrays["covariance"]),
        )
    order = summary["moments_exist_below"]
    evidence = Evidence(**summary["evidence"]) if "evidence" in summary else None
    return SampledPosterior(law, order is not None and order <= 4, evidence)
