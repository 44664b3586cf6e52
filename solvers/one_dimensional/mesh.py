"""Meshes of reference nodes for laws on the line that are increasing maps of reference laws, piece by piece.

A law whose support falls into several intervals is one piece of mass M_c on each: X = T_c(Y) with probability M_c, Y of
the reference law. On cells between nodes T is linear, so that with ω_j the mass of a cell, Δ_j its width in y and h_j
in x

    E f(X) = Σ_j ∫ f(T_j + t h_j) ω_j(dt),        ∫ ρᵐ = Σ_j A_j (h_j / Δ_j)^(1-m),    A_j = ∫ over the cell of ρ_ref^m,

which is exact where T is straight. Expectations take two Gauss points a cell, of the cell's own measure ω_j(dt).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from problems.arrays import Reals
from solvers.one_dimensional.reference_laws import ReferenceLaw

# What keeps two pieces from passing through each other when they meet: a cell of this mass between them.
SEAM = 1e-9


@dataclass(frozen=True, eq=False)
class Mesh:
    """Nodes y of ``law``, increasing, for each of the pieces of ``masses`` (c,), which sum to 1."""

    law: ReferenceLaw
    masses: tuple[float, ...]
    nodes: tuple[Reals, ...]

    @cached_property
    def size(self) -> int:
        """Number of nodes n of all pieces together."""
        return sum(len(nodes) for nodes in self.nodes)

    @cached_property
    def seams(self) -> list[int]:
        """The numbers of the cells that lie between two pieces."""
        ends = np.cumsum([len(nodes) for nodes in self.nodes])
        return [int(end) - 1 for end in ends[:-1]]

    def split(self, values: Reals) -> list[Reals]:
        """Return values at all nodes (n,) piece by piece."""
        return np.split(values, np.asarray(self.seams, dtype=int) + 1)

    @cached_property
    def places(self) -> Reals:
        """The nodes of all pieces, one beside the other, (n,), increasing: the distance between pieces is 1."""
        found = list(self.nodes)
        for number in range(1, len(found)):
            found[number] = found[number] - found[number][0] + found[number - 1][-1] + 1.0
        return np.concatenate(found)

    @cached_property
    def spans(self) -> Reals:
        """The widths Δ_j of the cells, (n - 1,)."""
        return np.diff(self.places)

    def _over_cells(self, of_piece: list[Reals], at_seam: float) -> Reals:
        seam = np.full((1, *of_piece[0].shape[1:]), at_seam)
        parts = [of_piece[0]]
        for part in of_piece[1:]:
            parts += [seam, part]
        return np.concatenate(parts)

    @cached_property
    def moments(self) -> Reals:
        """∫ tʲ ω(dt) of the cells, t from 0 to 1 in each, j = 0…3, shape (n - 1, 4); 0 at seams."""
        return self._over_cells(
            [mass * self.law.integrals(y, 1.0, 3) for mass, y in zip(self.masses, self.nodes, strict=True)], 0.0
        )

    def powers(self, exponent: float) -> Reals:
        """Return A_j = ∫ ρ_ref^m of the cells, m = ``exponent``, shape (n - 1,)."""
        found = [
            mass**exponent * self.law.integrals(y, exponent, 0)[:, 0]
            for mass, y in zip(self.masses, self.nodes, strict=True)
        ]
        return self._over_cells(found, SEAM**exponent)

    @cached_property
    def cell_masses(self) -> Reals:
        """The masses ω_j of the cells, (n - 1,)."""
        return np.ascontiguousarray(self.moments[:, 0])

    @cached_property
    def around(self) -> Reals:
        """The masses of the nodes, (n,): each cell's mass goes to its ends so that its mean stays."""
        found = np.zeros(self.size)
        found[:-1] += self.moments[:, 0] - self.moments[:, 1]
        found[1:] += self.moments[:, 1]
        return found

    @cached_property
    def points(self) -> tuple[Reals, Reals]:
        """Places t in their cells, and masses, of the two Gauss points of each cell, both (2, n - 1).

        Polynomials up to the third degree are integrated exactly.
        """
        zeroth = np.maximum(self.moments[:, 0], 1e-300)
        mean = np.where(self.cell_masses > 0, self.moments[:, 1] / zeroth, 0.5)
        second, third = self.moments[:, 2] / zeroth, self.moments[:, 3] / zeroth
        variance = np.maximum(second - mean * mean, 1e-300)
        deviation = np.sqrt(np.where(self.cell_masses > 0, variance, 1.0 / 12))
        skew = np.where(
            self.cell_masses > 0, (third - 3 * mean * second + 2 * mean**3) / (deviation * deviation * deviation), 0.0
        )
        root = np.sqrt(skew * skew + 4)
        low, high = 0.5 * (skew - root), 0.5 * (skew + root)
        shares = np.stack([mean + low * deviation, mean + high * deviation])
        return shares, np.stack([high / root, -low / root]) * self.cell_masses
