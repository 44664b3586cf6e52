import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from sklearn.datasets import make_spd_matrix

from false_alarms import sigmas
from problems.laws import Gaussian, GaussianMixture
from problems.ornstein_uhlenbeck import SPECTRA, OrnsteinUhlenbeck, published_instance, spd_matrix
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import fixed_generator, generator

CHECKS = Path(__file__).parents[2] / "../shared/published/instance_check.csv"

# (dimension, instance): trace of the stationary covariance, first coordinate of b, as released by the authors
PUBLISHED = {
    (1, 0): ("1.53493233", "2.29577457"),
    (2, 0): ("2.87888828", "-0.551623019"),
    (2, 1): ("3.59496956", "0.583415366"),
    (6, 0): ("8.72447337", "-0.496948428"),
    (12, 0): ("17.829108", "0.0149062997"),
    (12, 1): ("19.529291", "0.756006709"),
}


def build(dim=3, seed=0, **settings):
    return OrnsteinUhlenbeck(**settings).build(dim, seed, generator(seed))


def random_problem(dim=3, **settings):
    return build(dim, instance="random", inverse_temperature=0.7, **settings)


def published_quantity(dim, instance, quantity):
    potential = published_instance(dim, instance)
    if quantity == "first coordinate of b":
        return float(potential.centre[0])
    assert quantity == "trace of the stationary covariance"
    return float(torch.trace(torch.linalg.inv(potential.precision)))


def assert_printed_digits(value, printed):
    digits = printed.split("e")[0].replace("-", "").replace(".", "").lstrip("0")
    assert float(f"{value:.{len(digits)}g}") == float(printed)


@pytest.mark.parametrize(("dim", "instance"), PUBLISHED)
def test_published_instances(dim, instance):
    trace, first = PUBLISHED[dim, instance]
    assert_printed_digits(published_quantity(dim, instance, "trace of the stationary covariance"), trace)
    assert_printed_digits(published_quantity(dim, instance, "first coordinate of b"), first)


@pytest.mark.parametrize("dim", [1, 2, 6, 12, 64])
def test_published_covariances_are_those_of_scikit_learn_bit_for_bit(dim):
    for seed in range(5):
        ours, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
        assert np.array_equal(spd_matrix(dim, ours), make_spd_matrix(dim, random_state=theirs))
        assert ours.randn() == theirs.randn()


def test_all_published_instances():
    if not CHECKS.exists():
        pytest.skip(f"{CHECKS} is not there")
    with CHECKS.open() as file:
        rows = [row for row in csv.DictReader(file) if row["family"] == "ornstein-uhlenbeck"]
    assert len(rows) == 120
    for row in rows:
        value = published_quantity(int(row["dim"]), int(row["instance"]), row["quantity"])
        # rows print up to nine digits, less their trailing zeros
        assert float(f"{value:.9g}") == pytest.approx(float(row["value"]), rel=1e-14), row


def test_published_instances_start_from_the_standard_normal():
    problem = build(5, 3)
    mean, covariance = problem.flow.initial.moments()
    assert torch.equal(mean, torch.zeros(5, dtype=torch.float64))
    assert torch.equal(covariance, torch.eye(5, dtype=torch.float64))
    assert problem.flow.times == (0.5, 0.9)
    assert problem.flow.inverse_temperature == 1.0


def test_published_instances_exist_for_any_dimension_and_seed_whatever_the_generator():
    family = OrnsteinUhlenbeck()
    assert family.dims() is None
    for dim, seed in ((1, 0), (3, 10**9), (40, 7)):
        one = family.build(dim, seed, generator(1)).flow.potential
        two = family.build(dim, seed, generator(2)).flow.potential
        assert torch.equal(one.precision, two.precision)
        assert torch.equal(one.centre, two.centre)


@pytest.mark.parametrize("settings", [{}, {"instance": "random"}, {"instance": "random", "initial_components": 3}])
def test_no_global_random_state_is_used(settings):
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002 - this is the state that must not change
    torch_state = torch.random.get_rng_state()
    build(4, 1, **settings)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert torch.equal(torch.random.get_rng_state(), torch_state)


@pytest.mark.parametrize("time", [0.03, 0.5, 2.0])
def test_moments_solve_their_differential_equations(time):
    """m' = -A(m - b) and Σ' = -AΣ - ΣA + 2/β I, integrated by an independent solver."""
    dim = 3
    problem = random_problem(dim)
    precision, centre = problem.flow.potential.precision.numpy(), problem.flow.potential.centre.numpy()
    mean, covariance = (part.numpy() for part in problem.flow.initial.moments())

    def derivative(_, state):
        m, s = state[:dim], state[dim:].reshape(dim, dim)
        return np.concatenate(
            [-precision @ (m - centre), (-precision @ s - s @ precision + 2 / 0.7 * np.eye(dim)).ravel()]
        )

    start = np.concatenate([mean, covariance.ravel()])
    end = solve_ivp(derivative, (0, time), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    law = problem.truth(time)
    np.testing.assert_allclose(law.mean, end[:dim], rtol=0, atol=1e-10)
    np.testing.assert_allclose(law.covariance, end[dim:].reshape(dim, dim), rtol=0, atol=1e-10)


@pytest.mark.parametrize("components", [1, 3])
def test_density_solves_the_fokker_planck_equation(components):
    """∂ log ρ = ∇·∇V + ∇ log ρ·∇V + β⁻¹ (Δ log ρ + |∇ log ρ|²), derivatives in t by differences, in x exactly."""
    problem = random_problem(3, initial_components=components)
    potential, time, step = problem.flow.potential, 0.3, 1e-4
    x = 2 * torch.randn(20, 3, generator=generator(9), dtype=torch.float64)
    by_time = (problem.truth(time + step).log_prob(x) - problem.truth(time - step).log_prob(x)) / (2 * step)
    law = problem.truth(time)
    score = torch.func.vmap(torch.func.grad(lambda row: law.log_prob(row[None])[0]))(x)
    curvature = torch.func.vmap(torch.func.hessian(lambda row: law.log_prob(row[None])[0]))(x)
    laplacian = curvature.diagonal(dim1=1, dim2=2).sum(1)
    transport = potential.precision.trace() + (score * potential.gradient(x)).sum(1)
    torch.testing.assert_close(by_time, transport + (laplacian + (score**2).sum(1)) / 0.7, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("components", [1, 2])
def test_marginals_form_a_semigroup(components):
    problem = random_problem(4, initial_components=components)
    potential = problem.flow.potential
    later = ornstein_uhlenbeck_marginal(problem.truth(0.3), potential, 0.7, 0.4)
    direct = problem.truth(0.7)
    x = torch.randn(30, 4, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(later.log_prob(x), direct.log_prob(x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("components", [1, 3])
def test_the_flow_starts_at_its_initial_law(components):
    problem = random_problem(3, initial_components=components)
    initial = problem.flow.initial
    x = torch.randn(30, 3, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(problem.truth(0.0).log_prob(x), initial.log_prob(x), rtol=1e-12, atol=1e-12)
    assert float((problem.truth(1e-9).log_prob(x) - initial.log_prob(x)).abs().max()) < 1e-6


@pytest.mark.parametrize("spectrum", ["well-conditioned", "stiff"])
def test_the_flow_ends_at_the_gibbs_law_and_stays_there(spectrum):
    problem = random_problem(4, spectrum=spectrum)
    potential = problem.flow.potential
    gibbs = Gaussian(potential.centre, torch.linalg.inv(potential.precision) / 0.7)
    late = problem.truth(200.0)
    torch.testing.assert_close(late.mean, gibbs.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(late.covariance, gibbs.covariance, rtol=1e-10, atol=1e-12)
    unmoved = ornstein_uhlenbeck_marginal(
        Gaussian(gibbs.mean, 0.5 * (gibbs.covariance + gibbs.covariance.T)), potential, 0.7, 0.35
    )
    torch.testing.assert_close(unmoved.mean, gibbs.mean)
    torch.testing.assert_close(unmoved.covariance, gibbs.covariance, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spectrum", ["well-conditioned", "stiff", (0.3, 7.0)])
def test_random_instances_have_the_spectrum_asked_for(spectrum):
    problem = random_problem(6, spectrum=spectrum)
    smallest, largest = SPECTRA.get(spectrum, spectrum)
    eigenvalues = torch.linalg.eigvalsh(problem.flow.potential.precision)
    expected = torch.logspace(math.log10(smallest), math.log10(largest), 6, dtype=torch.float64)
    torch.testing.assert_close(eigenvalues, expected, rtol=1e-10, atol=0)


@pytest.mark.parametrize("components", [1, 3])
def test_random_initial_laws_do_not_commute_with_the_potential(components):
    """Of one instance: of 1,200 covariances all but three have more than .05, and the least .03."""
    family = OrnsteinUhlenbeck(instance="random", inverse_temperature=0.7, initial_components=components)
    problem = family.build(5, 0, fixed_generator(0))
    precision = problem.flow.potential.precision
    initial = problem.flow.initial
    assert isinstance(initial, Gaussian if components == 1 else GaussianMixture)
    covariances = initial.covariance[None] if components == 1 else initial.covariances
    assert len(covariances) == components
    for covariance in covariances:
        commutator = precision @ covariance - covariance @ precision
        assert float(commutator.norm()) > 0.05 * float(precision.norm() * covariance.norm())


@pytest.mark.parametrize("dim", [2, 16, 64])
def test_fan_instances(dim):
    """The stationary covariance has eigenvalues in [½, 1], of mean ¾; the start is N(0, I)."""
    problem = build(dim, seed=3, instance="fan2022")
    eigenvalues = 1 / torch.linalg.eigvalsh(problem.flow.potential.precision)
    assert 0.5 <= float(eigenvalues.min()) < float(eigenvalues.max()) <= 1
    assert abs(float(eigenvalues.mean()) - 0.75) < sigmas(3) * 0.5 / math.sqrt(12 * dim)
    assert torch.equal(problem.flow.initial.covariance, torch.eye(dim, dtype=torch.float64))
    again, other = (build(dim, seed=seed, instance="fan2022").flow.potential for seed in (3, 4))
    assert torch.equal(again.precision, problem.flow.potential.precision)
    assert not torch.equal(other.centre, problem.flow.potential.centre)


def test_random_instances_come_from_the_generator():
    same = [build(3, 4, instance="random").flow.potential.precision for _ in range(2)]
    assert torch.equal(*same)
    assert not torch.equal(same[0], build(3, 5, instance="random").flow.potential.precision)
    one_dimensional = build(1, 0, instance="random", spectrum=(1.0, 4.0))
    assert float(one_dimensional.flow.potential.precision) == pytest.approx(2.0)


GIVEN = {"instance": "given", "precision": ((2.0, 0.5), (0.5, 1.0)), "centre": (1.0, -1.0)}


def test_given_instance():
    family = OrnsteinUhlenbeck(
        **GIVEN, initial_mean=(0.0, 3), initial_covariance=((1, 0.2), (0.2, 2.0)), inverse_temperature=2, times=(1,)
    )
    assert family.dims() == (2,)
    problem = family.build(2, 0, generator())
    assert problem.flow.potential.precision.tolist() == [[2.0, 0.5], [0.5, 1.0]]
    assert problem.flow.potential.centre.tolist() == [1.0, -1.0]
    assert problem.flow.initial.mean.tolist() == [0.0, 3.0]
    assert problem.flow.initial.covariance.tolist() == [[1.0, 0.2], [0.2, 2.0]]
    default = OrnsteinUhlenbeck(**GIVEN).build(2, 5, generator()).flow.initial
    assert default.mean.tolist() == [0.0, 0.0]
    assert default.covariance.tolist() == [[1.0, 0.0], [0.0, 1.0]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"instance": "mokrov"}, "instance must be one of 'mokrov2021', 'fan2022', 'random', 'given'; got 'mokrov'"),
        ({"inverse_temperature": 0.0}, "inverse_temperature must be a finite number > 0, got 0.0"),
        ({"inverse_temperature": -1}, "inverse_temperature must be a finite number > 0, got -1"),
        ({"inverse_temperature": math.nan}, "inverse_temperature must be a finite number > 0, got nan"),
        ({"times": ()}, "at least one time"),
        ({"times": (1.0, 0.5)}, "times must increase"),
        ({"initial_components": 0}, "initial_components must be a whole number >= 1"),
        ({"initial_components": 2}, "initial_components must be left at 1, got 2: only instance='random' uses it"),
        ({"spectrum": "stiff"}, "only instance='random' uses it, not instance='mokrov2021'"),
        ({"centre": (0.0,)}, r"centre must be left at None, got \(0.0,\): only instance='given' uses it"),
        ({"instance": "random", "spectrum": "stif"}, "'well-conditioned', 'stiff' or .smallest, largest.; got 'stif'"),
        ({"instance": "random", "spectrum": (2.0, 1.0)}, "smallest, largest"),
        ({"instance": "random", "spectrum": (0.0, 1.0)}, r"spectrum\[0\] must be a finite number > 0"),
        ({"instance": "random", "spectrum": (1.0, 2.0, 3.0)}, r"spectrum must have shape \(2,\)"),
        ({"instance": "random", "precision": ((1.0,),)}, "only instance='given' uses it"),
        ({"instance": "given"}, "needs precision"),
        (GIVEN | {"centre": (1.0, 2.0, 3.0)}, r"centre \(b\) must have shape \(2,\), got shape \(3,\)"),
        (GIVEN | {"centre": (1.0, math.nan)}, "b holds 1"),
        (GIVEN | {"centre": 1.0}, "centre .b. must have shape"),
        (GIVEN | {"centre": ()}, "centre .b. must have shape"),
        (GIVEN | {"precision": ()}, "precision .A. must be a list of at least one row"),
        (GIVEN | {"precision": ((1.0, 2.0), (2.0, 1.0))}, "A must be positive definite.*eigenvalue is -1"),
        (GIVEN | {"precision": ((1.0, 0.2), (0.1, 1.0))}, "A must be symmetric"),
        (GIVEN | {"precision": ((1.0, math.nan), (math.nan, 1.0))}, "A holds 2"),
        (GIVEN | {"precision": ((1.0, 0.2), (0.1,))}, "rows of equal length"),
        (GIVEN | {"precision": (("1", "0"), ("0", "1"))}, "numbers only"),
        (GIVEN | {"initial_mean": (1.0,)}, r"initial_mean must have shape \(2,\)"),
        (GIVEN | {"initial_mean": (1.0, math.inf)}, "initial_mean holds 1"),
        (GIVEN | {"initial_covariance": ((1.0, 0.0), (0.0, -1.0))}, "initial_covariance must be positive definite"),
    ],
)
def test_bad_settings_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        OrnsteinUhlenbeck(**settings)


@pytest.mark.parametrize(
    ("dim", "seed", "message"),
    [
        (3, 0, "have dimension 2, not 3"),
        (2, -1, "seed must be a whole number >= 0, got -1"),
        (0, 0, "dim must be a whole number >= 1, got 0"),
    ],
)
def test_bad_sizes_and_seeds(dim, seed, message):
    with pytest.raises(ValueError, match=message):
        OrnsteinUhlenbeck(**GIVEN).build(dim, seed, generator())
