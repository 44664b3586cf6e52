"""The contract of a measure: a figure with its standard error and the name of the estimator that gave it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from problems.laws import Law
from problems.problem import Problem
from solvers.estimates import Estimate


@dataclass(frozen=True)
class Figure:
    """A measured value, its standard error (0 for a deterministic one) and how it was estimated."""

    value: float
    standard_error: float
    estimator: str


@dataclass(frozen=True)
class Subject:
    """What is measured: one estimate, the true law at its time (``None`` if unknown), and the problem.

    ``t`` is the time of the estimate, ``assimilated`` what its solution noted of each observation, for what filters are
    judged by.
    """

    estimate: Estimate
    truth: Law | None
    problem: Problem
    t: float | None = None
    assimilated: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Measure(ABC):
    """One measure; ``harness.measure.CATALOGUE`` names and describes it."""

    @abstractmethod
    def unsuited(self, subject: Subject) -> str | None:
        """Return why this measure says nothing about the subject, or ``None`` when it does."""

    @abstractmethod
    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        """Measure with ``draws`` evaluation draws a side, all of them from ``generator``."""
