import gzip
import math
import re

import numpy as np
import pytest
import torch
from scipy import stats

from problems.data.datasets import load
from problems.logistic_regression import LogisticRegression
from problems.unavailable import Unavailable
from seeding import generator, numpy_generator


def points(n, dim, seed=1, scale=1.0):
    return scale * torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


@pytest.fixture(scope="module")
def problem():
    return LogisticRegression().build(31, 0, generator())


def test_problem_is_stationary_and_the_declared_one(problem):
    family = LogisticRegression()
    assert family.dims() == (31,)
    assert problem.stationary
    assert problem.flow.inverse_temperature == 1.0
    assert problem.flow.dim == 31
    split = load("breast-cancer").split(0)
    signed = split.training_features * split.training_labels[:, None]
    np.testing.assert_array_equal(problem.flow.potential.signed_features.numpy(), signed)
    mean, covariance = problem.flow.initial.moments()
    assert mean.tolist() == [0.0] * 30 + [math.log(0.01)]
    assert torch.equal(covariance, torch.eye(31, dtype=torch.float64))


def test_instances_depend_on_the_seed_alone():
    family = LogisticRegression()
    once = family.build(31, 1, generator(0)).flow.potential.signed_features
    again = family.build(31, 1, generator(99)).flow.potential.signed_features
    other = family.build(31, 2, generator(0)).flow.potential.signed_features
    assert torch.equal(once, again)
    assert not torch.equal(once, other)


def test_prediction_is_the_log_probability_of_held_out_labels(problem):
    split = load("breast-cancer").split(0)
    x = points(3, 31, scale=2.0)
    expected = stats.logistic.logcdf(split.held_out_labels * (x[:, :-1].numpy() @ split.held_out_features.T))
    assert problem.prediction is not None
    np.testing.assert_allclose(problem.prediction.log_likelihood(x).numpy(), expected, rtol=1e-12)


def test_intercept_is_one_more_weight():
    family = LogisticRegression(intercept=True)
    assert family.dims() == (32,)
    with_intercept = family.build(32, 0, generator())
    without = LogisticRegression().build(31, 0, generator())
    x = points(4, 31)
    zero_bias = torch.cat([x[:, :-1], torch.zeros(4, 1, dtype=torch.float64), x[:, -1:]], dim=1)
    assert with_intercept.prediction is not None
    assert without.prediction is not None
    torch.testing.assert_close(
        with_intercept.prediction.log_likelihood(zero_bias), without.prediction.log_likelihood(x)
    )
    labels = load("breast-cancer").split(0).training_labels
    np.testing.assert_array_equal(with_intercept.flow.potential.signed_features[:, -1].numpy(), labels)


def test_feature_that_is_zero_leaves_its_weight_to_the_prior(tmp_path, monkeypatch):
    """The likelihood does not depend on the weight, and D is what the table of shapes says."""
    rows = numpy_generator(0).normal(size=(5300, 1)).tolist()
    text = "x0,x1,label\n" + "".join(f"{value},3,{(-1) ** place}\n" for place, (value,) in enumerate(rows))
    with gzip.open(tmp_path / "banana.csv.gz", "wt") as file:
        file.write(text)
    monkeypatch.setenv("WGFBENCH_DATA", str(tmp_path))
    with pytest.raises(ValueError, match=r"feature\(s\) \[1\] never vary and cannot be standardised: 'x1';"):
        LogisticRegression(data="banana").build(3, 0, generator())
    family = LogisticRegression(data="banana", constant_features="zero", prior_rate=0.01)
    problem = family.build(3, 0, generator())
    assert family.dims() == (3,)
    x = points(5, 3)
    torch.testing.assert_close(problem.flow.potential.gradient(x)[:, 1], x[:, 2].exp() * x[:, 1])
    assert not problem.prediction.log_likelihood(x).isnan().any()
    assert (
        f"wgfbench reference banana --seeds 0:0 --data {tmp_path} --prior-shape 1.0 --prior-rate 0.01 "
        "--constant-features zero" in problem.truth_missing
    )
    assert family.reference_stem(0) == "banana_gamma-1-0.01_zero_seed-0"
    assert family.reference_settings()["constant_features"] == "zero"
    assert "constant_features" not in LogisticRegression().reference_settings()


@pytest.mark.parametrize(("name", "dim"), [("covtype", 55), ("german", 25), ("splice", 61), ("image", 19)])
def test_dimension_is_known_without_the_data(name, dim):
    assert LogisticRegression(data=name).dims() == (dim,)
    assert LogisticRegression(data=name, intercept=True).dims() == (dim + 1,)


def test_data_that_are_nowhere_are_unavailable(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("WGFBENCH_DATA", raising=False)
    with pytest.raises(
        Unavailable, match=r"put covtype_subset\.csv\.gz into a folder and name it by --data DIR or WGF"
    ):
        LogisticRegression(data="covtype_subset").build(55, 0, generator())


def test_missing_reference_names_the_command_that_makes_it():
    far = LogisticRegression().build(31, 12345, generator())
    assert far.truth is None
    assert far.truth_missing.startswith("no reference yet for these settings and seed 12345; ")
    assert far.truth_missing.endswith("make it by: wgfbench reference breast-cancer --seeds 12345:12345")
    other = LogisticRegression(intercept=True, prior_shape=2.0, prior_rate=0.1).build(32, 0, generator())
    assert other.truth is None
    command = "wgfbench reference breast-cancer --seeds 0:0 --prior-shape 2.0 --prior-rate 0.1 --intercept"
    assert other.truth_missing.endswith(command)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "breast"}, "data must be one of 'banana', 'breast-cancer', 'covtype', "),
        ({"constant_features": "drop"}, "constant_features must be one of 'error', 'zero'; got 'drop'"),
        ({"prior_shape": 0.0}, "prior_shape must be a finite number > 0, got 0.0"),
        ({"prior_rate": math.nan}, "prior_rate must be a finite number > 0, got nan"),
        ({"times": ()}, "times must hold at least one time"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        LogisticRegression(**settings)


def test_bad_dimension_and_seed_are_refused():
    with pytest.raises(ValueError, match="data 'breast-cancer' has dimension 31, got 30"):
        LogisticRegression().build(30, 0, generator())
    with pytest.raises(ValueError, match="seed must be a whole number >= 0, got -1"):
        LogisticRegression().build(31, -1, generator())
