"""The contract of a problem: a family of instances, and a built instance with its exact or reference solution."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from problems.flow import GradientFlow
from problems.laws import Law
from problems.observations import Observations

Truth = Callable[[float], Law]


@dataclass(frozen=True)
class Prediction:
    """Held-out cases that a posterior is asked to predict.

    ``log_likelihood(points)`` maps parameters (n, D) to the log-probability of each case's observed label under each
    of them, shape (n, cases). A case counts as predicted when its observed label is the more probable one under the
    posterior predictive law (of two labels: probability above one half).
    """

    log_likelihood: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Evidence:
    """The evidence log ∫ exp(-βV) dx and its standard error, 0 where it is exact.

    It is the log-evidence of the data where exp(-βV) is their joint density with the unknowns x.
    """

    log_value: float
    standard_error: float = 0.0


@dataclass(frozen=True)
class View:
    """Two coordinates in which answers are plotted, their names, and the exact density of the truth there.

    ``log_density`` maps points (n, 2) to values (n,), up to a constant.
    """

    coordinates: tuple[int, int]
    names: tuple[str, str]
    log_density: Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Problem:
    """One instance: a flow, its true marginal at each time, and the names of the measures that apply to it.

    ``truth(t)`` returns the exact (or declared reference) law at time t; it is ``None`` where none is known, and
    ``truth_missing`` then says why. ``stationary`` marks problems that ask for the stationary law only: the times
    are then how long a flow may run, and solvers without a notion of time apply too.

    ``observations`` make it a filtering problem: asked for, and true at time t, is the law given those made by then,
    at t included; ``log_evidence(t)`` is their log-density, where it is known.

    ``free_energy(t)`` is F of the true law at time t, where that is known without draws; where it is not, measures of
    the energy estimate it from draws of the truth.

    ``evidence`` is what the stationary density exp(-βV) integrates to, where that is known, and ``view`` two
    coordinates whose exact joint density is; without it answers are plotted in the truth's principal axes.
    """

    flow: GradientFlow
    measures: tuple[str, ...]
    truth: Truth | None
    truth_missing: str = ""
    prediction: Prediction | None = None
    stationary: bool = False
    observations: Observations | None = None
    log_evidence: Callable[[float], float] | None = None
    free_energy: Callable[[float], float] | None = None
    evidence: Evidence | None = None
    view: View | None = None


@dataclass(frozen=True, kw_only=True)
class ProblemFamily(ABC):
    """A family of instances: its fields are settings, and ``build`` makes the instance of a dimension and a seed.

    Subclasses set ``name`` and raise ``version`` whenever the same settings come to mean other numbers.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    measures: ClassVar[tuple[str, ...]] = ()
    """Every measure that some instance names: what a stored cell that lacks one of them is completed by."""
    deciding: ClassVar[tuple[str, ...]] = ()
    """Measures in the order in which they decide between answers, as far as they are proper for them; others that are
    proper come after these, in an order of the harness's own."""
    known_between: ClassVar[bool] = False
    """Whether the true law and its free energy are at hand at any time, not only those asked for: plots show curves."""
    variants: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Settings that make different kinds of problems, on each of which ``wgfbench check`` tries family and solvers."""
    times: tuple[float, ...] = (1.0,)

    def dims(self) -> tuple[int, ...] | None:
        """Return the dimensions that exist with these settings, or ``None`` where any D ≥ 1 does."""
        return None

    def data_files(self, folder: Path | None) -> tuple[Path, ...]:
        """Return the files in ``folder``, where the user keeps data, that instances are made of; by default none.

        What they hold belongs to the identity of a stored figure: a file that is corrected is measured anew.
        """
        return ()

    @abstractmethod
    def build(self, dim: int, seed: int, generator: torch.Generator) -> Problem:
        """Return instance number ``seed`` ≥ 0 in dimension ``dim``; all randomness comes from the arguments.

        Raises ``ValueError`` for a dimension or a seed that the settings do not have.
        """
