"""What libraries that follow stochastic equations share: the settings of paths, by Euler's scheme or Heun's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from problems.devices import DTYPES
from problems.validation import require_choice, require_counts, require_positive
from solvers.solver import Solver, step_counts


@dataclass(frozen=True, kw_only=True)
class Paths(Solver):
    """Independent paths of a library, with steps of ``step_size`` or such as a ``tolerance`` asks for.

    Raises ``ValueError`` for settings out of range, and for a tolerance of Euler's scheme.
    """

    orders: ClassVar[tuple[int, ...]] = (1, 2)
    particles: int = 10_000
    step_size: float = 1e-3
    order: int = 1
    tolerance: float | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_counts(self.name, particles=self.particles)
        require_positive(self.name, step_size=self.step_size)
        require_choice(self.name, "order", self.order, self.orders)
        if self.tolerance is not None:
            require_positive(self.name, tolerance=self.tolerance)
            if self.order != 2:
                raise ValueError(f"{self.name}: a tolerance is for order 2, got order {self.order}")
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))

    @property
    def sample_size(self) -> int | None:
        return self.particles

    @property
    def order_in_time(self) -> int | None:
        return self.order if self.tolerance is None else None

    def check_times(self, times: Sequence[float]) -> None:
        step_counts(times, self.step_size)
