"""The weights Θ of an exponentially fitted step on the line, and how far two maps are apart.

A step from x = T_k(Z) is a JKO step in the metric (hΘ)⁻¹ and an extrapolation (``solvers.exponential_fitting``),

    y = argmin E[(y - x)²/2hΘ(x) + V(y) - β⁻¹ log y'],        T = x + (y - x)/Θ(x),        Θ = θ(h a(x)).

Any a keeps order 2. With a = E V'' over the law, steps are most accurate while h|V''| is small, also where V'' changes
its sign on the way of a particle; with a = V''(x) they stay increasing where V'' is large, as in quartic tails. So

    a(x) = E V'' + ψ(½ h V''(x)) (V''(x) - E V''),        ψ(u) = u⁴/(1 + u⁴) for u > 0, else 0:

the mean, but for particles with hV'' > 2, for which an implicit midpoint step would overshoot. ``docs/fitted-jko.md``
has the figures that this was chosen by.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from problems.arrays import Reals
from problems.potentials import Potential
from solvers.exponential_fitting import fitted_weight
from solvers.one_dimensional.quantile_map import interval_masses, node_masses, scores

# hV''/2 beyond which a particle is all but on its own, whatever the power: no power of more is taken.
ALONE = 1e4


def node_weights(potential: Potential, step_size: float, values: Reals) -> Reals:
    """Return Θ (n,) at the quantiles ``values`` (n,) for a step of this size."""
    local = potential.hessian(torch.from_numpy(values)[:, None]).double().numpy()[:, 0, 0]
    around, _ = node_masses(len(values))
    mean = float(around @ local)
    power = np.clip(0.5 * step_size * local, 0, ALONE) ** 4
    return fitted_weight(step_size * (mean + power / (1 + power) * (local - mean)))


def sqrt_symkl(left: Reals, right: Reals) -> float:
    """Return √SymKL of two laws with these quantiles (n,), or inf where one has none.

    It is that of the masses between the quantiles of ``left``, which those of ``right`` are interpolated for.
    """
    gaps, other = np.diff(left), np.diff(right)
    if not (min(gaps.min(), other.min()) > 0 and np.isfinite(left).all() and np.isfinite(right).all()):
        return math.inf
    z = scores(len(left))
    places = np.interp(left, right, z)
    below, above = left < right[0], left > right[-1]
    places[below] = z[0] + (left[below] - right[0]) * (z[1] - z[0]) / other[0]
    places[above] = z[-1] + (left[above] - right[-1]) * (z[-1] - z[-2]) / other[-1]
    _, masses = node_masses(len(left))
    moved = np.maximum(interval_masses(places), 1e-300)
    return math.sqrt(max(0.0, float((masses - moved) @ np.log(masses / moved))))
