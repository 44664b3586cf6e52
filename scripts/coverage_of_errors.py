"""Fill in the tables of ``docs/coverage.md``: how often figure ± 1.96 standard errors holds the figure's own mean.

    python scripts/coverage_of_errors.py [REPETITIONS]

The truth has two modes in the plane. Answers are 500 draws, of the truth or of a law that is wrong (moved, and with
too much mass in one mode), that are independent, or depend on each other in every way that draws of solvers here do.
Each is drawn and measured anew so many times, 200 unless given otherwise; the mean of the figures stands for what the
figure is on average, its floor included. Of squared distances a second table says it of their root, too.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from harness.catalogue import import_target
from harness.measure import CATALOGUE
from harness.measure.measure import Figure, Measure, Subject
from problems.arrays import Reals
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import MixturePotential
from problems.problem import Evidence, Problem
from solvers.estimates import Particles
from solvers.particles.resampling import systematic

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "coverage.md"
MEASURES = (
    *("kl", "energy-distance", "c2st", "mode-weights", "sliced-w2", "marginal-w1", "mean-error", "deviation-error"),
    *("bures-w2", "symkl-gaussian", "symkl", "symkl-published", "l1", "hellinger"),
)
SQUARED = ("energy-distance", "symkl-gaussian")
"""Measures that are squared distances of draws, to leading order at least."""
REPETITIONS = 200
ROOT_REPETITIONS = 1000
DRAWS = 500
CHAINS = 50
COPIES = 4
PERSISTENCE = 0.8
KERNEL = 0.25
"""Variance of the step that resampled particles take."""
LEVEL = 1.959963984540054

Stream = torch.Generator
Kind = Callable[[GaussianMixture, int, Stream], Particles]


def mixture(shares: Sequence[float] = (0.6, 0.4), shift: float = 0.0, variance: float = 1.0) -> GaussianMixture:
    """Return two round modes at a distance of four deviations, the first coordinate moved by ``shift``."""
    means = torch.tensor([[-2.0 + shift, 0.0], [2.0 + shift, 0.0]], dtype=torch.float64)
    return GaussianMixture(
        torch.tensor(shares, dtype=torch.float64), means, variance * torch.eye(2, dtype=torch.float64).repeat(2, 1, 1)
    )


def law(wrong: bool, variance: float = 1.0) -> GaussianMixture:
    """Return the law of an answer: the truth, or one that is ``wrong``."""
    return mixture((0.75, 0.25), 0.5, variance) if wrong else mixture(variance=variance)


def independent(source: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return independent draws."""
    return Particles(source.sample(count, stream))


def chains(source: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return states of stationary chains: steps draw the mode anew with a chance, and move a little."""
    runs, length = CHAINS, count // CHAINS
    keeps = torch.rand(length, runs, generator=stream) < PERSISTENCE
    fresh = torch.multinomial(source.weights, length * runs, True, generator=stream).view(length, runs)
    noise = torch.randn(length, runs, source.dim, generator=stream, dtype=torch.float64)
    mode, deviation, states = fresh[0], noise[0], []
    for step in range(length):
        if step:
            mode = torch.where(keeps[step], mode, fresh[step])
            deviation = PERSISTENCE * deviation + (1 - PERSISTENCE**2) ** 0.5 * noise[step]
        states.append(source.means[mode] + (source.choleskys[mode] @ deviation[..., None])[..., 0])
    points = torch.stack(states, dim=1).reshape(count, source.dim)
    return Particles(points, groups=torch.arange(runs).repeat_interleave(length))


def weighted(source: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return draws of a wider law with the weights that make them draws of the given."""
    proposal = GaussianMixture(source.weights, source.means, 2 * source.covariances)
    points = proposal.sample(count, stream)
    return Particles(points, source.log_prob(points) - proposal.log_prob(points))


def resampled(source: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return weighted draws, resampled, after a step of their own: descendants of one particle are alike."""
    identity = torch.eye(source.dim, dtype=torch.float64)
    before = weighted(
        GaussianMixture(source.weights, source.means, source.covariances - KERNEL * identity), count, stream
    )
    chosen = systematic(before.normalised_log_weights.exp(), count, stream)
    noise = torch.randn(count, source.dim, generator=stream, dtype=torch.float64)
    return Particles(before.points[chosen] + KERNEL**0.5 * noise, groups=chosen)


def repeated(source: GaussianMixture, count: int, stream: Stream) -> Particles:
    """Return draws that each occur several times, without a word about it."""
    return Particles(source.sample(count // COPIES, stream).repeat_interleave(COPIES, 0))


KINDS: Mapping[str, Kind] = {
    "independent": independent,
    "chains": chains,
    "weighted": weighted,
    "resampled": resampled,
    "repeated": repeated,
}


def problem() -> Problem:
    """Return the problem whose truth has two modes."""
    truth = mixture()
    initial = Gaussian(torch.zeros(2, dtype=torch.float64), 16 * torch.eye(2, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(MixturePotential(truth, 1.0), Entropy(1.0)), (1.0,))
    return Problem(flow, MEASURES, lambda time: truth, stationary=True, evidence=Evidence(0.0))


def figures(measure: str, kind: str, wrong: bool, repetitions: int, seed: int = 0) -> list[Figure]:
    """Return the figures of answers of a kind, each drawn anew."""
    judge: Measure = import_target(CATALOGUE[measure].target)()
    asked = problem()
    assert asked.truth is not None
    found = []
    for number in range(repetitions):
        streams = [torch.Generator().manual_seed(2 * (seed + number) + side) for side in (0, 1)]
        answer = KINDS[kind](law(wrong), DRAWS, streams[0])
        found.append(judge(Subject(answer, asked.truth(1.0), asked, 1.0), DRAWS, streams[1]))
    return found


def covered(found: Sequence[Figure]) -> int:
    """Return how many of the figures have their mean within ``LEVEL`` standard errors."""
    values: Reals = np.array([figure.value for figure in found])
    errors = np.array([figure.standard_error for figure in found])
    return int((np.abs(values - values.mean()) < LEVEL * errors).sum())


def covered_on_the_root(found: Sequence[Figure]) -> int:
    """Return how many have the root of their mean within ``LEVEL`` errors of their root, e/(2√v) for v ± e.

    Figures that are not above 0 have no root, and are asked as in :func:`covered`.
    """
    values: Reals = np.array([figure.value for figure in found])
    errors = np.array([figure.standard_error for figure in found])
    mean = values.mean()
    above = values > 0
    roots = np.sqrt(np.where(above, values, 1.0))
    held = np.abs(roots - math.sqrt(max(0.0, mean))) < LEVEL * errors / (2 * roots)
    return int(np.where(above, held, np.abs(values - mean) < LEVEL * errors).sum())


def spread(found: Sequence[Figure]) -> float:
    """Return the mean standard error over the standard deviation of the figures."""
    return float(np.mean([each.standard_error for each in found]) / np.std([each.value for each in found], ddof=1))


def row(measure: str, repetitions: int) -> str:
    """Return the row of a measure: in per cent, for the truth and for the wrong law, by kind of draws."""
    cells = []
    for kind in KINDS:
        found = [figures(measure, kind, wrong, repetitions) for wrong in (False, True)]
        cells.append(" · ".join(f"{100 * covered(each) / repetitions:.0f} ({spread(each):.2f})" for each in found))
    return f"| `{measure}` | {' | '.join(cells)} |"


def root_row(measure: str, repetitions: int) -> str:
    """Return the row of a squared distance, for the wrong law: per cent as it is and on its root, by kind of draws."""
    cells = []
    for kind in KINDS:
        found = figures(measure, kind, True, repetitions)
        shares = [100 * count / repetitions for count in (covered(found), covered_on_the_root(found))]
        cells.append(" → ".join(f"{share:.1f}" for share in shares))
    return f"| `{measure}`, root | {' | '.join(cells)} |"


def filled(text: str, rows: Sequence[str], table: str = "coverage") -> str:
    """Return the document with these rows in the ``table`` of that name."""
    before, marker, rest = text.partition(f"<!-- table: {table} -->\n")
    lines, _, after = rest.partition("\n\n")
    return before + marker + "\n".join([*lines.split("\n")[:2], *rows]) + "\n\n" + after


def main() -> None:
    """Write the tables."""
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else REPETITIONS
    rows = []
    for measure in MEASURES:
        rows.append(row(measure, repetitions))
        print(rows[-1], flush=True)
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), rows))
    roots = [root_row(measure, ROOT_REPETITIONS) for measure in SQUARED]
    DOCUMENT.write_text(filled(DOCUMENT.read_text(), roots, "roots"))


if __name__ == "__main__":
    main()
