"""Flows on the line, and their exact masses, that several tests take."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

from problems.double_well import DoubleWellPotential
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Potential, Quadratic
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import discretised
from problems.references.marginals_1d import effective_domain


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def gaussian(mean, deviation):
    return Gaussian(tensor(mean), tensor(deviation**2)[None])


@dataclass(frozen=True)
class Polynomial(Potential):
    coefficients: tuple[float, ...]

    @property
    def dim(self):
        return 1

    def value(self, x):
        return sum(c * x[:, 0] ** power for power, c in enumerate(self.coefficients))


def flow(potential, initial, beta=1.0, times=(1.0,)):
    return GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), times)


def ornstein_uhlenbeck(mean=1.0, deviation=0.7, beta=1.0):
    return flow(Quadratic(tensor(1.0)[None], tensor(0.0)), gaussian(mean, deviation), beta)


def double_well(height=1.0, beta=2.0, mean=0.75, deviation=0.5):
    return flow(DoubleWellPotential(height, 0.25), gaussian(mean, deviation), beta)


def on_grid(case, cells):
    lower, upper = effective_domain(case)
    return FokkerPlanck.discretise(case, lower, upper, cells), discretised(
        case.initial, lower, upper, cells
    ).masses.numpy()


def exact_masses(case, operator, time):
    """Cell masses of the exact marginal of dX = -X dt + √(2/β) dW from N(mean, deviation²)."""
    mean, covariance = case.initial.moments()
    fade = math.exp(-2 * time)
    mean, variance = float(mean) * math.exp(-time), float(covariance) * fade + (1 - fade) / case.inverse_temperature
    law = stats.norm(mean, math.sqrt(variance))
    edges = np.linspace(operator.lower, operator.upper, len(operator.left) + 1)
    return np.where(edges[1:] > mean, -np.diff(law.sf(edges)), np.diff(law.cdf(edges)))
