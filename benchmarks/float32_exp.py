"""float32 exp of very negative arguments, which torch computes many times slower on a CPU: avoided, and at no price.

The naive forms are here: the same tiles and the same softmax without a bound from below on their exponents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch

from benchmarks.bounds import at_least, at_most
from benchmarks.profiles import Profiled, Seconds, ratio, side_by_side
from harness.streams import stream
from harness.threads import fix_threads
from problems.devices import to_device
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.potentials import MixturePotential
from solvers.particles.proximal_fixed_point import GibbsKernel

DIM = 12
REGULARISATION = 0.05
ROWS = 256


def in_turn(function: Any, items: Any) -> list[Any]:
    return [function(item) for item in items]


def clouds(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return normal points (n, D), the same a little later, and the log-density at the first."""
    before = torch.randn(count, DIM, generator=stream("solver"), dtype=torch.float64)
    after = before + 0.05 * torch.randn(count, DIM, generator=stream("evaluation"), dtype=torch.float64)
    return before, after, -0.5 * (before**2).sum(1)


def transport(before: torch.Tensor, after: torch.Tensor, log_density: torch.Tensor) -> torch.Tensor:
    kernel = GibbsKernel(before, after, REGULARISATION)
    return kernel.transport(torch.zeros_like(log_density), log_density, torch.float32, in_turn)[0]


def naive_transport(before: torch.Tensor, after: torch.Tensor, log_density: torch.Tensor) -> torch.Tensor:
    """Return log Pᵀρ by tiles of float32, each exponent taken as it comes."""
    rows, columns = ((points / math.sqrt(REGULARISATION)).float() for points in (before, after))
    column_squares, ones = 0.5 * (columns * columns).sum(1), torch.ones(len(columns))
    density = torch.exp(log_density - log_density.max()).float()
    total = torch.zeros(len(columns))
    buffer = torch.empty(ROWS, len(columns))
    for tile_rows, tile_density in zip(rows.split(ROWS), density.split(ROWS), strict=True):
        tile = torch.mm(tile_rows, columns.T, out=buffer[: len(tile_rows)]).sub_(column_squares)
        tile.sub_(tile.amax(1)[:, None]).exp_()
        total.addmv_(tile.T, tile_density / torch.mv(tile, ones))
    return total.double().log() + log_density.max()


def naive_drift(potential: MixturePotential, x: torch.Tensor) -> torch.Tensor:
    """Return ∇V by the plain softmax, of which exp is a small part."""
    law = potential.stationary
    centred = x - law.means[:, None, :]
    scores = centred @ law.precisions
    log_terms = law.log_peaks[:, None] - 0.5 * (centred * scores).sum(2)
    return (torch.softmax(log_terms, dim=0)[:, :, None] * scores).sum(0) / potential.inverse_temperature


class Float32Exp(Profiled):
    """Kernel tiles and the drift of a published mixture, both in float32 in 12 dimensions on one thread."""

    sizes: ClassVar[Mapping[str, Any]] = {
        "fast": {"particles": 200, "repeats": 1},
        "regular": {"particles": 4000, "repeats": 7},
        "large": {"particles": 20_000, "repeats": 5},
    }

    def setup(self, seconds: Seconds) -> None:
        fix_threads(1)
        self.before, self.after, self.log_density = clouds(self.size["particles"])
        self.potential = GaussianMixtureFlow().build(DIM, 0, stream("problem")).flow.potential
        self.x = 4 * self.before

    def setup_cache(self) -> Seconds:
        self.setup({})
        potential, x = to_device(self.potential, torch.device("cpu"), torch.float32), self.x.float()
        assert isinstance(potential, MixturePotential)
        arguments = self.before, self.after, self.log_density
        return side_by_side(
            self.size["repeats"],
            tiles=lambda: transport(*arguments),
            naive_tiles=lambda: naive_transport(*arguments),
            drift=lambda: potential.gradient(x),
            naive_drift=lambda: naive_drift(potential, x),
        )

    setup_cache.timeout = 300.0

    @at_least(4)
    def track_speed_of_kernel_tiles(self, seconds: Seconds) -> float:
        return ratio(seconds, "naive_tiles", "tiles")

    track_speed_of_kernel_tiles.unit = "times the speed of the naive form"

    def track_speed_of_mixture_drift(self, seconds: Seconds) -> float:
        return ratio(seconds, "naive_drift", "drift")

    track_speed_of_mixture_drift.unit = "times the speed of the naive form"

    @at_most(1e-4)
    def track_error_of_kernel_tiles(self, seconds: Seconds) -> float:
        """Particles where the density is below e⁻²⁰⁰ of its maximum, far under the bound, are in it."""
        outer = 4 * self.before
        log_density = -0.5 * (outer**2).sum(1)
        after = outer + self.after - self.before
        exact = GibbsKernel(outer, after, REGULARISATION)
        reference = exact.transport(torch.zeros_like(log_density), log_density, torch.float64, in_turn)[0]
        return float((transport(outer, after, log_density) - reference).abs().max())

    track_error_of_kernel_tiles.unit = "difference of log-densities from float64"

    @at_most(1e-5)
    def track_error_of_mixture_drift(self, seconds: Seconds) -> float:
        potential = to_device(self.potential, torch.device("cpu"), torch.float32)
        exact = self.potential.gradient(self.x)
        return float((potential.gradient(self.x.float()).double() - exact).abs().max() / exact.abs().max())

    track_error_of_mixture_drift.unit = "difference from float64, of the largest drift"
