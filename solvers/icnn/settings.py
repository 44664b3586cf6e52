"""The hyper-parameters of JKO steps in networks and their checks; ``solvers.icnn.icnn_jko`` says what each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from problems.devices import DTYPES
from problems.validation import require_choice, require_counts, require_number, require_positive
from solvers.adaptive_steps import require_steps
from solvers.icnn.descent import Schedule
from solvers.icnn.step_objective import StepScheme
from solvers.networks.convex_network import Architecture
from solvers.preconditioning.curvature import PRECONDITIONERS

SECOND_ORDER = ("fitted", "midpoint")
STARTS = ("previous", "affine")


@dataclass(frozen=True, kw_only=True)
class ICNNSettings:
    """The settings of ``ICNNJKO``, which documents them; ``name`` is the method's, for messages.

    Raises ``ValueError`` for values out of range or that exclude each other.
    """

    name: ClassVar[str]
    step_size: float | Literal["auto"] = 0.05
    order: int = 1
    iterations: int = 500
    batch_size: int = 1024
    width: int = 64
    depth: int = 2
    rank: int = 5
    sharpness: float = 1.0
    learning_rate: float = 2e-2
    tolerance: float = 0.0
    shrinkage: float = 1e-3
    pool_size: int = 32_768
    minibatch: int | None = None
    start: str = "previous"
    second_order: str = "fitted"
    symkl_tolerance: float = 1e-3
    output_solve: bool | None = None
    preconditioner: str = "identity"
    dtype: str = "float32"
    cuda_graph: bool = True

    def __post_init__(self) -> None:
        require_positive(self.name, learning_rate=self.learning_rate)
        require_number(self.name, at_least=1, sharpness=self.sharpness)
        require_number(self.name, at_least=0, tolerance=self.tolerance, shrinkage=self.shrinkage)
        require_counts(
            self.name,
            iterations=self.iterations,
            batch_size=self.batch_size,
            width=self.width,
            depth=self.depth,
            rank=self.rank,
            pool_size=self.pool_size,
        )
        if self.minibatch is not None:
            require_counts(self.name, minibatch=self.minibatch)
        require_choice(self.name, "order", self.order, (1, 2))
        require_choice(self.name, "second_order", self.second_order, SECOND_ORDER)
        require_choice(self.name, "start", self.start, STARTS)
        require_choice(self.name, "preconditioner", self.preconditioner, PRECONDITIONERS)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))
        require_choice(self.name, "cuda_graph", self.cuda_graph, (False, True))
        require_choice(self.name, "output_solve", self.output_solve, (None, False, True))
        require_steps(self, "symkl_tolerance")
        if self.batch_size > self.pool_size:
            raise ValueError(
                f"{self.name}: batch_size must be at most pool_size {self.pool_size}, got {self.batch_size}"
            )

    def scheme_of(self, step_size: float, order: int) -> StepScheme:
        """Return the scheme of a step in time, of a size and an order."""
        midpoint, fitted = (order == 2 and self.second_order == each for each in ("midpoint", "fitted"))
        return StepScheme(step_size, 0.5 if midpoint else 1.0, self.start == "affine", fitted)

    @property
    def schedule(self) -> Schedule:
        """The schedule by which each step is trained."""
        return Schedule(self.iterations, self.batch_size, self.learning_rate, self.tolerance, self.shrinkage)

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that particles and networks are computed in."""
        return DTYPES[self.dtype]

    def architecture(self, dim: int) -> Architecture:
        """Return the form of the networks in dimension ``dim``."""
        return Architecture(dim, self.width, self.depth, self.rank)
