"""A constant metric Q for particles and flows: the curvature of the stationary law.

In the coordinates y = Q^{½} (x - c) distances are ‖x-x'‖²_Q = (x-x')ᵀ Q (x-x') and a gradient or score g in x becomes
Q^{-½} g. Two curvatures serve:

    Q = ∇²V(x*)     at the mode x* = c, for flows in y: as far as V is quadratic all directions relax as e^{-t}, and
                    the stationary law exp(-βV) is that of the flow in x;
    Q = |E β∇²V|    the mean over particles, every eigenvalue λ of it replaced by max(|λ|, 10⁻⁸ λ_max): all directions
                    of N(b, (βA)⁻¹) are equally wide. Where V is not convex the mean curvature need not be positive: |λ|
                    is then as large as the rate at which particles leave the saddle, and Newton's method uses it so
                    (``solvers.preconditioning.newton_mode``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from problems.devices import placed
from problems.flow import GradientFlow
from problems.gaussian_expectations import Expectations, KnownUnderGaussians
from problems.linear_algebra import symmetrised
from problems.potentials import Potential
from problems.problem import Problem
from solvers.maps import InvertibleMap
from solvers.preconditioning.newton_mode import find_mode
from solvers.solver import Diverged
from solvers.threads import Run, one_thread

METRICS = ("identity", "hessian")

# The most steps that Newton's method may take to the mode.
NEWTON_STEPS = 200

# Particles over which the Hessian is averaged, the first ones, and those that a thread works on at a time.
HESSIAN_PARTICLES = 128
HESSIAN_BLOCK = 8

# Least eigenvalue of Q beside the largest, far below what float32 can tell.
SINGULAR = 1e-8


@dataclass(frozen=True)
class Metric:
    """Q by its symmetric ``root`` Q^{½} and ``inverse_root`` Q^{-½}, both (D, D); ``None`` stands for Q = I.

    ``centre`` c (D,) is where the coordinates y = Q^{½} (x - c) have their origin; ``None`` stands for 0.
    """

    root: torch.Tensor | None = None
    inverse_root: torch.Tensor | None = None
    centre: torch.Tensor | None = None

    @classmethod
    def of(cls, curvature: torch.Tensor, centre: torch.Tensor | None = None) -> Metric:
        """Return Q = |H| of a symmetric matrix H (D, D) that is finite and not 0."""
        rates, basis = torch.linalg.eigh(symmetrised(curvature))
        sizes = rates.abs()
        roots = sizes.clamp(min=SINGULAR * float(sizes.max())).sqrt()
        return cls((basis * roots) @ basis.T, (basis / roots) @ basis.T, centre)

    def flat(self, points: torch.Tensor) -> torch.Tensor:
        """Return y = Q^{½} (x - c) of ``points`` x (n, D)."""
        from_centre = points if self.centre is None else points - self.centre
        return from_centre if self.root is None else from_centre @ self.root

    def points(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the points x = c + Q^{-½} y (n, D) of ``flat`` y."""
        from_centre = flat if self.inverse_root is None else flat @ self.inverse_root
        return from_centre if self.centre is None else from_centre + self.centre

    def scores(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, or gradients, in the coordinates y of those in x, ``scores``, both (n, D)."""
        return scores if self.inverse_root is None else scores @ self.inverse_root

    def seen(self, potential: Potential) -> Potential:
        """Return V as a function of y, with the metric's device and dtype."""
        if self.inverse_root is None:
            return potential
        return (SeenUnderGaussians if isinstance(potential, KnownUnderGaussians) else Seen)(potential, self)

    def carried(self, step: InvertibleMap) -> InvertibleMap:
        """Return, as a map of points x, what ``step`` is in the coordinates y."""
        return step if self.inverse_root is None else Carried(step, self)


@dataclass(frozen=True, eq=False)
class Seen(Potential):
    """y ↦ V(c + Q^{-½} y)."""

    potential: Potential
    metric: Metric

    @property
    def dim(self) -> int:
        return self.potential.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.potential.value(self.metric.points(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.metric.scores(self.potential.gradient(self.metric.points(x)))

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = self.potential.value_and_gradient(self.metric.points(x))
        return value, self.metric.scores(gradient)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        half = self.metric.scores(self.potential.hessian(self.metric.points(x)))
        return self.metric.scores(half.mT)


@dataclass(frozen=True, eq=False)
class SeenUnderGaussians(Seen):
    """The same, for a potential that knows its averages over Gaussians."""

    def expectations(self, mean: torch.Tensor, covariance: torch.Tensor) -> Expectations:
        inverse_root = self.metric.inverse_root
        assert isinstance(self.potential, KnownUnderGaussians)
        assert inverse_root is not None
        known = self.potential.expectations(self.metric.points(mean), inverse_root @ covariance @ inverse_root)
        return Expectations(known.value, known.gradient @ inverse_root, inverse_root @ known.hessian @ inverse_root)


@dataclass(frozen=True, eq=False)
class Carried(InvertibleMap):
    """T as a map of x, whose Jacobian has the determinant of ∇T."""

    step: InvertibleMap
    metric: Metric

    def push(self, x: torch.Tensor) -> torch.Tensor:
        return self.metric.points(self.step.push(self.metric.flat(x)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, log_det = self.step.forward(self.metric.flat(x))
        return self.metric.points(mapped), log_det

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, log_det = self.step.inverse(self.metric.flat(y))
        return self.metric.points(x), log_det


def metric_of(name: str, flow: GradientFlow) -> Metric:
    """Return Q = I for the name "identity", and for "hessian" Q = ∇²V(x*) at the mode x*, the centre, float64.

    That mode is the one that Newton's method reaches from the mean of the initial law; raises ``Diverged`` where it
    reaches none.
    """
    if name == "identity":
        return Metric()
    start, _ = flow.initial.moments()
    with torch.no_grad(), one_thread():
        try:
            mode = find_mode(flow.potential, flow.inverse_temperature, start, NEWTON_STEPS)
        except Diverged as error:
            raise Diverged(f"metric {name}: {error}; metric identity needs no mode") from error
        return Metric.of(mode.hessian, mode.point)


def unsupported_metric(name: str, problem: Problem) -> str | None:
    """Return why the metric called ``name`` cannot stand in for the problem's own, or ``None`` where it can."""
    if name == "identity":
        return None
    if not problem.stationary:
        return f"metric {name} is for stationary problems only: the flow in it is another"
    return without_hessian(name, problem.flow.potential)


def mean_curvature(potential: Potential, points: torch.Tensor, beta: float, run: Run) -> Metric:
    """Return the metric Q = |E β∇²V|, the mean over the first 128 of ``points`` (n, D), in their dtype.

    Raises ``Diverged`` where the Hessian is not finite at one of them, or is 0.
    """
    some = points[:HESSIAN_PARTICLES].double()
    parts = run(lambda block: potential.hessian(block).sum(0), some.split(HESSIAN_BLOCK))
    hessian = torch.stack(parts).sum(0).mul_(beta / len(some)).cpu()
    if not bool(torch.isfinite(hessian).all()):
        raise Diverged("the mean of ∇²V is not finite")
    if not bool(hessian.any()):
        raise Diverged("the mean of ∇²V is 0")
    return placed(Metric.of(hessian), points.device, points.dtype)


def without_hessian(name: str, potential: Potential) -> str | None:
    """Return why ∇²V, tried at the origin, is not there for the metric called ``name``, or ``None`` where it is."""
    try:
        potential.hessian(torch.zeros(1, potential.dim, dtype=torch.float64))
    except (NotImplementedError, RuntimeError, TypeError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        return f"metric {name} needs ∇²V, which {type(potential).__name__} does not give: {said}"
    return None
