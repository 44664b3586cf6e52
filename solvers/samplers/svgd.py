"""Stein variational gradient descent: particles that descend the KL divergence along the steepest direction in an RKHS.

Particles x_1, …, x_n move together by x_i ← x_i + ε_i φ(x_i) with (Liu, Wang, Advances in Neural Information Processing
Systems 29, 2016, algorithm 1)

    φ(x) = n⁻¹ Σ_j [ k(x_j, x) s(x_j) + ∇_{x_j} k(x_j, x) ],    s = -β∇V = ∇log p,

which raises -KL(q‖p) fastest among the directions of unit norm in the kernel's space. The first term draws particles
to where p is large, the second keeps them apart. For k = κ(‖x-y‖²/h) and w = -κ' it is

    φ(x_i) = n⁻¹ [ Σ_j κ_ij s(x_j) + (2/h) Σ_j w_ij (x_i - x_j) ].

With a preconditioner Q the kernel is the matrix k(x, y) = Q⁻¹ κ(‖x-y‖²_Q/h) (Wang, Tang, Bajaj, Liu, Advances in Neural
Information Processing Systems 32, 2019, section 3.2), and

    φ(x) = n⁻¹ Q⁻¹ Σ_j [ κ_j s(x_j) + ∇_{x_j} κ_j ],

which is the same as moving y = Q^{½} x by the scores Q^{-½} s with the plain kernel. Where Q is the mean curvature of
βV (``solvers.preconditioning.curvature``), narrow and wide directions relax equally fast.

With few particles in many dimensions the second term is too weak, and the particles' variance collapses (Ba et al.,
International Conference on Learning Representations, 2022). At the fixed point of 500 particles for N(0, I) the mean
variance of a coordinate, which should be 1, is with the bandwidth of the median heuristic

    D       2     5    10    20    50   100   200
    rbf   0.97  0.84  0.60  0.36  0.11  0.06  0.03
    imq   0.99  0.95  0.91  0.88  0.78  0.64  0.46

and, of 2000 at D = 50, 0.18 and 0.91.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import DTYPES
from problems.flow import GradientFlow
from problems.potentials import FiniteSum, Potential
from problems.problem import Problem
from problems.validation import require_choice, require_counts, require_positive
from solvers.estimates import Particles
from solvers.origin import origin_of, potential_about
from solvers.preconditioning.curvature import PRECONDITIONERS, Preconditioner, mean_curvature, without_hessian
from solvers.samplers.optimisers import OPTIMISERS, Optimiser
from solvers.samplers.stein import (
    KERNELS,
    TILE_ELEMENTS,
    Kernel,
    kernel_stein_discrepancy,
    median,
    squared_distances,
    squared_norms,
)
from solvers.solver import Cost, Diverged, Solution, Solver
from solvers.threads import Run, workers

# Particles whose distances the median heuristic looks at.
MEDIAN_PARTICLES = 1024

# Points at which a thread evaluates the gradient at a time.
GRADIENT_BLOCK = 512

# The preconditioner is taken anew after 1/8, 1/4 and 1/2 of the iterations.
PRECONDITIONER_HALVINGS = 3


class Coincident(Diverged):
    """The error of particles that are too near to one another for a bandwidth."""


def stein_direction(
    points: torch.Tensor, scores: torch.Tensor, kernel: Kernel, bandwidth: float | None, run: Run
) -> tuple[torch.Tensor, float]:
    """Return φ at each of ``points`` (n, D) with ``scores`` s (n, D), shape (n, D), and the bandwidth h.

    ``bandwidth=None`` takes the median heuristic. Pairs are worked off in tiles of constant size.

    Raises ``Coincident`` where the median distance cannot be told from 0.
    """
    n = points.shape[0]
    # Differences are all that matters, and they lose fewer digits near the origin.
    x = torch.sub(points, points.sum(0), alpha=1 / n)
    norms = squared_norms(x)
    rows = max(1, TILE_ELEMENTS[points.device.type] // n)
    whole = squared_distances(x, norms, x, norms) if n <= rows else None
    if bandwidth is None:
        middle = median(_some_distances(x, norms) if whole is None else whole)
        if middle <= 8 * torch.finfo(x.dtype).eps * float(norms.max()):
            raise Coincident(f"the median of their squared distances, {middle:.3g}, is nothing but rounding")
        bandwidth = middle / math.log(n + 1)
    scale = 2 / bandwidth
    drawn = torch.sub(scores, x, alpha=scale)

    def at(squared: torch.Tensor, block: torch.Tensor) -> torch.Tensor:
        value, slope = kernel.weigh(squared, bandwidth)
        away = slope.sum(1, keepdim=True) * block
        if slope is value:
            return away.addmm_(value, drawn, beta=scale / n, alpha=1 / n)
        return away.addmm_(slope, x, alpha=-1).addmm_(value, scores, beta=scale / n, alpha=1 / n)

    if whole is not None:
        return at(whole, x), bandwidth
    blocks = zip(x.split(rows), norms.split(rows), strict=True)
    parts = run(lambda block: at(squared_distances(*block, x, norms), block[0]), blocks)
    return torch.cat(parts), bandwidth


def _some_distances(x: torch.Tensor, norms: torch.Tensor) -> torch.Tensor:
    some, own = x[:MEDIAN_PARTICLES], norms[:MEDIAN_PARTICLES]
    return squared_distances(some, own, some, own)


@dataclass(frozen=True, kw_only=True)
class SVGD(Solver):
    """SVGD moves ``particles`` ``iterations`` times from the initial law to the stationary law exp(-βV) only.

    ``bandwidth`` is h of ``kernel`` ("rbf" or "imq"), a squared length; ``None`` takes the median heuristic anew in
    every iteration. Beyond 1024 particles it looks at the distances among the first 1024 of them, which are as good as
    any, since the draws they started from are exchangeable.

    ``preconditioner`` is "identity" or "hessian": Q is then the mean Hessian of βV at the particles, taken at the start
    and after an eighth, a quarter and half of the iterations, each time with an optimiser that starts afresh, so that
    the particles come to rest under one kernel. ``bandwidth`` and ``learning_rate`` refer to coordinates in which the
    law is about as wide as N(0, I), where Adam and AdaGrad go about ``learning_rate`` an iteration at most: from an
    initial law that is hundreds of deviations wide some particles would not arrive in time.

    ``minibatch`` estimates ∇V from minibatches where the potential is a sum over cases, ``None`` takes all of them.
    ``optimiser`` is "adagrad" (as published), "adam" or "descent" (steps of ``learning_rate`` φ).

    Diagnostics: ``ksd``, the kernel Stein discrepancy of the answer, and ``ksd_exact_draws``, its size for as many
    exact draws; ``direction_rms``, the root mean square of φ in the last iteration, 0 at a fixed point; ``bandwidth``.
    The last two are in the coordinates y of the preconditioner.

    Raises ``ValueError`` for settings out of range.
    """

    name: ClassVar[str] = "svgd"
    stationary_only: ClassVar[bool] = True
    particles: int = 1000
    iterations: int = 1000
    learning_rate: float = 0.05
    optimiser: str = "adagrad"
    kernel: str = "rbf"
    bandwidth: float | None = None
    preconditioner: str = "identity"
    minibatch: int | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        require_counts(self.name, iterations=self.iterations)
        # One particle repels no other.
        require_counts(self.name, at_least=2, particles=self.particles)
        require_positive(self.name, learning_rate=self.learning_rate)
        require_choice(self.name, "optimiser", self.optimiser, tuple(OPTIMISERS))
        require_choice(self.name, "kernel", self.kernel, tuple(KERNELS))
        if self.bandwidth is not None:
            require_positive(self.name, bandwidth=self.bandwidth)
        require_choice(self.name, "preconditioner", self.preconditioner, PRECONDITIONERS)
        if self.minibatch is not None:
            require_counts(self.name, minibatch=self.minibatch)
        require_choice(self.name, "dtype", self.dtype, tuple(DTYPES))

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def not_alike(self) -> Mapping[str, str]:
        if self.preconditioner != "identity":
            return {}
        reason = "learning_rate is a length, with preconditioner 'hessian' one in deviations of the law"
        return {"small units": reason, "large units": reason}

    def unsupported(self, problem: Problem) -> str | None:
        if (
            self.preconditioner == "hessian"
            and (why := without_hessian(self.preconditioner, problem.flow.potential)) is not None
        ):
            return why
        if self.minibatch is not None:
            potential = problem.flow.potential
            if not isinstance(potential, FiniteSum):
                return f"minibatch is {self.minibatch}, but {type(potential).__name__} is no sum over cases"
            if self.minibatch > potential.cases:
                return f"minibatch {self.minibatch} is larger than the number of cases, {potential.cases}"
        return None

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the final particles (n, D) as the answer at every time.

        Raises ``Diverged`` where particles coincide, or φ or the preconditioner is not finite.
        """
        flow = problem.flow
        dtype = DTYPES[self.dtype]
        # Minibatches are asked where the points are; where they are far from the origin that wants float64.
        origin = origin_of(flow.initial, dtype) if self.minibatch is None else None
        drawn = flow.initial.sample(self.particles, generator)
        points = (drawn if origin is None else drawn - origin).to(device, dtype, copy=True)
        potentials = self._potentials(potential_about(flow.potential, origin, device, dtype), generator)
        kernel, beta, renewals = KERNELS[self.kernel], flow.inverse_temperature, self._renewals()
        with torch.no_grad(), workers() as run:
            for iteration, potential in enumerate(itertools.islice(potentials, self.iterations), 1):
                if iteration in renewals:
                    preconditioner, optimiser = (
                        self._preconditioner(flow, points, origin, run, iteration),
                        self._optimiser(),
                    )
                    flat = preconditioner.to_coordinates(points)
                scores = _gradients(potential, points, run).mul_(-beta)
                try:
                    direction, bandwidth = stein_direction(
                        flat, preconditioner.gradient_in(scores), kernel, self.bandwidth, run
                    )
                except Coincident as error:
                    raise Diverged(f"the particles coincide {self._at(iteration)}: {error}") from error
                length = float(torch.linalg.vector_norm(direction))
                if not math.isfinite(length):
                    raise Diverged(self._fault(iteration, points, scores))
                optimiser.move(flat, direction)
                points = preconditioner.from_coordinates(flat)
            answer = points.to("cpu", torch.float64)
            answer = answer if origin is None else answer + origin
            scores = _gradients(flow.potential, answer, run).mul_(-beta)
            discrepancy, of_exact_draws = kernel_stein_discrepancy(answer, scores, run)
        return Solution(
            flow.times,
            tuple(Particles(answer) for _ in flow.times),
            Cost(gradient_evaluations=self.particles * (self.iterations + 1)),
            {
                "ksd": discrepancy,
                "ksd_exact_draws": of_exact_draws,
                "direction_rms": length / math.sqrt(points.numel()),
                "bandwidth": bandwidth,
            },
        )

    def _renewals(self) -> set[int]:
        """Return the iterations before which the preconditioner is taken."""
        halvings = range(1, PRECONDITIONER_HALVINGS + 1) if self.preconditioner == "hessian" else ()
        return {1} | {1 + (self.iterations >> halving) for halving in halvings}

    def _preconditioner(
        self, flow: GradientFlow, points: torch.Tensor, origin: torch.Tensor | None, run: Run, iteration: int
    ) -> Preconditioner:
        if self.preconditioner == "identity":
            return Preconditioner()
        potential = potential_about(flow.potential, origin, points.device, torch.float64)
        try:
            return mean_curvature(potential, points, flow.inverse_temperature, run)
        except Diverged as error:
            raise Diverged(f"{error} {self._at(iteration)}") from error

    def _optimiser(self) -> Optimiser:
        return OPTIMISERS[self.optimiser](self.learning_rate)

    def _potentials(self, potential: Potential, generator: torch.Generator) -> Iterator[Potential]:
        if self.minibatch is None:
            return itertools.repeat(potential)
        assert isinstance(potential, FiniteSum)
        return potential.minibatches(self.minibatch, generator)

    def _at(self, iteration: int) -> str:
        return f"in iteration {iteration} of {self.iterations}"

    def _fault(self, iteration: int, points: torch.Tensor, scores: torch.Tensor) -> str:
        """Return why φ is not finite."""
        bad = int((~torch.isfinite(scores)).any(dim=1).sum())
        if bad:
            return f"∇V is not finite at {bad} of {len(points)} particles {self._at(iteration)}"
        return f"φ overflows {self._at(iteration)}; a learning_rate below {self.learning_rate:g} may help"


def _gradients(potential: Potential, points: torch.Tensor, run: Run) -> torch.Tensor:
    """Return ∇V at ``points`` (n, D), a new tensor (n, D)."""
    if points.shape[0] <= GRADIENT_BLOCK or points.device.type != "cpu":
        return potential.gradient(points)
    return torch.cat(run(potential.gradient, points.split(GRADIENT_BLOCK)))
