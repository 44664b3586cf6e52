"""The kernel density estimate: against scipy, against long-double sums in the far tails, and as a law."""

import numpy as np
import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM, sigmas
from harness.measure import kde
from harness.measure.kde import KernelDensity, SingularPoints
from seeding import fixed_generator, generator


def skewed(n, dim, seed):
    """Correlated, skewed points of unequal scales, away from the origin."""
    source = generator(seed)
    # Not redrawn: how near it is to singular decides what rounding leaves, here and in SciPy.
    mixing = torch.randn(dim, dim, generator=fixed_generator(seed), dtype=torch.float64) + 2 * torch.eye(dim)
    mixing = torch.logspace(-2, 2, dim, dtype=torch.float64)[:, None] * mixing
    white = torch.randn(n, dim, generator=source, dtype=torch.float64)
    return (white + 0.3 * white.square()) @ mixing.T + 50.0


def direct_log_prob(density, x):
    """The defining sum in extended precision, from the kernel's Cholesky factor, shape (n,)."""
    root = density.kernel_cholesky.numpy().astype(np.longdouble)
    points = density.points.numpy().astype(np.longdouble)
    weights = density.log_weights
    weights = np.zeros(len(points)) if weights is None else weights.numpy().astype(np.longdouble)
    weights = weights - np.logaddexp.reduce(weights)
    result = []
    for query in x.numpy().astype(np.longdouble):
        white = np.zeros_like(points)
        for row in range(len(root)):
            white[:, row] = (query[row] - points[:, row] - white[:, :row] @ root[row, :row]) / root[row, row]
        exponents = weights - 0.5 * (white**2).sum(1)
        largest = exponents.max()
        result.append(largest + np.log(np.exp(exponents - largest).sum()))
    return np.array(result) - 0.5 * len(root) * np.log(2 * np.pi) - np.log(np.diag(root)).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dim", [1, 2, 6, 12])
def test_agrees_with_scipy(dim, weighted):
    points, fresh = skewed(3300, dim, seed=dim).split([3000, 300])
    queries = torch.cat([fresh, points[:300]])
    log_weights = torch.randn(3000, generator=generator(1), dtype=torch.float64)
    weights = log_weights.exp().numpy() if weighted else None
    reference = stats.gaussian_kde(points.numpy().T, weights=weights)
    ours = KernelDensity(points, log_weights if weighted else None)
    assert ours.bandwidth == pytest.approx(reference.factor, rel=1e-12)
    np.testing.assert_allclose(ours.kernel_cholesky @ ours.kernel_cholesky.T, reference.covariance, rtol=1e-10)
    np.testing.assert_allclose(ours.log_prob(queries), reference.logpdf(queries.numpy().T), rtol=0, atol=1e-10)


def test_right_at_every_distance():
    """From the middle to 10⁴ standard deviations: all three ways of summing, and no floor under any of them."""
    for dim, weighted in ((1, False), (2, True), (6, False)):
        points = skewed(700, dim, seed=dim)
        log_weights = -5 * torch.rand(700, generator=generator(2), dtype=torch.float64)
        density = KernelDensity(points, log_weights if weighted else None)
        direction = torch.linalg.cholesky(density.covariance) @ torch.ones(dim, dtype=torch.float64) / dim**0.5
        distances = torch.cat([torch.linspace(0, 40, 161, dtype=torch.float64), torch.tensor([1e2, 1e3, 1e4])])
        queries = density.mean + distances[:, None] * direction
        square = (density._whiten(queries) ** 2).sum(1)
        expected = direct_log_prob(density, queries)
        assert (square > kde.LARGEST_EXPANDED_SQUARE).any()
        assert ((square < kde.LARGEST_EXPANDED_SQUARE).numpy() & (expected < kde.LEAST_PLAIN_LOG_SUM - 20)).any()
        actual = density.log_prob(queries).numpy()
        np.testing.assert_allclose(actual, expected.astype(float), rtol=1e-13, atol=1e-11)
        assert actual[-1] < -1e7


def test_right_beside_an_outlier():
    """A point hundreds of bandwidths out: |y - yᵢ|² is small where |y|² and |yᵢ|² are large and would cancel."""
    points = skewed(20_000, 1, seed=3)
    points[0] = 1e9
    density = KernelDensity(points)
    bandwidth = float(density.kernel_cholesky)
    queries = 1e9 + bandwidth * torch.linspace(-3, 3, 7, dtype=torch.float64)[:, None]
    assert float(density._whiten(queries).min()) > 500
    np.testing.assert_allclose(density.log_prob(queries), direct_log_prob(density, queries).astype(float), atol=1e-9)


def test_integrates_to_one():
    density = KernelDensity(skewed(200, 1, seed=4), torch.linspace(-3, 0, 200, dtype=torch.float64))
    centre, scale = float(density.mean), float(density.covariance) ** 0.5
    x = torch.linspace(centre - 15 * scale, centre + 15 * scale, 20_001, dtype=torch.float64)
    assert float(torch.trapezoid(density.log_prob(x[:, None]).exp(), x)) == pytest.approx(1, abs=1e-12)


def test_weightless_points_do_not_count():
    points = skewed(500, 3, seed=5)
    log_weights = torch.randn(500, generator=generator(6), dtype=torch.float64)
    log_weights[400:] = -torch.inf
    queries = skewed(50, 3, seed=7)
    with_them = KernelDensity(points, log_weights).log_prob(queries)
    without = KernelDensity(points[:400], log_weights[:400]).log_prob(queries)
    assert torch.equal(with_them, without)


@pytest.mark.parametrize("dim", [1, 2, 12])
def test_bits_do_not_depend_on_threads(dim, on_threads):
    points, queries = skewed(40_000, dim, seed=8), skewed(600, dim, seed=9)

    def answers():
        density = KernelDensity(points)
        return density.log_prob(queries), density.sample(100, generator(1))

    first, *others = on_threads(answers, (1, 2, 4))
    for other in others:
        assert all(map(torch.equal, first, other))


@pytest.mark.parametrize("weighted", [False, True])
def test_draws_follow_the_density(weighted):
    """Kolmogorov-Smirnov against the mixture's distribution function."""
    points = skewed(40, 1, seed=10)
    log_weights = torch.linspace(-4, 0, 40, dtype=torch.float64) if weighted else None
    density = KernelDensity(points, log_weights)
    weights = np.full(40, 1 / 40) if log_weights is None else torch.softmax(log_weights, 0).numpy()

    def distribution(x):
        return stats.norm.cdf(x[:, None], points[:, 0].numpy(), float(density.kernel_cholesky)) @ weights

    draws = density.sample(20_000, generator(11))
    assert draws.shape == (20_000, 1)
    assert stats.kstest(draws[:, 0].numpy(), distribution).pvalue > FALSE_ALARM


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_are_those_of_the_draws(weighted):
    """Mean of 200,000 draws and of their products, each within its standard errors."""
    log_weights = torch.linspace(-4, 0, 60, dtype=torch.float64) if weighted else None
    density = KernelDensity(skewed(60, 3, seed=12), log_weights)
    mean, covariance = density.moments()
    root = torch.linalg.cholesky(covariance)
    white = torch.linalg.solve_triangular(root, (density.sample(200_000, generator(13)) - mean).T, upper=False).T
    assert white.mean(0).abs().max() < sigmas(12) / 200_000**0.5
    products = white[:, :, None] * white[:, None, :]
    errors = (products.mean(0) - torch.eye(3)).abs() / (products.std(0) / 200_000**0.5)
    assert errors.max() < sigmas(12)


def test_singular_points_are_refused():
    normal = torch.randn(100, 3, generator=generator(14), dtype=torch.float64)
    with pytest.raises(SingularPoints, match=r"3 point\(s\) of non-zero weight do not span dimension 3"):
        KernelDensity(normal[:3])
    with pytest.raises(SingularPoints, match="coordinate 0 of the points is constant"):
        KernelDensity(torch.full((1000, 3), 0.1, dtype=torch.float64))
    with pytest.raises(SingularPoints, match="coordinate 1 of the points is constant"):
        KernelDensity(normal * torch.tensor([1.0, 0.0, 1.0]) + 7.3)
    with pytest.raises(SingularPoints, match="covariance of the points is singular"):
        KernelDensity(normal @ torch.tensor([[1.0, 2, 3], [0, 1, 1], [1, 3, 4]], dtype=torch.float64))
    with pytest.raises(SingularPoints, match="one point holds all the weight"):
        KernelDensity(normal, torch.tensor([0.0] + [-800.0] * 99))
    with pytest.raises(SingularPoints, match="2 point"):
        KernelDensity(normal, torch.tensor([0.0, 0.0] + [-torch.inf] * 98))


def test_unusable_input_is_refused():
    points = skewed(20, 2, seed=15)
    with pytest.raises(ValueError, match=r"\(n, D\)"):
        KernelDensity(points[:, 0])
    with pytest.raises(ValueError, match="20 points need as many log_weights"):
        KernelDensity(points, torch.zeros(19))
    with pytest.raises(ValueError, match="log_weights must be below"):
        KernelDensity(points, torch.full((20,), torch.nan))
    with pytest.raises(ValueError, match="not all -inf"):
        KernelDensity(points, torch.full((20,), -torch.inf))
    points[3, 1] = torch.nan
    with pytest.raises(ValueError, match=r"points holds 1 value\(s\) that are not finite"):
        KernelDensity(points)


@pytest.mark.parametrize("far", [0.0, 1e4])
def test_the_density_without_a_part_of_the_points(far):
    """The kernel stays that of all points; far away, too, where exponentials vanish."""
    points, log_weights = skewed(70, 2, 30), torch.randn(70, generator=generator(31), dtype=torch.float64)
    density = KernelDensity(points, log_weights)
    x = skewed(9, 2, 32) + far
    log_density, without = density.log_prob_by_parts(x, 4)
    torch.testing.assert_close(log_density, density.log_prob(x))
    white = torch.linalg.inv(density.kernel_cholesky)
    apart = torch.cdist(x @ white.T, points @ white.T, compute_mode="donot_use_mm_for_euclid_dist")
    terms = log_weights.log_softmax(0) - 0.5 * apart.square()
    normaliser = np.log(2 * np.pi) + float(density.kernel_cholesky.diagonal().log().sum())
    for part, ends in enumerate([(0, 17), (17, 35), (35, 52), (52, 70)]):
        rest = torch.ones(70, dtype=torch.bool)
        rest[slice(*ends)] = False
        expected = terms[:, rest].logsumexp(1) - log_weights.log_softmax(0)[rest].logsumexp(0) - normaliser
        torch.testing.assert_close(without[:, part], expected, rtol=1e-9, atol=1e-9)
