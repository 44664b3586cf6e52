"""Derivatives of the objectives of JKO steps in the parameters of their networks, on a CPU and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from solvers.blocks import Run
from solvers.icnn import Architecture, Weights
from solvers.icnn_derivatives import Folded, derivatives, fold, gradient, pullback, pullback_of_fold
from solvers.jko_objective import StepObjective

# Entries of a Jacobian (B, D, W) that one thread works on at a time: what it is made into then stays in a core's
# second-level cache. A constant, because the sums of the blocks' derivatives decide the last bits of the results.
BLOCK_ENTRIES = 2**18
LEAST_BLOCK, LARGEST_BLOCK = 128, 512
PUSHED_AT_ONCE = 1024


def block_points(architecture: Architecture) -> int:
    """Return how many points one thread works on at a time."""
    fitting = BLOCK_ENTRIES // (architecture.dim * architecture.width)
    return min(max(2 ** (fitting.bit_length() - 1), LEAST_BLOCK), LARGEST_BLOCK) if fitting else LEAST_BLOCK


@dataclass(frozen=True)
class Batch:
    """Points (B, D) and objectives of S networks of one architecture, of which only the ``active`` ones learn."""

    architecture: Architecture
    weights: Weights
    points: Sequence[torch.Tensor]
    objectives: Sequence[StepObjective]
    active: Sequence[int]


Slopes = Callable[[Batch], torch.Tensor]
"""Gives derivatives (S, size), summed over each network's points; rows of networks not active may be anything."""


def slopes_in_blocks(run: Run, batch: Batch) -> torch.Tensor:
    """Return the derivatives from blocks of one network's points, one after the other: what is fastest on a CPU."""

    def differentiate(block: tuple[int, torch.Tensor]) -> torch.Tensor:
        network, x = block
        return _folded_slopes(networks[network], x[None], batch.objectives[network : network + 1])

    folded, size = fold(batch.weights), block_points(batch.architecture)
    networks = [folded.of(network) for network in range(len(batch.points))]
    blocks = [(network, part) for network in batch.active for part in batch.points[network].split(size)]
    rows = folded.output.new_zeros(len(networks), networks[0].size)
    found = torch.stack(run(differentiate, blocks)).view(len(batch.active), -1, networks[0].size)
    rows[list(batch.active)] = found.sum(1)
    parts = rows.split([part.numel() for part in networks[0].parts()], dim=1)
    return _unfolded(batch, folded.like(torch.cat([part.flatten() for part in parts])))


def slopes_at_once(batch: Batch) -> torch.Tensor:
    """Return the derivatives from all points of all networks in the same operations: what is fastest on a GPU."""
    folded = fold(batch.weights)
    bar = folded.like(_folded_slopes(folded, torch.stack(tuple(batch.points)), batch.objectives))
    return _unfolded(batch, bar)


def _unfolded(batch: Batch, bar: Folded) -> torch.Tensor:
    slope = bar.output.new_zeros(len(bar.output), batch.architecture.size)
    pullback_of_fold(batch.weights, bar, batch.architecture.weights(slope))
    return slope


def _folded_slopes(folded: Folded, x: torch.Tensor, objectives: Sequence[StepObjective]) -> torch.Tensor:
    """Return derivatives of S networks' objectives in the folded networks, summed over the points ``x`` (S, B, D)."""
    mapped, hessian, tape = derivatives(folded, x)
    bars = [own.derivatives(*at) for own, *at in zip(objectives, x, mapped, hessian, strict=True)]
    slope = x.new_zeros(folded.size)
    pullback(
        folded, tape, torch.stack([bar for bar, _ in bars]), torch.stack([bar for _, bar in bars]), folded.like(slope)
    )
    return slope


def pushed(weights: Weights, points: torch.Tensor, run: Run) -> torch.Tensor:
    """Return ∇ψ at ``points`` (n, D) for one network."""
    folded = fold(weights)
    return torch.cat(run(lambda x: gradient(folded, x[None])[0], points.split(PUSHED_AT_ONCE)))
