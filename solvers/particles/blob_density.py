"""The answer of a blob method: its particles, each spread out by the mollifier, Σ_i w_i φ_ε(x - x_i).

With φ_ε = N(0, 2ε²I). That is the density whose energy the method lowers (``solvers/particles/blob.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from problems.laws import standard_normal
from problems.linear_algebra import weighted_moments
from solvers.estimates import DensityEstimate
from solvers.particles.near_sums import NearSums
from solvers.threads import workers

# exp(-60) of the particles out of reach adds less than 1e-10 to sums above this.
REACH = math.sqrt(60.0)
LEAST_SUM = 1e-15
# Pairs whose exponents are held at once where particles are far.
PAIRS = 2**18


@dataclass(frozen=True, eq=False)
class BlobDensity(DensityEstimate):
    """A density Σ w_i N(x; x_i, 2ε²I) of ``points`` (n, D), ``weights`` (n,) that sum to 1, and ε = ``width``."""

    points: torch.Tensor
    weights: torch.Tensor
    width: float

    @property
    def dim(self) -> int:
        return self.points.shape[1]

    def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
        chosen = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        return self.points[chosen] + math.sqrt(2) * self.width * standard_normal(n, self.dim, generator, self.points)

    def log_prob(self, x: torch.Tensor) -> torch.Tensor:
        """Return the log-density at ``x`` (n, D), shape (n,): finite at any finite distance from the particles."""
        if len(x) == 0:
            return torch.empty(0, dtype=torch.float64)
        with workers() as run:
            centre = self.points.mean(0)
            rows = (x.detach().double() - centre) / (2 * self.width)
            columns = (self.points - centre) / (2 * self.width)
            mass, _ = NearSums(REACH, 0.0).sums(rows, columns, self.weights, run)
            remote = (mass.isnan() | (mass < LEAST_SUM)).nonzero()[:, 0]
            log_sum = mass.log()
            if len(remote):
                blocks = remote.split(max(1, PAIRS // len(columns)))
                far = run(lambda block: far_log_sums(rows[block], columns, self.weights.log()), blocks)
                log_sum[remote] = torch.cat(far)
        return log_sum - 0.5 * self.dim * math.log(4 * math.pi * self.width**2)

    def moments(self, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        mean, covariance = weighted_moments(self.weights.numpy(), self.points.numpy())
        return mean, covariance + 2 * self.width**2 * torch.eye(self.dim, dtype=torch.float64)

    def defect(self) -> str | None:
        bad = int((~torch.isfinite(self.points)).any(dim=1).sum())
        return f"{bad} of {len(self.points)} particles are not finite" if bad else None


def far_log_sums(rows: torch.Tensor, columns: torch.Tensor, log_weights: torch.Tensor) -> torch.Tensor:
    """Return log Σ_j w_j exp(-|x - y_j|²) at ``rows`` (n, D), about the largest term of each, shape (n,)."""
    exponents = log_weights.expand(len(rows), -1).clone()
    for axis in range(rows.shape[1]):
        difference = rows[:, axis, None] - columns[:, axis]
        exponents.addcmul_(difference, difference, value=-1)
    return torch.logsumexp(exponents, dim=1)
