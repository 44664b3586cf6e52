"""Observations of a hidden diffusion, y_k = g(X(t_k)) + noise at given times, and the likelihood of its states.

Observations at time 0, several at one time, irregular times and none at all are all allowed. A value that holds a NaN
is a missing observation.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch

from problems.validation import require_choice, require_counts, require_positive

MISSING = ("error", "skip")

FILTERING_MEASURES = (
    "energy-distance",
    "crps",
    "pit",
    "coverage-50",
    "coverage-90",
    "log-evidence-error",
    "effective-share",
)
"""Measures of any filter, besides the distance to its exact posterior."""

# Times this close, relative to their size, are the same time written differently.
SAME_TIME = 1e-9
# So are those that differ by this much of the last of all times, such as 0 and what rounding leaves of it.
ROUNDING = 1e-12


class Noise(ABC):
    """Independent, identically distributed errors of the coordinates of an observation."""

    @abstractmethod
    def log_prob(self, residual: torch.Tensor) -> torch.Tensor:
        """Return the log-density of errors (n, m), shape (n,)."""

    def score(self, residual: torch.Tensor) -> torch.Tensor | None:
        """Return the gradient of the log-density at errors (n, m), of the same shape.

        ``None`` where it is not known, or the density is not positive and smooth everywhere.
        """
        return None

    @abstractmethod
    def sample(self, n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``n`` errors of ``size`` coordinates, shape (n, size), float64."""


@dataclass(frozen=True)
class GaussianNoise(Noise):
    """Errors N(0, std²) in every coordinate; raises ``ValueError`` unless ``std`` is finite and > 0."""

    std: float

    def __post_init__(self) -> None:
        require_positive("Gaussian noise", std=self.std)

    def log_prob(self, residual: torch.Tensor) -> torch.Tensor:
        scaled = residual / self.std
        log_peak = -residual.shape[1] * math.log(self.std * math.sqrt(2 * math.pi))
        return log_peak - 0.5 * (scaled * scaled).sum(1)

    def score(self, residual: torch.Tensor) -> torch.Tensor:
        return residual / (-self.std * self.std)

    def sample(self, n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        return self.std * torch.randn(n, size, generator=generator, dtype=torch.float64)


@dataclass(frozen=True)
class StudentNoise(Noise):
    """Errors of ``scale`` times Student's t with ``degrees`` ν of freedom in every coordinate: outliers are expected.

    Raises ``ValueError`` unless ``scale`` is finite and > 0 and ``degrees`` a whole number ≥ 1.
    """

    scale: float
    degrees: int

    def __post_init__(self) -> None:
        require_positive("Student noise", scale=self.scale)
        require_counts("Student noise", degrees=self.degrees)

    def log_prob(self, residual: torch.Tensor) -> torch.Tensor:
        nu = self.degrees
        log_peak = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2) - math.log(self.scale * math.sqrt(nu * math.pi))
        scaled = residual / self.scale
        return (log_peak - 0.5 * (nu + 1) * torch.log1p(scaled * scaled / nu)).sum(1)

    def score(self, residual: torch.Tensor) -> torch.Tensor:
        nu = self.degrees
        scaled = residual / self.scale
        return -(nu + 1) / self.scale * scaled / (nu + scaled * scaled)

    def sample(self, n: int, size: int, generator: torch.Generator) -> torch.Tensor:
        normals = torch.randn(1 + self.degrees, n, size, generator=generator, dtype=torch.float64)
        return self.scale * normals[0] / normals[1:].square().mean(0).sqrt()


class ObservationFunction(ABC):
    """The function g: R^D → R^m that an observation without noise would show."""

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return g at ``x`` (n, D), shape (n, m)."""

    def pulled_back(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor | None:
        """Return ∇g(x)ᵀu at ``x`` (n, D) for u = ``slope`` (n, m), shape (n, D).

        ``None`` where it is not known, or g jumps.
        """
        return None


@dataclass(frozen=True, eq=False)
class LinearObservation(ObservationFunction):
    """The function g(x) = H x with H = ``matrix`` (m, D); raises ``ValueError`` unless H is a finite matrix."""

    matrix: torch.Tensor

    def __post_init__(self) -> None:
        if self.matrix.ndim != 2 or not bool(torch.isfinite(self.matrix).all()):
            raise ValueError(f"linear observation: H must be a finite matrix, got shape {tuple(self.matrix.shape)}")

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.matrix.T

    def pulled_back(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        return slope @ self.matrix


@dataclass(frozen=True)
class Coordinatewise(ObservationFunction):
    """The function g(x)_i = tanh(x_i), if ``name`` is "tanh", or else x_i³/3.

    The first is a sensor that saturates, the second one that hardly moves near 0.
    """

    name: str

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x) if self.name == "tanh" else x * x * x / 3

    def pulled_back(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        return slope * (torch.cosh(x).square().reciprocal() if self.name == "tanh" else x * x)


@dataclass(frozen=True)
class Distance(ObservationFunction):
    """The function g(x) = |x|, which does not tell directions apart."""

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        distance: torch.Tensor = x.norm(dim=1, keepdim=True)
        return distance

    def pulled_back(self, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
        return slope * torch.nn.functional.normalize(x, dim=1, eps=1e-300)


@dataclass(frozen=True, eq=False)
class Likelihood:
    """The log-likelihood x ↦ log p(y | x) of one observation ``value`` y (m,)."""

    value: torch.Tensor
    function: ObservationFunction
    noise: Noise

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p(y | x) at ``x`` (n, D), shape (n,), in float64."""
        return self.noise.log_prob(self.value - self.function(x.double()))

    def score(self, x: torch.Tensor) -> torch.Tensor | None:
        """Return ∇ log p(y | x) at ``x`` (n, D), of the same shape, in float64; ``None`` where it is not known."""
        slope = self.noise.score(self.value - self.function(x.double()))
        return None if slope is None else self.function.pulled_back(x.double(), -slope)

    @property
    def linear_gaussian(self) -> bool:
        """Whether a Gaussian law stays Gaussian given the observation."""
        return isinstance(self.function, LinearObservation) and isinstance(self.noise, GaussianNoise)


@dataclass(frozen=True, eq=False)
class HiddenPath:
    """The hidden path that was observed: ``states`` (J, D) at the increasing ``times`` (J,)."""

    times: tuple[float, ...]
    states: torch.Tensor

    def at(self, time: float) -> torch.Tensor | None:
        """Return the state (D,) at ``time``, or ``None`` where it is not known."""
        for known, state in zip(self.times, self.states, strict=True):
            if same_time(known, time, self.times[-1]):
                return torch.as_tensor(state)
        return None


@dataclass(frozen=True, eq=False)
class Observations:
    """Observed ``values`` (K, m) at ``times`` 0 ≤ t_1 ≤ … ≤ t_K, through ``function`` and with ``noise``.

    ``missing`` says what becomes of values that hold a NaN: "error" refuses them here, "skip" leaves them to be skipped
    and counted. ``hidden`` is the true path, where it is known: measures may use it, solvers may not.

    Raises ``ValueError`` for times that are negative, not finite or not in order, values of another shape or infinite,
    and missing values unless they may be skipped.
    """

    times: tuple[float, ...]
    values: torch.Tensor
    function: ObservationFunction
    noise: Noise
    missing: str = "error"
    hidden: HiddenPath | None = None

    def __post_init__(self) -> None:
        require_choice("observations", "missing", self.missing, MISSING)
        require_observation_times("observations", self.times)
        if self.values.ndim != 2 or len(self.values) != len(self.times) or self.values.dtype != torch.float64:
            raise ValueError(
                f"observations: {len(self.times)} times need values of shape ({len(self.times)}, m), float64; "
                f"got {self.values.dtype} of shape {tuple(self.values.shape)}"
            )
        for index, time in enumerate(self.times):
            if bool(torch.isinf(self.values[index]).any()):
                raise ValueError(f"observations: number {index + 1} (t = {time:g}) is infinite")
            if self.is_missing(index) and self.missing == "error":
                raise ValueError(
                    f"observations: number {index + 1} (t = {time:g}) is NaN; missing='skip' would leave it out"
                )

    def __len__(self) -> int:
        return len(self.times)

    def is_missing(self, index: int) -> bool:
        """Return whether the value of observation ``index`` (from 0) holds a NaN."""
        return bool(torch.isnan(self.values[index]).any())

    def likelihood(self, index: int) -> Likelihood:
        """Return the likelihood of observation ``index`` (from 0)."""
        return Likelihood(self.values[index], self.function, self.noise)

    def count_by(self, time: float) -> int:
        """Return how many observations are made at ``time`` or before."""
        return sum(1 for known in self.times if known < time or same_time(known, time))


def same_time(left: float, right: float, last: float = 0.0) -> bool:
    """Return whether two times differ by rounding only, in whatever units; ``last`` is the last of all, if known."""
    return abs(left - right) <= max(SAME_TIME * max(abs(left), abs(right)), ROUNDING * last)


def distinct_times(times: Sequence[float]) -> tuple[float, ...]:
    """Return the times in order, those that are the same only once."""
    distinct: list[float] = []
    last = max(times, default=0.0)
    for time in sorted(times):
        if not distinct or not same_time(time, distinct[-1], last):
            distinct.append(time)
    return tuple(distinct)


def require_observation_times(owner: str, times: Sequence[float]) -> None:
    """Raise ``ValueError`` unless ``times`` are finite numbers ≥ 0 in order; equal ones and none at all are fine."""
    for index, time in enumerate(times):
        if isinstance(time, bool) or not isinstance(time, int | float) or not (math.isfinite(time) and time >= 0):
            raise ValueError(f"{owner}: observation time {index + 1} must be a finite number >= 0, got {time!r}")
    for earlier, later in pairwise(times):
        if later < earlier and not same_time(later, earlier):
            raise ValueError(f"{owner}: observation times must not decrease, got {later!r} after {earlier!r}")
