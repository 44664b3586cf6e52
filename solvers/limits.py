"""Published limits of what methods say about themselves, beyond which an answer is not to be trusted as it stands.

Readable without torch: tables mark figures by them, from the diagnostics that the store has. A method of a plug-in
declares its own as the class variable ``limits``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limit:
    """The most, or the least, that a diagnostic may be; ``what`` it is in words, ``source`` who says so."""

    what: str
    most: float | None = None
    least: float | None = None
    source: str = ""

    def broken(self, value: float) -> str | None:
        """Return in words how a value is beyond the limit, or ``None`` where it is not; NaN is."""
        if self.most is not None and not value <= self.most:
            return f"{self.what} {value:.3g}, above {self.most:g}" if self.most else f"{self.what}: {value:g}"
        if self.least is not None and not value >= self.least:
            return f"{self.what} {value:.3g}, below {self.least:g}"
        return None


CHAINS = "Vehtari, Gelman, Simpson, Carpenter, Bürkner, Bayesian Analysis 16, 2021"
MIXING = {
    "rhat": Limit("R̂", most=1.01, source=CHAINS),
    "ess": Limit("effective sample size", least=400, source=CHAINS),
}
IMPORTANCE = {
    "pareto_k": Limit(
        "Pareto k", most=0.7, source="Vehtari, Simpson, Gelman, Yao, Gabry, J. Mach. Learn. Res. 25, 2024"
    )
}
RESOLVED = {
    "spacing_over_width": Limit(
        "spacing of particles over the width of their mollifier",
        most=2.75,
        source="a Gaussian's energy is then 1 % off",
    )
}
STEPS = {"unconverged_steps": Limit("steps that did not reach their tolerance", most=0, source="the tolerance set")}

LIMITS: Mapping[str, Mapping[str, Limit]] = {
    "mala": MIXING,
    "laplace": IMPORTANCE,
    "gaussian-variational": IMPORTANCE,
    "proximal-recursion": STEPS,
    "dual-jko": STEPS,
    "blob": RESOLVED,
}
"""Limits by built-in method and diagnostic."""
