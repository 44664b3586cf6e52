"""What a dual network says of the internal energy of a law, from draws of it and of the reference law."""

from __future__ import annotations

import torch

from solvers.primal_dual.dual_network import DualNetwork, DualPass, DualWeights, positive
from solvers.primal_dual.saddle_point import StepTerms

POINTS_AT_ONCE = 512


def dual_value(
    network: DualNetwork,
    weights: DualWeights,
    terms: StepTerms,
    z: torch.Tensor,
    reference: torch.Tensor,
    log_density: torch.Tensor | None = None,
) -> tuple[float, float]:
    """Return E_ρ[U'(h)] - E_γ[P(h)/γ], at most ∫U(ρ) but for noise, and |E_γ[w(h)g]/E_ρ[w(h)] - 1|.

    ``z`` (n, D) are draws of ρ and ``reference`` (m, D) draws of γ, in the coordinates of the dual; γ is the law that
    the ``log_density`` (m,) of the latter is of, or without one that of the step's terms. The second is 0 where no
    multiple of h has a greater value: for an entropy it is by how much ∫h differs from 1.
    """
    energy = terms.energy
    assert energy is not None

    def logarithms(points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        blocks = points.split(POINTS_AT_ONCE)
        values = [DualPass(network, len(block), block).forward(weights, block).clone() for block in blocks]
        log_g, _ = positive(network.output, torch.cat(values))
        log_h = log_g + torch.cat([terms.log_reference(block) for block in blocks])
        return log_h.double(), log_g.double()

    (log_h, _), (other_h, other_g) = logarithms(z), logarithms(reference)
    if log_density is not None:
        other_g = other_h + energy.log_peak - log_density.to(other_h)
    value = energy.of_law(log_h).mean() - energy.of_reference(other_h, other_g).mean()
    residual = (energy.weight(other_h) * other_g.exp()).mean() / energy.weight(log_h).mean() - 1
    return float(value), abs(float(residual))
