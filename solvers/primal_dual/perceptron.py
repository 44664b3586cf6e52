"""Multilayer perceptrons with their derivatives in closed form, worked out in memory that is kept.

    z_0 = x,    a_l = z_{l-1} W_l + b_l,    z_l = s(a_l) for l < L,    the value is a_L.

With ā_L the derivative by the value, ā_{l-1} = (ā_l W_lᵀ) ⊙ s'(a_{l-1}), W̄_l = z_{l-1}ᵀ ā_l, b̄_l = Σ ā_l and
x̄ = ā_1 W_1ᵀ (Rumelhart, Hinton, Williams, Nature 323, 1986). The Jacobian goes forward, J_1 = W_1ᵀ and
J_l = W_lᵀ diag(s'(a_{l-1})) J_{l-1}.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch.nn.functional import softplus

Layers = list[tuple[torch.Tensor, torch.Tensor]]
"""Weights (in, out) and biases (out,) of each layer."""

LEAKAGE = 0.25
# Where ridges of a first layer go through, in standard deviations of its inputs.
HALF_WIDTH = 2.0


def _silu(a: torch.Tensor, slope: torch.Tensor, one: torch.Tensor) -> None:
    torch.sigmoid(a, out=slope)
    a.mul_(slope)
    torch.lerp(slope, one, a, out=slope)  # σ + aσ(1 - σ)


def _tanh(a: torch.Tensor, slope: torch.Tensor, one: torch.Tensor) -> None:
    a.mul_(2).sigmoid_().mul_(2).sub_(1)  # several times as fast as tanh
    torch.mul(a, a, out=slope).neg_().add_(1)


def _softplus(a: torch.Tensor, slope: torch.Tensor, one: torch.Tensor) -> None:
    torch.sigmoid(a, out=slope)
    a.copy_(softplus(a))


def _celu(a: torch.Tensor, slope: torch.Tensor, one: torch.Tensor) -> None:
    torch.clamp(a, max=0, out=slope).exp_()
    a.clamp_(min=0).add_(slope).sub_(1)


def _leaky(a: torch.Tensor, slope: torch.Tensor, one: torch.Tensor) -> None:
    torch.gt(a, 0, out=slope)
    slope.mul_(1 - LEAKAGE).add_(LEAKAGE)
    a.mul_(slope)


ACTIVATIONS: dict[str, Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]] = {
    "silu": _silu,
    "tanh": _tanh,
    "softplus": _softplus,
    "celu": _celu,
    "prelu": _leaky,
}
"""Each replaces a by s(a) and puts s'(a) into the second tensor, given a 1; "prelu" has its usual first slope, ¼."""


@dataclass(frozen=True)
class Perceptron:
    """A perceptron has layers of ``sizes``, of which the first is that of its input and the last that of its value.

    Without a size between these it is an affine function.
    """

    sizes: tuple[int, ...]
    activation: str

    @cached_property
    def size(self) -> int:
        """The number of parameters."""
        return sum((before + 1) * after for before, after in zip(self.sizes, self.sizes[1:], strict=False))

    def layers(self, flat: torch.Tensor) -> Layers:
        """Return the layers whose parameters lie in ``flat`` (size,), as views."""
        layers, place = [], 0
        for before, after in zip(self.sizes, self.sizes[1:], strict=False):
            weight = flat[place : place + before * after].view(before, after)
            place += before * after
            layers.append((weight, flat[place : place + after]))
            place += after
        return layers

    def initial(self, generator: torch.Generator, sharpness: float = 1.0) -> torch.Tensor:
        """Return random parameters (size,), float64, for inputs of order 1; those of the last layer are 0.

        With a ``sharpness`` s > 1 units of the first layer are ridges of slopes from 1 to s^(1/D), evenly in the
        logarithm, through points spread evenly over a cube of half width 2: sharper ones would leave gaps.
        """
        flat = torch.zeros(self.size, dtype=torch.float64)
        for number, (weight, bias) in enumerate(self.layers(flat)[:-1]):
            weight.normal_(0, 1 / math.sqrt(len(weight)), generator=generator)
            bias.uniform_(-1, 1, generator=generator)
            if number == 0 and sharpness > 1:
                share = torch.rand(weight.shape[1], generator=generator, dtype=torch.float64)
                weight.mul_(sharpness ** (share / len(weight)) / weight.norm(dim=0))
                middles = torch.empty_like(weight).uniform_(-HALF_WIDTH, HALF_WIDTH, generator=generator)
                bias.copy_(-(weight * middles).sum(0))
        return flat

    def jacobian(self, layers: Layers, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the value (n, out) and the Jacobian (n, out, in) at ``x`` (n, in)."""
        kept = Pass(self, len(x), x)
        value = kept.forward(layers, x)
        jacobian = layers[0][0].T.expand(len(x), -1, -1)
        for (weight, _), slope in zip(layers[1:], kept.slopes, strict=True):
            jacobian = torch.matmul(weight.T, slope[:, :, None] * jacobian)
        return value, jacobian


class Pass:
    """A pass holds the memory for ``points`` points that go through a perceptron and back, like the tensor ``like``."""

    def __init__(self, perceptron: Perceptron, points: int, like: torch.Tensor) -> None:
        self.activate = ACTIVATIONS[perceptron.activation]
        self.values = [like.new_empty(points, size) for size in perceptron.sizes[1:]]
        self.slopes = [like.new_empty(points, size) for size in perceptron.sizes[1:-1]]
        self.bars = [like.new_empty(points, size) for size in perceptron.sizes[:-1]]
        self.one = like.new_ones(1, 1)
        self.inputs: list[torch.Tensor] = []

    def forward(self, layers: Layers, x: torch.Tensor) -> torch.Tensor:
        """Return the value (points, out) at ``x`` (points, in), in memory that the next call uses again."""
        self.inputs = [x]
        for number, (weight, bias) in enumerate(layers):
            torch.addmm(bias, self.inputs[-1], weight, out=self.values[number])
            if number < len(self.slopes):
                self.activate(self.values[number], self.slopes[number], self.one)
                self.inputs.append(self.values[number])
        return self.values[-1]

    def jacobian(self, layers: Layers) -> torch.Tensor:
        """Return the transposed Jacobian (points, in, out) at the points that went forward last."""
        (first, _), *others = layers
        turned = first.expand(len(self.inputs[0]), *first.shape)
        for (weight, _), slope in zip(others, self.slopes, strict=True):
            turned = torch.matmul(slope[:, None] * turned, weight)
        return turned

    def backward(self, layers: Layers, bar: torch.Tensor, into: Layers | None, to_input: bool) -> torch.Tensor:
        """Write the derivatives by the parameters ``into`` layers, and return that by the input, (points, in).

        ``bar`` (points, out) is the derivative by the value. Without ``into`` nothing is written, and without
        ``to_input`` what is returned is of no use.
        """
        for number in range(len(layers) - 1, -1, -1):
            if into is not None:
                torch.mm(self.inputs[number].T, bar, out=into[number][0])
                torch.sum(bar, 0, out=into[number][1])
            if number or to_input:
                bar = torch.mm(bar, layers[number][0].T, out=self.bars[number])
                if number:
                    bar.mul_(self.slopes[number - 1])
        return bar
