"""Masses of cells that a library has worked out, made a law: what rounding or its scheme did to them is said."""

from __future__ import annotations

import numpy as np

from problems.arrays import Reals
from solvers.solver import Diverged

MOST_AMISS = 1e-2
"""Mass lost, gained or below zero beyond which there is no law to speak of."""


class Amiss:
    """What masses so far had to be put right by: mass below zero, and what they were off 1 in sum."""

    def __init__(self) -> None:
        self.negative, self.defect = 0.0, 0.0

    def righted(self, masses: Reals, time: float) -> Reals:
        """Return the masses (…,) without those below zero and of sum 1.

        Raises ``Diverged`` where they are not finite, or more than a hundredth is amiss.
        """
        if not np.isfinite(masses).all():
            raise Diverged(f"the masses are not finite at t = {time:g}")
        negative, defect = float(-np.minimum(masses, 0).sum()), abs(float(masses.sum()) - 1)
        self.negative, self.defect = max(self.negative, negative), max(self.defect, defect)
        if max(negative, defect) > MOST_AMISS:
            raise Diverged(
                f"at t = {time:g} a mass of {negative:.2g} is below zero and the sum is off by {defect:.2g}: more "
                "cells or smaller steps may help"
            )
        positive = np.maximum(masses, 0)
        return np.asarray(positive / positive.sum())

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return the largest of both, as ``negative_mass`` and ``mass_defect``."""
        return {"negative_mass": self.negative, "mass_defect": self.defect}
