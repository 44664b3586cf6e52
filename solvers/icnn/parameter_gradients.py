"""Derivatives of the objectives of JKO steps in the parameters of their networks, on a CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from solvers.icnn.path_forces import forces_of
from solvers.icnn.step_objective import StepObjective, derivatives_of, log_dets
from solvers.networks.convex_derivatives import Folded, Tape, derivatives, fold, gradient, pullback, pullback_of_fold
from solvers.networks.convex_network import Architecture, Weights
from solvers.networks.path_derivatives import pullback_of_gradient, score_pushed, slope_of_hessian
from solvers.threads import Run

# Entries of a Jacobian (B, D, W) that one thread works on at a time: what it is made into then stays in a core's
# second-level cache. A constant, because the sums of the blocks' derivatives decide the last bits of the results.
BLOCK_ENTRIES = 2**18
LEAST_BLOCK, LARGEST_BLOCK = 128, 512
PUSHED_AT_ONCE = 512
# What a GPU works on at a time: memory is the limit, and many small pieces would have it wait for the host.
GPU_ENTRIES = 2**27


def block_points(architecture: Architecture) -> int:
    """Return how many points one thread works on at a time."""
    fitting = BLOCK_ENTRIES // (architecture.dim * architecture.width)
    return min(max(2 ** (fitting.bit_length() - 1), LEAST_BLOCK), LARGEST_BLOCK) if fitting else LEAST_BLOCK


@dataclass(frozen=True)
class Batch:
    """A batch holds the points (S, B, D) and objectives of S networks of one architecture.

    Only the ``active`` ones learn. ``log_density`` (S, B) is that of the points, for objectives that carry it;
    ``scores`` (S, B, D) are theirs, where networks learn by path forces (``solvers.icnn.path_forces``).
    """

    architecture: Architecture
    weights: Weights
    points: torch.Tensor
    objectives: Sequence[StepObjective]
    active: Sequence[int]
    log_density: torch.Tensor | None = None
    scores: torch.Tensor | None = None

    @property
    def carried(self) -> torch.Tensor | None:
        """The log-densities (S, B), where an objective asks for them."""
        return self.log_density if any(own.carries for own in self.objectives) else None

    @property
    def interacting(self) -> list[int]:
        """The active networks whose particles interact."""
        return [network for network in self.active if self.objectives[network].interaction is not None]


ParameterGradients = Callable[[Batch], torch.Tensor]
"""Gives derivatives (S, size), summed over each network's points; rows of networks not active may be anything."""


def gradients_in_blocks(run: Run, batch: Batch) -> torch.Tensor:
    """Return the derivatives (S, size) from blocks of points, small ones a few together: the fastest way on a CPU.

    Blocks that are worked on together are so as different networks would be, and leave the same bits as alone.
    """
    folded, size = fold(batch.weights), block_points(batch.architecture)
    dim, width = batch.architecture.dim, batch.architecture.width
    fields, log_density = _fields_in_blocks(run, folded, batch, size), batch.carried

    def differentiate(blocks: Sequence[tuple[int, slice]]) -> torch.Tensor:
        def of_blocks(values: torch.Tensor | None) -> torch.Tensor | None:
            return None if values is None else torch.stack([values[network, place] for network, place in blocks])

        networks = folded.of([network for network, _ in blocks])
        points = torch.stack([batch.points[network, place] for network, place in blocks])
        objectives = [batch.objectives[network] for network, _ in blocks]
        carried = [of_blocks(values) for values in (log_density, fields, batch.scores)]
        passed = derivatives(networks, points)
        bar = networks.like(_folded_gradients(networks, points, passed, objectives, *carried))
        return torch.cat([part.flatten(1) for part in bar.parts()], dim=1)

    groups = []
    for start in range(0, batch.points.shape[1], size):
        place = slice(start, min(start + size, batch.points.shape[1]))
        together = max(1, BLOCK_ENTRIES // ((place.stop - start) * dim * width))
        blocks = [(network, place) for network in batch.active]
        groups += [blocks[first : first + together] for first in range(0, len(blocks), together)]
    found = torch.cat(run(differentiate, groups))
    rows = found.new_zeros(len(batch.points), found.shape[1])
    for part in found.split(len(batch.active)):
        rows[list(batch.active)] += part
    widths = [part[0].numel() for part in folded.parts()]
    return _unfolded(batch, folded.like(torch.cat([part.flatten() for part in rows.split(widths, dim=1)])))


def gradients_at_once(batch: Batch) -> torch.Tensor:
    """Return the derivatives (S, size) from all points in the same operations: the fastest way on a GPU."""
    folded = fold(batch.weights)
    passed, fields = derivatives(folded, batch.points), None
    if batch.interacting:
        pairs = zip(batch.objectives, batch.points, passed[0], strict=True)
        fields = torch.stack([own.field(own.intermediate_places(x, y)) for own, x, y in pairs])
    slope = _folded_gradients(folded, batch.points, passed, batch.objectives, batch.carried, fields, batch.scores)
    return _unfolded(batch, folded.like(slope))


def gradients_on(device: torch.device, run: Run) -> ParameterGradients:
    """Return the function that gives the derivatives fastest on ``device``."""
    return partial(gradients_in_blocks, run) if device.type == "cpu" else gradients_at_once


def _unfolded(batch: Batch, bar: Folded) -> torch.Tensor:
    slope = bar.output.new_zeros(len(bar.output), batch.architecture.size)
    pullback_of_fold(batch.weights, bar, batch.architecture.weights(slope))
    return slope


def _fields_in_blocks(run: Run, folded: Folded, batch: Batch, size: int) -> torch.Tensor | None:
    """Return the gradients of the interactions (S, B, D), which all points of a batch take part in; ``None`` if none.

    Rows of networks that do not interact are 0, those of networks not active anything.
    """
    interacting = batch.interacting
    if not interacting:
        return None
    fields, items = (
        torch.zeros_like(batch.points),
        [(each, x) for each in interacting for x in batch.points[each].split(size)],
    )
    mapped = run(lambda item: gradient(folded.of([item[0]]), item[1][None])[0], items)
    together = len(items) // len(interacting)

    def fill(number: int) -> None:
        network = interacting[number]
        images, own = torch.cat(mapped[number * together : (number + 1) * together]), batch.objectives[network]
        fields[network] = own.field(own.intermediate_places(batch.points[network], images))

    run(fill, range(len(interacting)))
    return fields


def _folded_gradients(
    folded: Folded,
    x: torch.Tensor,
    passed: tuple[torch.Tensor, torch.Tensor, Tape],
    objectives: Sequence[StepObjective],
    log_density: torch.Tensor | None,
    fields: torch.Tensor | None,
    scores: torch.Tensor | None,
) -> torch.Tensor:
    """Return derivatives of S networks' objectives in the folded networks, summed over the points ``x`` (S, B, D).

    ``passed`` are ∇ψ, ∇²ψ and the tape of ``derivatives`` there.
    """
    mapped, hessian, tape = passed
    slope = x.new_zeros(folded.size)
    if scores is None:
        bars = derivatives_of(objectives, x, mapped, hessian, log_density, fields)
        pullback(folded, tape, *bars, folded.like(slope))
    else:
        forces = forces_of(objectives, x, mapped, hessian, scores, partial(slope_of_hessian, folded, tape))
        pullback_of_gradient(folded, tape, forces, folded.like(slope))
    return slope


def pieces(weights: Weights, points: torch.Tensor, on_cpu: int) -> tuple[torch.Tensor, ...]:
    """Return ``points`` (n, D) in pieces that one thread of a CPU, ``on_cpu`` points, or a GPU works on at a time."""
    on_gpu = max(1, GPU_ENTRIES // (points.shape[1] * weights.output.shape[1]))
    parts: tuple[torch.Tensor, ...] = points.split(on_cpu if points.device.type == "cpu" else on_gpu)
    return parts


def pushed(weights: Weights, points: torch.Tensor, run: Run) -> torch.Tensor:
    """Return ∇ψ of one network at ``points`` (n, D), shape (n, D)."""
    folded = fold(weights)
    return torch.cat(run(lambda x: gradient(folded, x[None])[0], pieces(weights, points, PUSHED_AT_ONCE)))


def pushed_with_density(
    weights: Weights, points: torch.Tensor, log_density: torch.Tensor, run: Run
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇ψ of one network at ``points`` (n, D), shape (n, D), and log ρ - log det ∇²ψ, (n,), what ρ becomes."""
    folded = fold(weights)

    def push(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mapped, hessian, _ = derivatives(folded, x[None])
        return mapped[0], log_dets(torch.linalg.cholesky_ex(hessian[0])[0])

    found = run(push, pieces(weights, points, PUSHED_AT_ONCE))
    return torch.cat([mapped for mapped, _ in found]), log_density - torch.cat([log_det for _, log_det in found])


def pushed_with_score(
    weights: Weights, points: torch.Tensor, scores: torch.Tensor, run: Run
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ∇ψ of one network at ``points`` (n, D), and what ``scores`` (n, D) become there, both (n, D)."""
    folded = fold(weights)

    def push(piece: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        x, own = piece
        mapped, hessian, tape = derivatives(folded, x[None])
        return mapped[0], score_pushed(own[None], hessian, partial(slope_of_hessian, folded, tape))[0]

    parts = pieces(weights, points, PUSHED_AT_ONCE)
    found = run(push, list(zip(parts, scores.split(len(parts[0])), strict=True)))
    return torch.cat([mapped for mapped, _ in found]), torch.cat([own for _, own in found])
