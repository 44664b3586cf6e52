"""A solver's answer in this process: a solution that knows what it answers, and plots itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from harness.answer_figure import answer_figure
from harness.arguments import Files
from harness.components import Component
from harness.instance import Instance
from harness.measure.measure import Measure
from harness.measuring import DRAWS, taken
from solvers.solver import Solution

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False, kw_only=True)
class Answer(Solution):
    """A solver's answer to an instance, which it took ``seconds`` to find: an estimate for each of the flow's times.

    ``component`` is the solver with its settings, ``sample_size`` the number of its particles, if it has any.
    """

    instance: Instance
    component: Component
    sample_size: int | None
    seconds: float

    def __repr__(self) -> str:
        kind = type(self.estimates[0]).__name__
        return f"{self.component.label} on {self.instance!r}: {kind}, {self.seconds:.2g} s"

    def plot(self, measure: str | None = None) -> Figure:
        """Return a figure: the density on the line, draws in the plane, and where there are several times the error.

        The answer lies over the truth, in more dimensions than two in the plane of its principal axes. The error is by
        the ``measure`` of this name, shown at a single time, too, else by the first that suits; see
        ``harness.answer_figure``. Raises ``UsageError`` for a measure that there is not, or that does not suit.
        """
        asked = [] if measure is None else [measure]
        errors = self.worth(asked) if asked or len(self.times) > 1 else None
        return answer_figure(self.instance, self.component.label, self, errors)

    def worth(
        self, measures: Sequence[str | type[Measure] | Measure] = (), draws: int = DRAWS, plugin: Files = ()
    ) -> pd.DataFrame:
        """Return the table of :func:`harness.measure`; raises ``UsageError`` as that does."""
        return taken(self.instance, self.component, self, self.sample_size, measures, draws, plugin)
