"""A search for hidden units that would lower the objective of a step: many ridges, each worth its derivative at a map.

To the map T of a step a unit s(w·x + b), s softplus, with an output weight f adds f s'(w·x + b) w, and to the objective

    f g,    g = E[ s'(a) T̄·w + s''(a) wᵀH̄w ],    a = w·x + b,

so that one with g below 0 lowers it (``solvers.icnn.examination``). A network has few units, and none where few
particles are; a ridge costs no more than two products, and hundreds can be asked. A third of them have directions drawn
evenly, as ``solvers.icnn.ridges`` has all, the rest those of particles from their mean, half of these of particles
drawn by the fourth power of their distance: a mode that one particle in a hundred belongs to lies there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from solvers.icnn.examination import MapWithJacobian, bars, known, pieces
from solvers.icnn.ridges import GENTLEST, STEEPEST
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import Weights
from solvers.threads import Run

SEARCHED = 384
FAR = 4
# Particles that decide a derivative, (Σ g²)² / Σ g⁴ of what each adds to it, at least, for its error to be one. At
# rest, in 1,400 searches in one and in four dimensions, the largest of t = -g / error was 5.0 with as many and with
# particles on either side of the bend, and beyond 4 in one of a hundred, as of normal figures; with any it was 15.
DECIDING = 30
# Where on the way from the mean to a particle a ridge along it lies.
NEAREST, FARTHEST = 0.2, 1.2


@dataclass(frozen=True, eq=False)
class Candidates:
    """Units with w = ``forms`` (K, D) and b = ``biases`` (K,), their derivatives g = ``slopes`` (K,) and their errors.

    ``errors`` (K,) are standard errors over independent particles, infinite where these tell none: where few lie on one
    side of the bend (``solvers.icnn.examination.known``), or few decide.
    """

    forms: torch.Tensor
    biases: torch.Tensor
    slopes: torch.Tensor
    errors: torch.Tensor

    def gaining(self, penalty: float, noise: float) -> torch.Tensor:
        """Return the places (k,) of candidates that gain ``noise`` errors more than ``penalty``, the best one first."""
        worth = -(self.slopes + penalty) / self.errors.clamp(min=torch.finfo(self.errors.dtype).tiny)
        order = worth.argsort(descending=True)
        return order[worth[order] > noise]


def drawn_ridges(
    points: torch.Tensor, sharpness: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the forms (K, D) and biases (K,) of ridges about ``points`` (n, D), in their dtype."""
    n, dim = points.shape
    own, third = points.double().cpu(), SEARCHED // 3
    centred = own - own.mean(0)
    power = centred.square().sum(1) ** (FAR / 2)
    chosen = torch.cat(
        [
            torch.randint(n, (2 * third,), generator=generator),
            torch.multinomial(power.clamp(min=1e-300), third, replacement=True, generator=generator),
        ]
    )
    directions = torch.randn(third, dim, dtype=torch.float64, generator=generator)
    directions = torch.nn.functional.normalize(torch.cat([directions, centred[chosen[third:]]]), dim=1)
    way = torch.rand(3 * third, 1, dtype=torch.float64, generator=generator) * (FARTHEST - NEAREST) + NEAREST
    way[:third] = 1
    steep = torch.rand(3 * third, 1, dtype=torch.float64, generator=generator)
    forms = GENTLEST * (steep * math.log(sharpness * STEEPEST / GENTLEST)).exp() * directions
    biases = -(forms * (own.mean(0) + way * centred[chosen])).sum(1)
    return forms.to(points), biases.to(points)


def searched(
    mapping: MapWithJacobian,
    points: torch.Tensor,
    objective: StepObjective,
    sharpness: float,
    generator: torch.Generator,
    run: Run,
    log_density: torch.Tensor | None = None,
) -> Candidates:
    """Return candidates about independent draws ``points`` (n, D), and what they would do to a map there."""
    forms, biases = drawn_ridges(points, sharpness, generator)
    squares = (forms[:, :, None] * forms[:, None]).flatten(1).T

    def moments(piece: tuple[torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
        x, density = piece
        gradient_bar, hessian_bar = bars(objective, x, *mapping(x), density)
        first = torch.sigmoid(torch.addmm(biases, x, forms.T))
        second = first * (1 - first)
        own = first * (gradient_bar @ forms.T) + second * (hessian_bar.flatten(1) @ squares)
        return torch.stack([own.sum(0), own.square().sum(0), own.pow(4).sum(0), first.sum(0)])

    count = len(points)
    total, square, fourth, beyond = torch.stack(run(moments, pieces(points, log_density))).sum(0)
    errors = ((square / count - (total / count).square()).clamp(min=0) / count).sqrt()
    errors = known(errors, beyond, count).masked_fill(square.square() < DECIDING * fourth, math.inf)
    return Candidates(forms, biases, total / count, errors)


def put_units(weights: Weights, places: torch.Tensor, candidates: Candidates, chosen: torch.Tensor) -> None:
    """Make the last hidden units of one network (S = 1) at ``places`` (k,) those ``chosen`` (k,), with f = 0."""
    weights.output[0, places] = 0
    weights.forms[-1][0, places, :-1] = 0
    weights.forms[-1][0, places, -1] = candidates.forms[chosen].to(weights.output)
    weights.biases[-1][0, places] = candidates.biases[chosen].to(weights.output)
    weights.couplings[-1][0, places] = 0
