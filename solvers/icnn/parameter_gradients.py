"""Derivatives of the objectives of JKO steps in the parameters of their networks, on a CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from solvers.icnn.step_objective import StepObjective, derivatives_of
from solvers.networks.convex_derivatives import Folded, derivatives, fold, gradient, pullback, pullback_of_fold
from solvers.networks.convex_network import Architecture, Weights
from solvers.threads import Run

# Entries of a Jacobian (B, D, W) that one thread works on at a time: what it is made into then stays in a core's
# second-level cache. A constant, because the sums of the blocks' derivatives decide the last bits of the results.
BLOCK_ENTRIES = 2**18
LEAST_BLOCK, LARGEST_BLOCK = 128, 512
PUSHED_AT_ONCE = 1024
# What a GPU works on at a time: memory is the limit, and many small pieces would have it wait for the host.
GPU_ENTRIES = 2**27


def block_points(architecture: Architecture) -> int:
    """Return how many points one thread works on at a time."""
    fitting = BLOCK_ENTRIES // (architecture.dim * architecture.width)
    return min(max(2 ** (fitting.bit_length() - 1), LEAST_BLOCK), LARGEST_BLOCK) if fitting else LEAST_BLOCK


@dataclass(frozen=True)
class Batch:
    """A batch holds the points (S, B, D) and objectives of S networks of one architecture.

    Only the ``active`` ones learn.
    """

    architecture: Architecture
    weights: Weights
    points: torch.Tensor
    objectives: Sequence[StepObjective]
    active: Sequence[int]


ParameterGradients = Callable[[Batch], torch.Tensor]
"""Gives derivatives (S, size), summed over each network's points; rows of networks not active may be anything."""


def gradients_in_blocks(run: Run, batch: Batch) -> torch.Tensor:
    """Return the derivatives (S, size) from blocks of points, small ones a few together: the fastest way on a CPU.

    Blocks that are worked on together are so as different networks would be, and leave the same bits as alone.
    """
    folded, size = fold(batch.weights), block_points(batch.architecture)
    dim, width = batch.architecture.dim, batch.architecture.width

    def differentiate(blocks: Sequence[tuple[int, torch.Tensor]]) -> torch.Tensor:
        networks = folded.of([network for network, _ in blocks])
        points = torch.stack([x for _, x in blocks])
        bar = networks.like(_folded_gradients(networks, points, [batch.objectives[network] for network, _ in blocks]))
        return torch.cat([part.flatten(1) for part in bar.parts()], dim=1)

    parts = zip(*(batch.points[network].split(size) for network in batch.active), strict=True)
    groups = []
    for part in parts:
        together = max(1, BLOCK_ENTRIES // (len(part[0]) * dim * width))
        blocks = list(zip(batch.active, part, strict=True))
        groups += [blocks[start : start + together] for start in range(0, len(blocks), together)]
    found = torch.cat(run(differentiate, groups))
    rows = found.new_zeros(len(batch.points), found.shape[1])
    for part in found.split(len(batch.active)):
        rows[list(batch.active)] += part
    widths = [part[0].numel() for part in folded.parts()]
    return _unfolded(batch, folded.like(torch.cat([part.flatten() for part in rows.split(widths, dim=1)])))


def gradients_at_once(batch: Batch) -> torch.Tensor:
    """Return the derivatives (S, size) from all points in the same operations: the fastest way on a GPU."""
    folded = fold(batch.weights)
    bar = folded.like(_folded_gradients(folded, batch.points, batch.objectives))
    return _unfolded(batch, bar)


def gradients_on(device: torch.device, run: Run) -> ParameterGradients:
    """Return the function that gives the derivatives fastest on ``device``."""
    return partial(gradients_in_blocks, run) if device.type == "cpu" else gradients_at_once


def _unfolded(batch: Batch, bar: Folded) -> torch.Tensor:
    slope = bar.output.new_zeros(len(bar.output), batch.architecture.size)
    pullback_of_fold(batch.weights, bar, batch.architecture.weights(slope))
    return slope


def _folded_gradients(folded: Folded, x: torch.Tensor, objectives: Sequence[StepObjective]) -> torch.Tensor:
    """Return derivatives of S networks' objectives in the folded networks, summed over the points ``x`` (S, B, D)."""
    mapped, hessian, tape = derivatives(folded, x)
    slope = x.new_zeros(folded.size)
    pullback(folded, tape, *derivatives_of(objectives, x, mapped, hessian), folded.like(slope))
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
