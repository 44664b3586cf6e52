"""Fill in the tables of ``docs/fitted-jko.md`` and draw its picture, ``docs/fitted-jko.svg``.

    python scripts/fitted_jko.py

All of it is worked out afresh, in about a minute; nothing is timed, so that it is the same on every machine. The work
in the picture is counted in Newton iterations, each of which solves one tridiagonal system.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from harness.measure.measure import Subject
from harness.measure.symkl import SymKL
from problems.arrays import Reals
from problems.double_well import DoubleWell
from problems.laws import Law
from problems.nonlinear_filtering import NonlinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.problem import Problem
from problems.references.marginals_1d import reference_marginal
from solvers.estimates import Estimate
from solvers.exponential_fitting import fitted_weight
from solvers.gaussian.fitted_step import sqrt_symkl
from solvers.gaussian.gaussian_jko import GaussianJKO
from solvers.one_dimensional.quantile_jko import QuantileJKO
from solvers.one_dimensional.quantile_map import QuantileMap, initial_values, node_masses
from solvers.one_dimensional.quantile_step import QuantileObjective, minimise
from solvers.solver import Diverged

DOCS = Path(__file__).resolve().parents[1] / "docs"
CPU = torch.device("cpu")
TIME = 0.5
STEPS = (0.05, 0.125, 0.25)
SCHEMES = ("JKO", "midpoint", "fitted", "fitted-energy")
LINE_STEPS = (0.1, 0.05, 0.025)
RULES = ("JKO", "midpoint", "mean", "local", "blended")
DRAWS = 4000


def stream() -> torch.Generator:
    """Return the stream that all draws are from."""
    return torch.Generator().manual_seed(3)


def gaussian_solver(scheme: str, step_size: float) -> GaussianJKO:
    """Return the solver of a column of the table."""
    if scheme == "JKO":
        return GaussianJKO(step_size=step_size)
    return GaussianJKO(step_size=step_size, order=2, second_order=scheme)


def gaussian_row(dim: int) -> str:
    """Return the row of a dimension: median and largest SymKL over the published instances, by step and scheme."""
    instances = [OrnsteinUhlenbeck(times=(TIME,)).build(dim, seed, stream()) for seed in range(5 if dim == 32 else 15)]
    cells = []
    for step_size in STEPS:
        for scheme in SCHEMES:
            found = []
            for problem in instances:
                (estimate,) = gaussian_solver(scheme, step_size).solve(problem, stream(), CPU).estimates
                assert problem.truth is not None
                found.append(sqrt_symkl(estimate.moments(stream()), problem.truth(TIME).moments()) ** 2)
            cells.append(f"{statistics.median(found):.2g} / {max(found):.2g}")
    return f"| {dim} | " + " | ".join(cells) + " |"


def wells() -> dict[str, Problem]:
    """Return the flows on the line by name."""
    sine = replace(NonlinearFiltering().build(1, 0, stream()).flow, times=(TIME,))
    return {
        "double well": DoubleWell(times=(TIME,)).build(1, 0, stream()),
        "sine well": Problem(sine, (), lambda t: reference_marginal(sine, t)),
    }


def symkl(estimate: Estimate, truth: Law) -> float:
    """Return SymKL by draws."""
    value = SymKL()(Subject(estimate, truth, None), DRAWS, stream()).value  # type: ignore[arg-type]
    assert value is not None
    return value


def of_one_curvature(problem: Problem, step_size: float, local: bool, nodes: int = 1200) -> QuantileMap:
    """Return the answer of fitted steps with a = V'' or E V''; raises ``Diverged`` where a step folds the line."""
    flow = problem.flow
    values, (around, _) = initial_values(flow, nodes), node_masses(nodes)
    for _ in range(round(TIME / step_size)):
        curvature: Reals = flow.potential.hessian(torch.from_numpy(values)[:, None]).numpy()[:, 0, 0]
        if not local:
            curvature = np.full(nodes, around @ curvature)
        share = fitted_weight(step_size * curvature)
        objective = QuantileObjective(flow.potential, flow.inverse_temperature, step_size * share, values)
        values = values + (minimise(objective)[0] - values) / share
        if not np.diff(values).min() > 0:
            raise Diverged("folds the line")
    return QuantileMap(values)


def line_row(name: str, rule: str) -> str:
    """Return the row of a flow and a rule for the curvature: SymKL by step."""
    problem, cells = wells()[name], []
    assert problem.truth is not None
    for step_size in LINE_STEPS:
        try:
            if rule in ("mean", "local"):
                estimate: Estimate = of_one_curvature(problem, step_size, rule == "local")
            else:
                second = "fitted" if rule == "blended" else "midpoint"
                solver = QuantileJKO(step_size=step_size, order=1 if rule == "JKO" else 2, second_order=second)
                (estimate,) = solver.solve(problem, stream(), CPU).estimates
            cells.append(f"{symkl(estimate, problem.truth(TIME)):.2g}")
        except Diverged:
            cells.append("folds")
    return f"| {name} | {rule} | " + " | ".join(cells) + " |"


CURVES: dict[str, list[dict[str, object]]] = {
    "JKO": [{"step_size": h} for h in (0.25, 0.1, 0.05, 0.025)],
    "midpoint": [{"step_size": h, "order": 2} for h in (0.05, 0.025)],
    "fitted": [{"step_size": h, "order": 2, "second_order": "fitted"} for h in (0.1, 0.05, 0.025)],
    "auto": [{"step_size": "auto", "tolerance": tolerance} for tolerance in (1e-2, 3e-3, 1e-4)],
}
"""Settings of quantile-jko by curve of the picture."""


def filtering_point(settings: dict[str, object]) -> tuple[int, float]:
    """Return the Newton iterations and the SymKL at t = 5 of the published filtering problem, instance 0."""
    problem = NonlinearFiltering().build(1, 0, stream())
    solution = QuantileJKO(**settings).solve(problem, stream(), CPU)  # type: ignore[arg-type]
    assert problem.truth is not None
    return int(solution.diagnostics["newton_iterations"]), symkl(solution.estimates[-1], problem.truth(5.0))


def filtering_row(curve: str, settings: dict[str, object], point: tuple[int, float]) -> str:
    """Return a row of the table beside the picture."""
    what = f"tolerance {settings['tolerance']:g}" if curve == "auto" else f"h = {settings['step_size']:g}"
    return f"| {curve} | {what} | {point[0]} | {point[1]:.2g} |"


COLOURS = {"JKO": "#4477aa", "midpoint": "#ccbb44", "fitted": "#ee6677", "auto": "#228833"}
WIDTH, HEIGHT, LEFT, BELOW = 640, 400, 70, 50
RANGE_X, RANGE_Y = (2.0, 3.5), (-7.0, -2.0)


def place(iterations: float, error: float) -> tuple[float, float]:
    """Return where a point is in the picture."""
    x = (math.log10(iterations) - RANGE_X[0]) / (RANGE_X[1] - RANGE_X[0])
    y = (math.log10(error) - RANGE_Y[0]) / (RANGE_Y[1] - RANGE_Y[0])
    return LEFT + x * (WIDTH - LEFT - 100), (HEIGHT - BELOW) - y * (HEIGHT - BELOW - 20)


def picture(curves: dict[str, list[tuple[int, float]]]) -> str:
    """Return the picture of error against work as SVG."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"'
        ' font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
    ]
    for power in range(int(RANGE_Y[0]), int(RANGE_Y[1]) + 1):
        _, y = place(100, 10.0**power)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - 100}" stroke="#dddddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">1e{power}</text>')
    for count in (100, 200, 500, 1000, 2000):
        x, y = place(count, 10.0 ** RANGE_Y[0])
        parts.append(f'<path d="M{x:.1f} 20V{y:.1f}" stroke="#dddddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{count}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - 100) / 2}" y="{HEIGHT - 10}" text-anchor="middle">Newton iterations</text>'
    )
    parts.append(f'<text x="{LEFT}" y="14">SymKL at t = 5, published filtering problem</text>')
    for name, points in curves.items():
        places = [place(*point) for point in points]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[name]}"/>' for x, y in places]
        x, y = places[-1]
        parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}" fill="{COLOURS[name]}">{name}</text>')
    return "\n".join([*parts, "</svg>", ""])


def filled(text: str, rows: dict[str, list[str]]) -> str:
    """Return the document with the rows of its tables, each between a header and an empty line, after a marker."""
    for name, lines in rows.items():
        before, marker, rest = text.partition(f"<!-- table: {name} -->\n")
        table, _, after = rest.partition("\n\n")
        text = before + marker + "\n".join([*table.split("\n")[:2], *lines]) + "\n\n" + after
    return text


def main() -> None:
    """Write the tables and the picture."""
    document = DOCS / "fitted-jko.md"
    points = {name: [filtering_point(each) for each in settings] for name, settings in CURVES.items()}
    rows = {
        "gaussian": [gaussian_row(dim) for dim in (2, 6, 12, 32)],
        "line": [line_row(name, rule) for name in wells() for rule in RULES],
        "filtering": [
            filtering_row(name, *row) for name in CURVES for row in zip(CURVES[name], points[name], strict=True)
        ],
    }
    document.write_text(filled(document.read_text(), rows))
    (DOCS / "fitted-jko.svg").write_text(picture(points))


if __name__ == "__main__":
    main()
