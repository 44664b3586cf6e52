"""Checks of a measure on small real problems: it gives a figure, or the reason why there is none."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

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
from harness.conformance.preferences import counts_by_weight, prefers_the_truth
from harness.measure.measure import Figure, Measure, Subject
from problems.laws import Empirical, Law
from solvers.estimates import Estimate, Exact, Particles
from solvers.solver import Diverged

DRAWS = 500
REPETITIONS = 12
LOOKS = (24, 48, 96)
"""Repetitions after which it is looked whether the stated error is at least their spread."""
UNDERSTATED = 1.3
"""By how much a stated error may fall short of the spread over the last of these: less than the square root of two."""
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
    """Check that the spread over evaluation draws is no more than the stated error explains.

    That is of particles, which stay the same, and of a law, which is drawn anew as the truth is.
    """
    said = []
    for kind in ("particles", "the initial law"):
        for asked in trial.subjects:
            # What an initial law predicts of cases is decided by the draws alone, where it is the same for both labels.
            if not asked.title.startswith(kind) or (kind != "particles" and asked.subject.problem.prediction):
                continue
            if trial.component().unsuited(asked.subject) is not None:
                continue
            figures = [measured(trial.component, asked)]
            if not abs(figures[0].value) < float("inf"):
                continue
            for count in LOOKS:
                figures += [measured(trial.component, asked, seed) for seed in range(len(figures), count)]
                values = [figure.value for figure in figures]
                stated = statistics.mean(figure.standard_error for figure in figures)
                spread, rounding = statistics.stdev(values), 1e-9 * max(map(abs, values))
                if spread <= stated + rounding:
                    break
            require(
                spread <= UNDERSTATED * stated + rounding,
                f"spreads by {spread:.3g} over evaluation draws of {asked.title}, and states {stated:.3g}",
            )
            said.append(f"{kind}: spread {spread:.2g} where {stated:.2g} is stated")
            break
    return "; ".join(said) or "says nothing about particles or laws"


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


def knows_better(trial: MeasureTrial) -> str:
    """Check that the truth has a better figure than the initial law, where the two are told apart."""

    def pairs() -> Iterator[tuple[Subject, Subject]]:
        by_title = {asked.title: asked.subject for asked in trial.subjects}
        for title, subject in by_title.items():
            for right, wrong in (("the truth", "the initial law"), ("exact draws", "particles of the initial law")):
                if title.startswith(f"{right} of "):
                    yield subject, by_title[f"{wrong} of {title.removeprefix(f'{right} of ')}"]

    return prefers_the_truth(trial.component(), pairs(), partial(figure_of, trial))


def counts_weights(trial: MeasureTrial) -> str:
    """Check that particles count by their weights."""
    right = (asked.subject for asked in trial.subjects if asked.title.startswith("exact draws"))
    return counts_by_weight(trial.component(), right, partial(figure_of, trial))


def figure_of(trial: MeasureTrial, subject: Subject) -> Figure:
    """Return the figure of a subject."""
    return measured(trial.component, NamedSubject("an answer", subject))


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
    "knows better": knows_better,
    "counts weights": counts_weights,
}
