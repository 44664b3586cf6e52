"""Functions of the generator A of a birth-and-death chain: exp(A) p, rational approximations of it, (z - A)⁻¹ p.

A moves mass from each cell of a row to its neighbours, at the rates ``left`` and ``right``; nothing passes the ends.

Elimination in z - A subtracts nothing when the pivots are written as what a cell loses (Grassmann, Taksar & Heyman
1985, Oper. Res. 33), so conservation and the stationary law survive in floating point however large A is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg.lapack import dgttrs

from problems.arrays import Array, Complexes, Reals

# Every other cell, and those in between, which a round of cyclic reduction takes out.
KEPT, OUT = np.s_[:, ::2], np.s_[:, 1::2]


class ContourIntegral:
    """The map of masses p (m,) to exp(A) p, and whether that can be relied upon, for rates (m,) worked through once.

    exp(A) p = (1/2πi) ∫ e^z (z - A)⁻¹ p dz over the hyperbola z(u) = μ (1 + sin(iu - α)) by the midpoint rule, the
    half u > 0 standing for both (Weideman & Trefethen 2007, Math. Comp. 76). Its three parameters minimise the
    largest error of e^{-x}, x ≥ 0, for 20 nodes while |e^z| stays small on the contour, which keeps rounding at 1e-15
    (after Weideman 2010, BIT 50); they do not depend on A.

    For A far from normal the resolvent is large beyond the spectrum and the error with it. Two by-products tell:
    every other node of the whole contour makes a rule of half the nodes whose real part is the same and whose imaginary
    part is its error, 8e-8 as a rule, the square root of ours; and the last term bounds what is cut off.
    """

    def __init__(self, left: Reals, right: Reals) -> None:
        count, scale, angle, reach = 20, 8.97134598, 0.85557, 2.43225675
        u = reach / count * (np.arange(count) + 0.5)
        z = scale * (1 + np.sin(1j * u - angle))
        self.weight = reach / count / np.pi * scale * np.exp(z) * np.cos(1j * u - angle)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self.resolvent = Elimination(z[:, None], left[None], right[None])
        self.terms = np.empty((count, len(left)), dtype=complex)
        self.alone = threading.Lock()

    def __call__(self, masses: Reals) -> tuple[Reals, bool]:
        with self.alone, np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            terms = np.multiply(self.weight[:, None], self.resolvent(masses[None]), out=self.terms)
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

    What is worked out of loss and rates alone, :class:`Elimination` keeps for further sources.
    """
    return Elimination(loss, left, right)(source)


class Elimination:
    """The elimination of all cells in loss - A, made once: maps a ``source`` to x with (loss - A) x = source.

    All broadcast to (K, m). Cyclic reduction: every other cell is taken out of the chain. What it would have received
    goes to where its mass goes next: to its neighbours, which get longer jumps, or to the loss. No rates are
    subtracted.
    """

    def __init__(self, loss: Complexes, left: Array, right: Array) -> None:
        cells = left.shape[-1]
        self.rounds: list[_Round] = []
        loss = np.broadcast_to(loss, (len(loss), cells))
        while cells > 1:
            if cells % 2:
                left, right, loss = _padded(left, 0), _padded(right, 0), _padded(loss, 1)
            leave = 1 / (loss[OUT] + left[OUT] + right[OUT])
            go_left, go_right, lost = left[OUT] * leave, right[OUT] * leave, loss[OUT] * leave
            room = np.empty_like(leave), np.empty_like(leave), np.empty((len(leave), 2 * leave.shape[1]), leave.dtype)
            rates = left[KEPT][:, 1:], right[KEPT]
            self.rounds.append(_Round(bool(cells % 2), *rates, leave, go_left, go_right, *room))
            new_right = right[KEPT] * go_right
            new_left = np.zeros_like(new_right)
            new_left[:, 1:] = left[KEPT][:, 1:] * go_left[:, :-1]
            new_loss = loss[KEPT] + right[KEPT] * lost
            new_loss[:, 1:] += left[KEPT][:, 1:] * lost[:, :-1]
            loss, left, right = new_loss, new_left, new_right
            cells = loss.shape[-1]
        self.loss = loss

    def __call__(self, source: Array) -> Complexes:
        """Return x, which the next call overwrites."""
        moved_out = []
        for each in self.rounds:
            if each.padded:
                source = _padded(source, 0)
            kept, out = source[KEPT], source[OUT]
            moved_out.append(out)
            np.multiply(out, each.go_left, out=each.reduced)
            np.add(kept, each.reduced, out=each.reduced)
            np.multiply(out, each.go_right, out=each.passed)
            each.reduced[:, 1:] += each.passed[:, :-1]
            source = each.reduced
        x: Complexes = source / self.loss
        for each, out in zip(reversed(self.rounds), reversed(moved_out), strict=True):
            received, from_right = each.passed, each.reduced[:, :-1]
            np.multiply(each.right, x, out=received)
            received += out
            np.multiply(each.left, x[:, 1:], out=from_right)
            received[:, :-1] += from_right
            each.x[KEPT] = x
            np.multiply(received, each.leave, out=each.x[OUT])
            x = each.x[:, : each.x.shape[-1] - each.padded]
        return x


class _Round(NamedTuple):
    """What one round of cyclic reduction did: rates of the cells that are kept, fates of what leaves the others.

    ``reduced``, ``passed`` (K, m/2) and ``x`` (K, m) are room to work in: to have it anew each time took as long as the
    work.
    """

    padded: bool
    left: Array
    right: Array
    leave: Complexes
    go_left: Complexes
    go_right: Complexes
    reduced: Complexes
    passed: Complexes
    x: Complexes


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
