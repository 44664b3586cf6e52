"""The objective of one JKO step as a function of the step's map, and its derivatives.

With θ = 1 for the scheme of order one and θ = ½ for that of order two, the step from ρ_k is the T = ∇ψ that minimises

    E_{x~ρ_k} [ ‖T(x)-x‖² / 2h + θ⁻¹ ( V(x_θ) + U(ρ_θ)/ρ_θ + ½ E_{y~ρ_k} W(x_θ - y_θ) ) ],
    x_θ = (1-θ)x + θT(x),    M_θ = (1-θ)I + θ∇T(x),    log ρ_θ = log ρ_k(x) - log det M_θ.

θ = 1 is the JKO step written in its optimal map (Mokrov et al., NeurIPS 2021; Benamou, Carlier, Mérigot, Oudet, Numer.
Math. 134, 2016); θ = ½ is its implicit midpoint rule. The exponentially fitted step has a matrix Θ in the place of θ
(``solvers.icnn.fitted_weight``). Since U/ρ as a function of log ρ has the derivative P/ρ, P the
pressure, the objective's derivatives in T and ∇T are in both

    T̄ = (T(x)-x)/h + ∇V(x_θ) + E_y ∇W(x_θ - y_θ),    H̄ = -(P/ρ)(ρ_θ) M_θ⁻¹,

which is all that a network's ``pullback`` needs: V and W enter by their gradients alone. For an entropy P/ρ = β⁻¹, and
ρ_k does not enter. For a power entropy the particles carry log ρ_k: no density is estimated, and none is sought by a
dual problem as in Fan, Zhang, Taghvaei, Chen (ICML 2022).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from problems.energies import Entropy, InternalEnergy
from problems.interactions import Interaction
from problems.potentials import Potential
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.pairs import field, mean_values
from solvers.networks.path_derivatives import inverse_of


@dataclass(frozen=True)
class StepScheme:
    """A step scheme says how a step is taken: h, θ, and whether training starts at the best affine map or the last.

    A ``fitted`` step has a weight Θ of its own, found anew in every step, in the place of θ.
    """

    step_size: float
    implicitness: float
    affine_start: bool
    fitted: bool = False


@dataclass(frozen=True)
class StepObjective:
    """The objective of one JKO step; ``internal`` is U, ``implicitness`` θ and ``interaction`` W.

    With a ``weight`` Θ the step is a fitted one, and ``implicitness`` is 1.
    """

    potential: Potential
    internal: InternalEnergy | None
    step_size: float
    implicitness: float
    interaction: Interaction | None = None
    weight: FittedWeight | None = None

    @property
    def carries(self) -> bool:
        """Whether the step depends on the density of the particles."""
        return not isinstance(self.internal, Entropy | None)

    def potential_gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Return ∇V at ``x`` (n, D), shape (n, D).

        Raises ``ValueError`` where the potential gives another shape.
        """
        return gradient_at(self.potential, x)

    def field(self, place: torch.Tensor) -> torch.Tensor:
        """Return the gradient of the interaction at the whole batch ``place`` x_θ (n, D), shape (n, D); 0 if none."""
        return torch.zeros_like(place) if self.interaction is None else field(self.interaction, place)

    def pressure(self, log_density: torch.Tensor) -> torch.Tensor:
        """Return P/ρ at log ρ_θ = ``log_density`` (n,), shape (n,); 0 without internal energy."""
        return torch.zeros_like(log_density) if self.internal is None else self.internal.pressure(log_density)

    def trouble(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor, log_density: torch.Tensor | None = None
    ) -> str:
        """Return in words why derivatives at ``x`` (n, D) are not finite, given T (n, D) and ∇T (n, D, D) there."""
        place, matrix = self.intermediate(x, mapped, hessian)
        bad = int((~torch.isfinite(self.potential.gradient(place))).any(dim=1).sum())
        if bad and bool(torch.isfinite(place).all()):
            return f"the gradient of the potential is not finite at {bad} of {len(x)} points"
        bad = int((~torch.isfinite(self.field(place))).any(dim=1).sum())
        if bad and bool(torch.isfinite(place).all()):
            return f"the gradient of the interaction is not finite at {bad} of {len(x)} points"
        factor, failed = torch.linalg.cholesky_ex(matrix)
        indefinite = int((failed != 0).sum())
        if indefinite:
            return f"∇T is not positive definite at {indefinite} of {len(x)} points"
        if log_density is not None:
            bad = int((~torch.isfinite(self.pressure(log_density - self.log_dets(factor)))).sum())
            if bad:
                return f"the pressure of the internal energy is not finite at {bad} of {len(x)} points"
        return "the gradient of the objective is not finite"

    def values(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor, log_density: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return what the objective averages, less its value for T = identity, at each point, shape (n,).

        ``x`` and T(x) = ``mapped`` are (n, D), ∇T(x) = ``hessian`` is (n, D, D), ``log_density`` log ρ_k (n,). The
        points interact with each other. NaN where ∇T is not positive definite.
        """
        place, matrix = self.intermediate(x, mapped, hessian)
        factor, failed = torch.linalg.cholesky_ex(matrix)
        log_det = torch.where(failed == 0, self.log_dets(factor), torch.nan)
        energy = self.potential.value(place) - self.potential.value(x)
        if isinstance(self.internal, Entropy):
            energy = energy - log_det / self.internal.inverse_temperature
        elif self.internal is not None:
            assert log_density is not None
            energy = energy + self.internal.energy(log_density - log_det) - self.internal.energy(log_density)
        if self.interaction is not None:
            energy = energy + 0.5 * (mean_values(self.interaction, place) - mean_values(self.interaction, x))
        values: torch.Tensor = self.distances(mapped - x) + energy / self.implicitness
        return values

    def distances(self, moved: torch.Tensor) -> torch.Tensor:
        """Return the part of the objective that is the distance, of points that T has ``moved`` (n, D), shape (n,)."""
        square = moved.square() if self.weight is None else moved * self.weight.applied(moved)
        return square.sum(1) / (2 * self.step_size)

    def weighted(self, along: torch.Tensor) -> torch.Tensor:
        """Return T̄ (n, D) given (T(x)-x)/h + ∇V(x_θ) + E_y ∇W(x_θ - y_θ) = ``along`` (n, D)."""
        return along if self.weight is None else self.weight.applied(along)

    def log_dets(self, factor: torch.Tensor) -> torch.Tensor:
        """Return log det M from the Cholesky factors (n, D, D) of what ``intermediate`` gives for M, shape (n,)."""
        return log_dets(factor) if self.weight is None else log_dets(factor) + self.weight.log_det.to(factor)

    def intermediate(
        self, x: torch.Tensor, mapped: torch.Tensor, hessian: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x_θ and M_θ at ``x`` (…, D) for T(x) = ``mapped`` and ∇T(x) = ``hessian`` (…, D, D).

        Of a fitted step it is Θ⁻¹ M_Θ = Θ⁻¹ - I + ∇T, which is symmetric: its inverse is what H̄ has.
        """
        if self.weight is not None:
            return self.intermediate_places(x, mapped), hessian + self.weight.excess.to(hessian)
        if self.implicitness == 1:
            return mapped, hessian
        matrix = self.implicitness * hessian
        matrix.diagonal(dim1=-2, dim2=-1).add_(1 - self.implicitness)
        return self.intermediate_places(x, mapped), matrix

    def intermediate_places(self, x: torch.Tensor, mapped: torch.Tensor) -> torch.Tensor:
        """Return x_θ at ``x`` (…, D) for T(x) = ``mapped`` (…, D)."""
        if self.weight is not None:
            return x + self.weight.applied(mapped - x)
        return mapped if self.implicitness == 1 else torch.lerp(x, mapped, self.implicitness)


def gradient_at(potential: Potential, x: torch.Tensor) -> torch.Tensor:
    """Return ∇V at ``x`` (n, D), shape (n, D).

    Raises ``ValueError`` where the potential gives another shape.
    """
    return checked(potential.gradient(x), x)


def checked(slope: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return ∇V = ``slope`` at ``x`` (n, D); raises ``ValueError`` where it has another shape."""
    if slope.shape != x.shape:
        raise ValueError(f"the potential's gradient at points {tuple(x.shape)} has shape {tuple(slope.shape)}")
    return slope


def derivatives_of(
    objectives: Sequence[StepObjective],
    x: torch.Tensor,
    mapped: torch.Tensor,
    hessian: torch.Tensor,
    log_density: torch.Tensor | None = None,
    fields: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T̄ (S, n, D) and H̄ (S, n, D, D) of S objectives of one θ, or Θ each, at their own ``x`` (S, n, D).

    ``mapped`` is T(x) and ``hessian`` ∇T(x); ``log_density`` log ρ_k (S, n) where an objective carries it, ``fields``
    (S, n, D) the gradients of the interactions where there are any. T̄ is NaN where ∇T is not positive definite, and
    not finite where ∇V is not. Potentials are asked one by one, all else is done at once.
    """
    along, matrix = along_of(objectives, x, mapped, hessian, fields)
    if all(own.internal is None for own in objectives):
        return along, torch.zeros_like(hessian)
    inverse, factor, there = inverse_of(matrix)
    mapped_bar, hessian_bar = torch.where(there, along, torch.nan), inverse
    betas = [own.internal.inverse_temperature for own in objectives if isinstance(own.internal, Entropy)]
    if len(betas) == len(objectives):
        for part, beta in zip([hessian_bar] if len(set(betas)) == 1 else hessian_bar, betas, strict=False):
            part.div_(-beta)
        return mapped_bar, hessian_bar
    reached = -log_dets(factor).view(x.shape[:2])
    weights = [own.weight for own in objectives if own.weight is not None]
    if weights:
        reached = reached - torch.stack([own.log_det for own in weights]).to(reached)[:, None]
    if log_density is not None:
        reached = reached + log_density
    for part, own, at in zip(hessian_bar, objectives, reached, strict=True):
        if isinstance(own.internal, Entropy):  # to the bits of a batch of entropies alone
            part.div_(-own.internal.inverse_temperature)
        else:
            part.mul_(own.pressure(at).neg_()[:, None, None])
    return mapped_bar, hessian_bar


def along_of(
    objectives: Sequence[StepObjective],
    x: torch.Tensor,
    mapped: torch.Tensor,
    hessian: torch.Tensor,
    fields: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return T̄ (S, n, D) of ``derivatives_of``, and M_θ (S, n, D, D) as ``StepObjective.intermediate`` gives it."""
    scheme, weights = objectives[0], [own.weight for own in objectives if own.weight is not None]
    if weights:
        pairs = [own.intermediate(*at) for own, *at in zip(objectives, x, mapped, hessian, strict=True)]
        place, matrix = (torch.stack(parts) for parts in zip(*pairs, strict=True))
    else:
        place, matrix = scheme.intermediate(x, mapped, hessian)
    slope = torch.stack([own.potential_gradient(at) for own, at in zip(objectives, place, strict=True)])
    if fields is not None:
        slope = slope + fields
    steps = [own.step_size for own in objectives]
    moved = mapped - x
    if len(set(steps)) == 1:
        along = moved / steps[0] + slope
    else:
        along = torch.stack([part / step for part, step in zip(moved, steps, strict=True)]).add_(slope)
    if weights:
        along = torch.stack([own.applied(part) for own, part in zip(weights, along, strict=True)])
    return along, matrix


def log_dets(factor: torch.Tensor) -> torch.Tensor:
    """Return log det A from the Cholesky factors of A (n, D, D), shape (n,)."""
    log_det: torch.Tensor = 2 * factor.diagonal(dim1=1, dim2=2).log().sum(1)
    return log_det
