"""Gradient and Hessian of an input-convex network, and their derivatives in its parameters, in closed form.

One recursion forwards and one backwards, in the notation of ``solvers.icnn``. With the Jacobians
P_l = C_l J_{l-1} + ∇q_l of a_l and J_l = diag(s'(a_l)) P_l of z_l (J_0 = P_0), and with v_L = f, u_l = v_l ⊙ s'(a_l),
v_{l-1} = C_lᵀu_l (u_0 = v_0),

    ∇ψ  = Σ_l ∇q_lᵀ u_l + Qx + m
    ∇²ψ = Σ_{l≥1} P_lᵀ diag(v_l ⊙ s''(a_l)) P_l + 2 Σ_{l,j} u_lj Σ_r d_ljr d_ljrᵀ + Q.

``pullback`` goes through both once more, in reverse. Jacobians are (S, W, B, D), so that the heavy products are matrix
products of whole batches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.nn.functional import softplus

from solvers.icnn import LINEAR_ABOVE, Weights, linear_forms, quadratic_forms, quadratic_matrix


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
    matrix = quadratic_matrix(weights)
    for layer, (forms, bias) in enumerate(zip(weights.forms, weights.biases, strict=True)):
        values = linear_forms(forms, x)
        hidden = quadratic_forms(values, bias)
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
        along = linear_forms(forms, gradient_bar)
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
        product = torch.bmm(_by_particle(jacobian), hessian_bar.flatten(0, 1))
        product = product.view(networks, batch, width, dim).transpose(1, 2).contiguous()
        weight_bar = _sum_over_coordinates(jacobian * product)
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
            along = _sum_over_coordinates(hidden_jacobian_bar * tape.jacobians[layer - 1])
            activation_bars[layer - 1].addcmul_(along, curvature)
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


def _by_particle(jacobian: torch.Tensor) -> torch.Tensor:
    """A Jacobian (S, W, B, D) as one matrix a particle, (S·B, W, D); a view when S = 1."""
    return jacobian.transpose(1, 2).flatten(0, 1)


def _sum_over_coordinates(values: torch.Tensor) -> torch.Tensor:
    """Sum (S, W, B, D) over D: as a product with a vector of ones, which is faster than ``sum`` for small D."""
    return torch.mv(values.flatten(0, 2), values.new_ones(values.shape[3])).view(values.shape[:3])
