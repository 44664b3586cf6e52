"""The hyper-parameters of dual JKO steps and their checks; ``solvers.dual.dual_jko`` says what each does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from problems.validation import require_choice, require_counts, require_positive
from solvers.dual.objective import REGULARISATIONS

REFERENCES = ("coupled", "uniform", "published")


@dataclass(frozen=True, kw_only=True)
class DualSettings:
    """The settings of ``DualJKO``, which documents them; ``name`` is the method's, for messages.

    Raises ``ValueError`` for values out of range or that exclude each other.
    """

    name: ClassVar[str]
    step_size: float = 0.1
    samples: int = 20_000
    basis: str = "polynomial"
    degree: int = 3
    kernels: int = 400
    kernel_variance: float = 0.1
    reference: str = "coupled"
    box_variance: float = 8.0
    regularisation: str = "quadratic"
    penalty: float = 1e-3
    tolerance: float = 1e-3
    iterations: int = 1000

    def __post_init__(self) -> None:
        require_counts(
            self.name, samples=self.samples, degree=self.degree, kernels=self.kernels, iterations=self.iterations
        )
        require_positive(
            self.name,
            step_size=self.step_size,
            kernel_variance=self.kernel_variance,
            box_variance=self.box_variance,
            penalty=self.penalty,
            tolerance=self.tolerance,
        )
        require_choice(self.name, "basis", self.basis, ("polynomial", "gaussian"))
        require_choice(self.name, "reference", self.reference, REFERENCES)
        require_choice(self.name, "regularisation", self.regularisation, REGULARISATIONS)
        if self.reference == "published" and self.regularisation != "quadratic":
            raise ValueError(
                f"{self.name}: regularisation is quadratic in the published runs, got {self.regularisation!r}"
            )
        if self.basis == "gaussian" and self.kernels >= self.samples:
            raise ValueError(
                f"{self.name}: a basis must be smaller than the sample: {self.kernels} kernels and the constant, "
                f"{self.samples} samples"
            )

    @property
    def in_own_units(self) -> bool:
        """Whether squared lengths are in units of the initial law's, and not in those of kernels and boxes."""
        return self.basis == "polynomial" and self.reference == "coupled"
