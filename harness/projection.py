"""Points that plots show of an answer: some draws in the plane of the truth's principal axes, on the line its curve.

The plane is that of the truth's two largest principal components, about its mean; in two dimensions it is the space
itself, in its own coordinates. It depends on nothing but the truth, so every solver's answer to an instance, and the
draws of the oracle, are seen in one plane. A problem that has two coordinates to be looked at, its ``view``, is seen in
those instead. On the line the points are (x, density at x), at places that again only the truth decides; in the plane
an answer that has a density shows it on a grid, beside its draws. All of it is kept of instance 0 alone: one is enough
to look at.
"""

from __future__ import annotations

import numpy as np
import torch

from harness.measure.kde import KernelDensity, SingularPoints
from harness.outcome import Projection
from harness.places import NODES, line_places, plane_places
from problems.laws import Density, Law
from problems.problem import View
from solvers.estimates import DensityEstimate, Estimate, Particles
from solvers.solver import Diverged
from solvers.threads import workers

POINTS = 500
INSTANCE = 0
TILE = 512
"""Nodes of a grid at which a density is evaluated at once."""
STORED = np.dtype("<f4")
STORED_BOX = np.dtype("<f8")


def principal_plane(law: Law) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return origin (D,), axes (D, 2) and share of the variance of the plane of a law in D ≥ 2 dimensions.

    Axes are those of the exact covariance, largest variance first, each with its largest entry positive.
    """
    mean, covariance = (moment.double().cpu() for moment in law.moments())
    if law.dim == 2:
        return torch.zeros_like(mean), torch.eye(2, dtype=torch.float64), 1.0
    with workers():
        variances, vectors = torch.linalg.eigh(covariance)
    axes = vectors[:, [-1, -2]]
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))
    return mean, axes * torch.sign(largest), float(variances[-2:].sum() / variances.sum())


def projected(
    estimate: Estimate, truth: Law, t: float, generator: torch.Generator, view: View | None = None
) -> Projection:
    """Return 500 draws of an estimate, or all of its particles if they are fewer, in the plane of the truth or a view.

    Raises ``Diverged`` for draws that are not finite.
    """
    count = POINTS
    if isinstance(estimate, Particles) and estimate.log_weights is None:
        count = min(count, len(estimate.points))
    draws = estimate.sample(count, generator).double()
    if not bool(torch.isfinite(draws).all()):
        raise Diverged(f"draws at t = {t:g} are not finite")
    if view is not None:
        return Projection(t, 1.0, draws[:, list(view.coordinates)].numpy().astype(STORED).tobytes())
    box, density = on_the_plane(estimate, truth) if truth.dim == 2 else (None, None)
    origin, axes, share = principal_plane(truth)
    with workers():
        points = (draws - origin) @ axes
    return Projection(t, share, points.numpy().astype(STORED).tobytes(), box, density)


def on_the_plane(estimate: Estimate, truth: Law) -> tuple[bytes, bytes] | tuple[None, None]:
    """Return box and density of an estimate in two dimensions, as of ``Projection``, where it has a density.

    Far from its mass a density may not be computable: nothing is kept of one that diverges there, and the measures
    judge it where it matters.
    """
    places = plane_places(truth)
    if isinstance(estimate, Particles) or estimate.density is None or places is None:
        return None, None
    x, y = places
    nodes = torch.cartesian_prod(y, x).flip(1)
    try:
        values = torch.cat([estimate.density.log_prob(tile).detach().double().cpu() for tile in nodes.split(TILE)])
    except (ArithmeticError, Diverged):
        return None, None
    density = values.exp().reshape(NODES, NODES).numpy()
    box = np.array([float(x[0]), float(y[0]), float(x[-1]), float(y[-1])], dtype=STORED_BOX)
    return box.tobytes(), np.where(np.isfinite(density), density, np.nan).astype(STORED).tobytes()


def curve(estimate: Estimate, truth: Law, t: float) -> Projection | None:
    """Return the density of an estimate on the line, at places that the truth decides.

    Particles have the density of their kernel density estimate; there is ``None`` for what has no density, and where
    the truth has no finite variance. Raises ``Diverged`` for a density that is not finite.
    """
    if isinstance(estimate, Particles):
        try:
            density: DensityEstimate | Density = KernelDensity(estimate.points, estimate.log_weights)
        except SingularPoints:
            return None
    elif estimate.density is not None:
        density = estimate.density
    else:
        return None
    x = line_places(truth)
    if x is None:
        return None
    values = density.log_prob(x[:, None]).detach().double().cpu().exp()
    undefined = int((~torch.isfinite(values)).sum())
    if undefined:
        raise Diverged(f"the density at t = {t:g} is not finite at {undefined} of {len(x)} places")
    return Projection(t, 1.0, torch.stack([x, values], 1).numpy().astype(STORED).tobytes())
