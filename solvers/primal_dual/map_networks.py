"""Networks that stand for the map of a step, behind one interface: perceptrons, affine maps, convex networks.

In the coordinates of a frame (``solvers.primal_dual.step_maps``) the value is

    residual, affine    o = y + δ MLP(y), without hidden layers for the second
    icnn                o = ∇ψ(y), ψ input-convex (``solvers.networks``).

δ is the size of a step in these coordinates, so that networks have values of order 1 however short the step.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch

from problems.linear_algebra import symmetrised
from solvers.networks.convex_derivatives import Tape, derivatives, fold, pullback, pullback_of_fold
from solvers.networks.convex_network import STRONG_CONVEXITY, Architecture
from solvers.primal_dual.perceptron import Pass, Perceptron
from solvers.primal_dual.step_maps import ConvexGradient, Frame, ResidualMap, SmoothMap


class MapPass(Protocol):
    """Points that go through a map's network and back."""

    def forward(self, prepared: Any, y: torch.Tensor) -> torch.Tensor:
        """Return the value o (points, D) at ``y`` (points, D)."""

    def backward(self, prepared: Any, bar: torch.Tensor) -> None:
        """Write the derivatives of Σ ⟨``bar`` (points, D), o⟩ by what is ``prepared`` into the pass's own slope."""


class MapNetwork(Protocol):
    """A network of parameters (size,) that stands for a map."""

    size: int
    slope_size: int
    rates: torch.Tensor | None

    def initial(self, generator: torch.Generator) -> torch.Tensor:
        """Return parameters (size,), float64, of the identity."""

    def frame(self, frame: Frame) -> Frame:
        """Return the frame that the network works in, given one that whitens the law before and after the start."""

    def start_at(self, flat: torch.Tensor, whitening: Frame, frame: Frame) -> None:
        """Make the parameters ``flat`` (size,) those of the affine map of ``whitening``, in place."""

    def begin(self, scale: float) -> None:
        """Begin a step of size δ = ``scale``."""

    def prepare(self, flat: torch.Tensor) -> Any:
        """Return what passes need of the parameters ``flat`` (size,)."""

    def slope(self, flat: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return the derivatives by the parameters, (size,), from the sum (slope_size,) of what passes wrote."""

    def project(self, flat: torch.Tensor) -> None:
        """Move the parameters ``flat`` (size,) to the nearest that are allowed, in place."""

    def passes(self, points: int, slope: torch.Tensor) -> MapPass:
        """Return the memory of passes of ``points`` points, whose derivatives go into ``slope`` (slope_size,)."""

    def map(self, frame: Frame, flat: torch.Tensor, implicitness: float) -> SmoothMap:
        """Return the map of the whole step for parameters ``flat`` (size,), copied."""


class ResidualNetwork(MapNetwork):
    """o = y + δ MLP(y), with ``depth`` hidden layers of ``width`` units; affine without any."""

    rates: torch.Tensor | None = None

    def __init__(self, dim: int, width: int, depth: int, activation: str) -> None:
        self.perceptron = Perceptron((dim, *[width] * depth, dim), activation)
        self.size = self.slope_size = self.perceptron.size
        self.scale = 1.0

    def initial(self, generator: torch.Generator) -> torch.Tensor:
        """Return parameters (size,), float64, of the identity."""
        return self.perceptron.initial(generator)

    def frame(self, frame: Frame) -> Frame:
        """Return the frame itself: the start is then the identity."""
        return frame

    def start_at(self, flat: torch.Tensor, whitening: Frame, frame: Frame) -> None:
        """Make the network's value 0, in place."""
        for part in self.perceptron.layers(flat)[-1]:
            part.zero_()

    def begin(self, scale: float) -> None:
        self.scale = scale

    def prepare(self, flat: torch.Tensor) -> Any:
        """Return the layers."""
        return self.perceptron.layers(flat)

    def slope(self, flat: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return the sum itself."""
        return total

    def project(self, flat: torch.Tensor) -> None:
        """Leave the parameters: all are allowed."""

    def passes(self, points: int, slope: torch.Tensor) -> MapPass:
        return _ResidualPass(self, points, slope)

    def map(self, frame: Frame, flat: torch.Tensor, implicitness: float) -> SmoothMap:
        parameters = flat.to(torch.device("cpu"), torch.float64, copy=True)
        return ResidualMap(frame, self.perceptron, parameters, self.scale, implicitness)


class _ResidualPass:
    def __init__(self, network: ResidualNetwork, points: int, slope: torch.Tensor) -> None:
        self.network, self.inner = network, Pass(network.perceptron, points, slope)
        self.value, self.slopes = slope.new_empty(points, network.perceptron.sizes[0]), network.perceptron.layers(slope)

    def forward(self, prepared: Any, y: torch.Tensor) -> torch.Tensor:
        return torch.add(y, self.inner.forward(prepared, y), alpha=self.network.scale, out=self.value)

    def backward(self, prepared: Any, bar: torch.Tensor) -> None:
        self.inner.backward(prepared, bar.mul_(self.network.scale), self.slopes, False)


class ConvexNetwork(MapNetwork):
    """o = ∇ψ(y) of an input-convex network of ``depth`` layers of ``width`` units with forms of ``rank``."""

    def __init__(self, dim: int, width: int, depth: int, rank: int) -> None:
        self.architecture = Architecture(dim, width, depth, rank)
        self.size = self.architecture.size
        self.rates: torch.Tensor | None = self.architecture.rates()
        self.slope_size = fold(self.architecture.weights(torch.zeros(self.size))).size

    def initial(self, generator: torch.Generator) -> torch.Tensor:
        """Return parameters (size,), float64, of the identity."""
        weights = self.architecture.identity(1.0, generator)
        return torch.cat([part.flatten() for part in weights.parts()])

    def frame(self, frame: Frame) -> Frame:
        """Return a frame of one scale in all directions: a gradient in its coordinates is one in x."""
        dim = len(frame.mean)
        scale = float(torch.linalg.matrix_norm(frame.source)) / dim**0.5
        alike = scale * torch.eye(dim, dtype=frame.source.dtype)
        return Frame(frame.mean, alike, frame.moved, alike)

    def start_at(self, flat: torch.Tensor, whitening: Frame, frame: Frame) -> None:
        """Make ∇ψ the affine map of ``whitening``, in place; the hidden units keep their forms."""
        weights = self.architecture.weights(flat)
        values, vectors = torch.linalg.eigh(symmetrised(whitening.affine.matrix))
        root = (vectors * (values - STRONG_CONVEXITY).clamp(min=0).sqrt()) @ vectors.T
        weights.root[0].copy_(root)
        weights.shift[0].zero_()
        weights.output[0].zero_()

    def begin(self, scale: float) -> None:
        """Leave the network as it is."""

    def prepare(self, flat: torch.Tensor) -> Any:
        """Return the network with its first layer folded into the second."""
        return fold(self.architecture.weights(flat))

    def slope(self, flat: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        """Return the derivatives by the parameters, through the folding."""
        weights, slope = self.architecture.weights(flat), torch.zeros_like(flat)
        pullback_of_fold(weights, fold(weights).like(total), self.architecture.weights(slope))
        return slope

    def project(self, flat: torch.Tensor) -> None:
        """Set weights that must be ≥ 0 and are not to 0, in place."""
        self.architecture.weights(flat).project()

    def passes(self, points: int, slope: torch.Tensor) -> MapPass:
        return _ConvexPass(points, self.architecture.dim, slope)

    def map(self, frame: Frame, flat: torch.Tensor, implicitness: float) -> SmoothMap:
        parameters = flat.to(torch.device("cpu"), torch.float64, copy=True)
        return ConvexGradient(frame, self.architecture, parameters, implicitness)


class _ConvexPass:
    def __init__(self, points: int, dim: int, slope: torch.Tensor) -> None:
        self.no_bar, self.into = slope.new_zeros(1, points, dim, dim), slope
        self.tape: Tape | None = None

    def forward(self, prepared: Any, y: torch.Tensor) -> torch.Tensor:
        value, _, self.tape = derivatives(prepared, y[None])
        return value[0]

    def backward(self, prepared: Any, bar: torch.Tensor) -> None:
        assert self.tape is not None
        self.into.zero_()
        pullback(prepared, self.tape, bar[None], self.no_bar, prepared.like(self.into))


def map_network(kind: str, dim: int, width: int, depth: int, activation: str, rank: int) -> MapNetwork:
    """Return the network of a kind: "residual", "affine" or "icnn"."""
    if kind == "icnn":
        return ConvexNetwork(dim, width, depth, rank)
    return ResidualNetwork(dim, width, 0 if kind == "affine" else depth, activation)
