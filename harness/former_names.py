"""Former names of components and their settings, and the settings that keys of cells have always held.

``harness.identity`` says how they decide the key of a cell.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

SETTINGS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "problem": {
        "ornstein-uhlenbeck": {
            "times": [0.5, 0.9],
            "instance": "mokrov2021",
            "inverse_temperature": 1.0,
            "spectrum": "well-conditioned",
            "initial_components": 1,
            "precision": None,
            "centre": None,
            "initial_mean": None,
            "initial_covariance": None,
        },
        "double-well": {
            "times": [0.25, 1.0, 4.0],
            "height": 1.0,
            "tilt": 0.25,
            "inverse_temperature": 2.0,
            "initial_mean": 0.75,
            "initial_std": 0.5,
        },
        "logistic-regression": {
            "times": [10.0],
            "data": "breast-cancer",
            "intercept": False,
            "constant_features": "error",
            "prior_shape": 1.0,
            "prior_rate": 100.0,
        },
        "gaussian-mixture": {
            "times": [4.0],
            "instance": "mokrov2021",
            "components": 5,
            "half_width": 5.0,
            "inverse_temperature": 1.0,
            "initial_std": 4.0,
            "truth": "stationary",
        },
        "nonlinear-filtering": {
            "times": [5.0],
            "instance": "mokrov2021",
            "potential": "sine",
            "inverse_temperature": 1.0,
            "observation_times": [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5],
            "observed": "identity",
            "noise": "gaussian",
            "noise_scale": 1.0,
            "noise_degrees": 4,
            "values": None,
            "missing": "error",
        },
        "linear-filtering": {
            "times": [2.0],
            "spectrum": [0.5, 2.0],
            "inverse_temperature": 1.0,
            "observation_times": [0.4, 0.8, 1.2, 1.6],
            "seen": None,
            "noise_std": 0.5,
        },
    },
    "solver": {
        "oracle": {"particles": None},
        "initial": {},
        "gaussian-jko": {"step_size": 0.05, "order": 1, "scheme": "jko", "nodes": 1024, "until_rest": False},
        "euler-maruyama": {"particles": 10000, "step_size": 0.001, "metric": "identity", "dtype": "float32"},
        "chang-cooper": {"points": 2000, "step_size": None, "domain": None},
        "icnn-jko": {
            "step_size": 0.05,
            "order": 1,
            "iterations": 500,
            "batch_size": 1024,
            "width": 64,
            "depth": 2,
            "rank": 5,
            "sharpness": 1.0,
            "learning_rate": 0.02,
            "tolerance": 0.0,
            "shrinkage": 0.001,
            "pool_size": 32768,
            "minibatch": None,
            "start": "previous",
            "metric": "identity",
            "dtype": "float32",
            "cuda_graph": True,
        },
        "svgd": {
            "particles": 1000,
            "iterations": 1000,
            "learning_rate": 0.05,
            "optimiser": "adagrad",
            "kernel": "rbf",
            "bandwidth": None,
            "metric": "identity",
            "batch_size": None,
            "dtype": "float32",
        },
        "bootstrap-filter": {
            "particles": 10000,
            "step_size": 0.001,
            "resampling": "systematic",
            "threshold": 0.5,
            "collapse": 0.001,
            "dtype": "float32",
        },
        "quantile-jko": {"step_size": 0.05, "nodes": 1200},
        "dual-jko": {
            "step_size": 0.1,
            "samples": 20000,
            "basis": "polynomial",
            "degree": 3,
            "kernels": 400,
            "kernel_variance": 0.1,
            "reference": "coupled",
            "box_variance": 8.0,
            "regularisation": "quadratic",
            "penalty": 0.001,
            "tolerance": 0.001,
            "iterations": 1000,
        },
        "proximal-recursion": {
            "particles": 1000,
            "step_size": 0.001,
            "regularisation": 0.05,
            "tolerance": 1e-05,
            "max_sweeps": 300,
        },
        "mala": {"particles": 10000, "chains": 250, "warmup": 1000, "thinning": 25, "metric": "identity"},
        "laplace": {"iterations": 200},
    },
}
"""Settings and their defaults, as JSON values, by kind and name. Nothing is ever added or taken away."""


@dataclasses.dataclass(frozen=True)
class Former:
    """The former ``name`` of a component, and the old names of its settings, which ``settings`` maps new ones to.

    ``fixed`` are old settings that the new component has for good. The entry holds on the ``problems`` of these names
    (``None``: on all), for settings, by their new names, that are as in ``where`` (``None``: absent, too).
    """

    name: str
    settings: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] | None = None
    where: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def holds(self, settings: Mapping[str, Any], problem: str | None) -> bool:
        """Return whether this is what a component with these settings was called, on the problem of that old name."""
        return (self.problems is None or problem in self.problems) and all(
            settings.get(name) == value for name, value in self.where.items()
        )


POSTERIORS = ("gaussian-mixture", "logistic-regression")
"""Problems whose laws were found by Gaussian variational inference under the name gaussian-jko."""

FORMERLY: Mapping[tuple[str, str], tuple[Former, ...]] = {
    ("solver", "chang-cooper"): (Former("chang-cooper", {"cells": "points"}),),
    ("solver", "euler-maruyama"): (Former("euler-maruyama", {"preconditioner": "metric"}),),
    # What was gaussian-jko on these problems is gaussian-variational. What is now called so declines them, under a name
    # of its own, lest the two be one cell; stored settings with a scheme are those of then.
    ("solver", "gaussian-jko"): (Former("gaussian-jko, quadratic", problems=POSTERIORS, where={"scheme": None}),),
    ("solver", "gaussian-variational"): (
        Former("gaussian-jko", problems=POSTERIORS),
        Former("gaussian-jko", where={"scheme": "forward-backward"}),
    ),
    ("solver", "icnn-jko"): (Former("icnn-jko", {"preconditioner": "metric"}),),
    ("solver", "mala"): (Former("mala", {"preconditioner": "metric"}),),
    ("solver", "svgd"): (Former("svgd", {"minibatch": "batch_size", "preconditioner": "metric"}),),
}
"""Former names by kind and name of today; the first that holds counts, and none means the name of today."""

MEASURES = frozenset(
    {
        *("accuracy", "bures-w2", "c2st", "calibration-error", "coverage-50", "coverage-90", "crps", "deviation-error"),
        *("effective-share", "elbo", "energy-distance", "evidence-gap", "log-evidence-error", "log-predictive"),
        *("marginal-w1", "mean-error", "mode-weights", "pit", "sliced-w2", "symkl", "symkl-carried", "symkl-gaussian"),
        "symkl-published",
    }
)
"""Measures that there were when stores did not yet say which of them a cell had been asked for."""


def renamed(kind: str, name: str) -> dict[str, str]:
    """Return the names of a component's settings today, keyed by their former ones."""
    return {old: new for entry in FORMERLY.get((kind, name), ()) for new, old in entry.settings.items()}


def parted(kind: str, name: str, setting: str) -> list[str]:
    """Return the other components that a component with this setting has come to be since, by their names of today."""
    if setting not in SETTINGS.get(kind, {}).get(name, {}):
        return []
    return [
        other
        for (of, other), entries in FORMERLY.items()
        if of == kind and other != name and any(entry.name == name for entry in entries)
    ]
