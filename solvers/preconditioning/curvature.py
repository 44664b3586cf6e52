"""A constant preconditioner Q for particles and flows: the curvature of the stationary law.

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

from problems.devices import to_device
from problems.flow import GradientFlow
from problems.gaussian_expectations import Expectations, KnownUnderGaussians
from problems.linear_algebra import symmetrised
from problems.potentials import Potential
from problems.problem import Problem
from solvers.maps import ScoreCarryingMap
from solvers.preconditioning.newton_mode import find_mode
from solvers.solver import Diverged
from solvers.threads import Run, one_thread

PRECONDITIONERS = ("identity", "hessian")

# The most steps that Newton's method may take to the mode.
NEWTON_STEPS = 200

# Particles over which the Hessian is averaged, the first ones, and those that a thread works on at a time.
HESSIAN_PARTICLES = 128
HESSIAN_BLOCK = 8

# Least eigenvalue of Q beside the largest, far below what float32 can tell.
SINGULAR = 1e-8


@dataclass(frozen=True)
class Preconditioner:
    """A preconditioner changes coordinates by a symmetric, positive definite matrix Q (D, D).

    It holds Q^{½} as ``root`` and Q^{-½} as ``inverse_root``, both (D, D); ``None`` stands for Q = I.
    ``centre`` c (D,) is where the coordinates y = Q^{½} (x - c) have their origin; ``None`` stands for 0.
    """

    root: torch.Tensor | None = None
    inverse_root: torch.Tensor | None = None
    centre: torch.Tensor | None = None

    @classmethod
    def of(cls, curvature: torch.Tensor, centre: torch.Tensor | None = None) -> Preconditioner:
        """Return Q = |H| of a symmetric matrix H (D, D) that is finite and not 0."""
        rates, basis = torch.linalg.eigh(symmetrised(curvature))
        sizes = rates.abs()
        roots = sizes.clamp(min=SINGULAR * float(sizes.max())).sqrt()
        return cls((basis * roots) @ basis.T, (basis / roots) @ basis.T, centre)

    def to_coordinates(self, points: torch.Tensor) -> torch.Tensor:
        """Return y = Q^{½} (x - c) of ``points`` x (n, D)."""
        from_centre = points if self.centre is None else points - self.centre
        return from_centre if self.root is None else from_centre @ self.root

    def from_coordinates(self, flat: torch.Tensor) -> torch.Tensor:
        """Return the points x = c + Q^{-½} y (n, D) of ``flat`` y."""
        from_centre = flat if self.inverse_root is None else flat @ self.inverse_root
        return from_centre if self.centre is None else from_centre + self.centre

    def gradient_in(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the scores, or gradients, in the coordinates y of those in x, ``scores``, both (n, D)."""
        return scores if self.inverse_root is None else scores @ self.inverse_root

    def potential_in(self, potential: Potential) -> Potential:
        """Return V as a function of y, with the preconditioner's device and dtype."""
        if self.inverse_root is None:
            return potential
        return (AveragedPotential if isinstance(potential, KnownUnderGaussians) else PreconditionedPotential)(
            potential, self
        )

    def map_outside(self, step: ScoreCarryingMap) -> ScoreCarryingMap:
        """Return, as a map of points x, what ``step`` is in the coordinates y."""
        return step if self.inverse_root is None else PreconditionedMap(step, self)


@dataclass(frozen=True, eq=False)
class PreconditionedPotential(Potential):
    """A potential in the coordinates of a preconditioner: y ↦ V(c + Q^{-½} y)."""

    potential: Potential
    preconditioner: Preconditioner

    @property
    def dim(self) -> int:
        return self.potential.dim

    def value(self, x: torch.Tensor) -> torch.Tensor:
        return self.potential.value(self.preconditioner.from_coordinates(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self.preconditioner.gradient_in(self.potential.gradient(self.preconditioner.from_coordinates(x)))

    def value_and_gradient(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        value, gradient = self.potential.value_and_gradient(self.preconditioner.from_coordinates(x))
        return value, self.preconditioner.gradient_in(gradient)

    def hessian(self, x: torch.Tensor) -> torch.Tensor:
        half = self.preconditioner.gradient_in(self.potential.hessian(self.preconditioner.from_coordinates(x)))
        return self.preconditioner.gradient_in(half.mT)


@dataclass(frozen=True, eq=False)
class AveragedPotential(PreconditionedPotential):
    """A preconditioned potential that knows its averages over Gaussians, as the one it is made of does."""

    def expectations(self, mean: torch.Tensor, covariance: torch.Tensor) -> Expectations:
        """Return the averages over N(``mean``, ``covariance``), of shapes (D,) and (D, D)."""
        inverse_root = self.preconditioner.inverse_root
        assert isinstance(self.potential, KnownUnderGaussians)
        assert inverse_root is not None
        known = self.potential.expectations(
            self.preconditioner.from_coordinates(mean), inverse_root @ covariance @ inverse_root
        )
        return Expectations(known.value, known.gradient @ inverse_root, inverse_root @ known.hessian @ inverse_root)


@dataclass(frozen=True, eq=False)
class PreconditionedMap(ScoreCarryingMap):
    """A map T of the coordinates y as a map of the points x; its Jacobian has the determinant of ∇T."""

    step: ScoreCarryingMap
    preconditioner: Preconditioner

    def push(self, x: torch.Tensor) -> torch.Tensor:
        return self.preconditioner.from_coordinates(self.step.push(self.preconditioner.to_coordinates(x)))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, log_det = self.step.forward(self.preconditioner.to_coordinates(x))
        return self.preconditioner.from_coordinates(mapped), log_det

    def push_with_score(self, x: torch.Tensor, score: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = self.preconditioner
        mapped, found = self.step.push_with_score(own.to_coordinates(x), own.gradient_in(score))
        return own.from_coordinates(mapped), found if own.root is None else found @ own.root

    def inverse(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, log_det = self.step.inverse(self.preconditioner.to_coordinates(y))
        return self.preconditioner.from_coordinates(x), log_det


def preconditioner_of(name: str, flow: GradientFlow) -> Preconditioner:
    """Return Q = I for the name "identity", and for "hessian" Q = ∇²V(x*) at the mode x*, the centre, float64.

    That mode is the one that Newton's method reaches from the mean of the initial law; raises ``Diverged`` where it
    reaches none.
    """
    if name == "identity":
        return Preconditioner()
    start, _ = flow.initial.moments()
    with torch.no_grad(), one_thread():
        try:
            mode = find_mode(flow.potential, flow.inverse_temperature, start, NEWTON_STEPS)
        except Diverged as error:
            raise Diverged(f"preconditioner {name}: {error}; preconditioner identity needs no mode") from error
        return Preconditioner.of(mode.hessian, mode.point)


def unsupported_preconditioner(name: str, problem: Problem) -> str | None:
    """Return why the preconditioner called ``name`` cannot stand in for the problem's own, or ``None`` where it can."""
    if name == "identity":
        return None
    if not problem.stationary:
        return f"preconditioner {name} is for stationary problems only: the flow in it is another"
    return without_hessian(name, problem.flow.potential)


def mean_curvature(potential: Potential, points: torch.Tensor, beta: float, run: Run) -> Preconditioner:
    """Return the preconditioner Q = |E β∇²V|, the mean over the first 128 of ``points`` (n, D), in their dtype.

    Raises ``Diverged`` where the Hessian is not finite at one of them, or is 0.
    """
    some = points[:HESSIAN_PARTICLES].double()
    parts = run(lambda block: potential.hessian(block).sum(0), some.split(HESSIAN_BLOCK))
    hessian = torch.stack(parts).sum(0).mul_(beta / len(some)).cpu()
    if not bool(torch.isfinite(hessian).all()):
        raise Diverged("the mean of ∇²V is not finite")
    if not bool(hessian.any()):
        raise Diverged("the mean of ∇²V is 0")
    return to_device(Preconditioner.of(hessian), points.device, points.dtype)


def without_hessian(name: str, potential: Potential) -> str | None:
    """Return why ∇²V, which the preconditioner ``name`` needs, is not there at the origin, or ``None`` where it is."""
    try:
        potential.hessian(torch.zeros(1, potential.dim, dtype=torch.float64))
    except (NotImplementedError, RuntimeError, TypeError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0]
        return f"preconditioner {name} needs ∇²V, which {type(potential).__name__} does not give: {said}"
    return None
