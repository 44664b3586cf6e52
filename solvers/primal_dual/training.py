"""The training of one JKO step: updates of the dual and of the map by turns, judged on particles that none has seen.

A judgement compares the step's objective at the map so far, averaged over late iterations, and at the start: pairwise
on the same particles, by their carried density, without the dual. A map is kept if it gains more than three standard
errors, and a step in which none has by the ``patience``-th tenth of its schedule ends there, at its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from solvers.particles.particle_pool import even_batches
from solvers.primal_dual.adam import cosine
from solvers.primal_dual.saddle_point import SaddlePoint, StepTerms
from solvers.primal_dual.settings import PrimalDualSettings
from solvers.solver import Diverged

JUDGEMENTS = 10
SIGNIFICANT = 3.0
UPDATES_BETWEEN_CHECKS = 25

Points = tuple[torch.Tensor, torch.Tensor | None]
"""Coordinates y (B, D) of particles and, where it is carried, the log-density (B,) of their law in them."""

Judge = Callable[[torch.Tensor], tuple[float, float]]
"""Gives by how much the objective at the map of these parameters is below that at the start, and its standard error."""


@dataclass(frozen=True)
class Trained:
    """What a training did: its iterations, the parameters of the map, ``None`` for the start, and what these gain."""

    iterations: int
    parameters: torch.Tensor | None
    gain: float


def train_dual(
    saddle: SaddlePoint,
    terms: StepTerms,
    settings: PrimalDualSettings,
    own: Iterator[Points],
    others: Iterator[torch.Tensor] | None,
) -> None:
    """Train the dual alone for as many updates as a step has iterations, at the map as it is.

    ``own`` gives batches of particles and ``others`` (B, D) of draws of the reference law; without these it is the law
    of the particles themselves, whose density they carry.
    Raises ``Diverged`` where derivatives are not finite.
    """
    saddle.dual_adam.restart()
    for update in range(settings.iterations):
        share = cosine(update / settings.iterations) if settings.decay else 1.0
        saddle.push(terms, *next(own))
        found = update_dual(saddle, terms, others, share * settings.dual_learning_rate)
        if update % UPDATES_BETWEEN_CHECKS == 0 or update == settings.iterations - 1:
            require_finite(found, update + 1, "dual network")
    saddle.dual_adam.settle()


def train(
    saddle: SaddlePoint,
    terms: StepTerms,
    settings: PrimalDualSettings,
    own: Iterator[Points],
    others: Iterator[torch.Tensor] | None,
    judge: Judge | None,
) -> Trained:
    """Train both networks for a step on ``pool`` (n, D); what is asked for and raised is as for ``train_dual``.

    All updates of an iteration are at the same particles, as in the released runs of the method: the map stays where it
    is while the dual moves, so that they go through it once. The draws of the reference law are others in each.
    """
    saddle.dual_adam.restart()
    saddle.map_adam.restart()
    best, best_gain = None, 0.0
    for iteration in range(1, settings.iterations + 1):
        share = cosine((iteration - 1) / settings.iterations) if settings.decay else 1.0
        saddle.push(terms, *next(own))
        if terms.energy is not None:
            for _ in range(settings.inner_updates):
                found = update_dual(saddle, terms, others, share * settings.dual_learning_rate)
        moved = saddle.update_map(terms, share * settings.learning_rate)
        if iteration % UPDATES_BETWEEN_CHECKS == 0 or iteration == settings.iterations:
            if terms.energy is not None:
                require_finite(found, iteration, "dual network")
            require_finite(moved, iteration, "map")
        if judge is None or not settings.patience or iteration * JUDGEMENTS % settings.iterations >= JUDGEMENTS:
            continue
        gain, error = judge(saddle.map_adam.average)
        if gain > max(best_gain, SIGNIFICANT * error):
            best, best_gain = saddle.map_adam.average.clone(), gain
        if best is None and iteration * JUDGEMENTS >= settings.patience * settings.iterations:
            break
    saddle.dual_adam.settle()
    saddle.map_adam.settle()
    if judge is None or not settings.patience:
        kept = saddle.map_parameters.clone()
        return Trained(iteration, kept, judge(kept)[0] if judge is not None else 0.0)
    if best is not None:
        saddle.map_parameters.copy_(best)
    return Trained(iteration, best, best_gain)


def update_dual(
    saddle: SaddlePoint, terms: StepTerms, others: Iterator[torch.Tensor] | None, rate: float
) -> torch.Tensor:
    """Update the dual at the points pushed, with the next draws of ``others`` (n, D) or the density of the points.

    Returns a number, of shape (), that is finite if the derivatives are.
    """
    return saddle.fit_dual(terms, rate) if others is None else saddle.update_dual(terms, next(others), rate)


def even_parts(pool: torch.Tensor, size: int, generator: torch.Generator) -> Sequence[torch.Tensor]:
    """Return a pool (n, D) in batches (size, D) that have its mean and covariance, what is left over left out."""
    return [points for points, _ in islice(even_batches(pool, size, generator), len(pool) // size)]


def by_turns(batches: Sequence[torch.Tensor], generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield ``batches`` (n, D) for ever, each time all of them in random order."""
    while True:
        yield from (batches[number] for number in torch.randperm(len(batches), generator=generator).tolist())


def require_finite(found: torch.Tensor, iteration: int, what: str) -> None:
    """Raise ``Diverged`` unless ``found``, a scalar, is finite."""
    if not bool(torch.isfinite(found)):
        raise Diverged(f"iteration {iteration}: derivatives of the {what} are not finite")
