"""The saddle point of one JKO step and the updates of its two networks.

With T_θ the map to the intermediate point, θ = 1 for the scheme of order one and ½ for its implicit midpoint, the step
of size h from ρ_k is that of size θh in T_θ, extrapolated by 1/θ:

    min over T, max over h ≥ 0 of
    E_{ρ_k}[ ‖T(x)-x‖²/2θh + V(T(x)) + ½(W∗ρ)(T(x)) + U'(h(T(x))) ] - E_γ[P(h)/γ],

(Fan, Zhang, Taghvaei, Chen, ICML 2022, with ``solvers.primal_dual.variational``). In the best h the last two terms are
∫U of the law of T. Their derivative by T(x) is w(h)∇log h, so that of the networks only first derivatives are needed.
Points go in the coordinates of a frame, and derivatives by the map are in units of the energy that a step is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from problems.interactions import Interaction, QuadraticInteraction, QuarticInteraction
from problems.potentials import Potential
from solvers.primal_dual.adam import AveragedAdam
from solvers.primal_dual.dual_network import DualNetwork, DualPass, positive
from solvers.primal_dual.map_networks import MapNetwork
from solvers.primal_dual.variational import VariationalEnergy
from solvers.threads import Run

# Points that one thread works on at a time; a constant, because the sums of blocks decide the last bits.
BLOCK = 512
# Points of the other half of a batch that a point feels where W is not a polynomial.
FELT = 256
# What averages over late updates forget in each; the map follows the average of the dual, which has less noise.
FORGETTING, DUAL_FORGETTING = 0.05, 0.02
# The largest log h/ρ that counts as it is: beyond it h falls no faster, so that no particle outweighs a batch.
LARGEST_EXCESS = 3.0


@dataclass(frozen=True, eq=False)
class StepTerms:
    """What a step's objective is made of, in the device and dtype of training.

    x = ``mean`` + A y with A = ``source``, T = ``moved`` + B o with B = ``target``, and z = ``offset`` + ``turn`` o are
    the coordinates of the reference law, ``turn`` ``None`` where they are o itself. ``box`` says that γ is uniform.
    ``step_size`` is θh; ``unit`` is the energy that derivatives by the map are divided by.
    """

    potential: Potential
    interaction: Interaction | None
    energy: VariationalEnergy | None
    step_size: float
    unit: float
    mean: torch.Tensor
    source: torch.Tensor
    moved: torch.Tensor
    target: torch.Tensor
    offset: torch.Tensor
    turn: torch.Tensor | None
    box: bool

    def dual_coordinates(self, o: torch.Tensor) -> torch.Tensor:
        """Return z of values ``o`` (n, D), shape (n, D)."""
        return o if self.turn is None else torch.addmm(self.offset, o, self.turn.T)

    def log_reference(self, z: torch.Tensor) -> torch.Tensor:
        """Return log γ/γ₀ at ``z`` (n, D), shape (n,)."""
        return z.new_zeros(len(z)) if self.box else z.square().sum(1).mul_(-0.5)


class Block:
    """A block holds the memory of the points that one thread works on."""

    def __init__(self, dual: DualNetwork, network: MapNetwork, points: int, like: torch.Tensor) -> None:
        self.both, self.alone = DualPass(dual, 2 * points, like), DualPass(dual, points, like)
        self.map_slope = like.new_zeros(network.slope_size)
        self.through = network.passes(points, self.map_slope)
        self.joined = like.new_empty(2 * points, dual.dim)
        self.value = self.log_density = like.new_empty(0)
        self.bar = like.new_empty(2 * points)
        self.dual_slope = like.new_zeros(dual.size)
        self.dual_slopes = dual.weights(self.dual_slope)


class SaddlePoint:
    """A saddle point holds the parameters of a map and of a dual network and moves them towards it."""

    def __init__(
        self,
        network: MapNetwork,
        dual: DualNetwork,
        parameters: tuple[torch.Tensor, torch.Tensor],
        batch_size: int,
        run: Run,
    ) -> None:
        self.network, self.dual, self.run, self.batch_size = network, dual, run, batch_size
        self.map_parameters, self.dual_parameters = parameters
        self.dual_weights = dual.weights(self.dual_parameters)
        rates = None if network.rates is None else network.rates.to(self.map_parameters)
        self.map_adam = AveragedAdam(self.map_parameters, rates, FORGETTING)
        self.dual_adam = AveragedAdam(self.dual_parameters, None, DUAL_FORGETTING)
        self.averaged_dual = dual.weights(self.dual_adam.average)
        size = BLOCK if self.map_parameters.device.type == "cpu" else batch_size
        counts = [min(size, batch_size - start) for start in range(0, batch_size, size)]
        self.blocks = [Block(dual, network, count, self.map_parameters) for count in counts]
        self.counts = counts
        self.points: Sequence[torch.Tensor] = ()
        self.prepared: Any = None

    def split(self, batch: torch.Tensor) -> Sequence[torch.Tensor]:
        """Return the parts of a batch (n, D) that the blocks work on."""
        parts: tuple[torch.Tensor, ...] = batch.split(self.counts)
        return parts

    def push(self, terms: StepTerms, y: torch.Tensor, log_density: torch.Tensor | None = None) -> None:
        """Move the points ``y`` (B, D) by the map as it is: what follows is at these, until the map has changed.

        ``log_density`` (B,), relative to γ₀, is that of the law of the coordinates o at o = y, where it is carried.
        """
        self.prepared = self.network.prepare(self.map_parameters)
        self.points = self.split(y)
        carried = None if log_density is None else self.split(log_density)

        def move(numbered: tuple[int, tuple[Block, torch.Tensor]]) -> None:
            number, (block, own) = numbered
            block.value = block.through.forward(self.prepared, own)
            if terms.energy is not None:
                block.joined[: len(own)] = terms.dual_coordinates(block.value)
                if carried is not None:
                    block.log_density = carried[number] - block.through.log_det(self.prepared)

        self.run(move, list(enumerate(zip(self.blocks, self.points, strict=True))))

    def fit_dual(self, terms: StepTerms, rate: float) -> torch.Tensor:
        """Take a step of Adam up the objective in h, γ the law of the points pushed, whose density they carry.

        Each point then counts U'(h) - P(h)/ρ, which is largest at h = ρ: at the best h nothing depends on the draws.
        Points where the map folds don't count. Returns a number, of shape (), that is finite if the derivatives are.
        """
        assert terms.energy is not None
        energy, weights, output, share = terms.energy, self.dual_weights, self.dual.output, 1 / self.batch_size

        def differentiate(block: Block) -> None:
            z = block.joined[: len(block.value)]
            log_g, rise = positive(output, block.alone.forward(weights, z))
            log_h = log_g + terms.log_reference(z)
            excess = (log_h - block.log_density).clamp_(max=LARGEST_EXCESS).expm1_().nan_to_num_(0.0)
            bar = rise.mul_(excess).mul_(share)
            if energy.exponent != 1:
                bar.mul_(energy.weight(log_h))
            block.alone.backward(weights, bar, block.dual_slopes)

        self.run(differentiate, self.blocks)
        return self._step_dual(rate)

    def _step_dual(self, rate: float) -> torch.Tensor:
        """Take a step of Adam along what the blocks found, and return the sum of its derivatives."""
        slope = self.blocks[0].dual_slope
        for block in self.blocks[1:]:
            slope.add_(block.dual_slope)
        self.dual_adam.step(slope, rate)
        return slope.sum()

    def update_dual(self, terms: StepTerms, reference: torch.Tensor, rate: float) -> torch.Tensor:
        """Take a step of Adam up the objective in h, at the points pushed and at draws ``reference`` (B, D) of γ.

        Returns a scalar that is finite if the derivatives are.
        """
        assert terms.energy is not None
        energy, weights, output, share = terms.energy, self.dual_weights, self.dual.output, 1 / self.batch_size

        def differentiate(part: tuple[Block, torch.Tensor]) -> None:
            block, others = part
            count = len(others)
            block.joined[count:] = others
            log_g, rise = positive(output, block.both.forward(weights, block.joined))
            if energy.exponent == 1:
                torch.mul(rise, -share, out=block.bar)
            else:
                weight = energy.weight(log_g + terms.log_reference(block.joined))
                torch.mul(weight, rise, out=block.bar).mul_(-share)
            block.bar[count:].mul_(log_g[count:].exp_()).neg_()
            block.both.backward(weights, block.bar, block.dual_slopes)

        self.run(differentiate, zip(self.blocks, self.split(reference), strict=True))
        return self._step_dual(rate)

    def update_map(self, terms: StepTerms, rate: float) -> torch.Tensor:
        """Take a step of Adam down the objective in T at the points pushed, once for each ``push``.

        Returns a scalar that is finite if the derivatives are.
        """
        share = 1 / (self.batch_size * terms.unit)
        places = self._places(terms) if terms.interaction is not None else None

        def differentiate(numbered: tuple[int, tuple[Block, torch.Tensor]]) -> None:
            number, (block, own) = numbered
            mapped = torch.addmm(terms.moved, block.value, terms.target.T)
            x = torch.addmm(terms.mean, own, terms.source.T)
            slope = (mapped - x).div_(terms.step_size).add_(terms.potential.gradient(mapped))
            if places is not None:
                slope += self._pull(terms, mapped, number * BLOCK, places)
            bar = torch.mm(slope, terms.target)
            if terms.energy is not None:
                bar.add_(self._spread(terms, block, block.joined[: len(own)]))
            block.through.backward(self.prepared, bar.mul_(share))

        self.run(differentiate, list(enumerate(zip(self.blocks, self.points, strict=True))))
        total = self.blocks[0].map_slope
        for block in self.blocks[1:]:
            total.add_(block.map_slope)
        slope = self.network.slope(self.map_parameters, total)
        self.map_adam.step(slope, rate)
        self.network.project(self.map_parameters)
        return slope.sum()

    def _spread(self, terms: StepTerms, block: Block, z: torch.Tensor) -> torch.Tensor:
        """Return the derivative by o of U'(h), (n, D), at ``z`` (n, D)."""
        energy = terms.energy
        assert energy is not None
        log_g, rise = positive(self.dual.output, block.alone.forward(self.averaged_dual, z))
        weight = energy.weight(log_g + terms.log_reference(z)).mul_(energy.unit)
        slope = block.alone.input_bar(self.averaged_dual, rise.mul_(weight))
        if not terms.box:
            slope.addcmul_(z, weight[:, None], value=-1)
        return slope if terms.turn is None else slope @ terms.turn

    def _places(self, terms: StepTerms) -> torch.Tensor:
        """Return T at the points pushed, (B, D)."""
        return torch.addmm(terms.moved, torch.cat([block.value for block in self.blocks]), terms.target.T)

    def _pull(self, terms: StepTerms, mapped: torch.Tensor, start: int, places: torch.Tensor) -> torch.Tensor:
        """Return ∇(W∗ρ) at ``mapped`` (n, D), rows of ``places`` (B, D) from ``start`` on, by points of the other half.

        A point is then independent of those that it feels, and the mean is without bias.
        """
        assert terms.interaction is not None
        half = len(places) // 2
        inside = min(max(half - start, 0), len(mapped))
        felt = half if isinstance(terms.interaction, QuadraticInteraction | QuarticInteraction) else FELT
        parts = []
        for rows, others in ((mapped[:inside], places[half:]), (mapped[inside:], places[:half])):
            if len(rows):
                parts.append(terms.interaction.mean_gradient(rows, others[:felt]))
        return torch.cat(parts)
