"""A frame such as a store gives, made of plausible numbers, for tables, figures and the page."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest

from seeding import numpy_generator

OU = json.dumps(
    {"times": [0.5, 0.9], "instance": "mokrov2021", "inverse_temperature": 1.0, "spectrum": "well-conditioned"}
)
WELL = json.dumps({"times": [1.0, 5.0], "separation": 1.0})
POSTERIOR = json.dumps({"times": [20.0], "data": "breast-cancer", "intercept": False})
RUN = {
    "suite": "ou",
    "preset": "paper",
    "run": 1,
    "started": "2025-03-14T09:26:53.589+00:00",
    "finished": "2025-03-14T09:31:07.100+00:00",
    "commit": "3f786850e387550fdab836ed7e6dc881de23001b",
    "dirty": True,
    "machine": "Intel(R) Xeon(R) CPU @ 2.80GHz, 2 cores, 7.8 GiB, Linux 6.1",
    "threads": 1,
    "arithmetic": "AVX512 instructions, MKL_CBWR=AUTO",
    "device": "cpu",
    "beside": 2,
    "versions": json.dumps({"python": "3.11.9", "wgfbench": "0.1.0", "torch": "2.13.0", "numpy": "2.4.6"}),
    "argv": "wgfbench run ou --preset paper",
}
TRACEBACK = (
    'Traceback (most recent call last):\n  File "solve.py", line 3, in <module>\n    raise ValueError\nValueError'
)
# What a KDE judged on its own n particles reports in D dimensions, roughly.
SCOTT = {
    1000: {1: 0.012, 2: 0.0589, 4: 0.40, 6: 1.206, 8: 2.40, 12: 5.257},
    10000: {1: 0.0025, 2: 0.0166, 4: 0.183, 6: 0.717, 8: 1.69, 12: 4.34},
    50000: {1: 0.0008, 2: 0.0065, 4: 0.104, 6: 0.498, 8: 1.31, 12: 3.83},
}


def cell(problem, settings, solver, solver_settings, label, size, seed, figures, status="ok", reason=None, **more):
    """Return the rows of one cell; ``figures`` holds (t, metric, value, standard error, floor)."""
    identity = json.dumps([problem, settings, solver, solver_settings, size, seed, more.pop("salt", 0)])
    key = hashlib.sha256(identity.encode()).hexdigest()[:32]
    base = RUN | {
        "key": key, "problem": problem, "problem_settings": settings, "solver": solver,
        "solver_settings": json.dumps(solver_settings), "label": label, "size": size, "seed": seed, "status": status,
        "reason": reason, "traceback": None, "sample_size": solver_settings.get("particles"), "solve_seconds": np.nan,
        "setup_seconds": 0.001, "measure_seconds": 0.02, "wall_seconds": 0.4, "cpu_seconds": 0.4,
        "peak_memory": 310_000_000, "gradient_evaluations": 1000, "diagnostics": "{}",
        "rerun": f"wgfbench run ou --preset paper --cell {key[:12]}",
    } | more  # fmt: skip
    if not figures:
        return [base | {"t": np.nan, "metric": None, "value": np.nan, "standard_error": np.nan, "estimator": None,
                        "floor": np.nan, "floor_standard_error": np.nan}]  # fmt: skip
    return [
        base | {"t": t, "metric": metric, "value": value, "standard_error": error, "estimator": "an estimator",
                "floor": floor, "floor_standard_error": error}
        for t, metric, value, error, floor in figures
    ]  # fmt: skip


def tidy(rows):
    """Return rows as a frame with the types that a store gives."""
    frame = pd.DataFrame(rows)
    frame["sample_size"] = frame["sample_size"].astype("Int64")
    return frame


@pytest.fixture(scope="session")
def make_cell():
    return cell


@pytest.fixture(scope="session")
def make_frame():
    return tidy


def ornstein_uhlenbeck_rows(rng, dims, seeds):
    rows = []
    for dim in dims:
        floors = {n: SCOTT[n].get(dim, 0.02 * dim**2) for n in SCOTT}
        for seed in range(seeds):
            jko = 0.0009 * dim * np.exp(0.3 * rng.standard_normal())
            for solver, settings, error in [
                ("initial", {}, 1.4 * dim),
                ("oracle", {"particles": None}, 0.0),
                ("gaussian-jko", {"step_size": 0.05, "order": 1}, jko),
                ("gaussian-jko", {"step_size": 0.05, "order": 2}, jko * 1e-3),
                *[
                    (name, {"particles": n, "step_size": 0.001}, None)
                    for name in ("oracle", "euler-maruyama")
                    for n in SCOTT
                ],
            ]:
                particles = settings.get("particles")
                label = f"{solver} particles={particles}" if particles else solver
                label += f" order={settings['order']}" if "order" in settings else ""
                figures = []
                for t in (0.5, 0.9):
                    decay = np.exp(-1.5 * (t - 0.5))
                    if error is not None:
                        figures.append((t, "symkl", error * decay, 1e-5, 0.0))
                        figures.append((t, "bures-w2", 0.3 * np.sqrt(error * decay), 0.0, 0.0))
                    else:
                        floor = floors[particles]
                        value = floor * np.exp(0.03 * rng.standard_normal())
                        figures.append((t, "symkl", 0.6 * value, 0.01 * floor, 0.6 * floor))
                        figures.append((t, "symkl-published", value, 0.01 * floor, floor))
                        w2 = np.sqrt(dim / particles)
                        figures.append((t, "bures-w2", w2 * np.exp(0.2 * rng.standard_normal()), 0.0, w2))
                seconds = (particles or 300) * dim * 8e-6 * np.exp(0.1 * rng.standard_normal()) + 0.002
                status = {"solve_seconds": seconds, "peak_memory": int(2.5e8 + 80 * (particles or 0) * dim)}
                if solver == "euler-maruyama" and dim == dims[-1] and particles == 50000 and seed % 5 == 4:
                    reason = f"{17 + seed} of 50000 particles are not finite at t = 0.43"
                    status |= {"status": "diverged", "reason": reason, "solve_seconds": np.nan}
                    figures = []
                rows += cell("ornstein-uhlenbeck", OU, solver, settings, label, dim, seed, figures, **status)
            rows += cell("ornstein-uhlenbeck", OU, "chang-cooper", {"cells": 2000}, "chang-cooper", dim, seed, [],
                         "skipped", "a grid needs one dimension, the problem has " + str(dim))  # fmt: skip
    return rows


def double_well_rows(rng, seeds):
    rows = []
    for seed in range(seeds):
        for n in SCOTT:
            value = SCOTT[n][1]
            for solver in ("oracle", "euler-maruyama"):
                figures = [(t, "symkl", value * np.exp(0.2 * rng.standard_normal()), 0.001, value) for t in (1.0, 5.0)]
                rows += cell("double-well", WELL, solver, {"particles": n}, f"{solver} particles={n}", 1, seed, figures,
                             solve_seconds=n * 4e-6)  # fmt: skip
        figures = [(t, "symkl", 3e-9 * np.exp(rng.standard_normal()), 0.0, 0.0) for t in (1.0, 5.0)]
        rows += cell("double-well", WELL, "chang-cooper", {"cells": 2000}, "chang-cooper", 1, seed, figures,
                     solve_seconds=0.03)  # fmt: skip
        rows += cell("double-well", WELL, "gaussian-jko", {"order": 1}, "gaussian-jko order=1", 1, seed, [], "error",
                     "ValueError: <script>alert('reason')</script> & the potential is not quadratic",
                     traceback=TRACEBACK)  # fmt: skip
    rows += cell("double-well", WELL, "dual-jko", {}, "dual-jko", 1, 0, [], "unavailable", "needs the package ‘jax’")
    return rows


def posterior_rows(rng, seeds):
    rows = []
    for seed in range(seeds):
        for solver, accuracy in (("initial", 0.55), ("euler-maruyama", 0.974), ("oracle", 0.976)):
            label = solver if solver == "initial" else f"{solver} particles=1000"
            figures = [
                (20.0, "accuracy", accuracy + 0.01 * rng.standard_normal(), 0.01, 0.976),
                (
                    20.0,
                    "log-predictive",
                    -0.08 * (10 if solver == "initial" else 1) - 0.01 * rng.random(),
                    0.01,
                    -0.081,
                ),
            ]
            settings = {} if solver == "initial" else {"particles": 1000}
            rows += cell(
                "logistic-regression", POSTERIOR, solver, settings, label, 31, seed, figures, solve_seconds=0.9
            )
        if seed == 0:
            rows += cell("logistic-regression", POSTERIOR, "euler-maruyama", {"particles": 50000},
                         "euler-maruyama particles=50000", 31, seed, [], "timeout", "killed after 600 s",
                         solve_seconds=np.nan)  # fmt: skip
    return rows


@pytest.fixture(scope="session")
def make_realistic():
    """Return a builder of a frame like that of a real sweep: three problems, all kinds of outcomes."""

    def build(dims=(2, 4, 6, 8, 12), seeds=15):
        rng = numpy_generator(20250314)
        return tidy(ornstein_uhlenbeck_rows(rng, dims, seeds) + double_well_rows(rng, 5) + posterior_rows(rng, 5))

    return build


@pytest.fixture(scope="session")
def realistic(make_realistic):
    return make_realistic()


@pytest.fixture(scope="session")
def large():
    """A frame of 50,000 cells, two times and three measures each, three in a hundred failed."""
    rng = numpy_generator(7)
    cells, dims = 50_000, np.array([1, 2, 4, 8, 16])
    solvers = [f"euler-maruyama particles={n}" for n in (1000, 2000, 5000, 10000, 20000, 50000, 100000)]
    solvers += [f"svgd kernel=rbf bandwidth={width}" for width in (0.1, 0.3, 1)]
    index = np.arange(cells)
    label = np.array(solvers, dtype=object)[index % 10]
    failed = rng.random(cells) < 0.03
    table = pd.DataFrame(RUN, index=index).assign(
        key=[hashlib.sha256(str(number).encode()).hexdigest()[:32] for number in index],
        problem="ornstein-uhlenbeck",
        problem_settings=OU,
        label=label,
        solver=[name.split()[0] for name in label],
        solver_settings=[json.dumps({"particles": 1000, "name": name}) for name in label],
        size=dims[index // 10 % 5],
        seed=index // 50,
        status=np.where(failed, "error", "ok"),
        reason=[
            f"ValueError: step {number % 400} of instance is bad" if bad else None for number, bad in enumerate(failed)
        ],
        traceback=[TRACEBACK * 4 if bad else None for bad in failed],
        sample_size=pd.array([1000] * cells, dtype="Int64"),
        solve_seconds=np.exp(rng.standard_normal(cells)),
        setup_seconds=0.01,
        measure_seconds=0.1,
        wall_seconds=1.0,
        cpu_seconds=1.0,
        peak_memory=3e8,
        gradient_evaluations=1000,
        diagnostics="{}",
    )
    table["rerun"] = "wgfbench run ou --preset paper --cell " + table["key"].str[:12]
    slots = pd.DataFrame(
        [(t, metric) for t in (0.5, 0.9) for metric in ("symkl", "symkl-published", "energy-distance")],
        columns=["t", "metric"],
    )
    ok = table[~failed].merge(slots, how="cross")
    ok["value"] = np.exp(rng.standard_normal(len(ok))) * ok["size"] / 100
    ok = ok.assign(standard_error=0.001, estimator="an estimator", floor=0.01, floor_standard_error=0.001)
    return pd.concat([ok, table[failed]], ignore_index=True)
