"""Pages in a real browser: from a file, without a network."""

import numpy as np
import pandas as pd
import pytest

from harness.report.page import write_page
from seeding import numpy_generator


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from browsing import started

    driver = started(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def path(realistic, tmp_path_factory):
    return write_page(realistic, tmp_path_factory.mktemp("page") / "report.html", "A report")


@pytest.fixture
def opened(browser, path):
    from browsing import open_page, silent

    open_page(browser, path)
    yield browser
    assert silent(browser)


@pytest.fixture(scope="module")
def over_time(make_cell, make_frame, tmp_path_factory):
    """A page with densities on the line and in the plane at three times, and energies."""
    rows, draws, steps = [], [], []
    times = (0.25, 1.0, 4.0)
    solvers = (("oracle", 1.0), ("jko", 1.25), ("em", 1.0))
    for size in (1, 2):
        for solver, factor in solvers:
            figures = [(t, "free-energy", factor / t, 0.01, 0.1) for t in times]
            rows += make_cell("well", "{}", solver, {}, solver, size, 0, figures, solve_seconds=1.0)
            for t in times:
                base = {
                    "suite": "s",
                    "preset": "",
                    "problem": "well",
                    "problem_settings": "{}",
                    "seed": 0,
                    "label": solver,
                }
                base |= {
                    "device": "cpu",
                    "key": f"{solver}{size}",
                    "solver": solver,
                    "solver_settings": "{}",
                    "size": size,
                }
                reach = 2 * np.sqrt(t)
                x = np.linspace(-reach, reach, 61)
                height = np.maximum(1 - factor * x**2 / t, 0) / np.sqrt(t)
                row = base | {"t": t, "share": 1.0, "box": None, "density": None, "points": np.stack([x, height], 1)}
                if size == 2:
                    row["points"] = numpy_generator(1).standard_normal((30, 2)) * np.sqrt(t)
                    if solver != "em":
                        square = np.add.outer(x**2, x**2) / t
                        row |= {
                            "box": np.array([-1, -1, 1, 1]) * reach,
                            "density": np.maximum(1 - factor * square, 0) / t,
                        }
                draws.append(row)
                if solver == "jko":
                    steps += [base | {"along": "steps", "name": name, "step": k, "value": value}
                              for k, t in enumerate(times, 1) for name, value in (("time", t), ("free_energy", 2 / t))][
                                  : 6 * (t == times[0])]  # fmt: skip
    path = tmp_path_factory.mktemp("over-time") / "report.html"
    return write_page(make_frame(rows), path, traces=pd.DataFrame(steps), projections=pd.DataFrame(draws))
