import math

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM
from problems.laws import Gaussian, GaussianMixture
from problems.references.grid_law import GridLaw, discretised, symmetric_divergence
from seeding import generator


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def gaussian(mean=0.0, variance=1.0):
    return Gaussian(tensor(mean), tensor(variance)[None])


def normal_grid(cells, lower=-8.3, upper=8.9):
    edges = np.linspace(lower, upper, cells + 1)
    masses = np.where(edges[1:] > 0, -np.diff(stats.norm.sf(edges)), np.diff(stats.norm.cdf(edges)))
    return GridLaw(lower, upper, torch.from_numpy(masses))


def rough_grid(cells=40):
    masses = torch.rand(cells, generator=generator(), dtype=torch.float64) ** 8 + 1e-9
    return GridLaw(-1.0, 3.0, masses / masses.sum())


def cell_integrals(law, power=0):
    """∫ xᵖᵒʷᵉʳ density over each cell by Gauss-Legendre quadrature, exact for a parabola times x³."""
    nodes, weights = map(torch.from_numpy, np.polynomial.legendre.leggauss(4))
    x = law.centres()[:, None] + 0.5 * law.width * nodes
    density = law.log_prob(x.reshape(-1, 1)).exp().reshape(x.shape)
    return 0.5 * law.width * (density * x**power) @ weights


@pytest.mark.parametrize(
    "law",
    [normal_grid(60), rough_grid(), rough_grid(3), rough_grid(4)],
    ids=["normal", "rough", "three cells", "four cells"],
)
def test_every_cell_holds_its_mass(law):
    torch.testing.assert_close(cell_integrals(law), law.masses, rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(law.cumulative(law.edges()).diff(), law.masses, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("law", [normal_grid(60), rough_grid()], ids=["normal", "rough"])
def test_density_is_the_slope_of_the_distribution_function_and_continuous(law):
    x = torch.linspace(law.lower + 0.0123, law.upper - 0.0345, 997, dtype=torch.float64)
    slope = (law.cumulative(x + 1e-6) - law.cumulative(x - 1e-6)) / 2e-6
    torch.testing.assert_close(law.log_prob(x[:, None]).exp(), slope, rtol=1e-4, atol=1e-7)
    inner = law.edges()[1:-1, None]
    below, above = law.log_prob(inner - 1e-13).exp(), law.log_prob(inner + 1e-13).exp()
    torch.testing.assert_close(below, above, rtol=0, atol=1e-8)


def test_log_density_converges_with_order_three():
    x = torch.linspace(-5, 5, 3001, dtype=torch.float64)[:, None]
    exact = gaussian().log_prob(x)
    errors = [float((normal_grid(cells).log_prob(x) - exact).abs().max()) for cells in (400, 800, 1600)]
    assert np.log2(np.divide(errors[:-1], errors[1:])) == pytest.approx([3, 3], abs=0.3)
    assert errors[-1] < 2e-6


def test_divergence_of_refined_grids_is_below_any_tolerance_asked_for():
    x = torch.linspace(-8, 8, 100_001, dtype=torch.float64)[:, None]
    log_p, log_q = normal_grid(1000).log_prob(x), normal_grid(2000).log_prob(x)
    assert float(((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum()) * 16 / 100_000 < 1e-13


def test_outside_the_density_is_zero():
    law = rough_grid()
    found = law.log_prob(tensor(-1.1, -1.0, 3.0, 3.1, math.nan)[:, None])
    assert torch.isneginf(found[[0, 3]]).all()
    assert torch.isfinite(found[[1, 2]]).all()
    assert torch.isnan(found[4])


def test_cells_emptied_by_rounding_stay_finite():
    masses = tensor(0.0, -1e-18, 0.3, 0.7, 1e-320, 0.0)
    law = GridLaw(0.0, 6.0, masses)
    x = torch.linspace(0, 6, 601, dtype=torch.float64)[:, None]
    assert torch.isfinite(law.log_prob(x)).all()
    draws = law.sample(1000, generator())
    assert bool(((draws >= 2) & (draws <= 4)).all())
    assert all(torch.isfinite(moment).all() for moment in law.moments())


def test_a_sum_of_nan_is_kept_for_the_estimate_to_report():
    law = GridLaw(0.0, 1.0, tensor(0.5, math.nan, 0.5))
    assert torch.isnan(law.log_prob(tensor(0.5)[:, None])).all()


@pytest.mark.parametrize("law", [normal_grid(40), rough_grid()], ids=["normal", "rough"])
def test_draws_follow_the_distribution_function(law):
    draws = law.sample(20_000, generator(1))
    assert draws.shape == (20_000, 1)
    assert stats.kstest(law.cumulative(draws[:, 0]).numpy(), "uniform").pvalue > FALSE_ALARM
    assert torch.equal(draws, law.sample(20_000, generator(1)))


def test_moments_are_those_of_the_density():
    law = rough_grid()
    mean, covariance = law.moments()
    first, second = (float(cell_integrals(law, power).sum()) for power in (1, 2))
    assert mean.shape == (1,)
    assert covariance.shape == (1, 1)
    assert float(mean) == pytest.approx(first, rel=1e-12)
    assert float(covariance) == pytest.approx(second - first**2, rel=1e-11)


def test_moments_far_from_the_origin_do_not_cancel():
    near = normal_grid(400)
    far = GridLaw(near.lower + 1e6, near.upper + 1e6, near.masses)
    assert float(near.moments()[1]) == pytest.approx(1, abs=1e-12)
    assert float(far.moments()[1]) == pytest.approx(1, abs=1e-7)
    assert float(far.moments()[0]) == pytest.approx(1e6, abs=1e-8)


def test_merging_cells():
    law = normal_grid(60)
    assert torch.equal(law.coarsened().masses, law.masses[::2] + law.masses[1::2])
    assert law.rebinned(20).masses.tolist() == law.coarsened(3).masses.tolist()
    with pytest.raises(ValueError, match="60 cells cannot be merged 7 at a time"):
        law.coarsened(7)


def test_rebinning_to_other_edges_is_accurate():
    torch.testing.assert_close(normal_grid(400).rebinned(301).masses, normal_grid(301).masses, rtol=0, atol=1e-8)


@pytest.mark.parametrize("cells", [10, 333, 4000])
def test_discretised_law_has_the_masses_of_its_distribution_function(cells):
    law = discretised(gaussian(), -8.3, 8.9, cells)
    torch.testing.assert_close(law.masses, normal_grid(cells).masses, rtol=1e-9, atol=1e-15)


def test_discretised_mixture():
    mixture = GaussianMixture(tensor(0.25, 0.75), tensor(-2, 1)[:, None], tensor(0.01, 0.5)[:, None, None])
    mean, covariance = discretised(mixture, -8, 8, 800).moments()
    assert float(mean) == pytest.approx(float(mixture.moments()[0]), abs=1e-6)
    assert float(covariance) == pytest.approx(float(mixture.moments()[1]), abs=1e-5)


@pytest.mark.parametrize(
    ("law", "interval"), [(gaussian(), (-1, 1)), (gaussian(), (30, 40)), (gaussian(0.0, 1e-14), (-8, 8.1))]
)
def test_discretised_law_must_be_caught(law, interval):
    with pytest.raises(ValueError, match="catch mass"):
        discretised(law, *interval, 100)


def test_symmetric_divergence_of_shifted_gaussians():
    first, second = discretised(gaussian(), -9, 9, 4000), discretised(gaussian(0.1), -9, 9, 4000)
    # SymKL of N(0, 1) and N(δ, 1) is δ².
    assert symmetric_divergence(first.masses, second.masses) == pytest.approx(0.01, rel=1e-5)
    assert symmetric_divergence(first.masses, first.masses) == 0
    merged = symmetric_divergence(first.coarsened(40).masses, second.coarsened(40).masses)
    assert 0.0095 < merged < 0.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((1.0, 1.0, torch.full((4,), 0.25).double()), "lower must be below upper"),
        ((0.0, math.inf, torch.full((4,), 0.25).double()), "both finite"),
        ((0.0, 1.0, torch.full((2,), 0.5).double()), "m >= 3"),
        ((0.0, 1.0, torch.full((4,), 0.25)), "float64"),
        ((0.0, 1.0, torch.full((4,), 0.3).double()), r"sum to 1, got 1\.2"),
    ],
)
def test_bad_grids_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        GridLaw(*arguments)
