"""Functions of the generator A of a birth-and-death chain: exp(A) p, rational approximations of it, (z - A)⁻¹ p.

A moves mass from each cell of a row to its neighbours, at the rates ``left`` and ``right``; nothing passes the ends.

Elimination in z - A subtracts nothing when the pivots are written as what a cell loses (Grassmann, Taksar & Heyman
1985, Oper. Res. 33), so conservation and the stationary law survive in floating point however large A is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.linalg.lapack import dgttrs

from problems.arrays import Array, Complexes, Reals


def contour_integral(left: Reals, right: Reals, masses: Reals) -> tuple[Reals, bool]:
    """Return exp(A) p for rates and masses p of shape (m,), and whether the result can be relied upon.

    exp(A) p = (1/2πi) ∫ e^z (z - A)⁻¹ p dz over the hyperbola z(u) = μ (1 + sin(iu - α)) by the midpoint rule, the
    half u > 0 standing for both (Weideman & Trefethen 2007, Math. Comp. 76). Its three parameters minimise the
    largest error of e^{-x}, x ≥ 0, for 20 nodes while |e^z| stays small on the contour, which keeps rounding at 1e-15
    (after Weideman 2010, BIT 50); they do not depend on A.

    For A far from normal the resolvent is large beyond the spectrum and the error with it. Two by-products tell:
    every other node of the whole contour makes a rule of half the nodes whose real part is the same and whose imaginary
    part is its error, 8e-8 as a rule, the square root of ours; and the last term bounds what is cut off.
    """
    count, scale, angle, reach = 20, 8.97134598, 0.85557, 2.43225675
    u = reach / count * (np.arange(count) + 0.5)
    z = scale * (1 + np.sin(1j * u - angle))
    weight = reach / count / np.pi * scale * np.exp(z) * np.cos(1j * u - angle)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        terms = weight[:, None] * resolvent(z[:, None], left[None], right[None], masses[None])
        aliasing = np.abs(terms[::2].imag.sum(0) - terms[1::2].imag.sum(0)).sum()
        reliable = aliasing < 3e-7 * np.abs(masses).sum() and np.abs(terms[-1]).sum() < 3e-12 * np.abs(masses).sum()
        return np.asarray(terms.real.sum(0)), bool(reliable)


def rational_step(left: Reals, right: Reals, masses: Reals) -> Reals:
    """Return r(A) p (m,) for rates and masses p (m,), r being the (5, 6) Padé approximant of eᶻ in partial fractions.

    r is of order 11 and L-stable.
    It is the stability function of the six-stage Radau IIA method (Hairer & Wanner 1996, Solving Ordinary
    Differential Equations II, IV.5). Its poles lie in the right half-plane, where (z - A)⁻¹ shrinks masses whatever
    the drift. Poles come in conjugate pairs, one of each is given; a residue is twice the share times its pole.
    """
    poles = np.array(
        [
            7.4906375288096300922 + 1.6215023887783939784j,
            6.4705149367015697536 + 4.9001211474213864242j,
            4.0388475344888001542 + 8.3456004148722156680j,
        ]
    )
    shares = np.array(
        [
            3.3488214696886059685 + 244.32561323064888863j,
            -0.98107962449826614118 - 93.562771278201915085j,
            -1.3677418451903398273 + 9.766459121099854497j,
        ]
    )
    # In this order: poles times resolvents keep the mass to rounding, which the shares would else make 244 times worse.
    kept = poles[:, None] * resolvent(poles[:, None], left[None], right[None], masses[None])
    return np.asarray((shares[:, None] * kept).real.sum(0))


def resolvent(loss: Complexes, left: Array, right: Array, source: Array) -> Complexes:
    """Return the solutions x (K, m) of (loss - A) x = source for rates ``left`` and ``right``; all broadcast to (K, m).

    Cyclic reduction: every other cell is taken out of the chain. What it would have received goes to where its
    mass goes next: to its neighbours, which get longer jumps, or to the loss. No rates are subtracted.
    """
    cells = left.shape[-1]
    if cells == 1:
        return source / loss
    loss = np.broadcast_to(loss, (len(loss), cells))
    if cells % 2:
        left, right, source = (_padded(v, 0) for v in (left, right, source))
        loss = _padded(loss, 1)
    kept, out = np.s_[:, ::2], np.s_[:, 1::2]
    leave = 1 / (loss[out] + left[out] + right[out])
    go_left, go_right, lost = left[out] * leave, right[out] * leave, loss[out] * leave
    new_right = right[kept] * go_right
    new_left = np.zeros_like(new_right)
    new_left[:, 1:] = left[kept][:, 1:] * go_left[:, :-1]
    new_loss = loss[kept] + right[kept] * lost
    new_loss[:, 1:] += left[kept][:, 1:] * lost[:, :-1]
    new_source = source[kept] + source[out] * go_left
    new_source[:, 1:] += (source[out] * go_right)[:, :-1]
    half = resolvent(new_loss, new_left, new_right, new_source)
    received = right[kept] * half + source[out]
    received[:, :-1] += left[kept][:, 1:] * half[:, 1:]
    x = np.empty((len(half), 2 * half.shape[-1]), dtype=half.dtype)
    x[kept], x[out] = half, received * leave
    return x[:, :cells]


def _padded(values: Array, fill: float) -> Array:
    return np.concatenate([values, np.full((len(values), 1), fill, dtype=values.dtype)], axis=1)


def factorise(left: Reals, right: Reals) -> Callable[[Reals], Reals]:
    """Return b (m,) ↦ (I - A)⁻¹ b for a generator A with rates (m,), from an LU factorisation without subtraction."""
    cells = len(left)
    pivot = np.empty(cells)
    kept = 1.0
    for i, (to_left, to_right) in enumerate(zip(left.tolist(), right.tolist(), strict=True)):
        if i:
            kept = 1.0 + to_left * kept / pivot[i - 1]
        pivot[i] = kept + to_right
    below, above, rows = -right[:-1] / pivot[:-1], -left[1:], np.arange(1, cells + 1, dtype=np.int32)
    second = np.zeros(cells - 2)

    def solve(b: Reals) -> Reals:
        x, info = dgttrs(below, pivot, above, second, rows, b)
        assert info == 0
        return np.asarray(x)

    return solve
