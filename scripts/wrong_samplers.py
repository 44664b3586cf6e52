"""Fill in the tables of ``docs/gallery.md``: which measure of draws sees which wrong sampler.

    python scripts/wrong_samplers.py

Every sampler answers with 500 draws, eight times anew, in 1, 2, 6 and 12 dimensions, and beside it stand exact draws,
as many, under the same evaluation draws: a measure sees a fault where its excess over them is above 0, and rewards it
where it is below, by ``TOLD`` of its standard errors. About twenty minutes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from coverage_of_errors import chains, repeated
from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.measure.kl import KL
from harness.measure.measure import Figure, Measure, Subject
from problems.arrays import Reals
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential
from problems.problem import Evidence, Problem
from solvers.estimates import Exact, Particles

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "gallery.md"
DIMS = (1, 2, 6, 12)
DRAWS = 500
REPETITIONS = 8
TOLD = 5.0
"""Standard errors of the mean excess, by eight repetitions, that tell it from 0: by chance once in 600."""
FREEDOM = 5
MEASURES = (
    *("kl", "energy-distance", "c2st", "mode-weights", "sliced-w2", "marginal-w1", "mean-error", "deviation-error"),
    *("bures-w2", "symkl-gaussian", "symkl", "symkl-published"),
)

Stream = torch.Generator
Sampler = Callable[[GaussianMixture, int, Stream], Particles]


@cache
def problem(dim: int) -> Problem:
    """Return the problem whose truth has two modes, six deviations apart, with 60 and 40 % of the mass."""
    means = torch.zeros(2, dim, dtype=torch.float64)
    means[:, 0] = torch.tensor([-3.0, 3.0])
    identity = torch.eye(dim, dtype=torch.float64)
    truth = GaussianMixture(torch.tensor([0.6, 0.4], dtype=torch.float64), means, identity.repeat(2, 1, 1))
    initial = Gaussian(torch.zeros(dim, dtype=torch.float64), 16 * identity)
    flow = GradientFlow(initial, FreeEnergy(MixturePotential(truth, 1.0), Entropy(1.0)), (1.0,))
    return Problem(flow, MEASURES, lambda time: truth, stationary=True, evidence=Evidence(0.0))


def mapped(truth: GaussianMixture, scales: torch.Tensor, shift: torch.Tensor) -> GaussianMixture:
    """Return the law of draws that are scaled about the mean, by coordinate, and moved."""
    mean = truth.moments()[0]
    matrix = torch.diag(scales)
    return GaussianMixture(
        truth.weights, mean + (truth.means - mean) * scales + shift, matrix @ truth.covariances @ matrix
    )


def scaled(factor: float) -> Callable[[GaussianMixture], GaussianMixture]:
    """Return the fault of draws that are all nearer to their mean, or further from it."""
    return lambda truth: mapped(truth, torch.full((truth.dim,), factor).double(), torch.zeros(truth.dim).double())


def shifted(truth: GaussianMixture) -> GaussianMixture:
    """Return the truth, moved by .3 along the diagonal."""
    return mapped(truth, torch.ones(truth.dim).double(), torch.full((truth.dim,), 0.3 / math.sqrt(truth.dim)).double())


def narrow(truth: GaussianMixture) -> GaussianMixture:
    """Return the truth, with its last coordinate at seven tenths."""
    scales = torch.ones(truth.dim, dtype=torch.float64)
    scales[-1] = 0.7
    return mapped(truth, scales, torch.zeros(truth.dim).double())


def narrow_modes(truth: GaussianMixture) -> GaussianMixture:
    """Return the truth, with modes of eight tenths of their width where they are."""
    return GaussianMixture(truth.weights, truth.means, 0.64 * truth.covariances)


def missing(truth: GaussianMixture) -> GaussianMixture:
    """Return one mode of the truth."""
    return GaussianMixture(torch.ones(1, dtype=torch.float64), truth.means[:1], truth.covariances[:1])


def overweighted(truth: GaussianMixture) -> GaussianMixture:
    """Return the truth, with three quarters of the mass in its first mode."""
    return GaussianMixture(torch.tensor([0.75, 0.25], dtype=torch.float64), truth.means, truth.covariances)


def heavy(truth: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return draws whose modes are Student laws of the same covariance."""
    mode = torch.multinomial(truth.weights, count, True, generator=stream)
    normal = torch.randn(count, truth.dim, generator=stream, dtype=torch.float64)
    square = torch.randn(count, FREEDOM, generator=stream, dtype=torch.float64).square().sum(1, keepdim=True)
    return Particles(truth.means[mode] + normal * ((FREEDOM - 2) / square).sqrt())


LAWS: Mapping[str, Callable[[GaussianMixture], GaussianMixture]] = {
    "contracted by a tenth": scaled(0.9),
    "widened by a tenth": scaled(1.1),
    "one axis at .7": narrow,
    "modes at .8 of their width": narrow_modes,
    "shifted by .3": shifted,
    "a mode missing": missing,
    "a mode over-weighted": overweighted,
}
SAMPLERS: Mapping[str, Sampler] = {"heavy-tailed": heavy, "correlated": chains, "duplicated": repeated}
FAULTS = (*LAWS, *SAMPLERS)


def answer(fault: str | None, truth: GaussianMixture, stream: Stream) -> Particles:
    """Return the draws of a sampler; of an exact one for ``None``."""
    if fault is not None and fault in SAMPLERS:
        return SAMPLERS[fault](truth, DRAWS, stream)
    return Particles((truth if fault is None else LAWS[fault](truth)).sample(DRAWS, stream))


def figures(measure: str, fault: str | None, dim: int, repetitions: int = REPETITIONS) -> Reals:
    """Return the figures of a sampler's answers, each drawn anew."""
    judge: Measure = import_target(CATALOGUE[measure].target)()
    asked = problem(dim)
    assert asked.truth is not None
    truth = asked.truth(1.0)
    assert isinstance(truth, GaussianMixture)
    found: list[Figure] = []
    for number in range(repetitions):
        drawing, judging = (torch.Generator().manual_seed(1000 * dim + 2 * number + side) for side in (0, 1))
        found.append(judge(Subject(answer(fault, truth, drawing), truth, asked, 1.0), DRAWS, judging))
    return np.array([figure.value for figure in found])


@cache
def exact(measure: str, dim: int, repetitions: int = REPETITIONS) -> Reals:
    """Return the figures of exact draws: the floor."""
    return figures(measure, None, dim, repetitions)


def excess(measure: str, fault: str, dim: int, repetitions: int = REPETITIONS) -> tuple[float, float]:
    """Return the mean excess of a sampler over exact draws, and its standard error."""
    over = figures(measure, fault, dim, repetitions) - exact(measure, dim, repetitions)
    return float(over.mean()), float(over.std(ddof=1)) / math.sqrt(repetitions)


def sign(value: float, error: float) -> str:
    """Return how a measure takes a fault: it sees it, rewards it, or neither."""
    return "+" if value > TOLD * error else "**−**" if value < -TOLD * error else "·"


def seen_row(fault: str) -> str:
    """Return the row of a fault: for each measure how it takes it in each dimension."""
    cells = [" ".join(sign(*excess(measure, fault, dim)) for dim in DIMS) for measure in MEASURES]
    return f"| {fault} | {' | '.join(cells)} |"


def true_kl(fault: str, dim: int) -> float:
    """Return KL(fit‖true) of a fault whose law is known."""
    asked = problem(dim)
    assert asked.truth is not None
    truth = asked.truth(1.0)
    assert isinstance(truth, GaussianMixture)
    return KL()(Subject(Exact(LAWS[fault](truth)), truth, asked, 1.0), 2**17, torch.Generator().manual_seed(0)).value


def kl_row(fault: str) -> str:
    """Return the row of a fault in nats: the excess of ``kl``, and the true value, by dimension."""
    cells = [f"{excess('kl', fault, dim)[0]:.3f} ({true_kl(fault, dim):.3f})" for dim in DIMS]
    return f"| {fault} | {' | '.join(cells)} |"


def filled(text: str, rows: Mapping[str, Sequence[str]]) -> str:
    """Return the document with the rows of its tables."""
    for name, lines in rows.items():
        before, marker, rest = text.partition(f"<!-- table: {name} -->\n")
        table, _, after = rest.partition("\n\n")
        text = before + marker + "\n".join([*table.split("\n")[:2], *lines]) + "\n\n" + after
    return text


def main() -> None:
    """Write the tables."""
    rows: dict[str, list[str]] = {"seen": [], "kl": []}
    for fault in FAULTS:
        rows["seen"].append(seen_row(fault))
        print(rows["seen"][-1], flush=True)
        if fault in LAWS:
            rows["kl"].append(kl_row(fault))
            print(rows["kl"][-1], flush=True)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), rows))


if __name__ == "__main__":
    main()
