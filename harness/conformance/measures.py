"""Checks of a measure on small real problems: it gives a figure, or the reason why there is none."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from harness.conformance.contract import (
    check_definition,
    check_round_trip,
    copies,
    generator,
    global_state,
    require,
    same_bits,
    tensors_in,
    touched,
)
from harness.conformance.gallery import Exhibit
from harness.measure.measure import Figure, Measure, Subject
from problems.laws import Empirical, Law
from solvers.estimates import Estimate, Exact, Particles
from solvers.solver import Diverged

DRAWS = 500
REPETITIONS = 12
UNDERSTATED = 3.0
"""By how much a stated error may fall short of the spread over repetitions."""
FALSE_FLOOR = 7.0
"""How many errors of the mean difference the floors of own and fresh draws may lie apart."""


@dataclass(frozen=True)
class NamedSubject:
    """One subject and its name in verdicts."""

    title: str
    subject: Subject


@dataclass(frozen=True)
class MeasureTrial:
    """A measure and the subjects that it is shown: right and wrong answers of every kind to one problem a family."""

    component: type[Measure]
    exhibits: Sequence[Exhibit]

    @cached_property
    def subjects(self) -> list[NamedSubject]:
        """The subjects, on the last instance of each family that is shown."""
        shown = {exhibit.title.partition(" ")[0]: exhibit for exhibit in self.exhibits}
        return [asked for exhibit in shown.values() for asked in subjects(exhibit)]

    def figures(self) -> Iterator[tuple[NamedSubject, Figure]]:
        """Yield the figure of every subject that the measure says something about."""
        for asked in self.subjects:
            if self.component().unsuited(asked.subject) is None:
                yield asked, measured(self.component, asked)


def subjects(exhibit: Exhibit) -> Iterator[NamedSubject]:
    """Yield answers to a problem at its horizon: exact, initial, particles with and without weights, and too few."""
    problem, t = exhibit.problem, exhibit.problem.flow.horizon
    right = None if problem.truth is None else problem.truth(t)
    initial = problem.flow.initial
    answers: dict[str, Estimate] = {
        "the initial law": Exact(initial),
        "particles of the initial law": Particles(initial.sample(DRAWS, generator(1))),
        "weighted particles": Particles(
            initial.sample(DRAWS, generator(2)), torch.linspace(-1.0, 1.0, DRAWS, dtype=torch.float64)
        ),
        "two particles": Particles(initial.sample(2, generator(3))),
    }
    if right is not None:
        answers |= {"the truth": Exact(right), "exact draws": Particles(right.sample(DRAWS, generator(4)))}
    for name, estimate in answers.items():
        yield NamedSubject(f"{name} of {exhibit.title}", Subject(estimate, right, problem, t))
    yield NamedSubject(f"an unknown truth of {exhibit.title}", Subject(answers["the initial law"], None, problem, t))


def measured(component: type[Measure], asked: NamedSubject, seed: int = 0, draws: int = DRAWS) -> Figure:
    """Return the figure of a subject by so many draws; raises ``Violation`` unless it is one."""
    try:
        figure = component()(asked.subject, draws, generator(seed))
    except Diverged as error:
        return Figure(float("inf"), 0.0, str(error))
    require(isinstance(figure, Figure), f"gives no Figure for {asked.title}: {figure!r}")
    for number in (figure.value, figure.standard_error):
        require(isinstance(number, float), f"gives {number!r} for {asked.title}, which is no float")
        require(number == number, f"gives NaN for {asked.title}: it must say why it is unsuited instead")
    require(figure.standard_error >= 0, f"has a standard error of {figure.standard_error} for {asked.title}")
    require(isinstance(figure.estimator, str) and figure.estimator != "", f"names no estimator for {asked.title}")
    return figure


def is_defined(trial: MeasureTrial) -> str:
    """Check the class itself."""
    return check_definition(trial.component, "measure", Measure)


def takes_no_settings(trial: MeasureTrial) -> str:
    """Check that the measure can be made from its name alone."""
    return check_round_trip(trial.component, "measure")


def says_why_not(trial: MeasureTrial) -> str:
    """Check that every subject gets a figure or a reason, by few draws, too."""
    told = 0
    for asked in trial.subjects:
        why = trial.component().unsuited(asked.subject)
        require(why is None or (isinstance(why, str) and why != ""), f"says {why!r} of {asked.title}: no reason")
        told += why is None
        if why is None:
            measured(trial.component, asked)
            fewest = trial.component().least_draws(asked.subject)
            require(isinstance(fewest, int) and fewest >= 1, f"needs {fewest!r} draws for {asked.title}: no number")
            if fewest < DRAWS:
                at_least = NamedSubject(f"{asked.title} by {fewest} draws, as many as least_draws says", asked.subject)
                measured(trial.component, at_least, draws=fewest)
    return f"{told} figures and {len(trial.subjects) - told} reasons"


def repeats(trial: MeasureTrial) -> str:
    """Check that equal generators give equal bits."""
    found = list(trial.figures())
    for asked, figure in found:
        require(measured(trial.component, asked) == figure, f"gives another figure from the same draws: {asked.title}")
    return f"{len(found)} figures again"


def touches_nothing(trial: MeasureTrial) -> str:
    """Check that measuring leaves the subject and the state of the process alone."""
    for asked in trial.subjects:
        held = tensors_in(asked.subject)
        before, values = global_state(), copies(held)
        if trial.component().unsuited(asked.subject) is None:
            measured(trial.component, asked)
        changed = touched(before, global_state())
        require(not changed, f"changes {', '.join(changed)}")
        require(same_bits(held, values), f"changes {asked.title}")
    return f"{len(trial.subjects)} subjects are as they were"


def states_its_error(trial: MeasureTrial) -> str:
    """Check that the spread over evaluation draws is no more than the stated error explains."""
    for asked, first in trial.figures():
        if not asked.title.startswith("particles") or not abs(first.value) < float("inf"):
            continue
        figures = [first, *(measured(trial.component, asked, seed) for seed in range(1, REPETITIONS))]
        values = [figure.value for figure in figures]
        stated = statistics.mean(figure.standard_error for figure in figures)
        spread = statistics.stdev(values)
        require(
            spread <= UNDERSTATED * stated + 1e-9 * max(map(abs, values)),
            f"spreads by {spread:.3g} over evaluation draws of {asked.title}, and states {stated:.3g}",
        )
        return f"spread {spread:.2g} where {stated:.2g} is stated"
    return "says nothing about particles"


def knows_the_floor(trial: MeasureTrial) -> str:
    """Check that a finite reference's own draws get the figure of fresh ones."""
    for asked in trial.subjects:
        subject = asked.subject
        if subject.truth is None or not asked.title.startswith("exact draws") or isinstance(subject.truth, Empirical):
            continue
        if trial.component().unsuited(replace(subject, truth=finite(subject.truth, 0))) is not None:
            continue
        own: list[float] = []
        fresh: list[float] = []
        for seed in range(REPETITIONS):
            reference = finite(subject.truth, seed)
            judged = replace(subject, truth=reference)
            others = subject.truth.sample(DRAWS, generator(100 + seed))
            for found, points in ((own, reference.draws), (fresh, others)):
                answer = NamedSubject(asked.title, replace(judged, estimate=Particles(points)))
                found.append(measured(trial.component, answer, seed).value)
        noise = statistics.stdev([a - b for a, b in zip(own, fresh, strict=True)]) / REPETITIONS**0.5
        means = statistics.mean(own), statistics.mean(fresh)
        require(
            abs(means[0] - means[1]) <= FALSE_FLOOR * noise + 1e-9,
            f"gives a finite reference's own draws {means[0]:.3g} and fresh ones {means[1]:.3g}: "
            f"draw both sides by harness.measure.sides.two_sides",
        )
        return f"own draws {means[0]:.3g}, fresh ones {means[1]:.3g}"
    return "not asked of finite references"


def finite(law: Law, seed: int) -> Empirical:
    """Return the law of as many draws as are evaluated, with the moments of the law that they are from."""
    return Empirical(law.sample(DRAWS, generator(200 + seed)), *law.moments())


CHECKS = {
    "is defined": is_defined,
    "takes no settings": takes_no_settings,
    "touches nothing": touches_nothing,  # first: later checks would see subjects that are spoilt already
    "gives a figure or a reason": says_why_not,
    "repeats": repeats,
    "states its error": states_its_error,
    "knows the floor": knows_the_floor,
}
