"""Hidden units laid where the particles are: ridges about some of them, in directions and of widths drawn anew.

A unit s(a(e·(x - c))), s softplus, adds to ∇T the ridge a² s''(a e·(x - c)) e eᵀ, 4/a wide, about the particle c. An
affine map is the best map of a step if no such unit lowers the objective. Some that are drawn tell, and are what a
network learns from where one does.
"""

from __future__ import annotations

import math

import torch

from solvers.networks.convex_network import Weights

# How steep ridges are in units of the particles: from 4 widths to one, and down to less by the settings' sharpness.
GENTLEST, STEEPEST = 1.0, 4.0


def lay_ridges(weights: Weights, points: torch.Tensor, sharpness: float, generator: torch.Generator) -> None:
    """Make every second of the last hidden units of one network (S = 1) a ridge about one of ``points`` (n, D).

    Their output weights become 0; a network of one layer has no such units.
    """
    if not weights.couplings:
        return
    width, dim = weights.output.shape[1], points.shape[1]
    count = len(range(0, width, 2))
    drawn = torch.randn(count, dim, dtype=torch.float64, generator=generator)
    steep = torch.rand(count, 1, dtype=torch.float64, generator=generator) * math.log(sharpness * STEEPEST / GENTLEST)
    forms = GENTLEST * steep.exp() * drawn / drawn.norm(dim=1, keepdim=True)
    about = points[torch.randint(len(points), (count,), generator=generator).to(points.device)]
    forms = forms.to(weights.output)
    weights.output[0, ::2] = 0
    weights.forms[-1][0, ::2, :-1] = 0
    weights.forms[-1][0, ::2, -1] = forms
    weights.biases[-1][0, ::2] = -(forms * about).sum(1)
    weights.couplings[-1][0, ::2] = 0
