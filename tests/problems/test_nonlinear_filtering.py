"""The published filtering instances, general ones, and the laws of independent coordinates."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from false_alarms import FALSE_ALARM, sigmas
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering, published_path, simulated_path
from problems.potentials import RingWell, SineWell
from problems.references.product_law import Product
from seeding import generator


def test_published_instance_is_that_of_the_paper():
    problem = NonlinearFiltering().build(1, 0, generator())
    seen = problem.observations
    assert seen.times == (0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5)
    assert seen.values[0, 0] == -0.81203930728552476
    assert seen.hidden.at(0.5) == -0.27814500682470933
    assert seen.hidden.at(5.0) is None
    x = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None]
    value = problem.flow.potential.value(x)
    torch.testing.assert_close(value, (torch.sin(2 * math.pi * x) / math.pi + x * x / 4)[:, 0])
    torch.testing.assert_close(problem.flow.initial.moments(), (torch.zeros(1), torch.eye(1)), check_dtype=False)


def test_all_published_paths_are_there():
    """135 residuals of unit variance: their mean square has standard error √(2/135)."""
    residuals = []
    for instance in range(15):
        values, hidden = published_path(instance)
        residuals.append(values - hidden.states)
    assert abs(float(torch.cat(residuals).square().mean()) - 1) < sigmas() * math.sqrt(2 / 135)
    with pytest.raises(ValueError, match="the published instances are 0 to 14, got 15"):
        published_path(15)


@pytest.mark.parametrize("potential", [SineWell(2), RingWell(2), RingWell(1), SineWell(1)])
def test_derivatives_are_those_of_the_value(potential):
    x = torch.randn(20, potential.dim, generator=generator(1), dtype=torch.float64)
    before = x.clone()
    plain = super(type(potential), potential)
    torch.testing.assert_close(potential.gradient(x), plain.gradient(x))
    torch.testing.assert_close(potential.hessian(x), plain.hessian(x))
    assert torch.equal(x, before)


def test_simulated_paths_follow_the_flow():
    """Kolmogorov-Smirnov of 2000 independent coordinates at t = 0, 0.4 and 1 against the grid's marginals."""
    family = NonlinearFiltering(instance="random", observation_times=(), times=(1.0,))
    truth = family.build(1, 0, generator()).truth
    many = Gaussian(torch.zeros(2000, dtype=torch.float64), torch.eye(2000, dtype=torch.float64))
    path = simulated_path(GradientFlow(many, FreeEnergy(SineWell(2000), Entropy()), (1.0,)), (0.4,), generator(3))
    assert path.times == (0.0, 0.4, 1.0)
    assert stats.kstest(path.at(0.0).numpy(), "norm").pvalue > FALSE_ALARM / 3
    for time in (0.4, 1.0):
        law = truth(time)
        distribution = [path.at(time).numpy(), lambda x: law.cumulative(torch.from_numpy(x)).numpy()]  # noqa: B023
        assert stats.kstest(*distribution).pvalue > FALSE_ALARM / 3


@pytest.mark.parametrize("observed", ["identity", "tanh", "cubic", "distance"])
@pytest.mark.parametrize("noise", ["gaussian", "student"])
@pytest.mark.parametrize("potential", ["sine", "ring"])
def test_every_kind_can_be_built(observed, noise, potential):
    family = NonlinearFiltering(
        instance="random", observed=observed, noise=noise, potential=potential, observation_times=(0.0, 0.3, 0.3)
    )
    for dim in (1, 2):
        problem = family.build(dim, 1, generator(1))
        assert problem.observations.values.shape == (3, 1 if observed == "distance" else dim)
        assert problem.observations.hidden.at(5.0).shape == (dim,)
        independent = dim == 1 or (potential == "sine" and observed != "distance")
        assert (problem.truth is None) == (not independent)
        assert (problem.truth_missing == "") == independent


def test_two_coordinates_are_two_problems():
    settings = {"observation_times": (0.2, 0.5), "times": (0.7,), "observed": "tanh"}
    values = ((0.3, -0.4), (0.1, 0.9))
    both = NonlinearFiltering(instance="given", values=values, **settings).build(2, 0, generator())
    apart = [
        NonlinearFiltering(instance="given", values=tuple((row[place],) for row in values), **settings)
        for place in (0, 1)
    ]
    alone = [family.build(1, 0, generator()) for family in apart]
    law = both.truth(0.7)
    assert isinstance(law, Product)
    for place, problem in enumerate(alone):
        torch.testing.assert_close(law.factors[place].masses, problem.truth(0.7).masses)
    assert both.log_evidence(0.7) == pytest.approx(sum(problem.log_evidence(0.7) for problem in alone), abs=1e-12)


def test_missing_values_say_nothing():
    settings = {"instance": "given", "times": (1.0,)}
    gap = NonlinearFiltering(
        values=((0.5,), (None,), (-0.5,)), observation_times=(0.2, 0.4, 0.8), missing="skip", **settings
    ).build(1, 0, generator())
    without = NonlinearFiltering(values=((0.5,), (-0.5,)), observation_times=(0.2, 0.8), **settings).build(
        1, 0, generator()
    )
    torch.testing.assert_close(gap.truth(1.0).masses, without.truth(1.0).masses, rtol=1e-6, atol=1e-13)
    assert gap.log_evidence(1.0) == pytest.approx(without.log_evidence(1.0), abs=1e-9)
    with pytest.raises(ValueError, match=r"number 1 \(t = 0.2\) is NaN"):
        NonlinearFiltering(values=((math.nan,),), observation_times=(0.2,), **settings).build(1, 0, generator())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance": "paper"}, "instance must be one of"),
        ({"noise_scale": 2.0}, "noise_scale must be left at 1.0, got 2.0: the published instances fix it"),
        ({"instance": "random", "noise_scale": 0.0}, "noise_scale must be a finite number > 0, got 0.0"),
        ({"instance": "random", "noise_scale": -1.0}, "noise_scale must be a finite number > 0, got -1.0"),
        ({"instance": "random", "noise_degrees": 2}, "Gaussian noise has no degrees of freedom"),
        ({"instance": "random", "observation_times": (1.0, 0.5)}, "must not decrease, got 0.5 after 1.0"),
        ({"instance": "random", "observed": "nothing"}, "observed must be one of"),
        ({"instance": "given"}, "instance='given' goes with values"),
        ({"instance": "random", "values": ((1.0,),)}, "instance='given' goes with values"),
        ({"instance": "given", "values": ((1.0,),)}, "9 observation times, but 1 values"),
        (
            {"instance": "given", "values": ((1.0,), (1.0, 2.0)), "observation_times": (0.1, 0.2)},
            "rows of equal length",
        ),
        ({"times": ()}, "at least one time"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NonlinearFiltering(**settings)


def test_bad_instances_are_refused():
    with pytest.raises(ValueError, match="exists in dimension 1 only, got 2"):
        NonlinearFiltering().build(2, 0, generator())
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        NonlinearFiltering().build(1, -1, generator())
    wide = NonlinearFiltering(instance="given", values=((1.0, 2.0),), observation_times=(0.1,))
    with pytest.raises(ValueError, match=r"values must have 1 number\(s\) a row in dimension 1, got 2"):
        wide.build(1, 0, generator())


def test_product_is_its_factors():
    factors = tuple(
        Gaussian(torch.tensor([mean], dtype=torch.float64), torch.tensor([[variance]], dtype=torch.float64))
        for mean, variance in ((0.5, 2.0), (-1.0, 0.3))
    )
    law = Product(factors)
    joint = Gaussian(torch.tensor([0.5, -1.0], dtype=torch.float64), torch.diag(torch.tensor([2.0, 0.3]).double()))
    x = law.sample(1000, generator(2))
    torch.testing.assert_close(law.log_prob(x), joint.log_prob(x))
    torch.testing.assert_close(law.moments(), joint.moments(), rtol=1e-6, atol=0)
    with pytest.raises(ValueError, match="factors must be one-dimensional laws, got 1"):
        Product((joint,))


def test_linear_paths_have_the_flow_s_moments():
    """400 paths at t = 1, one instance: mean and covariance within standard errors of the exact marginal."""
    family = LinearFiltering(observation_times=(), times=(1.0,))
    problem = family.build(2, 0, generator())
    source = generator(8)
    ends = torch.stack([family._path(problem.flow, problem.flow.potential, source).at(1.0) for _ in range(400)])
    mean, covariance = problem.truth(1.0).moments()
    error = (covariance.diagonal() / 400).sqrt()
    assert bool(((ends.mean(0) - mean).abs() < sigmas(6) * error).all())
    products = torch.outer(covariance.diagonal(), covariance.diagonal()) + covariance**2
    assert bool(((torch.cov(ends.T) - covariance).abs() < sigmas(6) * (products / 400).sqrt()).all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_std": 0.0}, "noise_std must be a finite number > 0"),
        ({"spectrum": (2.0, 1.0)}, r"spectrum must be \(smallest, largest\)"),
        ({"observation_times": (0.5, 0.2)}, "must not decrease"),
        ({"seen": 0}, "seen must be a whole number >= 1"),
    ],
)
def test_bad_linear_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LinearFiltering(**settings)
