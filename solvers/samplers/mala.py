"""The Metropolis-adjusted Langevin algorithm: Markov chains whose stationary law is exp(-βV), whatever the step.

From X a chain proposes a step of Euler-Maruyama, Y = X - h∇V(X) + √(2h/β) ξ with ξ ~ N(0, I), and goes there with
probability min(1, e^ℓ), otherwise it stays:

    ℓ = -β [V(Y) - V(X)] - (β/4h) [ ‖X - Y + h∇V(Y)‖² - ‖Y - X + h∇V(X)‖² ]

(Besag, J. R. Stat. Soc. B 56, 1994, p. 591; Roberts, Tweedie, Bernoulli 2, 1996). Detailed balance makes exp(-βV)
stationary for any h. The best h accepts 57.4 % of the proposals as D grows (Roberts, Rosenthal, J. R. Stat. Soc. B 60,
1998); it is looked for in a warm-up and fixed from then on, since a step that follows the chain has another law.

Where V is steep in some directions and flat in others, h is that of the steepest, and the chain creeps along the
others. With a preconditioner Σ = AAᵀ it goes (Roberts, Stramer, Methodol. Comput. Appl. Probab. 4, 2002)

    Y = X - hΣ∇V(X) + √(2h/β) A ξ,

the step above for z = A⁻¹x, in which ∇V becomes Aᵀ∇V. Σ, too, is learnt in the warm-up
(``solvers.preconditioning.learnt``) and then fixed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import to_device
from problems.potentials import Potential
from problems.problem import Problem
from problems.validation import require_choice, require_counts
from solvers.estimates import Particles
from solvers.limits import MIXING, Limit
from solvers.preconditioning.learnt import refined
from solvers.samplers.mixing import mixing, require_chains
from solvers.solver import Cost, Diverged, Solution, Solver
from solvers.threads import Run, block_generators, block_size, workers

OPTIMAL_ACCEPTANCE = 0.574

# Chains times dimensions that a thread carries at a time: a constant, because each block has its own random stream.
BLOCK_ELEMENTS = 2**13

# Rounds in which the common step is corrected, and the correction of log h by the first: 1/0.574, since the acceptance
# 2Φ(-K h^{3/2}) falls by 0.574 for a unit of log h where it is 0.574.
ROUNDS = 10
GAIN = 1.74

# A dense preconditioner is learnt in windows of the warm-up's first half, each twice as long as the one before, from
# where the chains are at so many times in each.
WINDOWS = 5
VISITS = 25
SHORTEST_FOR_DENSE = 200

PRECONDITIONERS = ("identity", "dense")


class Block:
    """A block is some of the chains: their points (n, D), V and ∇V there, their random stream, and A (D, D) if any."""

    def __init__(self, potential: Potential, beta: float, points: torch.Tensor, stream: torch.Generator) -> None:
        self.potential, self.beta, self.stream = potential, beta, stream
        self.points = points
        self.values, self.gradients = potential.value_and_gradient(points)
        self.factor: torch.Tensor | None = None
        self.steps = 0

    def step(self, step_size: torch.Tensor) -> torch.Tensor:
        """Take one step of ``step_size`` h (n,) and return the probability with which each chain accepts, (n,).

        Raises ``Diverged`` where V or ∇V is NaN, or V is -inf, at a proposal.
        """
        x, h, beta = self.points, step_size[:, None], self.beta
        self.steps += 1
        noise = torch.empty_like(x).normal_(generator=self.stream).mul_((2 * h / beta).sqrt())
        y = x - self._carried(h * self._pulled(self.gradients)) + self._carried(noise)
        values, gradients = self.potential.value_and_gradient(y)
        back = h * self._pulled(self.gradients + gradients) - noise
        way = (back * back).sum(1) - (noise * noise).sum(1)
        log_ratio = -beta * (values - self.values + way / (4 * step_size))
        # V = ∞ is where the law has no mass; ∇V need not make sense there.
        log_ratio.masked_fill_(values == math.inf, -math.inf)
        undefined = torch.isnan(log_ratio) | (values == -math.inf)
        if bool(undefined.any()):
            raise Diverged(
                f"V or ∇V is NaN, or V is -inf, at {int(undefined.sum())} of {len(y)} proposals in step {self.steps}"
            )
        accepted = torch.empty_like(log_ratio).exponential_(generator=self.stream).neg_() < log_ratio
        self.points = torch.where(accepted[:, None], y, x)
        self.gradients = torch.where(accepted[:, None], gradients, self.gradients)
        self.values = torch.where(accepted, values, self.values)
        return log_ratio.clamp_(max=0).exp_()

    def _carried(self, steps: torch.Tensor) -> torch.Tensor:
        """Return Az for each z of ``steps`` (n, D)."""
        return steps if self.factor is None else steps @ self.factor.T

    def _pulled(self, gradients: torch.Tensor) -> torch.Tensor:
        """Return Aᵀg for each g of ``gradients`` (n, D)."""
        return gradients if self.factor is None else gradients @ self.factor

    def settle(self, log_steps: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Take ``count`` steps, each chain with a step of its own that it adapts.

        Returns the last log h (n,), and where the chains were at up to ``VISITS`` evenly spaced times, with the
        gradients there, (2, times · n, D).

        A chain that starts where V is steep needs small steps for a while, and would not move at all with those that
        suit the others. log h ← log h + γ (acceptance - 0.574) with γ = 1 for the first half of the steps, which
        finds any order of magnitude, and then γ = 1/√t for t = 1, 2, … (Robbins, Monro, Ann. Math. Stat. 22, 1951).
        """
        visited = []
        for step in range(1, count + 1):
            gain = 1 / math.sqrt(max(1, step - count // 2))
            log_steps = log_steps + gain * (self.step(log_steps.exp()) - OPTIMAL_ACCEPTANCE)
            if step * VISITS // count > (step - 1) * VISITS // count:
                visited.append(torch.stack([self.points, self.gradients]))
        return log_steps, torch.cat(visited, dim=1)

    def advance(self, step_size: float, count: int) -> float:
        """Take ``count`` steps and return the sum over steps and chains of the probabilities of acceptance."""
        steps = torch.full_like(self.values, step_size)
        return math.fsum(float(self.step(steps).sum()) for _ in range(count))


@dataclass(frozen=True, kw_only=True)
class MALA(Solver):
    """MALA runs ``chains`` independent chains from the initial law to the stationary law exp(-βV) only, in float64.

    After ``warmup`` steps each chain keeps every ``thinning``-th of its states until all have ``particles`` together;
    they are the answer at every time, chain by chain, each chain a group of its own. In the first half of the warm-up
    each chain adapts a step of its own; the second half starts from the geometric mean of these and corrects it, in
    rounds, by the acceptance of all.

    ``preconditioner`` is Σ: "identity", or "dense" for one learnt from all chains together in the first half of the
    warm-up, the second half of which then goes as above. That is for a V that is steep in some directions and flat in
    others; separate modes have one Σ together, which need not suit any.

    Chains are local: how many end in each of several modes that the flow hardly crosses between is left over from where
    they started. R̂ says so.

    Diagnostics: ``acceptance`` after the warm-up and ``step_size`` h; ``rhat``, the largest R̂ of a coordinate, and
    ``ess``, the smallest effective sample size of one in the answer (see ``mixing``).

    Raises ``ValueError`` for settings out of range, for ``particles`` that are no multiple of ``chains``, at least 4 of
    each, and for a ``warmup`` too short to learn a dense preconditioner in.
    """

    name: ClassVar[str] = "mala"
    limits: ClassVar[Mapping[str, Limit]] = MIXING
    stationary_only: ClassVar[bool] = True
    particles: int = 10_000
    chains: int = 250
    warmup: int = 1000
    thinning: int = 25
    preconditioner: str = "identity"

    def __post_init__(self) -> None:
        require_chains(self.name, self.particles, self.chains)
        require_counts(self.name, thinning=self.thinning)
        require_counts(self.name, at_least=2 * ROUNDS, warmup=self.warmup)
        require_choice(self.name, "preconditioner", self.preconditioner, PRECONDITIONERS)
        if self.preconditioner == "dense" and self.warmup < SHORTEST_FOR_DENSE:
            raise ValueError(
                f"{self.name}: warmup must be at least {SHORTEST_FOR_DENSE} steps for a dense preconditioner, "
                f"got {self.warmup}"
            )

    @property
    def sample_size(self) -> int | None:
        return self.particles

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        flow = problem.flow
        draws = self.particles // self.chains
        potential = to_device(flow.potential, device, torch.float64)
        initial = flow.initial.sample(self.chains, generator).to(device, torch.float64)
        starts = initial.split(block_size(self.chains, flow.dim, BLOCK_ELEMENTS, device))
        streams = block_generators(len(starts), generator, device)

        def begun(start: tuple[torch.Tensor, torch.Generator]) -> Block:
            return Block(potential, flow.inverse_temperature, *start)

        with torch.no_grad(), workers() as run:
            blocks = run(begun, zip(starts, streams, strict=True))
            step_size = self._adapted(blocks, run)

            def sample(block: Block) -> tuple[torch.Tensor, float]:
                kept, accepted = [], []
                for _ in range(draws):
                    accepted.append(block.advance(step_size, self.thinning))
                    kept.append(block.points)
                return torch.stack(kept, dim=1), math.fsum(accepted)

            states, accepted = zip(*run(sample, blocks), strict=True)
        history = torch.cat(states).cpu()
        rhat, ess = mixing(history)
        answer = history.reshape(self.particles, flow.dim)
        chain = torch.arange(self.chains).repeat_interleave(draws)
        return Solution(
            flow.times,
            tuple(Particles(answer, groups=chain) for _ in flow.times),
            Cost(gradient_evaluations=self.chains * (1 + self.warmup + draws * self.thinning)),
            {
                "acceptance": math.fsum(accepted) / (self.particles * self.thinning),
                "step_size": step_size,
                "rhat": float(rhat.max()),
                "ess": float(ess.min()),
            },
        )

    def _adapted(self, blocks: list[Block], run: Run) -> float:
        """Take the warm-up and return the step for what follows."""
        steepness = torch.cat([(block.gradients**2).sum(1) for block in blocks])
        defined = torch.isfinite(torch.cat([block.values for block in blocks])) & torch.isfinite(steepness)
        if not bool(defined.all()):
            raise Diverged(
                f"V or ∇V is not finite at {int((~defined).sum())} of {self.chains} draws of the initial law"
            )
        # E‖∇V‖² = β⁻¹ E ΔV makes 2D/(β‖∇V‖²) twice the inverse of a mean curvature; on top of a hill it is unbounded.
        dim, beta = blocks[0].points.shape[1], blocks[0].beta
        typical = float(steepness.median()) or 1.0
        first = (2 * dim / (beta * steepness.clamp(min=1e-2 * typical))).log()
        log_steps, rest = first, self.warmup
        if self.preconditioner == "dense":
            factor = torch.eye(dim, dtype=first.dtype, device=first.device)
            for count in windows(self.warmup // 2):
                _, (points, gradients) = settled(blocks, log_steps, count, run)
                factor = refined(factor, points, gradients)
                for block in blocks:
                    block.factor = factor
                log_steps, rest = torch.zeros_like(first), rest - count
        log_steps, _ = settled(blocks, log_steps, rest // 2, run)
        log_step, rest = float(log_steps.mean()), rest - rest // 2

        def acceptance(step_size: float, count: int) -> float:
            return math.fsum(run(lambda block: block.advance(step_size, count), blocks)) / (self.chains * count)

        for number in range(ROUNDS):
            count = rest * (number + 1) // ROUNDS - rest * number // ROUNDS
            log_step += GAIN / math.sqrt(number + 1) * (acceptance(math.exp(log_step), count) - OPTIMAL_ACCEPTANCE)
        return math.exp(log_step)


def windows(steps: int) -> list[int]:
    """Return the lengths of ``WINDOWS`` windows that fill ``steps``, each twice as long as the one before."""
    ends = [steps * (2**number - 1) // (2**WINDOWS - 1) for number in range(WINDOWS + 1)]
    return [end - start for start, end in itertools.pairwise(ends)]


def settled(blocks: list[Block], log_steps: torch.Tensor, count: int, run: Run) -> tuple[torch.Tensor, torch.Tensor]:
    """Let all ``blocks`` settle from ``log_steps`` (chains,), and return their last log h (chains,) and their visits.

    Visits are points and gradients, (2, times · chains, D), as ``Block.settle`` gives them, block after block.
    """
    starts = zip(blocks, log_steps.split([len(block.points) for block in blocks]), strict=True)
    ends, visited = zip(*run(lambda start: start[0].settle(start[1], count), starts), strict=True)
    return torch.cat(ends), torch.cat(visited, dim=1)
