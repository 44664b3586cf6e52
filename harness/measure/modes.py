"""The mass in each mode of a mixture, which a solver gets wrong when mass does not cross between wells.

With the responsibilities r_k(x) = w_k N(x; m_k, C_k) / Σ_j w_j N(x; m_j, C_j) of the mixture's components, the share of
mode k in a law ρ is E_ρ[r_k], which is w_k for the mixture itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from harness.measure.groups import groups_of, mean_variance
from harness.measure.measure import Figure, Measure, Subject
from harness.measure.sides import grouped_sides
from problems.laws import Empirical, GaussianMixture, Law
from problems.linear_algebra import weighted_sum
from problems.potentials import MixturePotential
from problems.references.grid_law import GridLaw
from problems.references.grid_law_2d import GridLaw2D
from solvers.estimates import Nodes, Particles

POINTS_PER_TILE = 2**13


@dataclass(frozen=True)
class ModeWeights(Measure):
    """Total variation ½ Σ_k |E_fit[r_k] - E_true[r_k]| between the shares of the modes in fit and truth.

    All particles, with their weights, stand for a fit of particles, ``draws`` draws for any other. The shares in the
    truth are exact where it is the mixture itself, by quadrature where it is a grid, and those of ``draws`` draws
    otherwise; against a finite reference both sides are draws, none of them in both. Shares of n exact draws differ
    from the weights by sampling alone, so that the figure's floor is about √(K / (2πn)) for K modes apart; the standard
    error is that of ½ Σ_k ±r_k with the signs found, over groups of draws that depend on each other.
    """

    name: ClassVar[str] = "mode-weights"
    version: ClassVar[int] = 2

    def unsuited(self, subject: Subject) -> str | None:
        if not isinstance(subject.problem.flow.potential, MixturePotential):
            return "the potential is not that of a mixture, whose components would be the modes"
        return "the true law is not known" if subject.truth is None else None

    def __call__(self, subject: Subject, draws: int, generator: torch.Generator) -> Figure:
        potential = subject.problem.flow.potential
        assert isinstance(potential, MixturePotential)
        assert subject.truth is not None
        mixture = potential.stationary
        estimate = subject.estimate
        weights, drawn, groups = None, None, None
        if isinstance(subject.truth, Empirical):
            points, drawn, groups = grouped_sides(subject, draws, generator, halves=True)
        elif isinstance(estimate, Particles):
            points, groups = estimate.points, groups_of(estimate)
            if estimate.log_weights is not None:
                weights = torch.softmax(estimate.log_weights.double(), dim=0).numpy()
        else:
            points = estimate.sample(draws, generator)
        fit = responsibilities(mixture, points)
        weights = np.full(len(fit), 1 / len(fit)) if weights is None else weights
        true_shares, true_responsibilities, source = _true_shares(mixture, subject.truth, drawn, draws, generator)
        difference = _shares(fit, weights) - true_shares
        signs = np.sign(difference)
        placed = isinstance(estimate, Nodes) and drawn is None
        variance = 0.0 if placed else mean_variance(_signed(fit, signs), groups, weights)
        if true_responsibilities is not None:
            variance += mean_variance(_signed(true_responsibilities, signs), None)
        value = 0.5 * float(np.abs(difference).sum())
        return Figure(value, 0.5 * math.sqrt(variance), f"{len(fit)} draws against {source}, {len(signs)} modes")


def responsibilities(mixture: GaussianMixture, x: torch.Tensor) -> np.ndarray:
    """Return the probability (n, K) of each component given each point of ``x`` (n, D)."""
    tiles = [torch.softmax(mixture.component_log_prob(tile.double()), dim=1) for tile in x.split(POINTS_PER_TILE)]
    return torch.cat(tiles).numpy()


def _true_shares(
    mixture: GaussianMixture, truth: Law, drawn: torch.Tensor | None, draws: int, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray | None, str]:
    """Return the shares (K,) of the modes in the truth, the draws' responsibilities if there were any, and how.

    The draws are those ``drawn`` (n, D) already, else ``draws`` fresh ones.
    """
    if truth is mixture:
        return mixture.weights.numpy(), None, "the mixture's weights"
    if isinstance(truth, GridLaw | GridLaw2D):
        grid = (truth.centres()[:, None], truth.masses) if isinstance(truth, GridLaw) else truth.quadrature()
        return _shares(responsibilities(mixture, grid[0]), grid[1].numpy()), None, "quadrature"
    points = truth.sample(draws, generator) if drawn is None else drawn
    found = responsibilities(mixture, points)
    return _shares(found, np.full(len(found), 1 / len(found))), found, f"{len(found)} draws of the truth"


def _shares(responsibilities: np.ndarray, weights: np.ndarray) -> np.ndarray:
    return weighted_sum(weights, responsibilities)


def _signed(responsibilities: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Return Σ_k ±r_k at every point, shape (n,)."""
    return np.asarray(np.einsum("nk,k->n", responsibilities, signs))
