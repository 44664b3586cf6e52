"""The dual variable h = γg of a JKO step: a known density γ times a network g that is positive by construction.

    g(z) = r(v(z)),    v(z) = MLP(z) + ½ zᵀQz,

in coordinates z in which γ is a standard normal law, or uniform on a cube of variance 1. A Gaussian density is h with
v quadratic, and one of compact support is a v that falls below 0 there. The positive functions r are

    softplus      g = log(1 + e^v)
    exponential   g = e^v
    square        g = v²                                    as published for Ornstein-Uhlenbeck flows
    sigmoid       g = e^u - 1,  u = 20/(1 + e^{-3v/20})     as published for mixtures

(Fan, Zhang, Taghvaei, Chen, ICML 2022, and their code; h ≥ 0 is what the dual asks for, and what a plain network does
not keep). All is worked out from log g and its derivative by v.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import softplus

from solvers.primal_dual.perceptron import Layers, Pass, Perceptron

# Where a value is smaller than any that matters, and its logarithm still finite in float32.
SMALLEST = 1e-30
LEAST_INPUT = -60.0
CEILING, STEEPNESS = 20.0, 0.15

FIRST = {
    "softplus": math.log(math.e - 1),
    "exponential": 0.0,
    "square": 1.0,
    "sigmoid": math.log(math.log(2) / (CEILING - math.log(2))) / STEEPNESS,
}
"""The value v at which g = 1, by the name of the positive function."""


def positive(output: str, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log g and d log g / dv at ``v`` (n,), both (n,), for the positive function ``output``."""
    if output == "exponential":
        return v, torch.ones_like(v)
    if output == "square":
        size = v.abs().clamp_(min=math.sqrt(SMALLEST))
        return size.log().mul_(2), torch.copysign(2 / size, v)
    if output == "sigmoid":
        share = torch.sigmoid(STEEPNESS * v)
        u = share * CEILING
        ratio = torch.expm1(u).clamp_(min=SMALLEST)
        return ratio.log(), (ratio + 1) / ratio * (CEILING * STEEPNESS) * share * (1 - share)
    v = v.clamp(min=LEAST_INPUT)
    g = softplus(v)
    return g.log(), torch.sigmoid(v).div_(g)


class DualWeights(NamedTuple):
    """The parameters of a dual network as views: the perceptron's layers, and Q (D, D) or ``None``."""

    layers: Layers
    form: torch.Tensor | None


@dataclass(frozen=True)
class DualNetwork:
    """A dual network is v in ``dim`` dimensions: ``depth`` hidden layers of ``width`` units, and Q unless left out."""

    dim: int
    width: int
    depth: int
    activation: str
    output: str
    quadratic: bool = True

    @property
    def perceptron(self) -> Perceptron:
        """The perceptron in v."""
        return Perceptron((self.dim, *[self.width] * self.depth, 1), self.activation)

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.perceptron.size + (self.dim**2 if self.quadratic else 0)

    def weights(self, flat: torch.Tensor) -> DualWeights:
        """Return views of the parameters ``flat`` (size,)."""
        form = flat[self.perceptron.size :].view(self.dim, self.dim) if self.quadratic else None
        return DualWeights(self.perceptron.layers(flat), form)

    def initial(self, generator: torch.Generator, sharpness: float = 1.0) -> torch.Tensor:
        """Return random parameters (size,), float64, at which g = 1; ``sharpness`` is the perceptron's."""
        flat = torch.zeros(self.size, dtype=torch.float64)
        flat[: self.perceptron.size] = self.perceptron.initial(generator, sharpness)
        self.perceptron.layers(flat)[-1][1].fill_(FIRST[self.output])
        return flat


class DualPass:
    """A dual pass holds the memory for ``points`` points that go through a dual network and back."""

    def __init__(self, network: DualNetwork, points: int, like: torch.Tensor) -> None:
        self.inner = Pass(network.perceptron, points, like)
        self.along = like.new_empty(points, network.dim)
        self.weighted = like.new_empty(points, network.dim)
        self.points = like.new_empty(0)

    def forward(self, weights: DualWeights, z: torch.Tensor) -> torch.Tensor:
        """Return v (points,) at ``z`` (points, D)."""
        self.points = z
        value = self.inner.forward(weights.layers, z)[:, 0]
        if weights.form is None:
            return value
        torch.mm(z, weights.form, out=self.along)
        torch.mul(self.along, z, out=self.weighted)
        return torch.add(value, self.weighted.sum(1), alpha=0.5)

    def backward(self, weights: DualWeights, bar: torch.Tensor, into: DualWeights) -> None:
        """Write the derivatives of Σ ``bar`` (points,) · v by the parameters ``into`` views like theirs."""
        self.inner.backward(weights.layers, bar[:, None], into.layers, False)
        if into.form is not None:
            torch.mul(self.points, bar[:, None], out=self.weighted)
            torch.mm(self.points.T, self.weighted, out=into.form)
            into.form.mul_(0.5)

    def input_bar(self, weights: DualWeights, bar: torch.Tensor) -> torch.Tensor:
        """Return ``bar`` (points,) times ∇v, (points, D)."""
        slope = self.inner.backward(weights.layers, bar[:, None], None, True)
        if weights.form is None:
            return slope
        return slope.addcmul_(self.points @ (weights.form + weights.form.T), bar[:, None], value=0.5)
