"""What path gradients need of an input-convex network: its Hessian's slope in x, ∇ψ's in the parameters, pushed scores.

In the notation of ``solvers.networks.convex_derivatives``, for a symmetric matrix B that does not depend on x,

    ∂/∂x ⟨B, ∇²ψ(x)⟩ = Σ_l [ Σ_j α_lj ∇q_lj(x) + Σ_j T_lj p̄_lj ],

with α_l and p̄_l the derivatives of ⟨B, ∇²ψ⟩ in a_l and in the columns of P_lᵀ, which go through the layers as in
``pullback``. With B = (∇²ψ)⁻¹ it is ∇ log det ∇²ψ, what a map adds to the score of a law. It costs about as much as
∇²ψ itself, and ``pullback_of_gradient`` far less than the whole pullback, in which the Hessians are most of the work.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from solvers.networks.convex_derivatives import Folded, Tape, by_coordinate

SlopeOfHessian = Callable[[torch.Tensor], torch.Tensor]
"""Gives the gradient in x of ⟨B, ∇T(x)⟩, (S, n, D), for symmetric matrices B (S, n, D, D) that are constants."""


def slope_of_hessian(folded: Folded, tape: Tape, matrix: torch.Tensor) -> torch.Tensor:
    """Return the gradient in x of ⟨``matrix``, ∇²ψ(x)⟩ at the points of a ``tape``, shape (S, B, D).

    ``matrix`` (S, B, D, D) is symmetric, and a constant at each point.
    """
    networks, batch, dim, _ = matrix.shape
    jacobian_bars, adjoint_bars, activation_bars = [], [], []
    for layer, coefficients in enumerate(folded.features):
        slope, inputs_adjoint = tape.slopes[layer], tape.inputs_adjoints[layer]
        jacobian, rest = tape.jacobians[layer], 1 - slope
        product = torch.bmm(matrix.flatten(0, 1), jacobian.flatten(0, 1)).view_as(jacobian)
        weight_bar = (product * jacobian).sum(2)
        jacobian_bars.append(product.mul_((2 * inputs_adjoint * rest)[:, :, None]))
        adjoint_bars.append(torch.bmm(matrix.flatten(2), coefficients[:, : dim * dim]).addcmul_(rest, weight_bar))
        activation_bars.append(weight_bar)
    for layer, adjoint_bar in enumerate(adjoint_bars):
        if layer:
            adjoint_bar.baddbmm_(adjoint_bars[layer - 1], folded.couplings[layer - 1].mT)
        slope, inputs_adjoint = tape.slopes[layer], tape.inputs_adjoints[layer]
        # As in ``pullback``: v ⊙ s'' = u ⊙ (1 - s'), and both u and s' depend on a.
        bar = activation_bars[layer].mul_(slope).neg_().add_(adjoint_bar)
        activation_bars[layer] = bar.mul_(inputs_adjoint).mul_(1 - slope)
        adjoint_bar.mul_(slope)

    points = tape.features[:, :, dim * dim :]
    total = matrix.new_zeros(networks, batch, dim)
    for layer in range(len(folded.features) - 1, -1, -1):
        activation_bar, jacobian_bar = activation_bars[layer], jacobian_bars[layer]
        forms = by_coordinate(folded.features[layer], dim)
        total.baddbmm_(jacobian_bar.flatten(2), forms[:, :dim].mT)
        own = torch.bmm(points, forms).view_as(jacobian_bar) if layer else tape.jacobians[0]
        total.add_(torch.matmul(own, activation_bar[..., None])[..., 0])
        if layer:
            coupling, slope, jacobian = folded.couplings[layer - 1], tape.slopes[layer - 1], tape.jacobians[layer - 1]
            hidden_jacobian_bar = torch.bmm(jacobian_bar.flatten(1, 2), coupling).view_as(jacobian)
            along = (hidden_jacobian_bar * jacobian).sum(2)
            activation_bars[layer - 1].addcmul_(torch.bmm(activation_bar, coupling).addcmul_(1 - slope, along), slope)
            jacobian_bars[layer - 1].addcmul_(hidden_jacobian_bar, slope[:, :, None])
    return total


def pullback_of_gradient(folded: Folded, tape: Tape, gradient_bar: torch.Tensor, total: Folded) -> None:
    """Add to ``total`` the derivatives in ``folded`` of Σ ⟨gradient_bar, ∇ψ⟩, ``gradient_bar`` (S, B, D) a constant."""
    dim = gradient_bar.shape[2]
    points = tape.features[:, :, dim * dim :]
    matrix_bar = gradient_bar[..., None] * points[:, :, None, :dim]
    reduced_bar = torch.cat([matrix_bar.flatten(2), gradient_bar, torch.zeros_like(points[:, :, :1])], dim=2)
    total.quadratic.add_(reduced_bar.sum(1)[:, :, None])
    activation_bars, reaching = list[torch.Tensor](), list[torch.Tensor]()
    for layer, coefficients in enumerate(folded.features):
        slope, inputs_adjoint = tape.slopes[layer], tape.inputs_adjoints[layer]
        if layer:
            total.couplings[layer - 1].baddbmm_(inputs_adjoint.mT, reaching[-1])
            adjoint_bar = torch.bmm(reduced_bar, coefficients)
            adjoint_bar.baddbmm_(reaching[-1], folded.couplings[layer - 1].mT)
        else:
            adjoint_bar = torch.matmul(gradient_bar[:, :, None], tape.jacobians[0])[:, :, 0]
        total.features[layer].baddbmm_(reduced_bar.mT, inputs_adjoint)
        activation_bars.append(adjoint_bar * inputs_adjoint * (1 - slope))
        reaching.append(adjoint_bar.mul_(slope))
    if reaching:
        total.output.add_(reaching[-1].sum(1))
    for layer in range(len(folded.features) - 1, -1, -1):
        activation_bar = activation_bars[layer]
        total.features[layer].baddbmm_(tape.features.mT, activation_bar)
        if layer:
            total.couplings[layer - 1].baddbmm_(activation_bar.mT, tape.hidden[layer - 1])
            through = torch.bmm(activation_bar, folded.couplings[layer - 1])
            activation_bars[layer - 1].addcmul_(through, tape.slopes[layer - 1])


def inverse_of(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the inverses of matrices (S, n, D, D), their Cholesky factors (S·n, D, D), and where there are any.

    The last is (S, n, 1).
    """
    factor, failed = torch.linalg.cholesky_ex(matrix.flatten(0, 1))
    # Faster than ``cholesky_inverse``, which goes through the matrices one by one.
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(factor)
    root = torch.linalg.solve_triangular(factor, identity, upper=False)
    return (root.mT @ root).view_as(matrix), factor, (failed == 0).view(*matrix.shape[:2], 1)


def score_pushed(scores: torch.Tensor, hessian: torch.Tensor, slope: SlopeOfHessian) -> torch.Tensor:
    """Return the score (S, n, D) of the law that maps make of one with ``scores`` (S, n, D), at the points' images.

    ``hessian`` (S, n, D, D) is ∇T, symmetric and positive definite.
    """
    inverse, _, _ = inverse_of(hessian)
    return torch.matmul(inverse, (scores - slope(inverse))[..., None])[..., 0]
