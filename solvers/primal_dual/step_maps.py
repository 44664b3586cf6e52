"""The maps of steps as invertible maps: affine ones, perceptrons on top of an affine map, gradients of convex networks.

Where a step is taken by its implicit midpoint, x_θ = T_θ(x) with θ = ½, the map is T(x) = x + (T_θ(x) - x)/θ. A map
with a perceptron need not be invertible. It says where it is by the determinant of its Jacobian, which is worked out
exactly: log det is NaN where that is not positive, and an estimate with such points is defective.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch

from problems.interactions import Interaction
from solvers.maps import InvertibleMap
from solvers.networks.convex_derivatives import derivatives, fold, gradient
from solvers.networks.convex_network import Architecture
from solvers.networks.inversion import RESIDUAL, Linearised, inverted
from solvers.primal_dual.perceptron import Pass, Perceptron
from solvers.solver import Diverged
from solvers.threads import workers

BLOCK = 512
MOST_ITERATIONS = 200


class SmoothMap(InvertibleMap):
    """A smooth map has ``value`` and ``jacobian``; the rest is worked out from these, the inverse by damped Newton."""

    @abstractmethod
    def value(self, x: torch.Tensor) -> torch.Tensor:
        """Return T at ``x`` (n, D), shape (n, D)."""

    @abstractmethod
    def jacobian(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T (n, D) and ∇T (n, D, D) at ``x`` (n, D)."""

    @abstractmethod
    def guess(self, y: torch.Tensor) -> torch.Tensor:
        """Return where to start looking for T⁻¹ of ``y`` (n, D), shape (n, D)."""

    def push(self, x: torch.Tensor) -> torch.Tensor:
        with workers() as run:
            return torch.cat(run(self.value, x.detach().double().split(BLOCK)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        def both(block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            mapped, jacobian = self.jacobian(block)
            return mapped, log_det(jacobian)

        with workers() as run:
            parts = run(both, x.detach().double().split(BLOCK))
        return torch.cat([mapped for mapped, _ in parts]), torch.cat([each for _, each in parts])

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with workers() as run:
            parts = run(self._inverse, y.detach().double().split(BLOCK))
        failed = sum(failures for _, _, failures in parts)
        if failed:
            raise Diverged(
                f"the inverse map was not found at {failed} of {len(y)} points (residual above {RESIDUAL:g})"
            )
        return torch.cat([x for x, _, _ in parts]), torch.cat([each for _, each, _ in parts])

    def _inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, int]:
        def linearised(x: torch.Tensor) -> Linearised:
            mapped, jacobian = self.jacobian(x)
            return Linearised(
                mapped,
                lambda residual: torch.linalg.solve_ex(jacobian, residual[:, :, None])[0][:, :, 0],
                lambda chosen: log_det(jacobian[chosen]),
            )

        found, log_dets = inverted(y, self.guess, linearised, MOST_ITERATIONS)
        return found, log_dets, int(torch.isnan(found).any(1).sum())


def log_det(jacobian: torch.Tensor) -> torch.Tensor:
    """Return log det of matrices (n, D, D), shape (n,), NaN where the determinant is not positive."""
    sign, log_size = torch.linalg.slogdet(jacobian)
    return torch.where(sign > 0, log_size, torch.nan)


def extrapolated(
    x: torch.Tensor, mapped: torch.Tensor, jacobian: torch.Tensor, implicitness: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T and ∇T of the whole step at ``x`` (n, D) from those of its map to the intermediate point."""
    if implicitness == 1:
        return mapped, jacobian
    whole = jacobian / implicitness
    whole.diagonal(dim1=-2, dim2=-1).sub_(1 / implicitness - 1)
    return x + (mapped - x) / implicitness, whole


@dataclass(frozen=True, eq=False)
class AffineMap(InvertibleMap):
    """The map x ↦ ``shift`` + A x with A = ``matrix`` (D, D) of positive determinant, float64."""

    matrix: torch.Tensor
    shift: torch.Tensor

    @cached_property
    def log_det(self) -> torch.Tensor:
        """log det A, a scalar, NaN where the determinant is not positive."""
        return log_det(self.matrix)

    def push(self, x: torch.Tensor) -> torch.Tensor:
        with workers() as run:
            return torch.cat(run(lambda block: self.shift + block @ self.matrix.T, x.double().split(4096)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.push(x), self.log_det.expand(len(x))

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        inverse = torch.linalg.inv(self.matrix)
        return AffineMap(inverse, -inverse @ self.shift).push(y), self.log_det.expand(len(y))


def whole_affine(between: AffineMap, implicitness: float) -> AffineMap:
    """Return the map of the whole step whose map to the intermediate point is ``between``."""
    identity = torch.eye(len(between.shift), dtype=between.shift.dtype)
    return AffineMap(identity + (between.matrix - identity) / implicitness, between.shift / implicitness)


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame gives points x the coordinates y in which a network works, and its values o their places again.

    y = A⁻¹(x - ``mean``) and T = ``moved`` + B o with A = ``source`` and B = ``target`` (D, D), float64.
    """

    mean: torch.Tensor
    source: torch.Tensor
    moved: torch.Tensor
    target: torch.Tensor

    @cached_property
    def inverse(self) -> torch.Tensor:
        """A⁻¹, shape (D, D)."""
        inverse: torch.Tensor = torch.linalg.inv(self.source)
        return inverse

    @cached_property
    def affine(self) -> AffineMap:
        """The map that a network makes whose value is its input."""
        matrix = self.target @ self.inverse
        return AffineMap(matrix, self.moved - matrix @ self.mean)

    def coordinates(self, x: torch.Tensor) -> torch.Tensor:
        """Return y at ``x`` (n, D), shape (n, D)."""
        return (x - self.mean) @ self.inverse.T

    def places(self, o: torch.Tensor) -> torch.Tensor:
        """Return T for values ``o`` (n, D), shape (n, D)."""
        return self.moved + o @ self.target.T


@dataclass(frozen=True, eq=False)
class ResidualMap(SmoothMap):
    """The map T = B(y + ``scale`` MLP(y)) + m⁺ in the coordinates y of a frame, ``parameters`` float64."""

    frame: Frame
    perceptron: Perceptron
    parameters: torch.Tensor
    scale: float
    implicitness: float = 1.0

    def value(self, x: torch.Tensor) -> torch.Tensor:
        y = self.frame.coordinates(x)
        moved = Pass(self.perceptron, len(y), y).forward(self.perceptron.layers(self.parameters), y)
        mapped = self.frame.places(y + self.scale * moved)
        return x + (mapped - x) / self.implicitness

    def jacobian(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = self.frame.coordinates(x)
        moved, inner = self.perceptron.jacobian(self.perceptron.layers(self.parameters), y)
        inner = self.scale * inner
        inner.diagonal(dim1=1, dim2=2).add_(1)
        mapped = self.frame.places(y + self.scale * moved)
        return extrapolated(x, mapped, self.frame.target @ inner @ self.frame.inverse, self.implicitness)

    def guess(self, y: torch.Tensor) -> torch.Tensor:
        x, _ = self.frame.affine.inverse(y)
        return x


@dataclass(frozen=True, eq=False)
class ConvexGradient(SmoothMap):
    """The map T = B∇ψ(y) + m⁺ of an input-convex network, in coordinates whose scale is the same in all directions."""

    frame: Frame
    architecture: Architecture
    parameters: torch.Tensor
    implicitness: float = 1.0

    def value(self, x: torch.Tensor) -> torch.Tensor:
        folded = fold(self.architecture.weights(self.parameters))
        mapped = self.frame.places(gradient(folded, self.frame.coordinates(x)[None])[0])
        return x + (mapped - x) / self.implicitness

    def jacobian(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        folded = fold(self.architecture.weights(self.parameters))
        value, hessian, _ = derivatives(folded, self.frame.coordinates(x)[None])
        inner = self.frame.target @ hessian[0] @ self.frame.inverse
        return extrapolated(x, self.frame.places(value[0]), inner, self.implicitness)

    def guess(self, y: torch.Tensor) -> torch.Tensor:
        x, _ = self.frame.affine.inverse(y)
        return x


@dataclass(frozen=True, eq=False)
class InteractionMap(SmoothMap):
    """The explicit step x ↦ x - h ∇(W∗ρ)(x), with ρ of equal masses at ``sources`` (k, D)."""

    interaction: Interaction
    sources: torch.Tensor
    step_size: float

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.step_size * self.interaction.mean_gradient(x, self.sources)

    def jacobian(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        dim = x.shape[1]
        hessians = torch.stack([self.interaction.hessian(self._apart(point - self.sources)).mean(0) for point in x])
        return self.value(x), torch.eye(dim, dtype=x.dtype) - self.step_size * hessians

    @staticmethod
    def _apart(differences: torch.Tensor) -> torch.Tensor:
        """Return differences (k, D) with zero ones, at which a singular W has no Hessian, replaced by their mean."""
        met = (differences == 0).all(1)
        return torch.where(met[:, None], differences.mean(0), differences)

    def guess(self, y: torch.Tensor) -> torch.Tensor:
        return y
