"""The Wasserstein gradient flow of KL(· ‖ exp(-βV)) among Gaussians, step by step.

Among Gaussians N(m, Σ) the flow of F = E V - β⁻¹ entropy is (Lambert, Chewi, Bach, Bonnabel, Rigollet, Advances in
Neural Information Processing Systems 35, 2022)

    dm/dt = -E ∇V,   dΣ/dt = 2β⁻¹ I - Σ A - A Σ,   A = E ∇²V,   all expectations over N(m, Σ),

at rest where E ∇V = 0 and Σ⁻¹ = βA: the Gaussian of least KL(· ‖ exp(-βV)). Two schemes follow it, with τ = h/β:

*jko*: the implicit step, N(m⁺, Σ⁺) = argmin W₂²(·, N(m, Σ))/2h + F. With the optimal map m⁺ + S (x - m), S symmetric,

    J(m⁺, S) = |m⁺ - m|²/2h + tr[(S - I) Σ (S - I)]/2h + E V - β⁻¹ log det S  →  min,

which is convex in (m⁺, S) if V is. Where E ∇V and A are frozen it is the quadratic case, solved exactly: with
M = I + hA and C = M^{-½} Σ M^{-½},

    S = M^{-½} [C + 2τI + R] [C + R]⁻¹ M^{-½},   R = (C² + 4τC)^{½},   Σ⁺ = S Σ S.

The frozen problem has the gradient of J at the point where it is frozen and is strictly convex for M > 0, so that the
way to its solution is one of descent: it is frozen anew, extrapolated (``solvers.gaussian.anderson``), and a line
search keeps J falling, until nothing moves. For convex V no step is too large; in others a step of h > 1/|λ|, λ the
least eigenvalue of A, may have no minimum, and is halved. Only the flow's own laws of rest are at rest.

*forward-backward* (Diao, Balasubramanian, Chewi, Salim, International Conference on Machine Learning, 2023): explicit
in V, implicit in the entropy, with expectations over N(m, Σ), for h below 1/|A|:

    m⁺ = m - h E ∇V,   Σ' = (I - hA) Σ (I - hA),   Σ⁺ = ½ [Σ' + 2τI + (Σ'² + 4τΣ')^{½}].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch

from problems.gaussian_expectations import Expectations
from problems.linear_algebra import symmetrised
from solvers.gaussian.anderson import History
from solvers.gaussian.averages import Along, Averages
from solvers.gaussian.exact_step import Moments
from solvers.solver import Diverged

SCHEMES = ("jko", "forward-backward")

# Movement in standard deviations below which a step is found, and below which it is where neither J nor the movement
# falls any further in ``STALLED`` iterations on end.
CONVERGED = 1e-8
CONVERGED_TO_ROUNDING = 1e-6
STALLED = 3

MOST_ITERATIONS = 100
MOST_HALVINGS = 8
MOST_DOUBLINGS = 50

# Share of the expected descent that must be made, and the rounding error of J relative to its size.
ARMIJO = 1e-4
ROUNDING = 1e-12
SHORTEST = 2.0**-20
# A cautious search gives up sooner: what it has reached is a place to begin at.
SHORTEST_CAUTIOUS = 2.0**-4


class NotConvex(ArithmeticError):
    """The functional of a step is not known to have a minimum."""


class NotFound(NotConvex):
    """A minimum was not found; ``mean`` (D,) and ``transport`` (D, D) are m' and S of the lowest point reached."""

    def __init__(self, message: str, mean: torch.Tensor, transport: torch.Tensor) -> None:
        """State what was not found, and what was reached."""
        super().__init__(message)
        self.mean, self.transport = mean, transport


@dataclass
class StepRecord:
    """A record of steps: the inner iterations of each, and how many steps were cut in half."""

    iterations: list[int] = field(default_factory=list)
    halved: int = 0

    @property
    def resting(self) -> bool:
        """Whether the last step moved nothing, and those after it neither."""
        return bool(self.iterations) and self.iterations[-1] == 0


def transport_to_minimum(factor: torch.Tensor, curvature: torch.Tensor, h: float, tau: float) -> torch.Tensor:
    """Return the map S (D, D) of the exact step from Σ = ``factor`` ``factor``ᵀ where E ∇²V is ``curvature``.

    Raises ``NotConvex`` unless I + hA > 0.
    """
    rates, basis = torch.linalg.eigh(curvature)
    if not float(1 + h * rates[0]) > 0:
        raise NotConvex(f"mean curvature {float(rates[0]):.3g}")
    half = (basis * (1 + h * rates).rsqrt()) @ basis.T
    # C by the singular values of M^{-½} ``factor``, which rounding spares the small ones of: its own eigenvalues range
    # over the squares.
    vectors, roots, _ = torch.linalg.svd(half @ factor)
    values = (roots**2).clamp(min=torch.finfo(roots.dtype).tiny)
    root = (values * (values + 4 * tau)).sqrt()
    stretch = (values + 2 * tau + root) / (values + root)
    transport: torch.Tensor = half @ ((vectors * stretch) @ vectors.T) @ half
    return symmetrised(transport)


def concave(curvature: torch.Tensor, h: float) -> bool:
    """Return whether a step of h from where E ∇²V is ``curvature`` (D, D), finite, has no minimum: not I + hA > 0."""
    finite = bool(torch.isfinite(curvature).all())
    return finite and not float(1 + h * torch.linalg.eigvalsh(curvature)[0]) > 0


class AlongMaps(Protocol):
    """Averages of a potential over a law that affine maps move, as ``Averages`` are."""

    def from_law(self, mean: torch.Tensor, covariance: torch.Tensor) -> Along:
        """Return what maps (m', S) to the expectations over the law of m' + S(X - m)."""


def implicit_step(law: Moments, averages: Averages, beta: float, h: float) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return mean (D,), covariance (D, D) and number of inner iterations of the JKO step among Gaussians, 0 if none.

    Raises ``NotConvex`` where the frozen problem has no minimum or the iteration does not converge.
    """
    mean, transport, iterations = implicit_map(law, averages, beta, h)
    return mean, law[1] if transport is None else transport @ law[1] @ transport, iterations


def implicit_map(
    law: Moments,
    averages: AlongMaps,
    beta: float,
    h: float,
    guess: tuple[torch.Tensor, torch.Tensor] | None = None,
    converged: float = CONVERGED,
    within: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, int]:
    """Return m' (D,) and S (D, D) of the JKO step m' + S(x - m) among affine maps, and the number of inner iterations.

    It begins at the identity, or at the ``guess`` m' and S if that is lower, and ends with a movement of less than
    ``converged`` deviations. One that is to end ``within`` so many iterations is cautious: it goes nowhere from where
    the next frozen problem would have no minimum. ``None`` stands for S = I where no iteration has moved the law.
    Raises as ``implicit_step`` does, and ``NotFound`` from a cautious search that has come closer.
    """
    start, covariance = law
    along, factor = averages.from_law(start, covariance), torch.linalg.cholesky(covariance)
    identity = torch.eye(len(start), dtype=start.dtype)

    def functional(mean: torch.Tensor, transport: torch.Tensor, value: float) -> float:
        root, failed = torch.linalg.cholesky_ex(transport)
        if int(failed):
            return math.inf
        moved = transport - identity
        distance = (mean - start) @ (mean - start) + torch.sum((moved @ covariance) * moved)
        return float(distance) / (2 * h) + value - 2 * float(root.diagonal().log().sum()) / beta

    mean, transport = start, identity
    found = along(mean, transport)
    height = beginning = functional(mean, transport, found.value)
    if guess is not None:
        there = along(*guess)
        reached = functional(*guess, there.value)
        if reached < height and not (within and concave(there.hessian, h)):
            (mean, transport), found, height = guess, there, reached
    if not math.isfinite(height):
        raise Diverged("E V is not finite")
    # Rounding of J is that of its terms, in whichever unit of energy: that of the distance and of the entropy.
    unit = min(1.0, float(covariance.diagonal().sum()) / h + 1 / beta)
    history, slack = History(covariance.diagonal().sqrt()), ROUNDING * (unit + abs(height))
    stalled, least = 0, math.inf
    for iteration in range(within or MOST_ITERATIONS):
        if not bool(torch.isfinite(found.gradient).all() and torch.isfinite(found.hessian).all()):
            raise Diverged("E ∇V or E ∇²V is not finite")
        target = transport_to_minimum(factor, found.hessian, h, h / beta)
        residual = (mean - start) / h + found.gradient
        shift, turn = -torch.linalg.solve(identity / h + found.hessian, residual), target - transport
        now, then = transport @ covariance @ transport, target @ covariance @ target
        scale = then.diagonal().sqrt()
        spread = (then - now) / torch.outer(scale, scale)
        change = max(float((shift / scale).abs().max()), float(spread.abs().max()))
        if change <= converged:
            return mean, transport, iteration
        stalled, least = 0 if change < least else stalled, min(least, change)
        if stalled >= STALLED and change <= CONVERGED_TO_ROUNDING:
            return (mean, transport, iteration) if beginning - height > slack else (start, None, 0)
        by_transport = (transport - identity) @ covariance / h + found.hessian @ transport @ covariance
        slope = float(shift @ residual + torch.sum(turn * (by_transport - torch.linalg.inv(transport) / beta)))
        length, candidate = 1.0, history.extrapolated((mean, transport), (shift, turn), scale)
        while True:
            tried = along(*candidate)
            reached = functional(*candidate, tried.value)
            falls = reached <= height + ARMIJO * length * slope + slack
            if falls and not (within and concave(tried.hessian, h)):
                break
            if history.used:
                history.forget()
            else:
                length /= 2
            if within and length < SHORTEST_CAUTIOUS and iteration:
                raise NotFound("J hardly falls along the way to the minimum of its model", mean, transport)
            if length < SHORTEST:
                raise NotConvex("J does not fall along the way to the minimum of its model")
            candidate = mean + length * shift, transport + length * turn
        stalled = stalled + 1 if height - reached <= slack else 0
        (mean, transport), found, height = candidate, tried, reached
    message = f"no convergence in {iteration + 1} iterations (last change {change:.3g} deviations)"
    raise NotFound(message, mean, transport) if within else NotConvex(message)


def jko_step(law: Moments, averages: Averages, beta: float, h: float, record: StepRecord) -> Moments:
    """Return the moments after ``implicit_step``, in two halves wherever it finds no minimum at once.

    Raises ``Diverged`` where steps of h/256 do not find one either.
    """
    left, total = [0], 0  # how often each of the steps to come has been halved
    while left:
        halvings = left.pop()
        try:
            mean, covariance, iterations = implicit_step(law, averages, beta, h / 2**halvings)
        except NotConvex as error:
            if halvings == MOST_HALVINGS:
                size = h / 2**halvings
                raise Diverged(f"no minimum is found among Gaussians, even in steps of {size:.3g} ({error})") from error
            left += [halvings + 1] * 2
            record.halved += 1
            continue
        law, total = (mean, symmetrised(covariance)), total + iterations
    record.iterations.append(total)
    return law


def forward_backward_step(law: Moments, averages: Averages, beta: float, h: float) -> Moments:
    """Return the moments after the explicit-implicit step.

    Raises ``Diverged`` where h times the largest eigenvalue of E ∇²V exceeds 1.
    """
    mean, covariance = law
    found = averages.at(mean, covariance)
    steepest = float(torch.linalg.eigvalsh(found.hessian)[-1]) if math.isfinite(found.value) else math.inf
    if not h * steepest <= 1:
        raise Diverged(f"a forward step must be at most 1/{steepest:.4g}, the inverse of the largest mean curvature")
    pushed = torch.eye(len(mean), dtype=mean.dtype) - h * found.hessian
    values, vectors = torch.linalg.eigh(pushed @ covariance @ pushed)
    values, tau = values.clamp(min=0), h / beta
    values = 0.5 * (values + 2 * tau + (values * (values + 4 * tau)).sqrt())
    stepped = (vectors * values) @ vectors.T
    return mean - h * found.gradient, symmetrised(stepped)


def stationarity(law: Moments, found: Expectations, beta: float) -> float:
    """Return how far a Gaussian is from rest, in its own standard deviations: 0 at the least KL(· ‖ exp(-βV)).

    With Σ = LLᵀ it is the larger of β|Lᵀ E ∇V| and |βLᵀAL - I|, the flow's rates of change over those of a diffusion.
    """
    factor = torch.linalg.cholesky(law[1])
    drift = beta * float(torch.linalg.vector_norm(factor.T @ found.gradient))
    spectrum = torch.linalg.eigvalsh(beta * factor.T @ found.hessian @ factor)
    return max(drift, float((spectrum - 1).abs().max()))


def follow(
    law: Moments, averages: Averages, beta: float, step_size: float, counts: tuple[int, ...], scheme: str
) -> tuple[list[Moments], StepRecord]:
    """Return the moments after each of the increasing numbers of steps ``counts``, and the record of the steps.

    Raises ``Diverged`` with the number of the step.
    """
    record, moments, done = StepRecord(), [], 0
    for count in counts:
        while done < count and not record.resting:
            done += 1
            try:
                if scheme == "jko":
                    law = jko_step(law, averages, beta, step_size, record)
                else:
                    law = forward_backward_step(law, averages, beta, step_size)
            except Diverged as error:
                raise Diverged(f"step {done}: {error}") from error
        done = count
        moments.append(law)
    return moments, record


def come_to_rest(law: Moments, averages: Averages, beta: float, step_size: float) -> tuple[Moments, StepRecord]:
    """Return the stationary Gaussian, reached by implicit steps that double, and their record.

    Raises ``Diverged`` where there still is movement after steps of 2⁵⁰ ``step_size``.
    """
    record = StepRecord()
    for doublings in range(MOST_DOUBLINGS):
        law = jko_step(law, averages, beta, step_size * 2.0**doublings, record)
        if record.resting:
            return law, record
    raise Diverged(f"the flow has not come to rest by t = {step_size * 2.0**MOST_DOUBLINGS:.3g}")
