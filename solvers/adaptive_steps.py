"""Steps whose size and order are chosen by an estimate of their error, against a tolerance in SymKL.

The exact Fokker-Planck flow brings two laws no further apart in any distance that Markov kernels contract, such as
Hellinger's, of which √SymKL is √8 times as much for laws that are near: the errors of single steps add up at most.
A step of size h is tried as a whole and as two halves. At order p these are (1 - 2⁻ᵖ) C hᵖ⁺¹ apart, and the halves,
which are the result, are off by 1/(2ᵖ - 1) of that (Hairer, Nørsett, Wanner, Solving Ordinary Differential Equations I,
1993, §II.4). The step is taken where √SymKL, so estimated, is a fifth of √tolerance at most, else shortened.

Training has noise: two tries of one size differ, and so do a step and its two halves, in the mean square by σ² + σ'²,
which half of what two tries of the step, plus half of what two tries of the halves, are apart squared has as its mean.
Noise that falls as the size (that of ``icnn-jko`` does) adds up to no less in shorter steps. So where a step is too far
from its halves both are tried again, and from then on the noise of a time as long is allowed to a step.

Order 2 is tried first, and order 1 where that gives no law, as when the map of a long step is not monotone. Equal
errors in all steps are the fewest steps for their sum. What a flow forgets of its beginnings is not counted off: the
sum, squared, is reported as ``error_symkl``, and is mostly far above the error.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

from problems.validation import Named, require_default, require_number, require_positive
from solvers.solver import Diverged

S = TypeVar("S")
Step = Callable[[S, float], S]

CAUTION = 0.9
# Estimates below are rounding: √SymKL of what differs by it is about 1e-8.
LEAST_TOLERANCE = 1e-12
SHRINK, GROW = 0.2, 4.0
# Of √tolerance, what a single step may make.
SHARE = 0.2
# How many times the noise that was found an estimate may be: it varies.
ROOM = 1.5
# Shares of the horizon: of the first step that is tried, and of the shortest.
FIRST, SHORTEST = 0.25, 1e-9


class AdaptiveSteps(Generic[S]):
    """Steps from state to state by ``second``, of order 2, or where that fails ``first``, of order 1.

    Both take a state and a size and return a state, or raise ``Diverged``. ``distance`` is √SymKL of two states' laws,
    inf where there is none. ``sizes`` and ``orders`` of the steps taken are kept, how many were ``rejected``, and
    ``error``, the sum of the estimates of √SymKL. No step is shorter than the share ``shortest`` of the horizon.

    Where steps are ``noisy``, two tries of one size may differ; ``noise_rate`` is the most that was found in a unit of
    time, as √SymKL, and ``noise`` the most of it for which a step was taken in spite of its estimate.
    """

    def __init__(
        self,
        first: Step[S],
        second: Step[S],
        distance: Callable[[S, S], float],
        tolerance: float,
        horizon: float,
        *,
        shortest: float = SHORTEST,
        noisy: bool = False,
    ) -> None:
        self.first, self.second, self.distance = first, second, distance
        self.allowed, self.horizon = SHARE * math.sqrt(tolerance), horizon
        self.shortest, self.noisy = shortest * horizon, noisy
        self.noise_rate, self.noise = 0.0, 0.0
        self.size, self.opening = FIRST * horizon, horizon
        self.sizes, self.orders = list[float](), list[int]()
        self.rejected, self.error = 0, 0.0

    def advance(self, state: S, start: float, stop: float) -> S:
        """Return the state at time ``stop``, from that at ``start``.

        Raises ``Diverged`` where no step is short enough.
        """
        now, first = start, True
        # Observations stir a law up: after them steps begin as they began after those before.
        self.size = min(self.size, GROW * self.opening)
        while now < stop:
            left = stop - now
            # No sliver is left over: what is less than two steps is taken in equal ones.
            size = left if self.size >= left * (1 - 1e-9) else min(self.size, 0.5 * left)
            trial = self._tried(state, size)
            error, order = (math.inf, 1) if trial is None else trial[1:]
            if self.noisy and trial is not None and error > self._allowed(size, order):
                self.noise_rate = max(self.noise_rate, self._noise(state, size, order) / size)
            allowed = self._allowed(size, order)
            share = allowed / max(error, 1e-300)
            factor = min(GROW, max(SHRINK, CAUTION * share ** (1 / (order + 1))))
            if trial is None or error > allowed:
                self.rejected += 1
                self.size = min(CAUTION, factor) * size
                if self.size < self.shortest:
                    raise Diverged(
                        f"no step from t = {now:g} is within the tolerance (error {error:.3g} in the root of SymKL at "
                        f"size {size:.3g}): a larger tolerance may help"
                    )
                continue
            if error > self.allowed:
                self.noise = max(self.noise, self.noise_rate * size / (2**order - 1))
            state, now = trial[0], stop if size == left else now + size
            self.size = factor * size if size == self.size else max(self.size, factor * size)
            if first:
                self.opening, first = size, False
            self.sizes.append(size)
            self.orders.append(order)
            self.error += error
        return state

    def _tried(self, state: S, size: float) -> tuple[S, float, int] | None:
        """Return the state after ``size``, the estimate of its error, and its order; ``None`` where there is none."""
        for order in (2, 1):
            try:
                whole, halves = self._both(state, size, order)
                error = self.distance(whole, halves) / (2**order - 1)
            except Diverged:
                continue
            if math.isfinite(error):
                return halves, error, order
        return None

    def _allowed(self, size: float, order: int) -> float:
        """Return the largest estimate with which a step of ``size`` is taken."""
        return max(self.allowed, ROOM * self.noise_rate * size / (2.0**order - 1))

    def _both(self, state: S, size: float, order: int) -> tuple[S, S]:
        """Return the states after one step of ``size`` and after two halves of it."""
        step = self.first if order == 1 else self.second
        return step(state, size), step(step(state, 0.5 * size), 0.5 * size)

    def _noise(self, state: S, size: float, order: int) -> float:
        """Return the noise in √SymKL of a step of ``size`` and its halves, 0 where a second try gives no law."""
        try:
            first, second = self._both(state, size, order), self._both(state, size, order)
            squares = [self.distance(one, other) ** 2 for one, other in zip(first, second, strict=True)]
        except Diverged:
            return 0.0
        noise = math.sqrt(0.5 * sum(squares))
        return noise if math.isfinite(noise) else 0.0

    def diagnostics(self) -> dict[str, float | int | str]:
        """Return ``steps`` and ``rejected_steps``, ``first_order_steps``, and ``error_symkl``, their errors' sum."""
        return {
            "steps": len(self.sizes),
            "rejected_steps": self.rejected,
            "first_order_steps": self.orders.count(1),
            "error_symkl": self.error**2,
        }

    def traces(self) -> dict[str, list[float]]:
        """Return ``step_size`` and ``step_order`` of the steps taken."""
        return {"step_size": self.sizes, "step_order": [float(order) for order in self.orders]}


class Stepping(Named, Protocol):
    """The settings of a solver that can choose its own steps."""

    @property
    def step_size(self) -> float | Literal["auto"]: ...


def require_steps(settings: Stepping, tolerance: str = "tolerance") -> None:
    """Raise ``ValueError`` unless the step size is "auto", with a tolerance and no order chosen, or a number > 0.

    ``tolerance`` is the setting's name.
    """
    if settings.step_size == "auto":
        require_number(settings.name, at_least=LEAST_TOLERANCE, **{tolerance: getattr(settings, tolerance)})
        require_default(settings, ("order", "second_order"), "step_size 'auto' chooses the order of every step")
        return
    if isinstance(settings.step_size, str):
        raise ValueError(f"{settings.name}: step_size must be a number > 0 or 'auto', got {settings.step_size!r}")
    require_positive(settings.name, step_size=settings.step_size)
    require_default(settings, (tolerance,), "it is that of step_size 'auto'")
