"""The mode of exp(-βV) by Newton's method: from x along -|H|⁻¹∇V(x), H = ∇²V(x) with eigenvalues |λ| in place of λ.

That is a direction of descent wherever V is not convex, too. Steps are halved until V falls enough (Nocedal, Wright,
Numerical Optimization, 2006, section 3.4).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.linear_algebra import symmetrised
from problems.potentials import Potential
from solvers.solver import Diverged

# The Newton decrement √(β gᵀ|H|⁻¹g), in standard deviations of the fit, at which the mode is reached, and the ratio to
# the one before that it must be below: where the Hessian vanishes at the mode, or far out where V falls for ever, the
# convergence is not quadratic but linear, with ratios near ½.
CONVERGED = 1e-8
QUADRATIC = 0.2
ARMIJO = 1e-4
ROUNDING = 1e-12
SHORTEST = 2.0**-40
# An eigenvalue of the Hessian this small beside the largest is 0, for all that rounding leaves of it.
SINGULAR = 1e-14


@dataclass(frozen=True)
class Mode:
    """A mode is a minimum of V at ``point`` (D,), with the Hessian (D, D) there and the Newton ``steps`` to it.

    ``decrement`` is the last Newton decrement, in standard deviations of the fit.
    """

    point: torch.Tensor
    hessian: torch.Tensor
    decrement: float
    steps: int


def find_mode(potential: Potential, beta: float, start: torch.Tensor, iterations: int) -> Mode:
    """Return the minimum of V that descent from ``start`` (D,) leads to.

    Raises ``Diverged`` where V, ∇V or ∇²V is not finite, where no minimum is found in ``iterations`` Newton steps and
    where the Hessian at a stationary point is not positive definite.
    """
    point = start
    value = float(potential.value(point[None])[0])
    before = decrement = math.inf
    for step in range(iterations + 1):
        slope, hessian = potential.gradient(point[None])[0], potential.hessian(point[None])[0]
        if not (math.isfinite(value) and bool(torch.isfinite(slope).all() and torch.isfinite(hessian).all())):
            raise Diverged(f"V or a derivative is not finite after {step} Newton steps")
        rates, basis = torch.linalg.eigh(symmetrised(hessian))
        largest = float(rates.abs().max())
        along = basis.T @ slope
        sizes = rates.abs().clamp(min=max(SINGULAR * largest, torch.finfo(rates.dtype).tiny))
        before, decrement = decrement, float(torch.linalg.vector_norm(along / sizes.sqrt())) * math.sqrt(beta)
        if decrement <= CONVERGED and decrement <= QUADRATIC * before:
            if not float(rates[0]) > SINGULAR * largest:
                raise Diverged(
                    f"no minimum: where ∇V = 0 the Hessian has eigenvalues from {float(rates[0]):.3g} to {largest:.3g}"
                )
            return Mode(point, hessian, decrement, step)
        direction = -basis @ (along / sizes)
        expected, length = float(slope @ direction), 1.0
        while True:
            reached = float(potential.value((point + length * direction)[None])[0])
            if reached <= value + ARMIJO * length * expected + ROUNDING * (1 + abs(value)):
                break
            length /= 2
            if length < SHORTEST:
                raise Diverged(
                    f"V does not fall along the Newton direction (step {step + 1}, decrement {decrement:.3g})"
                )
        point, value = point + length * direction, reached
    raise Diverged(f"no minimum of V in {iterations} Newton steps (decrement {decrement:.3g} standard deviations)")
