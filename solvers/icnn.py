"""Input-convex neural networks with derivatives in closed form.

The dense input-convex network of Korotin et al. (ICLR 2021; the convex activations are those of Amos, Xu, Kolter, ICML
2017) with a quadratic skip connection to the output as well. With q_l,j(x) = Σ_r (d_ljr·x)² + w_lj·x + b_lj,

    a_0 = z_0 = q_0(x),    a_l = C_l z_{l-1} + q_l(x),    z_l = s(a_l) (softplus),    C_l ≥ 0, f ≥ 0,
    ψ(x) = fᵀz_L + ½ xᵀQx + m·x,    Q = KKᵀ + εI,

is convex: a sum of convex functions with weights ≥ 0. Its derivatives follow from one recursion forwards and one
backwards. With the Jacobians P_l = C_l J_{l-1} + ∇q_l of a_l and J_l = diag(s'(a_l)) P_l of z_l (J_0 = P_0), and
v_L = f, u_l = v_l ⊙ s'(a_l), v_{l-1} = C_lᵀu_l (u_0 = v_0),

    ∇ψ  = Σ_l ∇q_lᵀ u_l + Qx + m
    ∇²ψ = Σ_{l≥1} P_lᵀ diag(v_l ⊙ s''(a_l)) P_l + 2 Σ_{l,j} u_lj Σ_r d_ljr d_ljrᵀ + Q.

``pullback`` goes through both recursions once more, in reverse, for the derivatives in the parameters. With f = 0,
m = 0 and Q = I, where every network starts, ∇ψ is the identity map to the last bit.

Shapes: S independent networks at once, batches of B points (S, B, D). Arrays over hidden units have the particle last,
(S, W, B), and Jacobians are (S, W, B, D), so that the heavy products are matrix products of whole batches.
"""

from __future__ import annotations

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


class Weights(NamedTuple):
    """Parameters of S networks, as views of one flat tensor.

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


class Tape(NamedTuple):
    """What the forward pass keeps for ``pullback``; ``forms`` holds 2 d·x for each d, and 1 for w."""

    x: torch.Tensor
    forms: list[torch.Tensor]
    tables: list[torch.Tensor]
    hidden: list[torch.Tensor]
    jacobians: list[torch.Tensor]
    hidden_jacobians: list[torch.Tensor]
    slopes: list[torch.Tensor]
    curvatures: list[torch.Tensor]
    adjoints: list[torch.Tensor]
    inputs_adjoints: list[torch.Tensor]


@dataclass(frozen=True)
class Architecture:
    """Sizes of the network: D inputs, ``depth`` = L + 1 layers of ``width`` W units, quadratic forms of ``rank`` R.

    A rank above D adds parameters but no functions and is lowered to D.
    """

    dim: int
    width: int
    depth: int
    rank: int

    @property
    def forms(self) -> int:
        """Number of linear forms in a q_lj: its squares, and w."""
        return min(self.rank, self.dim) + 1

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of one network's parameters, in the order in which they lie in the flat tensor."""
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
        """Number of parameters of one network."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    def weights(self, flat: torch.Tensor) -> Weights:
        """Return the parameters of S networks that lie in ``flat`` (S · size,) as views."""
        networks = len(flat) // self.size
        parts = flat.split([networks * torch.Size(shape).numel() for shape in self.shapes])
        views = [part.view(networks, *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        forms, biases, couplings = (
            views[start : start + count]
            for start, count in (
                (3, self.depth),
                (3 + self.depth, self.depth),
                (3 + 2 * self.depth, self.depth - 1),
            )
        )
        return Weights(*views[:3], forms, biases, couplings)

    def identity(self, scale: float, generator: torch.Generator) -> Weights:
        """Return the parameters, float64, of one network whose gradient is the identity map exactly.

        Its hidden units are random, of order 1 at points whose coordinates are of order ``scale``; f = 0 hides them
        until the first step of training.
        """
        weights = self.weights(torch.zeros(self.size, dtype=torch.float64))
        weights.root[0].diagonal().fill_(INITIAL_ROOT)
        spread = 1 / (scale * self.dim**0.5)
        for forms, bias in zip(weights.forms, weights.biases, strict=True):
            forms.normal_(0, spread, generator=generator)
            forms[:, :, :-1] /= max(1, self.forms - 1) ** 0.5
            bias.uniform_(-1, 1, generator=generator)
        for coupling in weights.couplings:
            coupling.uniform_(0, 2 / self.width, generator=generator)
        return weights


def potential(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Return ψ at ``x`` (S, B, D), shape (S, B)."""
    hidden = torch.zeros(())
    for layer, (forms, bias) in enumerate(zip(weights.forms, weights.biases, strict=True)):
        values = _linear_forms(forms, x)
        hidden_input = _quadratic(values, bias)
        if layer:
            hidden = softplus(torch.baddbmm(hidden_input, weights.couplings[layer - 1], hidden), threshold=LINEAR_ABOVE)
        else:
            hidden = hidden_input
    quadratic = 0.5 * (x * (x @ _quadratic_matrix(weights))).sum(2) + (weights.shift[:, None] @ x.mT)[:, 0]
    return (weights.output[:, None] @ hidden)[:, 0] + quadratic


def gradient(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    """Return ∇ψ at ``x`` (S, B, D), of the same shape."""
    return _differentiate(weights, x, second=False)[0]


def derivatives(weights: Weights, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Tape]:
    """Return ∇ψ (S, B, D) and ∇²ψ (S, B, D, D) at ``x`` (S, B, D), and the tape that ``pullback`` needs."""
    return _differentiate(weights, x, second=True)


def _differentiate(weights: Weights, x: torch.Tensor, second: bool) -> tuple[torch.Tensor, torch.Tensor, Tape]:
    networks, batch, dim = x.shape
    width = weights.output.shape[1]
    last = len(weights.forms) - 1
    tape = Tape(x, [], [], [], [], [], [], [], [], [])
    matrix = _quadratic_matrix(weights)
    for layer, (forms, bias) in enumerate(zip(weights.forms, weights.biases, strict=True)):
        values = _linear_forms(forms, x)
        hidden = _quadratic(values, bias)
        values.mul_(2)[:, :, -1] = 1
        tape.forms.append(values)
        if layer:
            coupling = weights.couplings[layer - 1]
            activation = hidden.baddbmm_(coupling, tape.hidden[-1])
            slope = torch.sigmoid(activation)
            tape.slopes.append(slope)
            hidden = softplus(activation, threshold=LINEAR_ABOVE) if layer < last else activation
        tape.hidden.append(hidden)
        if not second:
            continue
        flat_forms = forms.flatten(0, 1)
        flat_values = values.flatten(0, 1).mT
        if layer:
            jacobian = torch.bmm(coupling, tape.hidden_jacobians[-1].view(networks, width, batch * dim))
            jacobian = jacobian.view(-1, batch, dim).baddbmm_(flat_values, flat_forms).view(networks, width, batch, dim)
            hidden_jacobian = slope[..., None] * jacobian if layer < last else jacobian
            tape.curvatures.append(slope * (1 - slope))
        else:
            jacobian = torch.bmm(flat_values, flat_forms).view(networks, width, batch, dim)
            hidden_jacobian = jacobian
        tape.jacobians.append(jacobian)
        tape.hidden_jacobians.append(hidden_jacobian)

    adjoint = weights.output[:, :, None].expand(-1, -1, batch)
    for layer in range(last, 0, -1):
        inputs_adjoint = adjoint * tape.slopes[layer - 1]
        tape.adjoints.insert(0, adjoint)
        tape.inputs_adjoints.insert(0, inputs_adjoint)
        adjoint = torch.bmm(weights.couplings[layer - 1].mT, inputs_adjoint)
    tape.adjoints.insert(0, adjoint)
    tape.inputs_adjoints.insert(0, adjoint)

    first = torch.baddbmm(weights.shift[:, None], x, matrix)
    for forms, values, inputs_adjoint in zip(weights.forms, tape.forms, tape.inputs_adjoints, strict=True):
        first.baddbmm_((inputs_adjoint[:, :, None] * values).flatten(1, 2).mT, forms.flatten(1, 2))
    if not second:
        return first, first, tape

    hessian = matrix.flatten(1)[:, None].expand(-1, batch, -1)
    for forms, inputs_adjoint in zip(weights.forms, tape.inputs_adjoints, strict=True):
        squares = forms[:, :, :-1]
        table = torch.matmul(squares.mT, squares).mul_(2).flatten(2)
        tape.tables.append(table)
        hessian = torch.baddbmm(hessian, inputs_adjoint.mT, table)
    hessian = hessian.view(networks * batch, dim, dim)
    for layer in range(1, last + 1):
        jacobian = tape.jacobians[layer]
        weighted = jacobian * (tape.adjoints[layer] * tape.curvatures[layer - 1])[..., None]
        hessian.baddbmm_(_by_particle(jacobian).mT, _by_particle(weighted))
    return first, hessian.view(networks, batch, dim, dim), tape


def pullback(
    weights: Weights, tape: Tape, gradient_bar: torch.Tensor, hessian_bar: torch.Tensor, total: Weights
) -> None:
    """Add to ``total`` the derivatives in the parameters of Σ ⟨gradient_bar, ∇ψ⟩ + ⟨hessian_bar, ∇²ψ⟩.

    ``gradient_bar`` (S, B, D) and ``hessian_bar`` (S, B, D, D), symmetric, are constants; ``tape`` comes from
    ``derivatives`` at the same weights.
    """
    x = tape.x
    networks, batch, dim = x.shape
    width = weights.output.shape[1]
    last = len(weights.forms) - 1
    flat_bar = hessian_bar.flatten(2)

    matrix_bar = torch.baddbmm(hessian_bar.sum(1), gradient_bar.mT, x)
    total.root.baddbmm_(matrix_bar + matrix_bar.mT, weights.root)
    total.shift.add_(gradient_bar.sum(1))

    # ∇ψ and the second term of ∇²ψ, as functions of u_l, the linear forms and the d_ljr.
    inputs_adjoint_bars, form_bars = [], []
    for layer, forms in enumerate(weights.forms):
        inputs_adjoint, values = tape.inputs_adjoints[layer], tape.forms[layer]
        along = _linear_forms(forms, gradient_bar)
        inputs_adjoint_bar = (values * along).sum(2)
        inputs_adjoint_bars.append(inputs_adjoint_bar.baddbmm_(tape.tables[layer], flat_bar.mT))
        weighted = (inputs_adjoint[:, :, None] * values).flatten(1, 2)
        total.forms[layer].view(networks, -1, dim).baddbmm_(weighted, gradient_bar)
        table_bar = torch.bmm(inputs_adjoint, flat_bar).view(networks, width, dim, dim)
        total.forms[layer][:, :, :-1].add_(torch.matmul(forms[:, :, :-1], table_bar), alpha=4)
        form_bars.append(along.mul_(inputs_adjoint[:, :, None]))

    # The first term of ∇²ψ, as a function of P_l, v_l and s''(a_l).
    adjoint_bars = [torch.zeros_like(inputs_adjoint_bars[0])]
    activation_bars = [torch.zeros(())]
    jacobian_bars = [torch.zeros(())]
    for layer in range(1, last + 1):
        jacobian, adjoint = tape.jacobians[layer], tape.adjoints[layer]
        slope, curvature = tape.slopes[layer - 1], tape.curvatures[layer - 1]
        product = torch.empty_like(jacobian)
        _by_particle_product(jacobian, hessian_bar, product)
        weight_bar = torch.linalg.vecdot(jacobian, product)
        jacobian_bars.append(product.mul_((2 * adjoint * curvature)[..., None]))
        adjoint_bars.append(weight_bar * curvature)
        activation_bars.append(weight_bar.mul_(adjoint).mul_(curvature).mul_(1 - 2 * slope))

    # The recursion of the adjoints, from u_0 back to f.
    adjoint_bars[0].add_(inputs_adjoint_bars[0])
    for layer in range(1, last + 1):
        coupling = weights.couplings[layer - 1]
        total.couplings[layer - 1].baddbmm_(tape.inputs_adjoints[layer], adjoint_bars[layer - 1].mT)
        inputs_adjoint_bar = inputs_adjoint_bars[layer].baddbmm_(coupling, adjoint_bars[layer - 1])
        adjoint_bars[layer].addcmul_(inputs_adjoint_bar, tape.slopes[layer - 1])
        activation_bars[layer].add_(inputs_adjoint_bar * tape.adjoints[layer] * tape.curvatures[layer - 1])
    total.output.add_(adjoint_bars[last].sum(2))

    # The recursion of hidden units and their Jacobians, from the last layer back to the first.
    for layer in range(last, 0, -1):
        coupling = weights.couplings[layer - 1]
        activation_bar, jacobian_bar = activation_bars[layer], jacobian_bars[layer].flatten(2)
        total.couplings[layer - 1].baddbmm_(activation_bar, tape.hidden[layer - 1].mT)
        total.couplings[layer - 1].baddbmm_(jacobian_bar, tape.hidden_jacobians[layer - 1].flatten(2).mT)
        hidden_bar = torch.bmm(coupling.mT, activation_bar)
        hidden_jacobian_bar = torch.bmm(coupling.mT, jacobian_bar).view(networks, width, batch, dim)
        if layer > 1:
            slope, curvature = tape.slopes[layer - 2], tape.curvatures[layer - 2]
            activation_bars[layer - 1].addcmul_(hidden_bar, slope)
            activation_bars[layer - 1].addcmul_(
                torch.linalg.vecdot(hidden_jacobian_bar, tape.jacobians[layer - 1]), curvature
            )
            jacobian_bars[layer - 1].addcmul_(hidden_jacobian_bar, slope[..., None])
        else:
            activation_bars[0], jacobian_bars[0] = hidden_bar, hidden_jacobian_bar

    # The quadratic forms q_l and their gradients.
    for layer, forms in enumerate(weights.forms):
        form_bar, values = form_bars[layer], tape.forms[layer]
        if last:
            activation_bar, jacobian_bar = activation_bars[layer], jacobian_bars[layer].flatten(0, 1)
            form_bar.view(networks * width, -1, batch).baddbmm_(forms.flatten(0, 1), jacobian_bar.mT)
            total.forms[layer].view(networks * width, -1, dim).baddbmm_(values.flatten(0, 1), jacobian_bar)
            total.biases[layer].add_(activation_bar.sum(2))
            form_bar.mul_(2).addcmul_(values, activation_bar[:, :, None])
            form_bar[:, :, -1] = activation_bar
        else:
            form_bar.mul_(2)[:, :, -1] = 0
        total.forms[layer].view(networks, -1, dim).baddbmm_(form_bar.flatten(1, 2), x)


def _quadratic_matrix(weights: Weights) -> torch.Tensor:
    """Q = KKᵀ + εI, shape (S, D, D)."""
    identity = torch.eye(weights.root.shape[1], dtype=weights.root.dtype, device=weights.root.device)
    return torch.baddbmm(STRONG_CONVEXITY * identity, weights.root, weights.root.mT)


def _linear_forms(forms: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """d_ljr·x and w_lj·x at ``x`` (S, B, D), shape (S, W, R+1, B)."""
    networks, width, count, _ = forms.shape
    return torch.bmm(forms.flatten(1, 2), x.mT).view(networks, width, count, -1)


def _quadratic(values: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """q_l from its linear forms, shape (S, W, B)."""
    return values[:, :, :-1].square().sum(2).add_(values[:, :, -1]).add_(bias[:, :, None])


def _by_particle(jacobian: torch.Tensor) -> torch.Tensor:
    """A Jacobian (S, W, B, D) as one matrix a particle, (S·B, W, D); a view when S = 1."""
    return jacobian.transpose(1, 2).flatten(0, 1)


def _by_particle_product(jacobian: torch.Tensor, matrices: torch.Tensor, out: torch.Tensor) -> None:
    """Write the products of a Jacobian (S, W, B, D) with a matrix a particle (S, B, D, D) into ``out``."""
    if len(jacobian) == 1:
        torch.bmm(jacobian[0].transpose(0, 1), matrices[0], out=out[0].transpose(0, 1))
    else:
        out.copy_(torch.matmul(jacobian.transpose(1, 2), matrices).transpose(1, 2))
