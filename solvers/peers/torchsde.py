"""torchsde 0.2.6 (``sdeint``): particles that follow dX = -∇V(X) dt + √(2/β) dW, as one batch of one equation.

Li, Wong, Chen, Duvenaud, Scalable gradients for stochastic differential equations, AISTATS 2020.

Kept: ``BrownianInterval`` with its cache, each solver's own stepping, float32 as torch has it, and of adaptive steps
the error norm over the whole batch and ``dt_min``. Changed, to solve the same equation: the Brownian motion gets the
seed from the generator passed in (``entropy``), the noise is declared "diagonal", the cheapest that a constant matrix
allows, the Heun scheme is asked for in the Stratonovich sense that it wants (with additive noise both senses are one),
and derivatives by backpropagation through the solver are off. It is called from one time to the next: between steps it
interpolates in a straight line, which has too little variance where steps are long. Its default adaptive scheme,
``srk``, wants another Brownian motion; adaptive steps here are those of ``heun``. The gradient is ours.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch

from problems.devices import DTYPES, to_device
from problems.problem import Problem
from solvers.estimates import Particles
from solvers.peers import EXTRA
from solvers.peers.paths import Paths
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution


@dataclass(frozen=True, kw_only=True)
class TorchSDE(Paths):
    """torchsde follows ``particles`` independent paths by Euler's scheme, of ``order`` 1, or Heun's, of order 2.

    Steps are of ``step_size``. With a ``tolerance``, absolute and relative, that is only the first, and Heun's scheme
    chooses the others. Points and noise are held in ``dtype``.

    Raises ``ValueError`` for settings out of range, and for a tolerance of Euler's scheme.
    """

    name: ClassVar[str] = "torchsde"
    needs: ClassVar[Mapping[str, str]] = {"torchsde": EXTRA}

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the particles at each time.

        Raises ``Diverged`` when they are not finite.
        """
        stages, flow = Stages(), problem.flow
        with stages.importing():
            import torchsde
        dtype = DTYPES[self.dtype]
        potential = to_device(flow.potential, device, dtype)
        initial = flow.initial.sample(self.particles, generator).to(device, dtype)
        seed = int(torch.randint(2**31, (), generator=generator))
        noise = torch.full_like(initial, math.sqrt(2 / flow.inverse_temperature))
        evaluations = 0

        class Equation:
            noise_type = "diagonal"
            sde_type = "ito" if self.order == 1 else "stratonovich"

            def f(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
                nonlocal evaluations
                evaluations += len(x)
                return -potential.gradient(x)

            def g(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
                return noise

        times = torch.tensor([0.0, *flow.times], dtype=torch.float64, device=device)
        points, answers = initial, []
        with stages.stage("run"), torch.no_grad():
            motion = torchsde.BrownianInterval(
                times[0], times[-1], size=tuple(initial.shape), dtype=dtype, device=device, entropy=seed
            )
            for span in itertools.pairwise(times):
                points = torchsde.sdeint(
                    Equation(),
                    points,
                    torch.stack(span),
                    bm=motion,
                    method="euler" if self.order == 1 else "heun",
                    dt=self.step_size,
                    adaptive=self.tolerance is not None,
                    rtol=self.tolerance or 0.0,
                    atol=self.tolerance or 0.0,
                )[-1]
                answers.append(points.to("cpu", torch.float64))
        if not bool(torch.isfinite(points).all()):
            raise Diverged(f"particles are not finite by t = {flow.horizon:g}: a smaller step_size may help")
        return Solution(flow.times, tuple(map(Particles, answers)), stages.cost(evaluations), stages.diagnostics())
