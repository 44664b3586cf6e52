"""The flow among Gaussians by steps of ``solvers.gaussian.fitted_step``, of equal size or of sizes that they choose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from problems.flow import GradientFlow
from problems.laws import Gaussian
from solvers.adaptive_steps import AdaptiveSteps
from solvers.estimates import Estimate
from solvers.filtering import Propagation, equal_steps
from solvers.gaussian.assumed_density import AssumedGaussian
from solvers.gaussian.exact_step import Moments
from solvers.gaussian.fitted_step import averaged, gaussian_step, sqrt_symkl
from solvers.solver import Diverged
from solvers.threads import one_thread


class FittedSettings(Protocol):
    """What of a solver's settings decides its steps."""

    @property
    def step_size(self) -> float | Literal["auto"]: ...

    @property
    def second_order(self) -> str: ...

    @property
    def tolerance(self) -> float: ...


class FittedSteps(Propagation):
    """A propagation of Gaussians by steps of order 2, or with the step size "auto" by those that it chooses."""

    def __init__(self, settings: FittedSettings, flow: GradientFlow) -> None:
        self.settings, self.flow = settings, flow
        self.average = averaged(flow.potential, flow.dim)
        self.adaptive = AdaptiveSteps[Moments](
            lambda moments, size: self._step(moments, size, "jko"),
            lambda moments, size: self._step(moments, size, "fitted-energy"),
            sqrt_symkl,
            settings.tolerance,
            flow.horizon,
        )

    def start(self) -> Estimate:
        assert isinstance(self.flow.initial, Gaussian)
        return AssumedGaussian(self.flow.initial)

    def advance(self, estimate: Estimate, start: float, stop: float) -> Estimate:
        assert isinstance(estimate, AssumedGaussian)
        moments, step_size = (estimate.law.mean, estimate.law.covariance), self.settings.step_size
        with one_thread():
            if step_size == "auto":
                return AssumedGaussian(Gaussian(*self.adaptive.advance(moments, start, stop)))
            count, step_size = equal_steps(stop - start, step_size)
            for step in range(1, count + 1):
                try:
                    moments = self._step(moments, step_size, self.settings.second_order)
                except Diverged as error:
                    raise Diverged(f"gaussian-jko: the step to t = {start + step * step_size:g} {error}") from error
        return AssumedGaussian(Gaussian(*moments))

    def _step(self, moments: Moments, size: float, scheme: str) -> Moments:
        return gaussian_step(moments, self.average, self.flow.inverse_temperature, size, scheme)

    def diagnostics(self) -> dict[str, float | int | str]:
        return self.adaptive.diagnostics() if self.settings.step_size == "auto" else {}

    def traces(self) -> Mapping[str, Sequence[float]]:
        return self.adaptive.traces() if self.settings.step_size == "auto" else {}
