"""The contract of a measure: it gives a figure with its standard error and the name of its estimator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch

from problems.laws import Law
from problems.problem import Problem
from solvers.estimates import Estimate

FEWEST_DRAWS = 2
"""Evaluation draws a side that a suite asks for at the least."""


@dataclass(frozen=True)
class Figure:
    """A measured value, its standard error (0 for a deterministic one) and the name of its estimator."""

    value: float
    standard_error: float
    estimator: str

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.standard_error:.1g} ({self.estimator})"


@dataclass(frozen=True)
class Subject:
    """One estimate to be measured, the true law at its time (``None`` if unknown), and the problem.

    ``t`` is the time of the estimate, ``assimilated`` what its solution noted of each observation, for measures of
    filters.
    """

    estimate: Estimate
    truth: Law | None
    problem: Problem
    t: float | None = None
    assimilated: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure(ABC):
    """A measure of how far an estimate is from the truth, or from observations.

    Subclasses set ``name`` and raise ``version`` whenever the same subject and draws come to give another figure: a
    stored cell with an older one is then solved and measured again. Lower is better, unless ``higher_is_better`` or
    ``has_target``, where neither way is. A suite knows measures by their names alone: they take no settings.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    higher_is_better: ClassVar[bool] = False
    has_target: ClassVar[bool] = False

    def proper(self, estimate: Estimate) -> bool:
        """Return whether this measure may decide between answers of the estimate's type.

        It may where it is proper: where the truth, and only the truth, has the best expected figure among all laws that
        independent draws or the density of such an estimate may come from. A measure that knows an answer by two of its
        moments alone, or through a kernel density that rewards draws which are too narrow, is not. The default is
        ``False``: what declares nothing is shown, and decides nothing.
        """
        return False

    def least_draws(self, subject: Subject) -> int:
        """Return how many evaluation draws a side this measure needs of a subject that suits it: 2 by default.

        With fewer it is not called, and the row says why: nothing is wrong with the answer.
        """
        return FEWEST_DRAWS

    @abstractmethod
    def unsuited(self, subject: Subject) -> str | None:
        """Return why this measure says nothing about the subject, in words for a row, or ``None`` when it does."""

    @abstractmethod
    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        """Return the figure by ``draws`` evaluation draws a side, all randomness of it from ``generator`` (CPU).

        Called only where nothing makes the measure ``unsuited``, and with ``least_draws`` or more. The subject stays as
        it is. The value may be infinite, but is a number; an answer that it is none for raises ``Diverged``.
        """


def without_figure(measure: Measure, subject: Subject, draws: int) -> str | None:
    """Return why the measure has no figure of the subject by so many evaluation draws, or ``None`` where it has one."""
    why = measure.unsuited(subject)
    if why is not None:
        return why
    least = measure.least_draws(subject)
    return None if draws >= least else f"{draws} evaluation draws are too few; {least} are needed"
