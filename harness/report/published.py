"""Published figures to lay beside our own, each with its source.

Mokrov et al., Large-Scale Wasserstein Gradient Flows, NeurIPS 2021; Fan, Zhang, Taghvaei and Chen, Variational
Wasserstein Gradient Flow, ICML 2022.

A published figure stands beside one of ours only where problem, instance, settings, time and estimator agree.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

SOURCE = "published (Mokrov et al. 2021)"
FAN = "published (Fan et al. 2022)"
READ_OFF = ", read off a plot"
FOLDER = Path(__file__).parents[2] / "results" / "published"

COLUMNS = [
    "problem", "problem_settings", "method", "solver", "solver_settings", "label", "size", "t", "metric",
    "median", "q25", "q75", "min", "max", "runs", "seconds", "source",
]  # fmt: skip

RELEASED_MODEL = {"intercept": False, "prior_shape": 1.0, "prior_rate": 100.0}

POROUS_STEP = 5e-4
"""The step of the released porous-medium runs in three and six dimensions."""

ALWAYS_THE_SAME = ("step_size", "regularisation")


@dataclass(frozen=True)
class Counterpart:
    """The solver that is an authors' method here, with the settings that make it the same, a label and a measure."""

    solver: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    metric: str = "symkl"

    @property
    def label(self) -> str:
        """Name to display, as a suite would label the solver: what is always the same is left out."""
        shown = [f"{name}={value}" for name, value in self.settings.items() if name not in ALWAYS_THE_SAME]
        return " ".join([self.solver, *shown])


def counterpart(method: str) -> Counterpart:
    """Return the solver that an authors' method name stands for; raises ``ValueError`` for a name that is not theirs.

    Particles outside the filtering problem were scored by a KDE on themselves, or by densities that they carry,
    normalised with that KDE, dual JKO by its density normalised with draws of the truth, hence ``symkl-published``;
    methods with a density of their own, and all filters (by quadrature on a grid), hence ``symkl``.
    """
    match = re.fullmatch(r"(EM_sim|EM_ProxRec|bbf)_(\d+)", method)
    if match:
        particles = int(match[2])
        return {
            "EM_sim": Counterpart("euler-maruyama", {"particles": particles, "step_size": 1e-3}, "symkl-published"),
            "EM_ProxRec": Counterpart(
                "proximal-recursion",
                {"particles": particles, "step_size": 1e-3, "regularisation": 0.05},
                "symkl-published",
            ),
            "bbf": Counterpart("bootstrap-filter", {"particles": particles}),
        }[match[1]]
    named = {
        "ICNN_jko": Counterpart("icnn-jko"),
        "dual_jko": Counterpart("dual-jko", {"reference": "published", "step_size": 0.1}, "symkl-published"),
        "SVGD": Counterpart("svgd"),
        "variational": Counterpart("primal-dual-jko"),
    }
    if method not in named:
        raise ValueError(
            f"no published method {method!r} (there are: EM_sim_N, EM_ProxRec_N, bbf_N, {', '.join(named)})"
        )
    return named[method]


def load(folder: str | Path = FOLDER) -> pd.DataFrame:
    """Return all published figures as one tidy frame, one row per problem, method, size, time and measure.

    ``problem_settings`` and ``solver_settings`` are JSON texts of the settings that must agree for a figure of ours to
    be comparable. ``size`` is missing for the logistic regressions, whose data set fixes it. Raises
    ``FileNotFoundError`` for a folder that does not hold the files.
    """
    folder = Path(folder)
    mokrov = [ornstein_uhlenbeck(folder), gaussian_mixture(folder), nonlinear_filtering(folder), posterior(folder)]
    parts = [*(part.assign(source=SOURCE) for part in mokrov), variational(folder)]
    return pd.concat([part.reindex(columns=COLUMNS) for part in parts], ignore_index=True)


def variational(folder: Path) -> pd.DataFrame:
    """Return the figures of Fan et al. (2022) that some measure here has the estimator of, or near it.

    Logarithms are undone, so that ``median`` holds a geometric mean over the instances; its half-width is no quartile
    and is left out. On Ornstein-Uhlenbeck flows they fitted a Gaussian to particles, hence ``symkl-gaussian``; on
    mixtures a mixture of 15 Gaussians, which no measure here does: those stand beside ``symkl``, from above. Seconds a
    step are of no whole run and stand beside nothing.
    """
    table = read(folder, "variational_wgf")
    logarithms = table["quantity"].str.startswith("log10 ")
    settings = {
        "ornstein-uhlenbeck": ("symkl-gaussian", {"instance": "fan2022", "inverse_temperature": 1.0}, 15, None),
        "gaussian-mixture": ("symkl", {"instance": "fan2022", "truth": "stationary"}, None, None),
        "porous-medium": ("free-energy", {"instance": "fan2022-released"}, None, 2 * POROUS_STEP),
    }
    parts = []
    shown = table[table["quantity"].str.contains("SymKL|free energy")]
    for problem, rows in shown.groupby("problem", sort=False):
        metric, required, runs, time = settings[str(problem)]
        parts.append(
            rows.assign(
                median=rows["value"].where(~logarithms, 10.0 ** rows["value"]),
                metric=metric,
                problem_settings=json.dumps(required),
                runs=runs,
                t=rows["t"] if time is None else time,
                source=[FAN + (READ_OFF if how == "plot" else "") for how in rows["read"]],
            )
        )
    return named(pd.concat(parts, ignore_index=True).rename(columns={"dim": "size"}))


def marked(text: str, source: object) -> str:
    """Return the text of a published figure, with ~ before it where it was read off a plot."""
    return f"~{text}" if str(source).endswith(READ_OFF) else text


def sources(*tables: pd.Series[Any]) -> str:
    """Return the sources of some columns in words, each once; that of the first paper where there is none."""
    found = dict.fromkeys(str(name).removesuffix(READ_OFF) for table in tables for name in table.dropna().unique())
    return "; ".join(found) or SOURCE


def ornstein_uhlenbeck(folder: Path) -> pd.DataFrame:
    """Return SymKL on the Ornstein-Uhlenbeck instances; ``seconds`` are those of the solve, without estimation."""
    seconds = read(folder, "ornstein_uhlenbeck_seconds").rename(columns={"time_train": "seconds"})
    table = read(folder, "ornstein_uhlenbeck").merge(seconds[["method", "dim", "seconds"]], how="left")
    return symkl(table, "ornstein-uhlenbeck", {"instance": "mokrov2021", "inverse_temperature": 1.0})


def gaussian_mixture(folder: Path) -> pd.DataFrame:
    """Return SymKL to the stationary mixtures, reached by t = 4."""
    table = read(folder, "gaussian_mixture").rename(columns={"seconds_median": "seconds"}).assign(t=4.0)
    return symkl(table, "gaussian-mixture", {"instance": "mokrov2021", "truth": "stationary"})


def nonlinear_filtering(folder: Path) -> pd.DataFrame:
    """Return SymKL to the grid posterior of the filtering instances, at t = 5 in one dimension."""
    table = read(folder, "nonlinear_filtering").rename(columns={"seconds_median": "seconds"}).assign(dim=1, t=5.0)
    return symkl(table, "nonlinear-filtering", {"instance": "mokrov2021"}).assign(metric="symkl")


def posterior(folder: Path) -> pd.DataFrame:
    """Return accuracy and log-likelihood of the logistic regressions: of the released runs, else of Table 1.

    They were made with the prior of the released code; the paper prints another rate.
    """
    table = read(folder, "bayesian_logistic_regression").sort_values("source", kind="stable")
    table = table.drop_duplicates(["dataset", "method"])
    table = table.rename(columns={"accuracy": "accuracy", "log_likelihood": "log-predictive"})
    long = table.melt(["dataset", "method", "seconds"], ["accuracy", "log-predictive"], "metric", "median")
    settings = [json.dumps({"data": name, **RELEASED_MODEL}) for name in long["dataset"]]
    return named(long.assign(problem="logistic-regression", problem_settings=settings))


def symkl(table: pd.DataFrame, problem: str, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return a table of SymKL aggregates in the columns of :func:`load`."""
    columns = {f"symkl_{name}": name for name in ("median", "q25", "q75", "min", "max")} | {"dim": "size"}
    table = table.rename(columns=columns).assign(problem=problem, problem_settings=json.dumps(settings))
    metrics = {method: counterpart(method).metric for method in table["method"].unique()}
    return named(table.assign(metric=table["method"].map(metrics)))


def named(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the names that its methods have here."""
    ours = {method: counterpart(method) for method in table["method"].unique()}
    return table.assign(
        solver=table["method"].map({method: other.solver for method, other in ours.items()}),
        solver_settings=table["method"].map({method: json.dumps(other.settings) for method, other in ours.items()}),
        label=table["method"].map({method: other.label for method, other in ours.items()}),
    )


def read(folder: Path, name: str) -> pd.DataFrame:
    """Return one file of published figures; raises ``FileNotFoundError`` where the folder lacks it."""
    path = folder / f"{name}.csv"
    if not path.is_file():
        raise FileNotFoundError(f"published figures not found: {path}")
    return pd.read_csv(path)


def agrees(required: str, settings: str) -> bool:
    """Return whether settings (JSON text) hold every required name with its value."""
    given = json.loads(settings)
    return all(name in given and given[name] == value for name, value in json.loads(required).items())


def comparable(table: pd.DataFrame, problem: str, problem_settings: str) -> pd.DataFrame:
    """Return the published figures for one problem with its settings; empty when it is not one of theirs."""
    rows = table[table["problem"] == problem]
    agreeing = [agrees(required, problem_settings) for required in rows["problem_settings"]]
    return rows[pd.Series(agreeing, index=rows.index, dtype=bool)]
