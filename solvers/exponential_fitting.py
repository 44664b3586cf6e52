"""The weight θ by which an implicit step of a stiff linear flow becomes exact (Liniger, Willoughby 1970).

A step of size h of ẋ = G(x) that looks at a share Θ of itself, a symmetric operator,

    y = x + h Θ G(y),        T = x + h G(y) = x + Θ⁻¹ (y - x),

is the implicit Euler step for Θ = 1 and the implicit midpoint for Θ = ½. It is of order 2 for every Θ = ½ + O(h), since
T = x + h G(x + ½h G + O(h²)). For G = -Ax it is multiplied by 1 - hA/(1 + hAΘ), and that is exp(-hA) where

    Θ = θ(hA),        θ(z) = 1/(1 - e⁻ᶻ) - 1/z,        θ(0) = ½,  θ(∞) = 1,  θ(-z) = 1 - θ(z).

(Liniger, Willoughby, SIAM J. Numer. Anal. 7, 1970.) For a gradient flow G = -∇F, y is a JKO step in the metric
(hΘ)⁻¹: y = argmin E[½ (y-x)ᵀ(hΘ)⁻¹(y-x)] + F(y). ``docs/fitted-jko.md`` has the proofs.
"""

from __future__ import annotations

import numpy as np

from problems.arrays import Reals

# Below, θ is its series: the two poles of the closed form cancel all but z of their 1/z.
SMALL = 0.02


def fitted_weight(z: Reals) -> Reals:
    """Return θ(z) of an array of any shape, the same shape, to 2e-14."""
    near = np.abs(z) < SMALL
    far = np.where(near, 1.0, z)
    small = np.where(near, z, 0.0)
    square = small * small
    series = 0.5 + small * (1 / 12 - square * (1 / 720 - square / 30240))
    with np.errstate(over="ignore"):
        closed = -1 / np.expm1(-far) - 1 / far
    return np.asarray(np.where(near, series, closed))
