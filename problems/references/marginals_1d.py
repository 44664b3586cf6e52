"""True marginals of flows on the line: ``problems.references.fokker_planck`` refined until it no longer changes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from problems.arrays import Reals
from problems.flow import GradientFlow
from problems.laws import Density
from problems.potentials import Flat
from problems.references.fokker_planck import FokkerPlanck
from problems.references.grid_law import GridLaw, discretised, symmetric_divergence

# exp(-40) = 4e-18: a density this far below its maximum is not missed in float64.
DEPTH = 40.0


def effective_domain(flow: GradientFlow) -> tuple[float, float]:
    """Return an interval outside of which neither ρ0 nor exp(-βV) nor what ρ0 runs down to has mass in float64.

    Both densities are below exp(-40) of their maxima outside. Where V falls outwards at the border of ρ0, the
    interval goes on until V has risen 40/β above the valley behind it. Where there is no potential, it has room for
    what ρ0 has spread to by the flow's last time.

    Raises ``ValueError`` for a potential that does not confine, and ``TypeError`` unless the internal energy is an
    entropy.
    """
    mean, covariance = flow.initial.moments()
    centre, radius = float(mean[0]), 10 * float(covariance[0, 0]) ** 0.5
    if isinstance(flow.potential, Flat):
        return _spread(flow, centre - radius, centre + radius)
    for _ in range(24):
        found = _important(flow, centre - radius, centre + radius)
        if found is not None and max(abs(end - centre) for end in found) < radius / 2:
            break
        radius *= 2
    else:
        raise ValueError(
            f"Fokker-Planck grid: the potential does not confine, exp(-βV) is not negligible at |x| = {radius / 2:.3g}"
        )
    for _ in range(2):
        margin = 0.01 * (found[1] - found[0])
        found = _important(flow, found[0] - margin, found[1] + margin) or found
    return found


def reference_marginal(flow: GradientFlow, time: float, tolerance: float = 1e-10, most_cells: int = 2**16) -> GridLaw:
    """Return the law of a one-dimensional flow at ``time``, refined in space and time until converged.

    Every refinement doubles the cells and the number of exact propagations that make up the time. When two in a row
    differ by less than ``tolerance`` in SymKL, their errors of second order are cancelled by extrapolation
    (Richardson 1911), so that the answer is well inside the tolerance, and no solver on the same cells repeats it.

    Raises ``ArithmeticError`` if ``most_cells`` are not enough.
    """
    assert isinstance(flow.initial, Density)
    lower, upper = effective_domain(flow)
    coarse, parts, change = None, 1, float("inf")
    cells = 1024
    while cells <= most_cells:
        operator = FokkerPlanck.discretise(flow, lower, upper, cells)
        masses = discretised(flow.initial, lower, upper, cells).masses.numpy()
        for _ in range(parts):
            masses = operator.propagate(masses, time / parts)
        fine = operator.law(masses)
        if coarse is not None:
            merged = fine.coarsened().masses
            change = symmetric_divergence(merged, coarse.masses)
            if change < tolerance:
                return GridLaw(lower, upper, merged + (merged - coarse.masses) / 3)
        coarse, cells, parts = fine, 2 * cells, 2 * parts
    raise ArithmeticError(
        f"reference marginal at time {time:g}: the last refinement, to {cells // 2} cells, changed SymKL by "
        f"{change:.3g}, more than {tolerance:g}"
    )


def _spread(flow: GradientFlow, lower: float, upper: float) -> tuple[float, float]:
    """Return the part of [lower, upper] that ρ0 has mass in, and on both sides what diffusion may add to it."""
    assert isinstance(flow.initial, Density)
    grid = torch.linspace(lower, upper, 2049, dtype=torch.float64)
    log_initial = flow.initial.log_prob(grid[:, None]).double()
    matters = grid[log_initial > log_initial.max() - DEPTH]
    # N(0, 2T/β) is below exp(-40) of its maximum beyond √(2·40·2T/β).
    reach = (4 * DEPTH * flow.horizon / flow.inverse_temperature) ** 0.5 + (upper - lower) / (len(grid) - 1)
    return float(matters[0]) - reach, float(matters[-1]) + reach


def _important(flow: GradientFlow, lower: float, upper: float) -> tuple[float, float] | None:
    """Return the part of [lower, upper] that matters, or ``None`` when it ends beyond the interval."""
    assert isinstance(flow.initial, Density)
    grid = torch.linspace(lower, upper, 2049, dtype=torch.float64)
    log_initial = flow.initial.log_prob(grid[:, None]).double().numpy()
    energy = flow.inverse_temperature * flow.potential.value(grid[:, None]).double().numpy()
    if not (energy > -np.inf).all() or np.isinf(energy).all():
        raise ValueError(f"Fokker-Planck grid: the potential is NaN, -inf or only inf on [{lower:g}, {upper:g}]")
    energy = np.minimum(energy, 1e300)
    matters = (log_initial > log_initial.max() - DEPTH) | (energy <= energy.min() + DEPTH)
    last = _border(matters, energy)
    first = _border(matters[::-1], energy[::-1])
    if last is None or first is None:
        return None
    return float(grid[len(grid) - 1 - first]), float(grid[last])


def _border(matters: npt.NDArray[np.bool_], energy: Reals) -> int | None:
    """Return the index of the point after the last that matters, valleys beyond it included."""
    last = int(np.flatnonzero(matters)[-1])
    if last + 1 >= len(energy):
        return None
    if energy[last + 1] < energy[last]:
        outward = energy[last:]
        risen = np.flatnonzero(outward - np.minimum.accumulate(outward) >= DEPTH)
        return last + int(risen[0]) if len(risen) else None
    return last + 1
