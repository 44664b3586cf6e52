"""Diffrax 0.7.2 (``diffeqsolve``): particles that follow dX = -∇V(X) dt + √(2/β) dW, as one batch of one equation.

Kidger, On neural differential equations, doctoral thesis, Oxford 2022.

Kept: the steppers as they are, ``VirtualBrownianTree`` for steps that choose themselves, ``PIDController`` as the
manual sets it for stochastic equations (proportional 0.1, integral 0.3), one step size for the whole batch, float32 as
JAX has it. Changed: steps of one size take ``UnsafeBrownianPath``, which the manual names as the faster where nothing
is rejected; steps that choose themselves end at every time asked for, since between them it interpolates, with too
little variance; no derivatives are kept (``ForwardMode``); ``max_steps`` is as many as it takes. V is that of
``jax_potentials.py``, its gradient JAX's. Steps that choose themselves are those of ShARK, the manual's choice for
additive noise, with the Lévy areas that it wants.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from problems.problem import Problem
from solvers.estimates import Particles
from solvers.peers import EXTRA
from solvers.peers.jax_potentials import VALUES, parameters_of, unwritten
from solvers.peers.jax_runs import DTYPES, compiled_call, in_double_precision, points_of, seed_from
from solvers.peers.paths import Paths
from solvers.peers.stages import Stages
from solvers.solver import Diverged, Solution


@dataclass(frozen=True, kw_only=True)
class Diffrax(Paths):
    """Diffrax follows ``particles`` independent paths by Euler's scheme, of ``order`` 1, or Heun's, of order 2.

    Steps are of ``step_size``. With a ``tolerance``, absolute and relative, that is only the first, and the scheme
    ShARK, of order 2 as well, chooses the others. Points and noise are held in ``dtype``.

    Raises ``ValueError`` for settings out of range, and for a tolerance of Euler's scheme.
    """

    name: ClassVar[str] = "diffrax"
    needs: ClassVar[Mapping[str, str]] = {"jax": EXTRA, "diffrax": EXTRA}

    def unsupported(self, problem: Problem) -> str | None:
        return unwritten(problem)

    def solve(self, problem: Problem, generator: torch.Generator, device: torch.device) -> Solution:
        """Return the particles at each time; all of it runs on the CPU.

        Raises ``Diverged`` when they are not finite.
        """
        stages, flow = Stages(), problem.flow
        with stages.importing():
            import diffrax
            import jax
            import lineax
        value, dtype = VALUES[type(flow.potential)], DTYPES[self.dtype]
        initial = flow.initial.sample(self.particles, generator).numpy().astype(dtype)
        parameters = tuple(np.asarray(each, dtype=dtype) for each in parameters_of(flow.potential))
        times, seed = np.array(flow.times), seed_from(generator)
        tolerance = self.tolerance
        scheme = {1: diffrax.Euler, 2: diffrax.Heun}[self.order] if tolerance is None else diffrax.ShARK
        scale = math.sqrt(2 / flow.inverse_temperature)

        def drift(t: Any, x: Any, parameters: Any) -> Any:
            return -jax.vmap(jax.grad(value, argnums=1), (None, 0))(parameters, x)

        def noise(t: Any, x: Any, parameters: Any) -> Any:
            return lineax.DiagonalLinearOperator(jax.numpy.full_like(x, scale))

        def paths(key: Any, points: Any, parameters: Any) -> tuple[Any, Any]:
            shape = jax.ShapeDtypeStruct(points.shape, points.dtype)
            if tolerance is not None:
                motion: Any = diffrax.VirtualBrownianTree(
                    0.0, flow.horizon, 1e-3 * self.step_size, shape, key, levy_area=diffrax.SpaceTimeLevyArea
                )
                controller: Any = diffrax.ClipStepSizeController(
                    diffrax.PIDController(rtol=tolerance, atol=tolerance, pcoeff=0.1, icoeff=0.3, dcoeff=0.0),
                    step_ts=times,
                )
            else:
                motion, controller = diffrax.UnsafeBrownianPath(shape, key), diffrax.ConstantStepSize()
            found = diffrax.diffeqsolve(
                diffrax.MultiTerm(diffrax.ODETerm(drift), diffrax.ControlTerm(noise, motion)),
                scheme(),
                t0=0.0,
                t1=flow.horizon,
                dt0=self.step_size,
                y0=points,
                args=parameters,
                saveat=diffrax.SaveAt(ts=times),
                stepsize_controller=controller,
                adjoint=diffrax.ForwardMode(),
                max_steps=None,
            )
            return found.ys, found.stats["num_steps"]

        with in_double_precision():
            answers, steps = compiled_call(stages, paths, jax.random.key(seed), initial, parameters)
        if not np.isfinite(answers).all():
            raise Diverged(f"particles are not finite by t = {flow.horizon:g}: a smaller step_size may help")
        return Solution(
            flow.times,
            tuple(Particles(points_of(each)) for each in answers),
            stages.cost(self.order * self.particles * int(steps)),
            stages.diagnostics() | {"steps": int(steps)},
        )
