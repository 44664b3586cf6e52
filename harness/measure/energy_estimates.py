"""The free energy F(ρ) = ∫Vρ + ∫U(ρ) + ½∬W(x-y)ρ(x)ρ(y) of an estimate, and differences of two.

Over draws of ρ it is E[V + U(ρ)/ρ] + ½ E W(X - X'), X and X' independent: a U-statistic over all pairs of draws, which
leaves each draw with itself out. The influence of a draw on it is V + U(ρ)/ρ + W∗ρ, of which the standard error comes.

F(ρ) - F(σ) of two densities is not the difference of two such figures, whose noise would hide what is near, but one
mean over draws of the mixture g = ½(ρ + σ): with a = (ρ - σ)/g = 2 tanh(ℓ/2), ℓ = log ρ - log σ,

    F(ρ) - F(σ) = E_g[ a V + (U(ρ) - U(σ))/g + a W∗g ],

every term of which vanishes where the densities agree. Since E_g[a] = 0, multiples of a may be taken off: the one that
leaves the smallest variance, the control variate by least squares (Owen, Monte Carlo theory, methods and examples,
2013, section 8.9). At a minimiser, where V + U'(ρ) + W∗ρ is constant, the noise is then of second order as well.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from harness.measure.evidence import LEAST_DRAWS, MOST_TERMS, TERMS_PER_TILE
from harness.measure.kde import SingularPoints
from harness.measure.measure import Figure, Subject
from harness.measure.two_densities import NODES, TwoDensities, density_of, on_the_line, two_densities
from problems.arrays import Reals
from problems.flow import FreeEnergy, InternalEnergy
from problems.interactions import Interaction
from problems.laws import Density, Law
from problems.potentials import FiniteSum, Flat
from solvers.estimates import Estimate, Nodes, Particles
from solvers.solver import Diverged
from solvers.threads import one_thread, workers

MOST_PAIRED = 2**12
"""Points of which all pairs are taken, where an interaction does not work its sums out from moments."""
PAIRED_NODES = 2**11


def energy_of(estimate: Estimate, energy: FreeEnergy, draws: int, generator: torch.Generator) -> Figure:
    """Return the free energy of an estimate that has a density, or needs none.

    Raises ``Diverged`` where its log-density is NaN, and ``ArithmeticError`` where the potential is.
    """
    if energy.internal is None and (isinstance(estimate, Particles) or estimate.density is None):
        points, shares = _draws(estimate, energy, draws, generator)
        if isinstance(estimate, Nodes) and shares is not None:
            return _of_nodes(points, shares, energy)
        return _of_draws(points, shares, energy)
    try:
        density, by = density_of(estimate)
    except SingularPoints as singular:
        return Figure(math.inf, 0.0, f"no density: {singular}")
    if estimate.dim == 1 and not _singular(energy):
        found = on_the_line((density,), generator, _nodes(energy))
        if found is not None:
            x, width, (log_density,) = found
            weights = width * log_density.exp().numpy()
            own = local(energy, x, log_density)
            around = averages(energy.interaction, x, x, torch.from_numpy(weights), own=False)
            value = float(np.sum(weights * np.where(weights > 0, own + 0.5 * around, 0.0)))
            return Figure(value, 0.0, f"{by}quadrature on {len(x)} nodes")
    points, log_density = density.sample_with_log_prob(_allowed(energy, draws), generator)
    undefined = int(log_density.isnan().sum())
    if undefined:
        raise Diverged(f"the log-density of the fit is NaN at {undefined} of {len(points)} of its own draws")
    figure = _of_draws(points, None, energy, log_density.double())
    return Figure(figure.value, figure.standard_error, by + figure.estimator)


def size_of_terms(law: Law, energy: FreeEnergy, draws: int, generator: torch.Generator) -> Figure:
    """Return E[|V| + |U(ρ)/ρ| + ½|W∗ρ|] of a law ρ, by which to tell whether F(ρ) is 0: infinite where V is.

    Without the second term where the law has no density, as a finite sample has none; by 1000 draws at the most. The
    standard error is that of their mean, 0 for a density on the line.
    """
    internal = energy.internal if isinstance(law, Density) else None
    bare = FreeEnergy(energy.potential, None)
    found = None
    if isinstance(law, Density) and law.dim == 1 and not _singular(energy):
        found = on_the_line((law,), generator, _nodes(energy))
    if found is not None:
        x, width, (log_density,) = found
        weights = width * log_density.exp().numpy()
        kept = weights > 0
    else:
        x = law.sample(min(_allowed(energy, draws), LEAST_DRAWS), generator).double()
        log_density = law.log_prob(x).double() if isinstance(law, Density) else torch.zeros(len(x), dtype=torch.float64)
        weights, kept = np.full(len(x), 1 / len(x)), np.full(len(x), True)
    drawn = found is None
    sizes = np.abs(local(bare, x, None))
    if internal is not None:
        sizes = sizes + np.abs(local(FreeEnergy(Flat(law.dim), internal), x, log_density))
    around = averages(energy.interaction, x, x, None if drawn else torch.from_numpy(weights), own=drawn)
    sizes = (sizes + 0.5 * np.abs(around))[kept]
    value = float(np.sum(weights[kept] * sizes))
    if not math.isfinite(value):
        return Figure(math.inf, 0.0, "size of terms")
    error = float(np.std(sizes, ddof=1)) / math.sqrt(len(sizes)) if drawn else 0.0
    return Figure(value, error, "size of terms")


def _draws(
    estimate: Estimate, energy: FreeEnergy, draws: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return all particles with their weights, as far as their pairs can be taken, or draws of another fit."""
    most = _allowed(energy, draws)
    if not isinstance(estimate, Particles):
        return estimate.sample(most, generator).double(), None
    if len(estimate.points) > MOST_PAIRED and _summed(energy.interaction):
        return estimate.sample(most, generator).double(), None
    equal = estimate.log_weights is None and not isinstance(estimate, Nodes)
    return estimate.points.double(), None if equal else estimate.normalised_log_weights.exp()


def _of_nodes(points: torch.Tensor, weights: torch.Tensor, energy: FreeEnergy) -> Figure:
    """Return the free energy of nodes, each with itself, too, unless that is infinite."""
    around = averages(energy.interaction, points, points, weights, own=_singular(energy))
    values = local(energy, points, None) + 0.5 * around
    kept = weights.numpy() > 0
    return Figure(float(np.sum((weights.numpy() * values)[kept])), 0.0, f"sum over {len(points)} nodes")


def _of_draws(
    points: torch.Tensor, weights: torch.Tensor | None, energy: FreeEnergy, log_density: torch.Tensor | None = None
) -> Figure:
    count = len(points)
    estimator = f"mean over {count} draws" if energy.interaction is None else f"U-statistic of {count} draws"
    shares = np.full(count, 1 / count) if weights is None else (weights / weights.sum()).numpy()
    own = local(energy, points, log_density)
    around = averages(energy.interaction, points, points, None if weights is None else torch.from_numpy(shares))
    influence = own + around
    kept = shares > 0
    value = float(np.sum((shares * (own + 0.5 * around))[kept]))
    if not math.isfinite(value):
        return Figure(math.inf if value > 0 else -math.inf, 0.0, f"{estimator}: infinite at some")
    centred = (influence - np.sum((shares * influence)[kept]))[kept]
    return Figure(value, math.sqrt(float(np.sum((shares[kept] * centred) ** 2))), estimator)


def difference(subject: Subject, draws: int, generator: torch.Generator) -> Figure:
    """Return F(fit) - F(true) of two densities, by the same points for both.

    Raises ``Diverged`` where the fit's log-density is NaN, and ``ArithmeticError`` where the truth's or V is.
    """
    energy = subject.problem.flow.energy
    count = _allowed(energy, draws)
    if _summed(energy.interaction):
        count = min(count, MOST_PAIRED // 2)  # there are as many of the truth
    line = not _singular(energy)
    try:
        pair = two_densities(subject, count, generator, line=line, nodes=_nodes(energy))
    except SingularPoints as singular:
        return Figure(math.inf, 0.0, f"no density: {singular}")
    part = 2 * np.tanh(0.5 * pair.log_ratio)
    values = part * potential(energy, pair.points) + _internal(energy.internal, pair)
    influence = values
    interaction = energy.interaction
    if interaction is not None:
        x, drawn = pair.points, pair.draws is not None
        around = averages(interaction, x, x, None if drawn else torch.from_numpy(pair.weights), own=drawn)
        values = values + part * around
        shares = [pair.weights * side for side in (2 + part, 2 - part)]
        fields = [averages(interaction, x, x, torch.from_numpy(share / share.sum()), own=drawn) for share in shares]
        influence = values + fields[0] - fields[1]
    values, influence = (np.where(pair.weights > 0, each, 0.0) for each in (values, influence))
    if not np.isfinite(values).all():
        return Figure(math.inf, 0.0, f"{pair.estimator}: the energy is infinite at some")
    if pair.draws is None:
        return Figure(float(np.sum(pair.weights * values)), 0.0, pair.estimator)
    square = float(np.sum(part**2))
    slope = float(np.sum(part * influence)) / square if square > 0 else 0.0
    return Figure(
        pair.mean(values - slope * part)[0], pair.mean(influence - slope * part)[1], f"mixture of {pair.estimator}"
    )


def _internal(internal: InternalEnergy | None, pair: TwoDensities) -> Reals:
    """Return (U(ρ) - U(σ))/g at the points, shape (k,)."""
    if internal is None:
        return np.zeros(len(pair.weights))
    half = torch.from_numpy(pair.log_ratio)
    total = torch.zeros(len(half), dtype=torch.float64)
    for sign, log_density in ((1, pair.log_fit), (-1, pair.log_truth)):
        there = log_density > -torch.inf
        share = torch.sigmoid(sign * half)
        total += sign * 2 * torch.where(there, share * internal.energy(torch.where(there, log_density, 0.0)), 0.0)
    return np.asarray(total.numpy())


def local(energy: FreeEnergy, points: torch.Tensor, log_density: torch.Tensor | None) -> Reals:
    """Return V + U(ρ)/ρ at ``points`` (n, D) with log-densities (n,), shape (n,)."""
    values = potential(energy, points)
    if energy.internal is None:
        return values
    assert log_density is not None
    there = log_density > -torch.inf
    return np.asarray(values + torch.where(there, energy.internal.energy(log_density), 0.0).numpy())


def potential(energy: FreeEnergy, points: torch.Tensor) -> Reals:
    """Return V at ``points`` (n, D), shape (n,); raises ``ArithmeticError`` where it is NaN."""
    cases = energy.potential.cases if isinstance(energy.potential, FiniteSum) else 1
    with workers() as run:
        values = torch.cat(run(energy.potential.value, points.split(max(1, TERMS_PER_TILE // cases)))).double()
    undefined = int(values.isnan().sum())
    if undefined:
        raise ArithmeticError(f"the potential is NaN at {undefined} of {len(points)} points")
    return np.asarray(values.numpy())


def averages(
    interaction: Interaction | None,
    points: torch.Tensor,
    sources: torch.Tensor,
    weights: torch.Tensor | None,
    *,
    own: bool = True,
) -> Reals:
    """Return W∗ρ at ``points`` (n, D) for ρ of ``weights`` (k,) at ``sources`` (k, D), shape (n,); 0 without a W."""
    if interaction is None:
        return np.zeros(len(points))
    with one_thread():
        return np.asarray(interaction.mean_value(points, sources, weights, own=own).double().numpy())


def _allowed(energy: FreeEnergy, draws: int) -> int:
    """Return how many draws are taken of so many that were asked for."""
    cases = energy.potential.cases if isinstance(energy.potential, FiniteSum) else 1
    allowed = min(draws, max(LEAST_DRAWS, MOST_TERMS // cases))
    return min(allowed, MOST_PAIRED) if _summed(energy.interaction) else allowed


def _summed(interaction: Interaction | None) -> bool:
    """Return whether all pairs are summed: the interaction has no shorter way."""
    return interaction is not None and type(interaction).mean_value is Interaction.mean_value


def _singular(energy: FreeEnergy) -> bool:
    return energy.interaction is not None and energy.interaction.singular


def _nodes(energy: FreeEnergy) -> int:
    return PAIRED_NODES if _summed(energy.interaction) else NODES
