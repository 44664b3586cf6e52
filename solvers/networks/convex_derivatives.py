"""Gradient and Hessian of an input-convex network, and their derivatives in its parameters, in closed form.

A function q_j(x) = ½ xᵀT_j x + w_j·x + b_j of the network is a column Θ_j = (T_j, w_j, b_j) ∈ R^P, P = D² + D + 1, with
q(x) = φ(x)ᵀΘ for the features φ(x) = (½ x xᵀ, x, 1). The quadratic forms of layer l give Θ_l = (2 Σ_r d_ljr d_ljrᵀ,
w_lj, b_lj). The first layer has no activation, so that it *folds* into the second, exactly and for every parameter:

    a_1 = C_1 q_0 + q_1 = φᵀ(Θ_1 + Θ_0 C_1ᵀ).

What is left for every particle is a network of one layer less, and for two layers no product with C at all. In the
notation of ``solvers.networks.convex_network``, with s' and s'' at a_l, Jacobians P_l = C_l J_{l-1} + ∇q_l of a_l
(without the first term for l = 1) and J_l = diag(s') P_l of z_l, and adjoints v_L = f,
u_l = v_l ⊙ s', v_{l-1} = C_lᵀu_l,

    (R, r, ·) = Θ_Q + Σ_l Θ_l u_l,   Θ_Q = (Q, m, 0),   ∇ψ = Rx + r,   ∇²ψ = R + Σ_l P_lᵀ diag(v_l ⊙ s'') P_l.

``pullback`` goes through this once more, in reverse, and ``pullback_of_fold`` through the folding, which no particle
enters. Layouts: Θ_l is (S, P, W), hidden values (S, B, W), Jacobians P_lᵀ (S, B, D, W): all large products are products
of whole matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from solvers.networks.activations import sigmoid, softplus
from solvers.networks.convex_network import LINEAR_ABOVE, Weights, quadratic_matrix


class Folded(NamedTuple):
    """A network with its first layer folded into the second: Θ_Q (S, P, 1), f, Θ_1, …, Θ_L, and C_2, …, C_L.

    A network of one layer has L = 0, and its Θ_0 f is part of Θ_Q.
    """

    quadratic: torch.Tensor
    output: torch.Tensor
    features: list[torch.Tensor]
    couplings: list[torch.Tensor]

    def parts(self) -> list[torch.Tensor]:
        """Return the tensors, of the shapes that the class gives, in a fixed order."""
        return [self.quadratic, self.output, *self.features, *self.couplings]

    def like(self, flat: torch.Tensor) -> Folded:
        """Return views of ``flat`` (size,) with the shapes of these tensors."""
        parts = flat.split([part.numel() for part in self.parts()])
        views = [part.view(own.shape) for part, own in zip(parts, self.parts(), strict=True)]
        last = 2 + len(self.features)
        return Folded(views[0], views[1], views[2:last], views[last:])

    def of(self, networks: Sequence[int]) -> Folded:
        """Return some of the networks, one after the other: a view of a single one, copies of several."""
        chosen = slice(networks[0], networks[0] + 1) if len(networks) == 1 else list(networks)
        quadratic, output, *rest = (part[chosen] for part in self.parts())
        return Folded(quadratic, output, rest[: len(self.features)], rest[len(self.features) :])

    @property
    def size(self) -> int:
        """The number of entries."""
        return sum(part.numel() for part in self.parts())


class Tape(NamedTuple):
    """A tape holds what the forward pass keeps for ``pullback``, in the layouts of the module."""

    features: torch.Tensor
    hidden: list[torch.Tensor]
    jacobians: list[torch.Tensor]
    hidden_jacobians: list[torch.Tensor]
    slopes: list[torch.Tensor]
    inputs_adjoints: list[torch.Tensor]


def fold(weights: Weights) -> Folded:
    """Return the network with its first layer folded into the second."""
    layers = [_coefficients(forms, bias) for forms, bias in zip(weights.forms, weights.biases, strict=True)]
    matrix, shift = quadratic_matrix(weights), weights.shift
    quadratic = torch.cat([matrix.flatten(1), shift, shift.new_zeros(len(shift), 1)], dim=1)[:, :, None]
    if len(layers) == 1:
        return Folded(torch.baddbmm(quadratic, layers[0], weights.output[:, :, None]), weights.output, [], [])
    second = layers[1].baddbmm_(layers[0], weights.couplings[0].mT)
    return Folded(quadratic, weights.output, [second, *layers[2:]], weights.couplings[1:])


def pullback_of_fold(weights: Weights, bar: Folded, total: Weights) -> None:
    """Add to ``total`` the derivatives in the parameters of Σ ⟨bar, fold⟩."""
    dim = weights.root.shape[1]
    matrix_bar = bar.quadratic[:, : dim * dim].view(-1, dim, dim)
    total.root.baddbmm_(matrix_bar + matrix_bar.mT, weights.root)
    total.shift.add_(bar.quadratic[:, dim * dim : -1, 0])
    first = _coefficients(weights.forms[0], weights.biases[0])
    if bar.features:
        total.output.add_(bar.output)
        second_bar = bar.features[0]
        total.couplings[0].baddbmm_(second_bar.mT, first)
        layer_bars = [torch.bmm(second_bar, weights.couplings[0]), *bar.features]
    else:
        total.output.add_(torch.bmm(bar.quadratic.mT, first)[:, 0])
        layer_bars = [bar.quadratic * weights.output[:, None]]
    for coupling, coupling_bar in zip(total.couplings[1:], bar.couplings, strict=True):
        coupling.add_(coupling_bar)
    for layer, layer_bar in enumerate(layer_bars):
        forms, width = weights.forms[layer], layer_bar.shape[2]
        table_bar = layer_bar[:, : dim * dim].mT.reshape(-1, width, dim, dim)
        squares_bar = torch.matmul(forms[:, :, :-1], table_bar + table_bar.mT)
        total.forms[layer][:, :, :-1].add_(squares_bar, alpha=2)
        total.forms[layer][:, :, -1].add_(layer_bar[:, dim * dim : -1].mT)
        total.biases[layer].add_(layer_bar[:, -1])


def gradient(folded: Folded, x: torch.Tensor) -> torch.Tensor:
    """Return ∇ψ at ``x`` (S, B, D), of the same shape."""
    features = _features(x)
    slopes, _ = _activations(folded, features)
    inputs_adjoints = _adjoints(folded, slopes, x.shape[1])
    return _first(_reduced(folded, inputs_adjoints, x.shape[1]), x)[0]


def derivatives(folded: Folded, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Tape]:
    """Return ∇ψ (S, B, D) and ∇²ψ (S, B, D, D) at ``x`` (S, B, D), and the tape that ``pullback`` needs."""
    networks, batch, dim = x.shape
    features = _features(x)
    slopes, hidden = _activations(folded, features)
    inputs_adjoints = _adjoints(folded, slopes, batch)
    first, hessian = _first(_reduced(folded, inputs_adjoints, batch), x)
    points = features[:, :, dim * dim :]
    jacobians: list[torch.Tensor] = []
    hidden_jacobians: list[torch.Tensor] = []
    for layer, coefficients in enumerate(folded.features):
        jacobian = torch.bmm(points, by_coordinate(coefficients, dim))
        if layer:
            hidden_jacobian = jacobians[-1] * slopes[layer - 1][:, :, None]
            hidden_jacobians.append(hidden_jacobian)
            coupled = torch.bmm(hidden_jacobian.flatten(1, 2), folded.couplings[layer - 1].mT)
            jacobian = jacobian.add_(coupled.view_as(jacobian))
        jacobians.append(jacobian.view(networks, batch, dim, -1))
        weighted = jacobians[-1] * (inputs_adjoints[layer] * (1 - slopes[layer]))[:, :, None]
        hessian = torch.baddbmm(hessian, weighted.flatten(0, 1), jacobians[-1].flatten(0, 1).mT)
    tape = Tape(features, hidden, jacobians, hidden_jacobians, slopes, inputs_adjoints)
    return first, hessian.view(networks, batch, dim, dim), tape


def pullback(folded: Folded, tape: Tape, gradient_bar: torch.Tensor, hessian_bar: torch.Tensor, total: Folded) -> None:
    """Add to ``total`` the derivatives in ``folded`` of Σ ⟨gradient_bar, ∇ψ⟩ + ⟨hessian_bar, ∇²ψ⟩.

    ``gradient_bar`` (S, B, D) and ``hessian_bar`` (S, B, D, D), symmetric, are constants; ``tape`` comes from
    ``derivatives`` of the same network.
    """
    networks, batch, dim = gradient_bar.shape
    last = len(folded.features) - 1
    points = tape.features[:, :, dim * dim :]
    matrix_bar = torch.addcmul(hessian_bar, gradient_bar[..., None], points[:, :, None, :dim])
    reduced_bar = torch.cat([matrix_bar.flatten(2), gradient_bar, torch.zeros_like(points[:, :, :1])], dim=2)
    total.quadratic.add_(reduced_bar.sum(1)[:, :, None])

    # The Hessian's terms P_lᵀ diag(v_l ⊙ s'') P_l, as functions of P_l, v_l and a_l; and Σ_l Θ_l u_l.
    jacobian_bars, adjoint_bars, activation_bars = [], [], []
    for layer, coefficients in enumerate(folded.features):
        slope, inputs_adjoint = tape.slopes[layer], tape.inputs_adjoints[layer]
        jacobian, rest = tape.jacobians[layer], 1 - slope
        product = torch.bmm(hessian_bar.flatten(0, 1), jacobian.flatten(0, 1)).view_as(jacobian)
        weight_bar = (product * jacobian).sum(2)
        jacobian_bars.append(product.mul_((2 * inputs_adjoint * rest)[:, :, None]))
        # v ⊙ s'' = u ⊙ (1 - s'): the weights of the Hessian's term are a function of u, too.
        inputs_adjoint_bar = torch.bmm(reduced_bar, coefficients).addcmul_(rest, weight_bar)
        total.features[layer].baddbmm_(reduced_bar.mT, inputs_adjoint)
        adjoint_bars.append(inputs_adjoint_bar)
        activation_bars.append(weight_bar)

    # The recursion of the adjoints, from u_1 to f: ``adjoint_bars`` hold the derivatives in u_l on the way in.
    for layer in range(last + 1):
        if layer:
            coupling = folded.couplings[layer - 1]
            total.couplings[layer - 1].baddbmm_(tape.inputs_adjoints[layer].mT, adjoint_bars[layer - 1])
            adjoint_bars[layer].baddbmm_(adjoint_bars[layer - 1], coupling.mT)
        slope, inputs_adjoint = tape.slopes[layer], tape.inputs_adjoints[layer]
        # With v fixed, u changes by u(1-s') and the weight u(1-s') by u(1-s')(1-2s').
        bar = activation_bars[layer].mul_(slope).neg_().add_(adjoint_bars[layer])
        activation_bars[layer] = bar.mul_(inputs_adjoint).mul_(1 - slope)
        adjoint_bars[layer].mul_(slope)
    if folded.features:
        total.output.add_(adjoint_bars[last].sum(1))

    # The recursion of hidden units and their Jacobians, from the last layer back to the first.
    for layer in range(last, -1, -1):
        activation_bar, jacobian_bar = activation_bars[layer], jacobian_bars[layer].flatten(2)
        total.features[layer].baddbmm_(tape.features.mT, activation_bar)
        by_coordinate(total.features[layer], dim).baddbmm_(points.mT, jacobian_bar)
        if layer:
            coupling = folded.couplings[layer - 1]
            rows = jacobian_bar.view(networks, batch * dim, -1)
            total.couplings[layer - 1].baddbmm_(activation_bar.mT, tape.hidden[layer - 1])
            total.couplings[layer - 1].baddbmm_(rows.mT, tape.hidden_jacobians[layer - 1].flatten(1, 2))
            slope, jacobian = tape.slopes[layer - 1], tape.jacobians[layer - 1]
            hidden_jacobian_bar = torch.bmm(rows, coupling).view_as(jacobian)
            along = (hidden_jacobian_bar * jacobian).sum(2)
            activation_bars[layer - 1].addcmul_(torch.bmm(activation_bar, coupling).addcmul_(1 - slope, along), slope)
            jacobian_bars[layer - 1].addcmul_(hidden_jacobian_bar, slope[:, :, None])


def _coefficients(forms: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Return Θ (S, P, W) of the quadratic forms of one layer."""
    squares = forms[:, :, :-1]
    table = torch.matmul(squares.mT, squares).mul_(2).flatten(2)
    return torch.cat([table, forms[:, :, -1], bias[:, :, None]], dim=2).mT.contiguous()


def by_coordinate(coefficients: torch.Tensor, dim: int) -> torch.Tensor:
    """View the rows T and w of Θ as the matrix (S, D+1, D·W) that takes (x, 1) to all ∇q_j(x)."""
    return coefficients[:, :-1].view(len(coefficients), dim + 1, -1)


def _features(x: torch.Tensor) -> torch.Tensor:
    """Return φ = (½ x xᵀ, x, 1) at ``x`` (S, B, D), shape (S, B, P)."""
    square = (x[..., None] * (0.5 * x)[:, :, None]).flatten(2)
    return torch.cat([square, x, torch.ones_like(x[:, :, :1])], dim=2)


def _activations(folded: Folded, features: torch.Tensor) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return s'(a_l) for l ≤ L and z_l = s(a_l) for l < L."""
    slopes: list[torch.Tensor] = []
    hidden: list[torch.Tensor] = []
    for layer, coefficients in enumerate(folded.features):
        activation = torch.bmm(features, coefficients)
        if layer:
            activation.baddbmm_(hidden[-1], folded.couplings[layer - 1].mT)
        slopes.append(sigmoid(activation))
        if layer < len(folded.features) - 1:
            hidden.append(softplus(activation, LINEAR_ABOVE))
    return slopes, hidden


def _adjoints(folded: Folded, slopes: list[torch.Tensor], batch: int) -> list[torch.Tensor]:
    """Return u_l for l ≤ L."""
    inputs_adjoints: list[torch.Tensor] = []
    adjoint = folded.output[:, None].expand(-1, batch, -1)
    for layer in range(len(slopes) - 1, -1, -1):
        inputs_adjoints.insert(0, adjoint * slopes[layer])
        if layer:
            adjoint = torch.bmm(inputs_adjoints[0], folded.couplings[layer - 1])
    return inputs_adjoints


def _reduced(folded: Folded, inputs_adjoints: list[torch.Tensor], batch: int) -> torch.Tensor:
    """Return Θ_Q + Σ_l Θ_l u_l, shape (S, B, P)."""
    reduced = folded.quadratic.mT.expand(-1, batch, -1)
    for coefficients, inputs_adjoint in zip(folded.features, inputs_adjoints, strict=True):
        reduced = torch.baddbmm(reduced, inputs_adjoint, coefficients.mT)
    return reduced


def _first(reduced: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return Rx + r, shape (S, B, D), and R, shape (S·B, D, D)."""
    networks, batch, dim = x.shape
    matrix = reduced[:, :, : dim * dim].reshape(networks * batch, dim, dim)
    along = torch.bmm(matrix, x.reshape(-1, dim, 1)).view_as(x)
    return along + reduced[:, :, dim * dim : -1], matrix
