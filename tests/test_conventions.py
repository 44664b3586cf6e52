"""docs/conventions.md: wgfbench's own figures in it, and that each script it names is there and listed."""

from __future__ import annotations

import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from harness.measure.kde import KernelDensity
from harness.measure.moments import bures_w2, gaussian_symkl
from harness.measure.transport import energy_distance, sliced_w2
from problems.laws import Gaussian, GaussianMixture
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.posterior.logistic_posterior import LogisticLikelihood
from seeding import fixed_generator
from solvers.samplers.mixing import mixing
from solvers.samplers.optimisers import OPTIMISERS
from solvers.samplers.stein import KERNELS
from solvers.samplers.svgd import stein_direction
from solvers.threads import workers

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "conventions.md").read_text()
X, Y = (torch.tensor(values, dtype=torch.float64)[:, None] for values in ((0, 1, 3), (1, 2, 6)))
Z = torch.tensor([1, 2, 4, 7, 11], dtype=torch.float64)[:, None]


def own_figure(first_cells: str) -> str:
    """Return what stands first under "wgfbench" in the only row that has this text."""
    rows = [line for line in TEXT.splitlines() if line.startswith("|") and first_cells in line]
    assert len(rows) == 1, first_cells
    return re.split(r"(?<!\\)\|", rows[0])[5].split(":")[0].strip().replace(",", "")


def test_distances_of_two_small_samples():
    assert float(own_figure("energy distance of")) == pytest.approx(energy_distance(X, Y)[0], abs=5e-5)
    line = torch.ones(1, 1, dtype=torch.float64)
    assert float(own_figure("W₂ or its square")) == pytest.approx(sliced_w2(X, Y, line)[0], abs=5e-5)
    assert float(own_figure("sliced W₂ of")) == pytest.approx(sliced_w2(X, Y, line)[0], abs=5e-5)


def test_distances_of_two_gaussians():
    moments = [(side.numpy().mean(0), np.atleast_2d(np.cov(side.numpy().T))) for side in (X, Y)]
    assert float(own_figure("Bures-W₂")) == pytest.approx(bures_w2(*moments[0], *moments[1]), abs=5e-5)
    one = np.eye(1)
    assert bures_w2(np.zeros(1), one, np.array([3.0]), 25 * one) == pytest.approx(5)
    assert float(own_figure("SymKL of")) == pytest.approx(gaussian_symkl(np.zeros(1), one, np.ones(1), 4 * one))


def test_scotts_rule():
    assert float(own_figure("width for z |")) == pytest.approx(float(KernelDensity(Z).kernel_cholesky), abs=5e-5)
    assert float(own_figure("for 100 z")) == pytest.approx(float(KernelDensity(100 * Z).kernel_cholesky), abs=5e-3)
    weighted = KernelDensity(Z, torch.tensor([1.0, 1.0, 1.0, 1.0, 96.0]).log())
    assert float(own_figure("its factor with weights")) == pytest.approx(weighted.bandwidth, abs=5e-5)
    far = torch.cat([Z, torch.full((1, 1), 100.0, dtype=torch.float64)])
    assert float(own_figure("width for z⁺")) == pytest.approx(float(KernelDensity(far).kernel_cholesky), abs=5e-4)


def test_median_heuristic():
    particles = torch.tensor([0, 1, 3, 7], dtype=torch.float64)[:, None]
    with workers() as run:
        bandwidth = stein_direction(particles, -particles, KERNELS["rbf"], None, run)[1]
    assert float(own_figure("median heuristic")) == pytest.approx(bandwidth, abs=5e-5)


def test_mixing_of_chains():
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 1000)))  # the draws of the scripts
    antithetic = torch.zeros_like(noise)
    for t in range(1, 1000):
        antithetic[:, t] = -0.9 * antithetic[:, t - 1] + noise[:, t]
    size = mixing(antithetic[:, :, None])[1]
    assert float(own_figure("of antithetic chains")) == pytest.approx(float(size), abs=0.5)
    apart = mixing((noise + 10 * torch.arange(4)[:, None])[:, :, None])[1]
    assert float(own_figure("each chain 10 apart")) == pytest.approx(float(apart), abs=5e-3)
    rhat, still = mixing(torch.ones(4, 1000, 1, dtype=torch.float64))
    assert own_figure("sample size of chains that stand still") == str(int(still))
    assert own_figure("R̂ of chains that stand still") == "∞"
    assert math.isinf(float(rhat))
    # Its effective sample size takes more than one chain, R̂ does not.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        alone = mixing(noise[:1, :, None])[0]
    assert float(own_figure("R̂ of one chain")) == pytest.approx(float(alone), abs=5e-5)


def test_draws_of_a_mixture_are_fresh_and_in_no_order():
    means = torch.tensor([[-50.0], [50.0]], dtype=torch.float64)
    law = GaussianMixture(torch.full((2,), 0.5, dtype=torch.float64), means, torch.ones(2, 1, 1, dtype=torch.float64))
    source = fixed_generator(0)
    first, second = law.sample(200, source), law.sample(200, source)
    assert not torch.equal(first, second)
    assert int((first[:, 0].sign().diff() != 0).sum()) > 50


def test_moves_of_adagrad():
    points, places, optimiser = torch.zeros(1, dtype=torch.float64), [0.0], OPTIMISERS["adagrad"](0.1)
    for _ in range(3):
        optimiser.move(points, torch.full((1,), 0.01, dtype=torch.float64))
        places.append(float(points))
    assert float(own_figure("third move of AdaGrad")) == pytest.approx(places[3] - places[2], abs=5e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_sure_mistake_costs_its_logit(dtype):
    likelihood = LogisticLikelihood(torch.full((1, 1), -1.0, dtype=dtype))
    costs = -likelihood(torch.tensor([[20.0, 0.0], [50.0, 0.0]], dtype=dtype))[:, 0]
    assert float(own_figure("log-loss of logit 20")) == pytest.approx(float(costs[0]))
    assert float(costs[1]) == 50


def test_log_densities_know_the_unit():
    covariance = torch.tensor([[1.0, 0.5], [0.5, 1.0]], dtype=torch.float64)
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance.numpy(), size=5000)
    law = Gaussian(torch.zeros(2, dtype=torch.float64), 1e6 * covariance)
    found = float(law.log_prob(torch.from_numpy(1000 * draws)).mean())
    assert float(own_figure("mean log-density of 5,000")) == pytest.approx(found, abs=5e-3)


def test_temperature_of_a_law_at_rest():
    family = OrnsteinUhlenbeck(
        instance="given", precision=((1.0,),), centre=(0.0,), inverse_temperature=4.0, times=(20.0,)
    )
    variance = family.build(1, 0, fixed_generator(0)).truth(20.0).moments()[1]
    assert float(own_figure("√(2/β) dW, β = 4")) == pytest.approx(float(variance))


def test_every_script_is_there_and_listed():
    listed = (ROOT / "findings" / "README.md").read_text()
    scripts = {path.stem for path in (ROOT / "findings").glob("*.sh")}
    rows = [line for line in TEXT.splitlines() if re.match(r"\|(?! ?-|.*\| script \|)", line)]
    cells = [row.rstrip("|").rsplit("|", 1)[1].strip() for row in rows]
    assert len(rows) > 20
    assert {cell.strip("`") for cell in cells if cell} <= scripts
    assert set(re.findall(r"\| `([a-z0-9-]+)\.sh` \|", listed)) == scripts
