"""Relaxation to Gaussian mixtures: the published instances, stationarity of the target, and refused settings."""

import csv
from pathlib import Path

import pytest
import torch

from problems.gaussian_mixture import FAN, PUBLISHED, GaussianMixtureFlow, published_centres
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import Quadratic
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import generator

CHECK = Path(__file__).parents[2] / "../shared/published/instance_check.csv"


def test_published_instances_match_the_released_values():
    if not CHECK.exists():
        pytest.skip(f"{CHECK} is not there")
    with CHECK.open() as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == "gaussian-mixture"]
    assert {int(row["dim"]) for row in rows} >= {2, 4, 6, 8, 10, 12}
    for row in rows:
        dim = int(row["dim"])
        assert PUBLISHED[dim][0] == row["key"]
        centres = published_centres(dim, int(row["instance"]))
        value = centres[0, 0] if row["quantity"].startswith("first centre") else centres.sum()
        assert float(value) == pytest.approx(float(row["value"]), rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("dim", PUBLISHED)
def test_published_centres_fill_their_cube(dim):
    _, components, half_width = PUBLISHED[dim]
    centres = published_centres(dim, 0)
    assert centres.shape == (components, dim)
    assert float(centres.abs().max()) <= half_width
    assert float(centres.abs().max()) > 0.8 * half_width


def test_published_problem():
    problem = GaussianMixtureFlow().build(4, 1, generator())
    flow, truth = problem.flow, problem.truth(4.0)
    assert problem.stationary
    assert isinstance(flow.initial, Gaussian)
    assert isinstance(truth, GaussianMixture)
    assert torch.equal(flow.initial.covariance, 16 * torch.eye(4, dtype=torch.float64))
    assert torch.equal(truth.means, published_centres(4, 1))
    assert flow.times == (4.0,)
    assert flow.inverse_temperature == 1.0


@pytest.mark.parametrize("inverse_temperature", [0.5, 1.0, 3.0])
def test_the_truth_is_stationary(inverse_temperature):
    # ρ∇V + β⁻¹∇ρ = 0, the flux of the stationary law, at points of its own.
    family = GaussianMixtureFlow(instance="random", components=3, inverse_temperature=inverse_temperature)
    problem = family.build(3, 0, generator(4))
    truth = problem.truth(1.0)
    x = truth.sample(64, generator(5)).requires_grad_()
    (score,) = torch.autograd.grad(truth.log_prob(x).sum(), x)
    drift = problem.flow.potential.gradient(x.detach())
    torch.testing.assert_close(drift, -score / inverse_temperature, rtol=1e-10, atol=1e-10)


def test_random_instances_follow_the_generator_and_the_settings():
    family = GaussianMixtureFlow(instance="random", components=7, half_width=2.0)
    one, again, other = (family.build(5, 0, generator(seed)).truth(1.0).means for seed in (1, 1, 2))
    assert one.shape == (7, 5)
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    # The largest of 35 uniform coordinates is below 1.3 once in four million times.
    assert 1.3 < float(one.abs().max()) <= 2.0


@pytest.mark.parametrize("dim", FAN)
def test_fan_instances(dim):
    """Ten unit Gaussians in a cube, from N(0, 16 I); another draw for every generator."""
    family = GaussianMixtureFlow(instance="fan2022")
    problem = family.build(dim, 0, generator(1))
    means = problem.truth(4.0).means
    assert means.shape == (10, dim)
    assert 0.7 * FAN[dim] < float(means.abs().max()) <= FAN[dim]
    assert torch.equal(problem.flow.initial.covariance, 16 * torch.eye(dim, dtype=torch.float64))
    assert not torch.equal(means, family.build(dim, 1, generator(2)).truth(4.0).means)
    assert problem.stationary
    assert problem.evidence.log_value == 0


def test_dimensions_that_were_not_published_are_refused():
    with pytest.raises(ValueError, match="instance='fan2022' exists in dimensions 2, 4, 8, 17, 24, 32, 64, 128, got 6"):
        GaussianMixtureFlow(instance="fan2022").build(6, 0, generator())
    with pytest.raises(ValueError, match="instance='mokrov2021' exists in dimensions 2, 4, 6"):
        GaussianMixtureFlow().build(3, 0, generator())
    assert GaussianMixtureFlow(instance="fan2022").dims() == tuple(FAN)
    assert GaussianMixtureFlow(instance="fan2022", truth="marginal").dims() == (2,)


def test_dimensions():
    assert GaussianMixtureFlow().dims() == (2, 4, 6, 8, 10, 12, 13, 32, 64)
    assert GaussianMixtureFlow(instance="random").dims() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance": "venus"}, "instance must be one of 'mokrov2021', 'fan2022', 'random', 'given'; got 'venus'"),
        ({"components": 9}, "components must be left at 5, got 9: only instance='random' uses it"),
        ({"half_width": 3.0}, "only instance='random' uses it, not instance='mokrov2021'"),
        ({"instance": "random", "components": 0}, "components must be a whole number >= 1, got 0"),
        ({"instance": "random", "half_width": -1.0}, "half_width must be a finite number > 0, got -1.0"),
        ({"truth": "exact"}, "truth must be one of 'stationary', 'marginal'; got 'exact'"),
        ({"initial_std": 0.0}, "initial_std must be a finite number > 0, got 0.0"),
        ({"inverse_temperature": float("nan")}, "inverse_temperature must be a finite number > 0, got nan"),
        ({"times": ()}, "times must hold at least one time"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match="gaussian-mixture") as refusal:
        GaussianMixtureFlow(**settings)
    assert message in str(refusal.value)


@pytest.mark.parametrize(("dim", "times"), [(1, (4.0,)), (2, (2.0, 1e-6, 4.0))])
def test_marginals_of_one_component_have_a_closed_form(dim, times):
    family = GaussianMixtureFlow(instance="random", components=1, truth="marginal", times=(2.0, 4.0))
    problem = family.build(dim, 0, generator(3))
    flow = problem.flow
    assert not problem.stationary
    well = Quadratic(torch.eye(dim, dtype=torch.float64), flow.potential.stationary.means[0])
    for time in times:
        law, exact = problem.truth(time), ornstein_uhlenbeck_marginal(flow.initial, well, 1.0, time)
        for ours, theirs in zip(law.moments(), exact.moments(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
        x = exact.sample(500, generator(1))
        torch.testing.assert_close(law.log_prob(x), exact.log_prob(x), rtol=0, atol=0.02)
        assert problem.truth(time) is law


def test_marginals_are_no_problem_of_many_dimensions():
    assert GaussianMixtureFlow(truth="marginal").dims() == (2,)
    assert GaussianMixtureFlow(truth="marginal", instance="random").dims() == (1, 2)
    with pytest.raises(ValueError, match="truth='marginal' is known in dimensions 1 to 2, got 4"):
        GaussianMixtureFlow(truth="marginal").build(4, 0, generator())


def test_the_marginal_comes_near_the_stationary_law_but_for_its_weights():
    problem = GaussianMixtureFlow(truth="marginal").build(2, 0, generator())
    stationary, law = problem.flow.potential.stationary, problem.truth(4.0)
    x = stationary.sample(4000, generator(1))
    ratio = law.log_prob(x) - stationary.log_prob(x)
    assert 0.01 < float((2 * ratio * torch.tanh(ratio / 2)).mean()) < 0.2
    # Within a mode the shape is right: the ratio is the same all over it.
    clear = [share > 0.999 for share in stationary.component_log_prob(x).softmax(1).T]
    apart = [mode for mode in clear if int(mode.sum()) > 300]
    assert apart
    for mode in apart:
        assert float(ratio[mode].std()) < 0.2 * float(ratio.std())


def test_bad_instances_are_refused():
    with pytest.raises(ValueError, match="exists in dimensions 2, 4, 6, 8, 10, 12, 13, 32, 64, got 3"):
        GaussianMixtureFlow().build(3, 0, generator())
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        GaussianMixtureFlow().build(2, -1, generator())
