"""With next to no draws, of the evaluation or of the answer, a measure gives a number or says what it needs."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import pytest
import torch

import harness
from harness.catalogue import BUILTIN, catalogue, import_target
from harness.cell import FAR, run_in_child
from harness.conformance.gallery import Exhibit, gallery
from harness.errors import UsageError
from harness.measure.measure import Measure, Subject, without_figure
from harness.plan import Selection, plan
from harness.suite import Suite
from problems.laws import Gaussian
from problems.problem import Problem
from seeding import fixed_generator
from solvers.estimates import Exact, Particles
from solvers.solver import Diverged

FAMILIES = ("ornstein-uhlenbeck", "gaussian-mixture", "porous-medium", "linear-filtering")
DRAWS = (2, 3, 4, 6, 20)


@lru_cache
def shown() -> list[Exhibit]:
    found = gallery({name: BUILTIN["problem"][name] for name in FAMILIES})
    return [each for each in found if each.problem.truth is not None]


def answers(problem: Problem, t: float) -> list[Subject]:
    assert problem.truth is not None
    law = problem.truth(t)
    found = [Exact(law), *(Particles(law.sample(count, fixed_generator(count))) for count in (1, 2, 3, 5, 8, 40))]
    weights = torch.linspace(-1, 1, 40, dtype=torch.float64)
    found.append(Particles(law.sample(40, fixed_generator(7)), weights))
    return [Subject(estimate, law, problem, t) for estimate in found]


@pytest.mark.parametrize("name", BUILTIN["measure"])
def test_a_number_or_a_reason(name: str) -> None:
    measure: Measure = import_target(BUILTIN["measure"][name])()
    for exhibit in shown():
        for subject in answers(exhibit.problem, exhibit.problem.flow.horizon):
            for draws in DRAWS:
                why = without_figure(measure, subject, draws)
                if why is not None:
                    assert why
                    continue
                figure = measure(subject, draws, fixed_generator(draws))
                assert not math.isnan(figure.value), (exhibit.title, subject.estimate, draws)
                assert figure.standard_error >= 0, (exhibit.title, subject.estimate, draws)


@pytest.mark.parametrize(
    ("name", "dim", "least"),
    [("kl", 1, 4), ("kl", 2, 4), ("kl", 5, 6), ("c2st", 2, 20), ("energy-distance", 2, 3), ("sliced-w2", 2, 2)],
)
def test_what_draws_need(name: str, dim: int, least: int) -> None:
    law = Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
    (exhibit,) = [each for each in shown() if each.title.startswith("ornstein") and each.title.endswith("D=1")][:1]
    subject = Subject(Particles(law.sample(100, fixed_generator(1))), law, exhibit.problem, 1.0)
    measure: Measure = import_target(BUILTIN["measure"][name])()
    assert without_figure(measure, subject, least) is None
    assert math.isfinite(measure(subject, least, fixed_generator(2)).value)
    if least > 2:
        assert without_figure(measure, subject, least - 1) == (
            f"{least - 1} evaluation draws are too few; {least} are needed"
        )


def test_densities_need_no_neighbours() -> None:
    (exhibit,) = [each for each in shown() if each.title.startswith("ornstein") and each.title.endswith("D=2")][:1]
    (exact, *_) = answers(exhibit.problem, exhibit.problem.flow.horizon)
    assert without_figure(import_target(BUILTIN["measure"]["kl"])(), exact, 2) is None


def test_a_sweep_with_few_draws_blames_nobody() -> None:
    suite = Suite.model_validate(
        {
            "title": "few",
            "draws": 3,
            "measures": ["kl", "c2st", "energy-distance"],
            "problems": [{"use": "ornstein-uhlenbeck", "settings": {"instance": "random", "times": [0.1]}}],
            "solvers": [{"use": "euler-maruyama", "settings": {"particles": 50, "step_size": 0.1}}],
        }
    )
    (cell,) = [each for each in plan(suite, Selection(dims="2"), catalogue()) if each.solver.name == "euler-maruyama"]
    (outcome,) = run_in_child([cell])
    assert (outcome.status, outcome.reason) == ("ok", None)
    assert [each.metric for each in outcome.measurements] == ["energy-distance"]
    assert outcome.unsuited == {
        "kl": "3 evaluation draws are too few; 4 are needed",
        "c2st": "3 evaluation draws are too few; 20 are needed",
    }


def test_from_python_it_is_one_line() -> None:
    answer = harness.solve(harness.problem("double-well", dim=1), "euler-maruyama", particles=100, step_size=0.05)
    with pytest.raises(UsageError, match=r"^kl does not suit euler-maruyama: 3 evaluation draws are too few; 4 are"):
        harness.measure(answer, "kl", draws=3)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # of what overflows
@pytest.mark.parametrize("name", BUILTIN["measure"])
def test_draws_however_far_away_get_a_number_or_a_reason(name: str) -> None:
    measure: Measure = import_target(BUILTIN["measure"][name])()
    for exhibit in shown():
        problem, t = exhibit.problem, exhibit.problem.flow.horizon
        assert problem.truth is not None
        law = problem.truth(t)
        x = law.sample(40, fixed_generator(0))
        for points in (x + 1e60, x * 1e100, x * 1e153, x + 1e200, x * 1e200, x / x.abs().max() * 1e308):
            subject = Subject(Particles(points), law, problem, t)
            if without_figure(measure, subject, 40) is not None:
                continue
            try:
                figure = measure(subject, 40, fixed_generator(1))
            except Diverged:  # a reason
                continue
            if math.isnan(figure.value):  # which the harness refuses
                assert points.abs().max() > FAR
            else:
                assert figure.standard_error >= 0, (exhibit.title, points)


@pytest.mark.filterwarnings("ignore:.*:RuntimeWarning")  # of what overflows
@pytest.mark.parametrize("dim", [1, 2])
def test_figures_of_draws_whose_squares_overflow_say_so(dim: int) -> None:
    posed = harness.problem("ornstein-uhlenbeck", dim, instance="random", times=[0.5])
    given, x = (
        harness.solve(posed, "oracle", particles=200),
        torch.randn(200, dim, generator=fixed_generator(0)).double(),
    )
    for points in (x + 1e200, x * 1e200):
        answer = replace(given, estimates=(Particles(points),))
        found = harness.measure(
            answer, "symkl", "l1", "hellinger", "sliced-w2", "w2", "energy-distance", draws=200
        ).set_index("measure")
        values = found["value"].to_dict()
        assert values.pop("l1") == 2
        assert values.pop("hellinger") == 1
        assert set(values.values()) == {math.inf}
        assert found["estimator"].str.endswith("overflow").sum() == 3
        assert found["estimator"].str.endswith("covariance of the points overflows").sum() == 3
        assert (found["standard_error"][["sliced-w2", "w2", "energy-distance"]] == math.inf).all()
        assert harness.measure(answer, "c2st", draws=200)["value"].item() > 0.95
    flow = harness.problem("linear-filtering", 2)
    answer = harness.solve(flow, "bootstrap-filter", particles=50)
    answer = replace(
        answer, estimates=tuple(Particles(torch.full((50, 2), 1e200, dtype=torch.float64)) for _ in answer.times)
    )
    with pytest.raises(Diverged, match=r"crps at t = .* is not a number: squares of coordinates as large as 1e\+200"):
        harness.measure(answer, "crps", draws=100)
