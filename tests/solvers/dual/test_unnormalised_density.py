import math

import pytest
import torch

from false_alarms import sigmas
from problems.laws import Gaussian
from seeding import generator
from solvers.dual.regions import Box, Ellipsoid
from solvers.dual.unnormalised_density import LARGEST_POOL, UnnormalisedDensity
from solvers.solver import Diverged


def normals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def skewed(dim, seed=0):
    factor = normals(dim, dim, seed=seed)
    return Gaussian(normals(dim, seed=seed + 1), factor @ factor.T / dim + 0.2 * torch.eye(dim).double())


def around(law, seed=0, scale=1.0):
    return Gaussian(law.mean + scale, 3 * law.covariance.diagonal().max() * torch.eye(law.dim).double())


@pytest.mark.parametrize("dim", [1, 2, 3, 6, 12])
def test_constant_moments_and_draws_of_a_known_density(dim):
    law = skewed(dim)
    wide = Gaussian(law.mean, 4 * law.covariance)
    found = UnnormalisedDensity.normalised(
        lambda x: law.log_prob(x) - 1234.5, Ellipsoid(wide), around(law), generator()
    )
    error = math.sqrt((1 / found.effective_share - 1) / len(found.rule.nodes))
    assert found.rule.log_normaliser == pytest.approx(-1234.5, abs=5 * error + 1e-9)
    assert found.effective_share == 1 if dim <= 2 else found.effective_share > 0.5
    assert found.outside < 1e-4
    x = law.sample(500, generator(3))
    torch.testing.assert_close(found.log_prob(x), law.log_prob(x), rtol=0, atol=5 * error + 1e-6)
    draws = found.sample(20_000, generator(4))
    white = torch.linalg.solve_triangular(law.cholesky, (draws - law.mean).T, upper=False)
    assert float(white.mean(1).abs().max()) < sigmas(100) / math.sqrt(15_000)
    assert float((white @ white.T / 20_000 - torch.eye(dim).double()).abs().max()) < sigmas(100) * math.sqrt(2 / 15_000)


def test_proposal_finds_a_narrow_density_far_from_the_guess():
    law = Gaussian(torch.full((6,), 5.0).double(), 0.05 * torch.eye(6).double())
    region = Box(torch.zeros(6).double(), 10.0)
    guess = Gaussian(torch.zeros(6).double(), torch.eye(6).double())
    found = UnnormalisedDensity.normalised(law.log_prob, region, guess, generator())
    assert found.rule.log_normaliser == pytest.approx(0, abs=0.05)
    assert found.effective_share > 0.5


def test_poor_proposals_show_in_the_effective_share():
    def two_peaks(x):
        return torch.logaddexp(-50 * (x - 1).square().sum(1), -50 * (x + 1).square().sum(1))

    guess = Gaussian(torch.zeros(8).double(), torch.eye(8).double())
    found = UnnormalisedDensity.normalised(two_peaks, Box(torch.zeros(8).double(), 4.0), guess, generator())
    assert found.effective_share < 0.1
    assert LARGEST_POOL >= 10_000
    assert found.sample(100, generator()).shape == (100, 8)


def test_mass_beyond_the_region_is_reported():
    law = Gaussian(torch.zeros(1).double(), torch.eye(1).double())
    found = UnnormalisedDensity.normalised(law.log_prob, Box(torch.zeros(1).double(), 1.0), law, generator())
    # Mass within twice the region, of which what lies outside of the region itself.
    expected = 1 - math.erf(1 / math.sqrt(2)) / math.erf(2 / math.sqrt(2))
    assert found.outside == pytest.approx(expected, abs=1e-3)
    assert float(found.log_prob(torch.tensor([[2.5]]).double())) == -math.inf


@pytest.mark.parametrize("dim", [1, 4])
def test_conditioning_is_bayes_rule(dim):
    law = skewed(dim, seed=5)
    noise = 0.5 * torch.eye(dim).double()
    seen = law.mean + 0.7
    found = UnnormalisedDensity.normalised(law.log_prob, Ellipsoid(law), law, generator())
    posterior, log_evidence, share = found.condition(lambda x: Gaussian(seen, noise).log_prob(x), generator(1))
    gain = law.covariance @ torch.linalg.inv(law.covariance + noise)
    exact = Gaussian(law.mean + gain @ (seen - law.mean), law.covariance - gain @ law.covariance)
    evidence = float(Gaussian(law.mean, law.covariance + noise).log_prob(seen[None]))
    assert log_evidence == pytest.approx(evidence, abs=0.08)  # five deviations over 50 seeds; one dimension is exact
    assert 0 < share < 1
    x = exact.sample(200, generator(2))
    torch.testing.assert_close(posterior.log_prob(x), exact.log_prob(x), rtol=0, atol=0.03)


def test_undefined_densities_are_refused():
    law = Gaussian(torch.zeros(3).double(), torch.eye(3).double())
    for value in (math.nan, math.inf):
        with pytest.raises(Diverged, match="NaN or infinite at"):
            UnnormalisedDensity.normalised(
                lambda x, value=value: torch.where(x[:, 0] > 0, value, 0.0).double(), Ellipsoid(law), law, generator()
            )
    with pytest.raises(Diverged, match="vanishes"):
        UnnormalisedDensity.normalised(
            lambda x: torch.full((len(x),), -torch.inf).double(), Ellipsoid(law), law, generator()
        )
