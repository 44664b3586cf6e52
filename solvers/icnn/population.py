"""The particles of one flow, in coordinates of their own: those that steps are trained on, and others to judge them.

The coordinates are chosen anew before every step, so that the particles have the mean 0 and variances of mean 1
(``solvers.icnn.units``). Along the maps T_k the density of a particle is known,

    log ρ_{k+1}(T_k(x)) = log ρ_k(x) - log det ∇T_k(x),

and with it the energy ∫U(ρ) = E[U(ρ)/ρ] of a compact or heavy-tailed law that no kernel estimate would meet. Under an
entropy alone it is their score that they carry (``solvers.icnn.path_forces``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from problems.energies import Entropy
from problems.flow import GradientFlow
from problems.laws import Density
from solvers.icnn.parameter_gradients import pushed, pushed_with_density, pushed_with_score
from solvers.icnn.settings import ICNNSettings
from solvers.icnn.units import Frame
from solvers.networks.convex_network import Weights
from solvers.particles.particle_pool import spread_draws, stratified_draws
from solvers.preconditioning.curvature import Preconditioner
from solvers.solver import Diverged
from solvers.threads import Run

# Fresh particles, and those of the pool on which a step is looked at.
EXAMINED = 8192
BLOCK = 4096
HELD = ("pool", "fresh", "pool_density", "fresh_density")
"""What a population holds, beside its coordinates."""
# Least variance of the particles in a direction beside the largest that their rounding leaves a meaning.
FLATTEST = 1e-13


@dataclass(eq=False)
class Population:
    """A population is the particles of one flow: ``pool`` (n, D) are trained on, ``fresh`` (m, D) no training sees.

    They are in the coordinates ``frame``; ``pool_density`` (n,) and ``fresh_density`` (m,) are their log-densities
    there, where they are ``carried``: they are 0 for an entropy alone, where nothing asks for them, and at first for a
    law without density. ``scores`` (n, D) are those of ``pool``, in the same coordinates, where they are carried: under
    an entropy alone, from an initial law that has any.
    """

    pool: torch.Tensor
    fresh: torch.Tensor
    pool_density: torch.Tensor
    fresh_density: torch.Tensor
    frame: Frame
    carried: bool = True
    scores: torch.Tensor | None = None

    @classmethod
    def drawn_from(
        cls,
        flow: GradientFlow,
        settings: ICNNSettings,
        preconditioner: Preconditioner,
        generator: torch.Generator,
        device: torch.device,
        carry_scores: bool = False,
    ) -> Population:
        """Return particles of the initial law, in coordinates of those of ``preconditioner``, on ``device``."""
        dtype, alone = settings.torch_dtype, entropic(flow)
        draws = (spread_draws if alone else stratified_draws)(flow.initial, settings.pool_size, generator)
        fresh = flow.initial.sample(EXAMINED, generator)
        pool = preconditioner.to_coordinates(draws)
        frame = Frame.about(pool)

        def density(points: torch.Tensor) -> torch.Tensor:
            if alone or not isinstance(flow.initial, Density):
                return torch.zeros(len(points), device=device, dtype=dtype)
            return (flow.initial.log_prob(points) + frame.log_volume).to(device, dtype)

        scores = score_of(flow, draws) if carry_scores else None
        if scores is not None:
            scores = (preconditioner.gradient_in(scores) * frame.length).to(device, dtype)
        return cls(
            frame.inside(pool).to(device, dtype),
            frame.inside(preconditioner.to_coordinates(fresh)).to(device, dtype),
            density(draws),
            density(fresh),
            frame,
            carried=not alone,
            scores=scores,
        )

    def sort(self) -> None:
        """Put the particles that are trained on, on the line, in their order."""
        self.pool, order = self.pool.sort(0)
        self.pool_density = self.pool_density[order[:, 0]]
        self.scores = None if self.scores is None else self.scores[order[:, 0]]

    def matched(self, power: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return what gives the log-densities (n,) of a batch, by its places in the pool, moved by one constant.

        The batch then has the pool's mean of ρ to the ``power`` m - 1, as it has its moments (``particle_pool``): in
        the energy of an affine map, all that a Barenblatt law's step depends on, no noise is left.
        """
        return partial(_matched, self.pool_density, torch.exp(power * self.pool_density).mean(), power)

    def outside(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``pool`` (n, D) and ``fresh`` (m, D) in the coordinates about which the frame is, on the CPU."""
        return self.frame.outside(self.pool.cpu()), self.frame.outside(self.fresh.cpu())

    def fresh_outside(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``fresh`` (m, D) in those coordinates, where they are, and their log-densities (m,), float64."""
        return self.frame.outside(self.fresh), self.fresh_density.double() - self.frame.log_volume

    def replace(self, pool: torch.Tensor, fresh: torch.Tensor, scores: torch.Tensor | None) -> None:
        """Replace all particles by ``pool`` (n, D) and ``fresh`` (m, D) of those coordinates, densities left alone.

        ``scores`` (n, D) are those of the pool, in the same coordinates, where they are carried.
        """
        self.frame = Frame.about(pool)
        self.pool, self.fresh = self.frame.inside(pool).to(self.pool), self.frame.inside(fresh).to(self.fresh)
        self.scores = None if scores is None else (scores * self.frame.length).to(self.pool)

    def flatness(self) -> str | None:
        """Return in words that the pool lies in a subspace, as far as rounding can tell, or ``None`` if not."""
        spectrum = torch.linalg.eigvalsh((self.pool.double().T @ self.pool.double() / len(self.pool)).cpu())
        least, most = float(spectrum[0]), float(spectrum[-1])
        if least > FLATTEST * most:
            return None
        return f"the covariance of the particles has no full rank (its least eigenvalue is {least:.3g} of {most:.3g})"

    def move(self, weights: Weights, step: tuple[torch.Tensor, torch.Tensor] | None, run: Run) -> Frame:
        """Move all particles by ∇ψ of one network (S = 1), or by x ↦ Sx + b where ``step`` is S (D, D) and b (D,).

        Returns the new coordinates, in terms of those before. Raises ``Diverged`` where all particles come to be in a
        point; none is then moved.
        """

        def moved(points: torch.Tensor, density: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            if step is None:
                if not self.carried:
                    return pushed(weights, points, run), density
                return pushed_with_density(weights, points, density, run)
            matrix, shift = step
            log_det = float(torch.linalg.slogdet(matrix).logabsdet)
            parts = run(lambda x: (x.double() @ matrix.to(x.device) + shift.to(x.device)).to(x), points.split(BLOCK))
            return torch.cat(parts), density - log_det

        pool, pool_density, scores = self.pool, self.pool_density, self.scores
        if scores is None:
            pool, pool_density = moved(pool, pool_density)
        elif step is None:
            pool, scores = pushed_with_score(weights, pool, scores, run)
        else:
            pool, _ = moved(pool, pool_density)
            scores = (scores.double() @ torch.linalg.inv(step[0]).to(scores.device)).to(scores)
        fresh, fresh_density = moved(self.fresh, self.fresh_density)
        inner = Frame.about(pool)
        if not (math.isfinite(inner.length) and inner.length > 0):
            raise Diverged("the particles have gathered in a point")
        self.pool, self.fresh, self.frame = inner.inside(pool), inner.inside(fresh), self.frame.then(inner)
        self.scores = None if scores is None else scores * inner.length
        if self.carried:
            self.pool_density, self.fresh_density = pool_density + inner.log_volume, fresh_density + inner.log_volume
        return inner


def entropic(flow: GradientFlow) -> bool:
    """Return whether the free energy is an entropy and a potential, under which densities need not be carried."""
    return isinstance(flow.energy.internal, Entropy) and flow.energy.interaction is None


def score_of(flow: GradientFlow, points: torch.Tensor) -> torch.Tensor | None:
    """Return the score of the initial law at ``points`` (n, D), or ``None`` where steps do not go by it."""
    return flow.initial.score(points) if entropic(flow) and isinstance(flow.initial, Density) else None


def scored(flow: GradientFlow) -> bool:
    """Return whether particles carry scores: under an entropy alone, from an initial law that has one everywhere."""
    return score_of(flow, flow.initial.moments()[0][None]) is not None


def _matched(density: torch.Tensor, mean: torch.Tensor, power: float, places: torch.Tensor) -> torch.Tensor:
    own = density[places]
    return own + (mean / torch.exp(power * own).mean()).log() / power
