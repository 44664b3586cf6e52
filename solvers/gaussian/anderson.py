"""Anderson's acceleration of a fixed-point iteration of Gaussian moments.

Of the last points x_j and their steps r_j the combination Σ α_j (x_j + r_j) with Σ α_j = 1 is taken for which Σ α_j r_j
is smallest (Walker, Ni, SIAM J. Numer. Anal. 49, 2011): for a linear iteration that is GMRES.
"""

from __future__ import annotations

import torch

Moments = tuple[torch.Tensor, torch.Tensor]

MEMORY = 20


class History:
    """The last points (m, S) of an iteration, m (D,) a mean and S (D, D) a map from a law, and the steps taken there.

    ``deviations`` (D,) are the standard deviations of that law: steps are measured in these and those at the point.
    ``used`` tells whether the last extrapolation is more than the step itself.
    """

    def __init__(self, deviations: torch.Tensor) -> None:
        self.deviations = deviations
        self.points: list[Moments] = []
        self.steps: list[Moments] = []
        self.used = False

    def forget(self) -> None:
        """Start afresh from the last point."""
        del self.points[:-1], self.steps[:-1]
        self.used = False

    def extrapolated(self, point: Moments, step: Moments, scale: torch.Tensor) -> Moments:
        """Return the combination, given the next point with its step; ``scale`` (D,) are the deviations there."""
        self.points, self.steps = [*self.points, point][-MEMORY:], [*self.steps, step][-MEMORY:]
        self.used = len(self.points) > 1
        ends = [(m + shift, s + turn) for (m, s), (shift, turn) in zip(self.points, self.steps, strict=True)]
        if not self.used:
            return ends[-1]
        residuals = torch.stack(
            [
                torch.cat([shift / scale, (turn * self.deviations / scale[:, None]).flatten()])
                for shift, turn in self.steps
            ]
        )
        differences = (residuals[:-1] - residuals[-1]).T
        shares = torch.linalg.lstsq(differences, -residuals[-1], driver="gelsd").solution
        mean, transport = ends[-1]
        for share, (other_mean, other_transport) in zip(shares, ends, strict=False):
            mean = mean + share * (other_mean - ends[-1][0])
            transport = transport + share * (other_transport - ends[-1][1])
        return mean, transport
