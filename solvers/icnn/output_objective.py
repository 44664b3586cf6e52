"""The objective of a JKO step as a function of what a network is linear in, with gradient and Hessian.

With the hidden units z_j fixed, T = Qx + m + Σ_j f_j ∇z_j(x) and ∇T = Q + Σ_j f_j ∇²z_j(x) are linear in w = (f, Q, m),
and the objective of ``solvers.icnn.step_objective`` is convex in w but for V and W: |·|² is, and U(ρ/det M)/(ρ/det M)
is convex and falls with (det M)^{1/D}, which is concave in M (McCann, Advances in Mathematics 128, 1997). With θB_j
the derivative of M_θ by w_j and G_j that of T, its derivatives are, at log ρ_θ and p = P/ρ there,

    E[T̄·G_j - p tr(M⁻¹B_j)],    E[G_i·G_j/h + θ(p' tr(M⁻¹B_i) tr(M⁻¹B_j) + p tr(M⁻¹B_i M⁻¹B_j))] + those of V, W,

p' the derivative in log ρ; for a fitted step G_i·ΘG_j, and M = Θ⁻¹ - I + ∇T without θ. Those of V and W, given by
gradients alone, are left out of the Hessian.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch

from problems.energies import PowerEntropy
from solvers.icnn.parameter_gradients import block_points, pushed_with_density
from solvers.icnn.step_objective import StepObjective
from solvers.icnn.units import Frame
from solvers.networks.convex_derivatives import Folded, Tape, derivatives
from solvers.networks.convex_network import Architecture, Weights
from solvers.threads import Run


@dataclass(frozen=True, eq=False)
class Nodes:
    """Points (n, D) with ``masses`` (n,) that sum to 1 and log ρ at them (n,), by which a mean over ρ is taken."""

    points: torch.Tensor
    log_density: torch.Tensor
    masses: torch.Tensor

    def within(self, frame: Frame) -> Nodes:
        """Return the nodes in the coordinates of a ``frame`` of theirs."""
        return replace(self, points=frame.inside(self.points), log_density=self.log_density + frame.log_volume)

    def pushed(self, weights: Weights, run: Run) -> Nodes:
        """Return the nodes as the map ∇ψ of one network moves them."""
        moved = weights.to(self.points.device, self.points.dtype)
        points, log_density = pushed_with_density(moved, self.points, self.log_density, run)
        return replace(self, points=points, log_density=log_density)


def unit_derivatives(folded: Folded, tape: Tape) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇z (n, D, W) and ∇²z (n, D, D, W) of the last hidden units of one network, from its ``tape``."""
    dim = tape.jacobians[0].shape[2]
    hessian = tape.jacobians[0].new_zeros(())
    slope = jacobian = hessian
    for layer, coefficients in enumerate(folded.features):
        own = coefficients[0, : dim * dim].view(dim, dim, -1)
        before = own if layer == 0 else own + hessian @ folded.couplings[layer - 1][0].T
        slope, jacobian = tape.slopes[layer][0], tape.jacobians[layer][0]
        outer = jacobian[:, :, None] * jacobian[:, None]
        hessian = slope[:, None, None] * (before + (1 - slope)[:, None, None] * outer)
    return jacobian * slope[:, None], hessian


def unit_traces(folded: Folded, tape: Tape, matrices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇z (n, D, W) and tr(A∇²z) (n, W) of the same, with the symmetric ``matrices`` A (n, D, D).

    No ∇²z is formed: the trace of a layer is that of the layer before, coupled.
    """
    flat = matrices.flatten(1)
    slope = jacobian = traces = matrices.new_zeros(())
    for layer, coefficients in enumerate(folded.features):
        before = flat @ coefficients[0, : flat.shape[1]]
        if layer:
            before = before + traces @ folded.couplings[layer - 1][0].T
        slope, jacobian = tape.slopes[layer][0], tape.jacobians[layer][0]
        traces = slope * (before + (1 - slope) * (jacobian * (matrices @ jacobian)).sum(1))
    return jacobian * slope[:, None], traces


@dataclass(frozen=True, eq=False)
class OutputObjective:
    """The mean objective of a step over ``nodes`` in w = (f, Q, m), for the hidden units of one network (S = 1).

    w is flat: the f_j (none for a network of one layer, which has no units beyond quadratics), then Q_ij for i ≤ j, and
    m. All is float64 on the nodes' device; sums are taken in blocks of a fixed size.
    """

    objective: StepObjective
    nodes: Nodes
    folded: Folded
    architecture: Architecture
    run: Run

    @property
    def units(self) -> int:
        """The number of the f_j."""
        return self.folded.output.shape[1] if self.folded.features else 0

    @property
    def dim(self) -> int:
        """Dimension D."""
        return self.nodes.points.shape[1]

    @property
    def upper(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows and columns i ≤ j of Q, (D(D+1)/2,) each."""
        places = torch.triu_indices(self.dim, self.dim, device=self.nodes.points.device)
        return places[0], places[1]

    @property
    def symmetric(self) -> torch.Tensor:
        """The derivatives (D, D, D(D+1)/2) of Q by its entries i ≤ j."""
        rows, columns = self.upper
        basis = self.nodes.points.new_zeros(self.dim, self.dim, len(rows))
        places = torch.arange(len(rows), device=basis.device)
        basis[rows, columns, places] = 1
        basis[columns, rows, places] = 1
        return basis

    def matrix(self, w: torch.Tensor) -> torch.Tensor:
        """Return Q (D, D)."""
        rows, columns = self.upper
        half = w.new_zeros(self.dim, self.dim)
        half[rows, columns] = w[self.units : self.units + len(rows)]
        return half + half.triu(1).T

    def flat(self, output: torch.Tensor, matrix: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        """Return w of f (W,), Q (D, D) and m (D,)."""
        rows, columns = self.upper
        return torch.cat([output[: self.units], matrix[rows, columns], shift])

    def network(self, w: torch.Tensor) -> Folded:
        """Return the folded network with the output weights w (size,)."""
        quadratic = torch.cat([self.matrix(w).flatten(), w[-self.dim :], w.new_zeros(1)])
        output = w[None, : self.units] if self.units else self.folded.output
        return self.folded._replace(quadratic=quadratic[None, :, None], output=output)

    def blocks(self) -> list[slice]:
        """The places of the nodes that are worked on together."""
        size = block_points(self.architecture)
        return [slice(start, start + size) for start in range(0, len(self.nodes.points), size)]

    def mapped(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return T (n, D) and ∇T (n, D, D) at the nodes."""
        network = self.network(w)
        found = self.run(lambda block: derivatives(network, self.nodes.points[block][None])[:2], self.blocks())
        return torch.cat([mapped[0] for mapped, _ in found]), torch.cat([hessian[0] for _, hessian in found])

    def value(self, w: torch.Tensor) -> float:
        """Return the objective at w (size,); +inf where ∇T is not positive definite at a node, or it is not finite."""
        mapped, hessian = self.mapped(w)
        own, nodes, x = self.objective, self.nodes, self.nodes.points
        place, matrix = own.intermediate(x, mapped, hessian)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        if bool(failed.any()):
            return float("inf")
        energy = own.potential.value(place)
        if own.internal is not None:
            energy = energy + own.internal.energy(nodes.log_density - own.log_dets(factor))
        if own.interaction is not None:
            others = own.interaction.mean_value(place, place, nodes.masses, own=True)
            energy = energy + 0.5 * (1 - nodes.masses) * others
        values = own.distances(mapped - x) + energy / own.implicitness
        total = float((nodes.masses * values).sum())
        return total if total == total else float("inf")

    def derivatives(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return gradient (K,) and Hessian (K, K) in w, the latter without V and W."""
        along, hessian = self._slope(w)
        parts = self.run(partial(self._block, self.network(w), along, hessian), self.blocks())
        gradients, curvatures = zip(*parts, strict=True)
        return torch.stack(gradients).sum(0), torch.stack(curvatures).sum(0)

    def gradient(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the gradient (K,) in w, and its standard errors (K,), were the nodes independent draws."""
        along, hessian = self._slope(w)
        nodes, network = self.nodes, self.network(w)

        def moments(block: slice) -> torch.Tensor:
            alone, masses = self._parts_of_gradient(network, along, hessian, block), nodes.masses[block]
            return torch.stack([masses @ alone, masses @ alone.square()])

        mean, square = torch.stack(self.run(moments, self.blocks())).sum(0)
        return mean, ((square - mean.square()).clamp(min=0) / len(nodes.points)).sqrt()

    def _slope(self, w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the derivatives of the objective in T, but for its determinants, and ∇T: (n, D) and (n, D, D)."""
        mapped, hessian = self.mapped(w)
        own, nodes = self.objective, self.nodes
        place = own.intermediate_places(nodes.points, mapped)
        slope = own.potential_gradient(place)
        if own.interaction is not None:
            slope = slope + own.interaction.mean_gradient(place, place, nodes.masses)
        return own.weighted((mapped - nodes.points) / own.step_size + slope), hessian

    def _block(
        self, network: Folded, along: torch.Tensor, hessian: torch.Tensor, block: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        own, nodes, dim, theta = self.objective, self.nodes, self.dim, self.objective.implicitness
        x, masses = nodes.points[block], nodes.masses[block]
        first, second = self._linear_parts(network, x)
        gradient = torch.einsum("n,nd,ndk->k", masses, along[block], first)
        moved = first if own.weight is None else torch.einsum("ij,njk->nik", own.weight.root, first)
        rows = (moved * (masses / own.step_size).sqrt()[:, None, None]).flatten(0, 1)
        curvature = rows.T @ rows
        if own.internal is None:
            return gradient, curvature
        _, matrix = own.intermediate(x, mapped=x, hessian=hessian[block])
        factor, _ = torch.linalg.cholesky_ex(matrix)
        identity = torch.eye(dim, dtype=x.dtype, device=x.device).expand_as(factor)
        root = torch.linalg.solve_triangular(factor, identity, upper=False)
        # L⁻¹ B L⁻ᵀ of every B.
        inner = torch.einsum("nij,njlk,nml->nimk", root, second, root)
        traces = inner.diagonal(dim1=1, dim2=2).sum(2)
        pressure = own.pressure(nodes.log_density[block] - own.log_dets(factor))
        gradient = gradient - (masses * pressure) @ traces
        rows = (inner * (theta * masses * pressure).sqrt()[:, None, None, None]).flatten(0, 2)
        curvature = curvature + rows.T @ rows
        if isinstance(own.internal, PowerEntropy):
            rows = traces * (masses * pressure)[:, None]
            curvature = curvature + theta * (own.internal.exponent - 1) * (traces.T @ rows)
        return gradient, curvature

    def _parts_of_gradient(
        self, network: Folded, along: torch.Tensor, hessian: torch.Tensor, block: slice
    ) -> torch.Tensor:
        """Return what every node of a block adds to the mean that the gradient is, (n, K)."""
        own, nodes = self.objective, self.nodes
        x, along = nodes.points[block], along[block]
        outer, weighted = along[:, :, None] * x[:, None], torch.zeros_like(hessian[block])
        if own.internal is not None:
            _, matrix = own.intermediate(x, mapped=x, hessian=hessian[block])
            factor, _ = torch.linalg.cholesky_ex(matrix)
            pressure = own.pressure(nodes.log_density[block] - own.log_dets(factor))
            weighted = pressure[:, None, None] * torch.cholesky_inverse(factor)
        parts = [(outer - weighted).flatten(1) @ self.symmetric.flatten(0, 1), along]
        if self.units:
            gradients, traces = unit_traces(network, derivatives(network, x[None])[2], weighted)
            parts.insert(0, (along[:, None] @ gradients)[:, 0] - traces)
        return torch.cat(parts, 1)

    def _linear_parts(self, network: Folded, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ∂T/∂w (n, D, K) and ∂∇T/∂w (n, D, D, K) at ``x`` (n, D)."""
        n, dim = x.shape
        basis = self.symmetric
        identity = torch.eye(dim, dtype=x.dtype, device=x.device)
        first = [torch.einsum("nj,ijk->nik", x, basis), identity.expand(n, -1, -1)]
        second = [basis.expand(n, -1, -1, -1), x.new_zeros(n, dim, dim, dim)]
        if self.units:
            gradients, hessians = unit_derivatives(network, derivatives(network, x[None])[2])
            first, second = [gradients, *first], [hessians, *second]
        return torch.cat(first, dim=2), torch.cat(second, dim=3)
