import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from false_alarms import FALSE_ALARM
from problems.posterior.logistic_posterior import LogisticLikelihood, LogisticPosterior
from problems.potentials import Potential
from seeding import generator


def toy(cases=40, d=4, shape=1.0, rate=100.0, seed=0):
    return LogisticPosterior(torch.randn(cases, d, generator=generator(seed), dtype=torch.float64), shape, rate)


def points(n, dim, seed=1, scale=1.0):
    return scale * torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
@pytest.mark.parametrize("weight", [1.0, 3.5])
def test_derivatives_equal_automatic_ones(scale, weight):
    potential = LogisticPosterior(toy().signed_features, 2.5, 0.7, likelihood_weight=weight)
    x = points(20, 5, scale=scale)
    for ours, automatic in (
        (potential.gradient(x), Potential.gradient(potential, x)),
        (potential.hessian(x), Potential.hessian(potential, x)),
    ):
        torch.testing.assert_close(ours, automatic, rtol=1e-12, atol=1e-11)


def test_value_and_gradient_together_are_those_apart():
    """To the bit, with the cases in one block and in several."""
    potential = LogisticPosterior(toy(cases=3000).signed_features, 2.5, 0.7, likelihood_weight=3.5)
    for x in (points(20, 5), points(400, 5, scale=50.0)):
        value, gradient = potential.value_and_gradient(x)
        assert torch.equal(value, potential.value(x))
        assert torch.equal(gradient, potential.gradient(x))


def test_value_is_minus_the_log_of_textbook_densities():
    """Likelihood from signed features; prior, hyperprior and Jacobian from scipy's normal and gamma densities."""
    potential = toy(shape=2.5, rate=0.7)
    features = potential.signed_features.numpy()
    for x in points(10, 5).numpy():
        weights, precision = x[:-1], math.exp(x[-1])
        log_joint = (
            np.log(stats.logistic.cdf(features @ weights)).sum()
            + stats.norm.logpdf(weights, scale=precision**-0.5).sum()
            + stats.gamma.logpdf(precision, 2.5, scale=1 / 0.7)
            + math.log(precision)
        )
        assert float(potential.value(torch.from_numpy(x)[None])[0]) == pytest.approx(-log_joint, rel=1e-12)


def test_jacobian_evidence_by_quadrature_over_log_precision_and_over_precision():
    """∫∫ exp(-V) dw dℓ is the evidence, which in (w, α), where no Jacobian enters, is E_α E_w|α of the likelihood."""
    feature, shape, rate = 0.8, 3.0, 2.0
    potential = LogisticPosterior(torch.tensor([[feature]], dtype=torch.float64), shape, rate)
    w, log_precision = torch.linspace(-40, 40, 2001), torch.linspace(-9, 4, 601)
    grid = torch.cartesian_prod(w.double(), log_precision.double())
    evidence = float((-potential.value(grid)).exp().sum()) * (80 / 2000) * (13 / 600)

    def given(precision):
        nodes, weights = np.polynomial.hermite_e.hermegauss(80)
        expected = weights @ stats.logistic.cdf(feature * nodes / np.sqrt(precision)) / weights.sum()
        return expected * stats.gamma.pdf(precision, shape, scale=1 / rate)

    assert evidence == pytest.approx(integrate.quad(given, 0, np.inf)[0], rel=1e-6)


def test_extreme_logits_are_exact_and_finite():
    """At logits ±1e4 the loss is 1e4 and 0, its slope -1 and 0; in float32 too."""
    for dtype in (torch.float64, torch.float32):
        potential = LogisticPosterior(torch.tensor([[1e4], [-1e4]], dtype=dtype), 1.0, 1.0)
        x = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=dtype)
        prior = 0.5 + 1.0 + 0.5 * math.log(2 * math.pi)
        torch.testing.assert_close(potential.value(x), torch.full((2,), 1e4 + prior, dtype=dtype))
        torch.testing.assert_close(potential.gradient(x)[:, 0], torch.tensor([1e4 + 1, -1e4 - 1], dtype=dtype))
        assert torch.isfinite(potential.hessian(x)).all()
        log_likelihood = LogisticLikelihood(potential.signed_features)(x)
        torch.testing.assert_close(log_likelihood, torch.tensor([[0, -1e4], [-1e4, 0]], dtype=dtype))


@pytest.mark.parametrize("margin", [-50.0, -39.0, -21.0, 0.0, 21.0, 36.0, 39.0, 45.0])
def test_loss_keeps_relative_accuracy_in_both_tails(margin):
    likelihood = LogisticLikelihood(torch.ones(1, 1, dtype=torch.float64))
    x = torch.tensor([[margin, 0.0]], dtype=torch.float64)
    assert float(likelihood(x)[0, 0]) == pytest.approx(stats.logistic.logcdf(margin), rel=1e-14)


@pytest.mark.parametrize("cases", [256, 257, 1000])
@pytest.mark.parametrize("weight", [1.0, 2.5])
def test_blocks_of_cases_add_up(cases, weight, monkeypatch):
    """In blocks of 256, the last one smaller, value and gradient are those of all cases at once."""
    features = torch.randn(cases, 3, generator=generator(5), dtype=torch.float64)
    potential = LogisticPosterior(features, 1.0, 100.0, likelihood_weight=weight)
    x = points(7, 4)
    value, gradient = potential.value(x), potential.gradient(x)
    monkeypatch.setattr("problems.posterior.logistic_posterior.BLOCK_ENTRIES", {"cpu": 1})
    torch.testing.assert_close(potential.value(x), value, rtol=1e-13, atol=0)
    torch.testing.assert_close(potential.gradient(x), gradient, rtol=1e-12, atol=1e-12)


def test_extreme_logits_in_minibatches_derivatives_and_the_printed_prior():
    """Logits of ±1e4 against the exact loss max(0, -m) and its slope, with the printed prior Gamma(1, .01)."""
    for dtype in (torch.float64, torch.float32):
        signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0], dtype=dtype)
        potential = LogisticPosterior(1e4 * signs[:, None], 1.0, 0.01)
        x = torch.tensor([[1.0, 0.0], [-1.0, 2.0]], dtype=dtype)
        batch = potential.subsample(torch.tensor([0, 1, 4]))
        for each, weight, rows in ((potential, 1.0, signs), (batch, 2.0, signs[[0, 1, 4]])):
            margins = 1e4 * x[:, :1] * rows
            precision = x[:, 1].exp()
            prior = precision * (0.01 + 0.5) - 1.5 * x[:, 1] + 0.5 * math.log(2 * math.pi) - math.log(0.01)
            torch.testing.assert_close(each.value(x), weight * (-margins).clamp(min=0).sum(1) + prior)
            slope = -weight * 1e4 * (rows * (margins < 0)).sum(1)
            torch.testing.assert_close(each.gradient(x)[:, 0], slope + precision * x[:, 0])
            torch.testing.assert_close(each.gradient(x)[:, 1], precision * 0.51 - 1.5)
            torch.testing.assert_close(each.hessian(x)[:, 0, 0], precision)


def test_all_minibatches_average_to_the_potential():
    potential = toy(cases=6, d=3)
    x = points(5, 4)
    batches = [potential.subsample(torch.tensor(cases)) for cases in itertools.combinations(range(6), 2)]
    assert len(batches) == 15
    for method in ("value", "gradient", "hessian"):
        average = torch.stack([getattr(batch, method)(x) for batch in batches]).mean(0)
        torch.testing.assert_close(average, getattr(potential, method)(x), rtol=1e-12, atol=1e-12)


def test_minibatches_are_uniform_subsets():
    """3000 draws of the 15 pairs, each the first of its pass: χ²(14) of their counts."""
    features = torch.arange(1.0, 7.0, dtype=torch.float64)[:, None]
    potential, stream = LogisticPosterior(features, 1.0, 1.0), generator(3)
    drawn = [frozenset(next(potential.minibatches(2, stream)).signed_features[:, 0].tolist()) for _ in range(3000)]
    counts = np.array([drawn.count(frozenset(pair)) for pair in itertools.combinations(features[:, 0].tolist(), 2)])
    assert counts.sum() == 3000
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_minibatches_of_a_pass_share_no_case_and_passes_differ():
    features = torch.arange(1.0, 9.0, dtype=torch.float64)[:, None]
    stream = LogisticPosterior(features, 1.0, 1.0).minibatches(3, generator(4))
    passes = [[sorted(next(stream).signed_features[:, 0].tolist()) for _ in range(2)] for _ in range(20)]
    assert all(len({*first, *second}) == 6 for first, second in passes)
    assert len({str(batches) for batches in passes}) > 15


def test_minibatches_of_all_cases_are_the_potential():
    potential = toy()
    x = points(3, 5)
    for batch in itertools.islice(potential.minibatches(40, generator()), 3):
        torch.testing.assert_close(batch.gradient(x), potential.gradient(x))


@pytest.mark.parametrize("size", [0, 41, -1, 2.0, True])
def test_minibatches_of_a_bad_size_are_refused_at_once(size):
    with pytest.raises(ValueError, match=f"size must be a whole number from 1 to the 40 cases, got {size}"):
        toy().minibatches(size, generator())


def test_potential_refuses_bad_features():
    with pytest.raises(ValueError, match="signed_features holds 1 value"):
        LogisticPosterior(torch.tensor([[math.nan]]), 1.0, 1.0)
    with pytest.raises(ValueError, match=r"shape \(cases >= 1, d >= 1\), got \(0, 3\)"):
        LogisticPosterior(torch.zeros(0, 3), 1.0, 1.0)
