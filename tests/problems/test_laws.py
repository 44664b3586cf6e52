import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from false_alarms import sigmas
from problems.laws import Empirical, Gaussian, GaussianMixture, standard_normal
from seeding import generator

COVARIANCE = torch.tensor([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.5]], dtype=torch.float64)
MEAN = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)


def mixture():
    weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    means = torch.tensor([[0.0, 0.0], [3.0, 1.0], [-2.0, 4.0]], dtype=torch.float64)
    covariances = torch.stack([torch.diag(torch.tensor(d, dtype=torch.float64)) for d in ([1.0, 2.0], [0.5, 0.1])])
    tilted = torch.tensor([[1.0, 0.7], [0.7, 0.8]], dtype=torch.float64)
    return GaussianMixture(weights, means, torch.cat([covariances, tilted[None]]))


def assert_moments(draws, mean, covariance):
    """A test of both moments at level 2e-6: of the whitened draws, n|mean|² ~ χ²_D and n|S - I|²/2 → χ²_D(D+1)/2."""
    n, dim = draws.shape
    white = np.linalg.solve(np.linalg.cholesky(covariance.numpy()), (draws - mean).numpy().T)
    assert scipy.stats.chi2.sf(n * (white.mean(1) ** 2).sum(), dim) > 1e-6
    deviation = white @ white.T / n - np.eye(dim)
    assert scipy.stats.chi2.sf(n * (deviation**2).sum() / 2, dim * (dim + 1) // 2) > 1e-6


def test_gaussian_log_density_is_scipys():
    x = 5 * standard_normal(50, 3, generator(), MEAN)
    expected = scipy.stats.multivariate_normal(MEAN.numpy(), COVARIANCE.numpy()).logpdf(x.numpy())
    np.testing.assert_allclose(Gaussian(MEAN, COVARIANCE).log_prob(x), expected, rtol=1e-12)


def test_gaussian_draws_have_its_moments():
    law = Gaussian(MEAN, COVARIANCE)
    assert_moments(law.sample(100_000, generator(1)), *law.moments())


def test_the_test_of_moments_can_fail():
    law = Gaussian(MEAN, COVARIANCE)
    draws = law.sample(100_000, generator(1))
    with pytest.raises(AssertionError):
        assert_moments(draws, MEAN + 0.03, COVARIANCE)
    with pytest.raises(AssertionError):
        assert_moments(draws, MEAN, 1.03 * COVARIANCE)


def test_mixture_log_density_is_the_sum_of_scipys():
    law = mixture()
    x = 4 * standard_normal(60, 2, generator(), law.means)
    parts = [
        math.log(weight) + scipy.stats.multivariate_normal(mean, covariance).logpdf(x.numpy())
        for weight, mean, covariance in zip(
            law.weights.tolist(), law.means.numpy(), law.covariances.numpy(), strict=True
        )
    ]
    np.testing.assert_allclose(law.log_prob(x), scipy.special.logsumexp(parts, axis=0), rtol=1e-12)
    np.testing.assert_allclose(law.component_log_prob(x).T, parts, rtol=1e-12)


def test_mixture_far_in_the_tails_keeps_its_log_density():
    x = torch.tensor([[1e3, 0.0]], dtype=torch.float64)
    # only the component of variance 1 and mean 0 in the first coordinate, and the tilted one, reach that far
    law = mixture()
    assert float(law.log_prob(x)) == pytest.approx(float(law.component_log_prob(x).max()), abs=1e-12)
    assert math.isfinite(float(law.log_prob(x)))


@pytest.mark.parametrize("law", [Gaussian(MEAN, COVARIANCE), mixture()], ids=["gaussian", "mixture"])
def test_the_score_is_the_slope_of_the_log_density(law):
    x = (3 * torch.randn(50, law.dim, dtype=torch.float64, generator=generator(60))).requires_grad_()
    (slope,) = torch.autograd.grad(law.log_prob(x).sum(), x)
    torch.testing.assert_close(law.score(x.detach()), slope, rtol=1e-10, atol=1e-12)


def test_mixture_moments_by_quadrature():
    law = mixture()
    first = torch.linspace(-9, 9, 361, dtype=torch.float64)
    second = torch.linspace(-9, 13, 441, dtype=torch.float64)
    grid = torch.cartesian_prod(first, second)
    masses = law.log_prob(grid).exp() * (first[1] - first[0]) * (second[1] - second[0])
    mean, covariance = law.moments()
    assert float(masses.sum()) == pytest.approx(1, abs=1e-7)
    torch.testing.assert_close(masses @ grid, mean, rtol=0, atol=1e-6)
    centred = grid - mean
    torch.testing.assert_close((masses[:, None] * centred).T @ centred, covariance, rtol=0, atol=1e-5)


def test_mixture_draws_have_its_shares_and_moments():
    law = mixture()
    n = 60_000
    draws = law.sample(n, generator(2))
    near_second = ((draws - law.means[1]) / law.covariances[1].diagonal().sqrt()).norm(dim=1) < 1.0
    inside = scipy.stats.chi2.cdf(1.0, 2)
    others = GaussianMixture(torch.tensor([0.4, 0.6], dtype=torch.float64), law.means[[0, 2]], law.covariances[[0, 2]])
    spill = ((others.sample(n, generator(3)) - law.means[1]) / law.covariances[1].diagonal().sqrt()).norm(dim=1) < 1.0
    expected = 0.5 * inside + 0.5 * float(spill.double().mean())
    assert float(near_second.double().mean()) == pytest.approx(expected, abs=sigmas(3) * math.sqrt(0.5 / n))
    mean, covariance = law.moments()
    torch.testing.assert_close(
        draws.mean(0), mean, rtol=0, atol=sigmas(3) * float(covariance.max()) ** 0.5 / math.sqrt(n)
    )
    torch.testing.assert_close(draws.T.cov(), covariance, rtol=0.05, atol=0.05)


def test_mixture_precisions_invert_its_covariances():
    law = mixture()
    identity = torch.eye(2, dtype=torch.float64).expand(3, 2, 2)
    torch.testing.assert_close(law.precisions @ law.covariances, identity)


def test_one_component_is_a_gaussian():
    law = Gaussian(MEAN, COVARIANCE)
    same = GaussianMixture(torch.ones(1, dtype=torch.float64), MEAN[None], COVARIANCE[None])
    x = law.sample(20, generator())
    torch.testing.assert_close(same.log_prob(x), law.log_prob(x))
    torch.testing.assert_close(same.moments(), law.moments())


def test_empirical_uses_every_draw_once_before_any_twice():
    draws = torch.arange(10, dtype=torch.float64)[:, None]
    law = Empirical(draws, draws.mean(0), draws.T.cov()[None, None])
    assert law.dim == 1
    sample = law.sample(25, generator())[:, 0]
    assert sample[:10].sort().values.tolist() == draws[:, 0].tolist()
    assert torch.bincount(sample.long()).tolist().count(2) + torch.bincount(sample.long()).tolist().count(3) == 10
    assert not torch.equal(sample[:10], sample[10:20])


@pytest.mark.parametrize("law", [Gaussian(MEAN, COVARIANCE), mixture()])
def test_draws_depend_on_the_generator_only(law):
    before = torch.random.get_rng_state()
    first = law.sample(100, generator(5))
    torch.manual_seed(77)
    assert torch.equal(first, law.sample(100, generator(5)))
    assert not torch.equal(first, law.sample(100, generator(6)))
    torch.random.set_rng_state(before)


def test_standard_normals_take_the_type_they_are_asked_for():
    assert standard_normal(3, 2, generator(), torch.empty(0, dtype=torch.float32)).dtype == torch.float32


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (MEAN[:2], COVARIANCE, "does not fit"),
        (MEAN, -COVARIANCE, "positive definite"),
        (MEAN, COVARIANCE + torch.tensor([[0, 0.1, 0], [0, 0, 0], [0, 0, 0]]), "symmetric"),
        (MEAN * math.nan, COVARIANCE, "not finite"),
        (MEAN, COVARIANCE * math.nan, "not finite"),
    ],
)
def test_bad_gaussians(mean, covariance, message):
    with pytest.raises(ValueError, match=message):
        Gaussian(mean, covariance)


@pytest.mark.parametrize(
    ("weights", "message"),
    [([0.5, 0.5], "need weights"), ([0.5, 0.6, -0.1], "> 0"), ([0.2, 0.2, 0.2], "sum to 1"), ([math.nan] * 3, "> 0")],
)
def test_bad_mixture_weights(weights, message):
    law = mixture()
    with pytest.raises(ValueError, match=message):
        GaussianMixture(torch.tensor(weights, dtype=torch.float64), law.means, law.covariances)


def test_bad_mixture_covariance_is_named():
    law = mixture()
    covariances = law.covariances.clone()
    covariances[1] *= -1
    with pytest.raises(ValueError, match=r"covariances\[1\] must be positive definite"):
        GaussianMixture(law.weights, law.means, covariances)
