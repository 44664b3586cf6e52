"""Input-convex neural networks: their parameters, and the convex function ψ itself.

The dense input-convex network of Korotin et al. (ICLR 2021; the convex activations are those of Amos, Xu, Kolter, ICML
2017) with a quadratic skip connection to the output as well. With q_l,j(x) = Σ_r (d_ljr·x)² + w_lj·x + b_lj,

    a_0 = z_0 = q_0(x),    a_l = C_l z_{l-1} + q_l(x),    z_l = s(a_l) (softplus),    C_l ≥ 0, f ≥ 0,
    ψ(x) = fᵀz_L + ½ xᵀQx + m·x,    Q = KKᵀ + εI,

is convex: a sum of convex functions with weights ≥ 0. With f = 0, m = 0 and Q = I, where every network starts, ∇ψ is
the identity map to the last bit; and every affine map that is the gradient of a convex function has f = 0.

Shapes: S independent networks at once, batches of B points (S, B, D). Arrays over hidden units have the particle last,
(S, W, B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch.nn.functional import softplus

# K = (1 - 2⁻¹¹) I and this ε give Q = KKᵀ + εI = I without rounding, in float32 too.
INITIAL_ROOT = 1 - 2.0**-11
STRONG_CONVEXITY = 2.0**-10 - 2.0**-22

# torch takes softplus(a) = a above 20 by default, which is 2e-9 off; above 40 the two are equal in float64.
LINEAR_ABOVE = 40.0

OUTPUT_RATE, COUPLING_RATE = 2.0, 64.0


class Weights(NamedTuple):
    """Weights hold the parameters of S networks, as views of one flat tensor.

    ``forms[l]`` (S, W, R+1, D) holds the d_ljr and, last, the w_lj; ``biases[l]`` (S, W) the b_lj; ``couplings[l-1]``
    (S, W, W) the C_l; ``output`` (S, W) is f, ``root`` (S, D, D) is K, ``shift`` (S, D) is m.
    """

    root: torch.Tensor
    shift: torch.Tensor
    output: torch.Tensor
    forms: list[torch.Tensor]
    biases: list[torch.Tensor]
    couplings: list[torch.Tensor]

    def parts(self) -> list[torch.Tensor]:
        """Return the tensors, in the order of ``Architecture.shapes``."""
        return [self.root, self.shift, self.output, *self.forms, *self.biases, *self.couplings]

    def of(self, network: int) -> Weights:
        """Return the parameters of one network, as views with S = 1."""
        one = slice(network, network + 1)
        return Weights(
            self.root[one],
            self.shift[one],
            self.output[one],
            [part[one] for part in self.forms],
            [part[one] for part in self.biases],
            [part[one] for part in self.couplings],
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Weights:
        """Return a copy on ``device`` in ``dtype``."""

        def moved(part: torch.Tensor) -> torch.Tensor:
            return part.to(device, dtype, copy=True)

        return Weights(
            moved(self.root),
            moved(self.shift),
            moved(self.output),
            list(map(moved, self.forms)),
            list(map(moved, self.biases)),
            list(map(moved, self.couplings)),
        )

    def project(self) -> None:
        """Set negative entries of f and of the C_l to zero, in place: the nearest weights that keep ψ convex."""
        for weight in (self.output, *self.couplings):
            weight.clamp_(min=0)


@dataclass(frozen=True)
class Architecture:
    """An architecture gives the sizes of a network with D inputs.

    It has ``depth`` = L + 1 layers of ``width`` W units with quadratic forms of ``rank`` R.

    A rank above D adds parameters but no functions and is lowered to D.
    """

    dim: int
    width: int
    depth: int
    rank: int

    @property
    def forms(self) -> int:
        """The number of linear forms in a q_lj: its squares, and w."""
        return min(self.rank, self.dim) + 1

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of one network's parameters, in the order in which they lie in the flat tensor."""
        dim, width, depth = self.dim, self.width, self.depth
        return [
            (dim, dim),
            (dim,),
            (width,),
            *[(width, self.forms, dim)] * depth,
            *[(width,)] * depth,
            *[(width, width)] * (depth - 1),
        ]

    @cached_property
    def size(self) -> int:
        """The number of parameters of one network."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def weights(self, flat: torch.Tensor) -> Weights:
        """Return the parameters of S networks that lie in ``flat`` (S · size,), one after the other, as views."""
        rows = flat.view(-1, self.size)
        parts = rows.split([torch.Size(shape).numel() for shape in self.shapes], dim=1)
        views = [part.view(len(rows), *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        depth = self.depth
        return Weights(
            root=views[0],
            shift=views[1],
            output=views[2],
            forms=views[3 : 3 + depth],
            biases=views[3 + depth : 3 + 2 * depth],
            couplings=views[3 + 2 * depth :],
        )

    def rates(self) -> torch.Tensor:
        """Return relative learning rates (size,) under which networks of any width train alike.

        Couplings and output weights are summed over ``width`` units, so their rates fall like 1/width. Those of the
        output are the smallest, so that affine maps are learnt through K and m before the hidden units take part.
        """
        rates = torch.ones(self.size)
        weights = self.weights(rates)
        weights.output.fill_(OUTPUT_RATE / self.width)
        for coupling in weights.couplings:
            coupling.fill_(min(1.0, COUPLING_RATE / self.width))
        return rates

    def identity(self, scale: float, generator: torch.Generator, sharpness: float = 1.0) -> Weights:
        """Return the parameters, float64, of one network whose gradient is the identity map exactly.

        Its hidden units are random, of order 1 at points whose coordinates are of order ``scale``; with a ``sharpness``
        above 1, up to so many times as steep, evenly on a logarithmic scale. f = 0 hides them until the first step of
        training.
        """
        weights = self.weights(torch.zeros(self.size, dtype=torch.float64))
        weights.root[0].diagonal().fill_(INITIAL_ROOT)
        spread = 1 / (scale * self.dim**0.5)
        for forms, bias in zip(weights.forms, weights.biases, strict=True):
            forms.normal_(0, spread, generator=generator)
            forms[:, :, :-1] /= max(1, self.forms - 1) ** 0.5
            bias.uniform_(-1, 1, generator=generator)
            if sharpness > 1:
                steepness = (
                    torch.rand(self.width, dtype=torch.float64, generator=generator).mul(math.log(sharpness)).exp()
                )
                forms[:, :, -1] *= steepness[:, None]
                bias *= steepness
        for coupling in weights.couplings:
            coupling.uniform_(0, 2 / self.width, generator=generator)
        return weights


def potential(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Return ψ at ``x`` (S, B, D), shape (S, B).

    The definition: maps and training need derivatives of ψ alone, which are checked against this one's by autograd.
    """
    hidden = torch.zeros(())
    for layer, (forms, bias) in enumerate(zip(weights.forms, weights.biases, strict=True)):
        values = linear_forms(forms, x)
        hidden_input = quadratic_forms(values, bias)
        if layer:
            hidden = softplus(torch.baddbmm(hidden_input, weights.couplings[layer - 1], hidden), threshold=LINEAR_ABOVE)
        else:
            hidden = hidden_input
    quadratic = 0.5 * (x * (x @ quadratic_matrix(weights))).sum(2) + (weights.shift[:, None] @ x.mT)[:, 0]
    return (weights.output[:, None] @ hidden)[:, 0] + quadratic


def quadratic_matrix(weights: Weights) -> torch.Tensor:
    """Return Q = KKᵀ + εI, shape (S, D, D)."""
    identity = torch.eye(weights.root.shape[1], dtype=weights.root.dtype, device=weights.root.device)
    return torch.baddbmm(STRONG_CONVEXITY * identity, weights.root, weights.root.mT)


def linear_forms(forms: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return d_ljr·x and w_lj·x at ``x`` (S, B, D), shape (S, W, R+1, B)."""
    networks, width, count, _ = forms.shape
    return torch.bmm(forms.flatten(1, 2), x.mT).view(networks, width, count, -1)


def quadratic_forms(values: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return q_l from its linear forms, shape (S, W, B)."""
    return values[:, :, :-1].square().sum(2).add_(values[:, :, -1]).add_(bias[:, :, None])
