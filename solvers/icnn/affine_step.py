"""The best affine map of a JKO step, found on the particles themselves.

For an entropy it is the step among affine maps of ``solvers.gaussian.flow_among_gaussians``, with averages over the
particles: exact after one iteration where V is quadratic, whatever the condition. Where their scores are those of a
Gaussian law, they are moved to have its moments (``solvers.icnn.gaussian_law``). A step that looks at a share θ of
itself, x_θ = (1-θ)x + θT, is one of θh to x_θ and goes on to T = x + θ⁻¹(x_θ - x). A fitted one is a step of h in the
coordinates Θ^{-½}x, and goes on to T = x + Θ⁻¹(x_Θ - x).

For other energies, over maps x ↦ Sx + b, S = KKᵀ + εI, the objective of ``solvers.icnn.step_objective`` has one
determinant for all particles and the derivatives

    in b: E T̄,    in K: (G + Gᵀ) K,  G = E[T̄ xᵀ] + E H̄,

and L-BFGS (Liu, Nocedal, Mathematical Programming 45, 1989) finds its minimum. Of the law only the moments and, for a
power entropy, the mean of ρᵐ⁻¹ enter where V and W are quadratic: the step of a Barenblatt or Gaussian law, which is
affine, is then exact. In other laws it is a start from which a network learns the rest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize

from problems.energies import Entropy
from problems.linear_algebra import symmetrised
from solvers.gaussian.flow_among_gaussians import CONVERGED, NotConvex, NotFound, implicit_map
from solvers.icnn.pairs import SOME, field, mean_energy, sums_over_pairs
from solvers.icnn.particle_averages import ParticleAverages
from solvers.icnn.step_objective import StepObjective
from solvers.networks.convex_network import INITIAL_ROOT, STRONG_CONVEXITY
from solvers.particles.particle_pool import matched
from solvers.solver import Diverged
from solvers.threads import Run

ITERATIONS = 200
# Particles that potentials are averaged over under an entropy, moved to have the moments of all.
AVERAGED = 16_384
# Iterations of a step under an entropy.
WITHIN = 50
# Of a potential that is a sum over many cases it is fewer; fewer still say where to begin, iterations are fewer, and
# the step is found when one moves the law by less than this many deviations, within the noise of the particles.
AVERAGED_DEAR, FEW, WITHIN_DEAR, FOUND = 8192, 1024, 6, 1e-3


class AffineStep(NamedTuple):
    """The map x ↦ Sx + b with S = ``matrix`` (D, D) and b = ``shift`` (D,), float64 on the CPU.

    ``evaluations`` is how often ∇V was asked for. It is the best one only if it was ``found``, else the best that was
    met on the way.
    """

    matrix: torch.Tensor
    shift: torch.Tensor
    evaluations: int
    found: bool = True


def best_affine_step(
    objective: StepObjective,
    points: torch.Tensor,
    log_density: torch.Tensor,
    run: Run,
    dear: bool = False,
    gaussian: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> AffineStep:
    """Return the best affine map of ``points`` (n, D), of mean near 0 and with log-densities ``log_density`` (n,).

    ``gaussian`` holds mean (D,) and covariance (D, D) of the law that they are of, if it is Gaussian and known.
    Where the potential is ``dear``, a sum over many cases, it is asked for as seldom as the noise of particles allows.
    Raises ``Diverged`` where the step has no minimum among affine maps, or the objective is not finite.
    """
    if isinstance(objective.internal, Entropy):
        return entropic_affine_step(objective, points, run, dear, gaussian)
    return affine_step(objective, points, log_density)


def entropic_affine_step(
    objective: StepObjective,
    points: torch.Tensor,
    run: Run,
    dear: bool = False,
    gaussian: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> AffineStep:
    """Return the best affine map of ``points`` (n, D) under an entropy, and raise, as ``best_affine_step`` does."""
    assert isinstance(objective.internal, Entropy)
    beta, theta, weight = objective.internal.inverse_temperature, objective.implicitness, objective.weight
    x = points.double() if weight is None else points.double() @ weight.inverse_root
    if gaussian is None:
        mean = x.mean(0)
        covariance = symmetrised((x - mean).T @ (x - mean) / len(x))
    else:
        mean, covariance = gaussian
        if weight is not None:
            mean = mean @ weight.inverse_root
            covariance = symmetrised(weight.inverse_root @ covariance @ weight.inverse_root)

    def averages_over(count: int) -> ParticleAverages:
        chosen = x
        if len(x) > count or gaussian is not None:
            (chosen,) = matched(x[None, :count], mean[None, None], torch.linalg.cholesky(covariance)[None])
        return ParticleAverages(chosen, objective, run, None if weight is None else weight.root)

    averages = averages_over(AVERAGED_DEAR if dear else AVERAGED)
    law, h = (mean.cpu(), covariance.cpu()), theta * objective.step_size
    few = averages_over(FEW) if dear and len(averages.points) > FEW else None
    centre, identity, found = law[0], torch.eye(len(mean), dtype=mean.dtype), True
    try:
        guess = None if few is None else _guessed(few, law, beta, h)
        converged, within = (FOUND, WITHIN_DEAR) if dear else (CONVERGED, WITHIN)
        moved, matrix, _ = implicit_map(law, averages, beta, h, guess, converged, within)
    except NotFound as reached:
        moved, matrix, found = reached.mean, reached.transport, False
    except NotConvex as error:
        raise Diverged(f"no minimum is found ({error})") from error
    matrix = identity if matrix is None else matrix
    change, moved = (matrix - identity) / theta, (moved - matrix @ centre) / theta
    if weight is not None:
        back = weight.inverse_root.cpu()
        change, moved = back @ change @ back, back @ moved
    whole = symmetrised(identity + change)
    least = float(torch.linalg.eigvalsh(whole)[0])
    if not least > STRONG_CONVEXITY:
        raise Diverged(f"the best affine map folds the law over (its least eigenvalue is {least:.3g}): lower step_size")
    return AffineStep(whole, moved, averages.evaluations + (few.evaluations if few else 0), found)


def _guessed(
    averages: ParticleAverages, law: tuple[torch.Tensor, torch.Tensor], beta: float, h: float
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Return m' and S that the few particles of ``averages`` come to, ``None`` where they say nothing."""
    try:
        mean, matrix, _ = implicit_map(law, averages, beta, h, converged=FOUND, within=WITHIN)
    except NotFound as reached:
        return reached.mean, reached.transport
    except (NotConvex, Diverged):
        return None
    return None if matrix is None else (mean, matrix)


def affine_step(
    objective: StepObjective, points: torch.Tensor, log_density: torch.Tensor, masses: torch.Tensor | None = None
) -> AffineStep:
    """Return the best affine map of ``points`` (n, D), of mean near 0, by L-BFGS.

    ``log_density`` (n,) is theirs, and their ``masses`` (n,) sum to 1, equal ones if not given. Raises ``Diverged``
    where the objective is not finite on the way.
    """
    x, density = points.double(), log_density.double()
    if masses is None and objective.interaction is not None and sums_over_pairs(objective.interaction):
        x, density = x[:SOME], density[:SOME]
    dim, theta, h = x.shape[1], objective.implicitness, objective.step_size
    identity = torch.eye(dim, dtype=x.dtype, device=x.device)

    def matrix_and_shift(flat: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        free = torch.from_numpy(flat.copy()).to(x)
        root = free[: dim * dim].view(dim, dim)
        return root, root @ root.T + STRONG_CONVEXITY * identity, free[dim * dim :]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        root, matrix, shift = matrix_and_shift(flat)
        mapped = x @ matrix + shift
        place, between = objective.intermediate(x, mapped, matrix)
        log_det = torch.linalg.slogdet(between).logabsdet
        if objective.weight is not None:
            log_det = log_det + objective.weight.log_det
        energy, slope = objective.potential.value(place), (mapped - x) / h + objective.potential_gradient(place)
        if objective.interaction is not None and masses is not None:
            others = objective.interaction.mean_value(place, place, masses, own=True)
            energy = energy + 0.5 * (1 - masses) * others
            slope = slope + objective.interaction.mean_gradient(place, place, masses)
        elif objective.interaction is not None:
            energy = energy + mean_energy(objective.interaction, place)
            slope = slope + field(objective.interaction, place)
        if objective.carries and objective.internal is not None:
            energy = energy + objective.internal.energy(density - log_det)
            pressures = objective.pressure(density - log_det)
            pressure = pressures.mean() if masses is None else masses @ pressures
        else:
            pressure = objective.pressure(density[:1]).mean()
            energy = energy - pressure * log_det
        slope = objective.weighted(slope)
        values = objective.distances(mapped - x) + energy / theta
        value = values.mean() if masses is None else masses @ values
        moment = slope.T @ x / len(x) if masses is None else (slope * masses[:, None]).T @ x
        turn = moment - pressure * torch.linalg.inv(between)
        force = slope.mean(0) if masses is None else masses @ slope
        bars = torch.cat([(2 * symmetrised(turn) @ root).flatten(), force])
        if not (bool(torch.isfinite(value)) and bool(torch.isfinite(bars).all())):
            raise Diverged("the objective of an affine map is not finite at the particles")
        return h * float(value), h * bars.cpu().numpy()

    start = torch.cat([(INITIAL_ROOT * identity).flatten(), identity.new_zeros(dim)]).cpu().numpy()
    found = minimize(
        evaluate, start, jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS, "ftol": 0.0, "gtol": 1e-9}
    )
    _, matrix, shift = matrix_and_shift(found.x)
    return AffineStep(matrix.cpu(), shift.cpu(), found.nfev * len(x))
