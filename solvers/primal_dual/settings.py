"""The hyper-parameters of primal-dual JKO steps and their checks; ``primal_dual_jko`` says what each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import DTYPES
from problems.validation import require_choice, require_counts, require_number, require_positive
from solvers.primal_dual.dual_network import FIRST, DualNetwork
from solvers.primal_dual.map_networks import MapNetwork, map_network
from solvers.primal_dual.perceptron import ACTIVATIONS

IMPLICITNESS = {1: 1.0, 2: 0.5}
MAPS = ("residual", "icnn", "affine")
REFERENCES = ("carried", "gaussian", "box")
SPLITTINGS = ("inside", "forward-backward")
STARTS = ("affine", "previous")


@dataclass(frozen=True, kw_only=True)
class PrimalDualSettings:
    """The settings of ``PrimalDualJKO``, which documents them; ``name`` is the method's, for messages.

    Raises ``ValueError`` for values out of range or that exclude each other.
    """

    name: ClassVar[str]
    step_size: float = 0.05
    order: int = 1
    map: str = "residual"
    width: int = 64
    depth: int = 2
    activation: str = "silu"
    rank: int = 5
    output: str = "softplus"
    dual_width: int = 64
    dual_depth: int = 2
    dual_activation: str = "tanh"
    dual_quadratic: bool = True
    sharpness: float = 8.0
    reference: str = "carried"
    box_scale: float = 1.5
    interaction: str = "inside"
    iterations: int = 200
    inner_updates: int = 3
    batch_size: int = 1024
    learning_rate: float = 5e-3
    dual_learning_rate: float = 1e-2
    decay: bool = True
    start: str = "affine"
    patience: int = 2
    density: bool = True
    pool_size: int = 32_768
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_positive(
            self.name,
            step_size=self.step_size,
            learning_rate=self.learning_rate,
            dual_learning_rate=self.dual_learning_rate,
        )
        require_number(self.name, at_least=1, box_scale=self.box_scale, sharpness=self.sharpness)
        require_counts(
            self.name,
            width=self.width,
            depth=self.depth,
            rank=self.rank,
            dual_width=self.dual_width,
            dual_depth=self.dual_depth,
            iterations=self.iterations,
            inner_updates=self.inner_updates,
            batch_size=self.batch_size,
            pool_size=self.pool_size,
        )
        require_counts(self.name, at_least=0, patience=self.patience)
        require_choice(self.name, "order", self.order, tuple(IMPLICITNESS))
        require_choice(self.name, "map", self.map, MAPS)
        require_choice(self.name, "activation", self.activation, tuple(ACTIVATIONS))
        require_choice(self.name, "dual_activation", self.dual_activation, tuple(ACTIVATIONS))
        require_choice(self.name, "output", self.output, tuple(FIRST))
        require_choice(self.name, "reference", self.reference, REFERENCES)
        require_choice(self.name, "interaction", self.interaction, SPLITTINGS)
        require_choice(self.name, "start", self.start, STARTS)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))
        for name in ("dual_quadratic", "decay", "density"):
            require_choice(self.name, name, getattr(self, name), (False, True))
        if self.batch_size > self.pool_size:
            raise ValueError(
                f"{self.name}: batch_size must be at most pool_size {self.pool_size}, got {self.batch_size}"
            )
        if self.patience and not self.density:
            raise ValueError(f"{self.name}: patience must be 0 without a density to judge by, got {self.patience}")
        if self.reference == "carried" and not self.density:
            raise ValueError(
                f"{self.name}: reference 'carried' is the law's own density, which density = false leaves out: "
                "'gaussian' and 'box' do without"
            )

    @property
    def implicitness(self) -> float:
        """θ, where between its ends a step is taken: 1 or ½."""
        return IMPLICITNESS[self.order]

    @property
    def torch_dtype(self) -> torch.dtype:
        """The dtype that networks are trained in."""
        return DTYPES[self.dtype]

    def map_network(self, dim: int) -> MapNetwork:
        """Return the network of the map in dimension ``dim``."""
        return map_network(self.map, dim, self.width, self.depth, self.activation, self.rank)

    def dual_network(self, dim: int) -> DualNetwork:
        """Return the dual network in dimension ``dim``."""
        return DualNetwork(
            dim, self.dual_width, self.dual_depth, self.dual_activation, self.output, self.dual_quadratic
        )
