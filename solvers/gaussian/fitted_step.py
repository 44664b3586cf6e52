"""One JKO step among Gaussians in a metric of its own, and an extrapolation: implicit midpoint and fitted steps.

From N(m, Σ), with Θ symmetric and positive definite and θ that of ``solvers.exponential_fitting``,

    y = argmin E[½ (y-x)ᵀ(hΘ)⁻¹(y-x) + V(y) - β⁻¹ log det ∇y],        T = x + Θ⁻¹ (y - x).

In the coordinates Θ^{-½}x the first is a plain JKO step, whose map S has the closed form of ``exact_step``, so that,
with A = E∇²V at y, g = E∇V at y, B = I + hΘ^{½}AΘ^{½} and C = B^{-½}Θ^{-½}ΣΘ^{-½}B^{-½} = P diag(c) Pᵀ

    S  = B^{-½} P diag(½ + ½√(1 + 4h/βc)) Pᵀ B^{-½}
    T  = I - Θ⁻¹ + Θ^{-½} S Θ^{-½},        m⁺ = m - h g,        Σ⁺ = T Σ T.

Mean and deviations may have weights Θ of their own: the mean has no entropy. In the schemes

    jko             Θ = I                               backward Euler
    midpoint        Θ = ½ I                             the implicit midpoint
    fitted          Θ = θ(hA)                           A = E∇²V at N(m, Σ), the potential's curvature
    fitted-energy   Θ = θ(h (A + β⁻¹Σ⁻¹))               that of the free energy, for the deviations

the mean relaxes exactly in a quadratic V under both fitted ones. T is positive definite under both wherever A is
positive semidefinite, however long the step: T ≻ 0 if Θ ⪰ I - (hA)⁻¹, and θ(z) > 1 - 1/z (``docs/fitted-jko.md``).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from problems.linear_algebra import symmetrised
from problems.potentials import Potential, Quadratic
from solvers.exponential_fitting import fitted_weight
from solvers.gaussian.exact_step import Moments
from solvers.gaussian.quadrature import hermite
from solvers.solver import Diverged

SCHEMES = ("jko", "midpoint", "fitted", "fitted-energy")
MOST_ITERATIONS = 500
CONVERGED = 1e-12

Slope = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def averaged(potential: Potential, dim: int) -> Slope:
    """Return what maps mean (D,) and covariance (D, D) to E∇V (D,) and E∇²V (D, D), by quadrature if need be."""
    if isinstance(potential, Quadratic):
        precision, centre = potential.precision, potential.centre
        return lambda mean, covariance: (precision @ (mean - centre), precision)
    nodes, log_weights = hermite(dim)
    weights = log_weights.exp()

    def by_nodes(mean: torch.Tensor, covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        points = mean + nodes @ torch.linalg.cholesky(covariance).T
        curvature = torch.einsum("k,kij->ij", weights, potential.hessian(points))
        return weights @ potential.gradient(points), symmetrised(curvature)

    return by_nodes


def weight(curvature: torch.Tensor, step_size: float) -> torch.Tensor:
    """Return θ(hA) (D, D) of a symmetric A = ``curvature`` (D, D)."""
    rates, basis = torch.linalg.eigh(curvature)
    shares = torch.from_numpy(fitted_weight(step_size * rates.numpy()))
    return symmetrised((basis * shares) @ basis.T)


def metric_map(
    covariance: torch.Tensor, curvature: torch.Tensor, share: torch.Tensor, step_size: float, temperature: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradients (D, D) of y and of T, given Σ, A at y and Θ, all (D, D), and 1/β.

    Raises ``Diverged`` where the step has no minimum.
    """
    values, basis = torch.linalg.eigh(share)
    root, unroot = (basis * values.sqrt()) @ basis.T, (basis * values.rsqrt()) @ basis.T
    rates, axes = torch.linalg.eigh(symmetrised(root @ curvature @ root))
    if not float(1 + step_size * rates[0]) > 0:
        raise Diverged(f"the step has no minimum (curvature {float(rates[0]):.3g}): lower step_size")
    narrow = (axes * (1 + step_size * rates).rsqrt()) @ axes.T
    spectrum, turned = torch.linalg.eigh(symmetrised(narrow @ unroot @ covariance @ unroot @ narrow))
    stretch = 0.5 * (1 + (1 + 4 * step_size * temperature / spectrum.clamp(min=1e-300)).sqrt())
    across = narrow @ turned
    inner = symmetrised((across * stretch) @ across.T)
    full = torch.eye(len(values), dtype=values.dtype) - (basis / values) @ basis.T + unroot @ inner @ unroot
    return root @ inner @ unroot, symmetrised(full)


def gaussian_step(
    moments: Moments, average: Slope, inverse_temperature: float, step_size: float, scheme: str
) -> Moments:
    """Return mean (D,) and covariance (D, D) after one step of a scheme from ``moments``.

    Raises ``Diverged`` where the step has no minimum, is not found, or a fitted one folds the law over.
    """
    mean, covariance = moments
    temperature, identity = 1 / inverse_temperature, torch.eye(len(mean), dtype=mean.dtype)
    slope, curvature = average(mean, covariance)
    if scheme in ("jko", "midpoint"):
        of_mean = share = identity if scheme == "jko" else 0.5 * identity
    else:
        of_mean = share = weight(curvature, step_size)
        if scheme == "fitted-energy":
            share = weight(curvature + temperature * torch.cholesky_inverse(cholesky(covariance)), step_size)
    middle, spread = mean, covariance
    for _ in range(MOST_ITERATIONS):
        residual = middle - mean + step_size * of_mean @ slope
        moved = middle - torch.linalg.solve(identity + step_size * of_mean @ curvature, residual)
        stretch, full = metric_map(covariance, curvature, share, step_size, temperature)
        stepped, used = symmetrised(stretch @ covariance @ stretch.T), curvature
        change = torch.cat([(moved - middle)[None], stepped - spread]).abs().max() / stepped.diagonal().max().sqrt()
        middle, spread = moved, stepped
        slope, curvature = average(middle, spread)
        # In a quadratic potential the curvature is one for all laws, and the first iterate is the step.
        if curvature is used or float(change) <= CONVERGED:
            smallest = float(torch.linalg.eigvalsh(full)[0])
            # A midpoint step may fold a Gaussian over: the image is one all the same.
            if not smallest > 0 and scheme != "midpoint":
                raise Diverged(f"folds the law over (its map has the eigenvalue {smallest:.3g}): lower step_size")
            return mean - step_size * slope, symmetrised(full @ covariance @ full)
    raise Diverged(f"the step did not converge in {MOST_ITERATIONS} iterations (last change {float(change):.3g})")


def cholesky(covariance: torch.Tensor) -> torch.Tensor:
    """Return the Cholesky factor (D, D) of a covariance (D, D).

    Raises ``Diverged`` where that is not positive definite.
    """
    factor: torch.Tensor
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if int(failed) or not bool(torch.isfinite(factor).all()):
        raise Diverged("the covariance is not positive definite to rounding")
    return factor


def sqrt_symkl(left: Moments, right: Moments) -> float:
    """Return √SymKL of two Gaussians, without cancellation where they are near.

    With Δ the difference of the covariances, tr(Σ₁⁻¹Σ₂ + Σ₂⁻¹Σ₁ - 2) = tr(Σ₁⁻¹ΔΣ₂⁻¹Δ). Raises ``Diverged`` where a
    covariance is not positive definite.
    """
    shift, change = right[0] - left[0], right[1] - left[1]
    first, second = cholesky(left[1]), cholesky(right[1])
    total = 0.5 * torch.sum(torch.cholesky_solve(change, first) * torch.cholesky_solve(change, second).T)
    for factor in (first, second):
        total = total + 0.5 * torch.linalg.solve_triangular(factor, shift[:, None], upper=False).square().sum()
    return float(total.clamp(min=0).sqrt())
