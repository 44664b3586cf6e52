import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from false_alarms import sigmas
from problems.laws import Gaussian, GaussianMixture
from problems.mckean_vlasov import McKeanVlasov
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Flat
from seeding import generator


def build(dim=3, seed=0, **settings):
    return McKeanVlasov(**settings).build(dim, seed, generator(seed))


NO_ENTROPY = {"internal": "none"}
NO_WELL = {"potential": "none"}
KINDS = [{"inverse_temperature": 0.7}, NO_ENTROPY, NO_WELL, NO_ENTROPY | NO_WELL]


def parts(problem):
    """Return A, b, κ and 1/β of an instance."""
    flow = problem.flow
    dim = flow.dim
    flat = isinstance(flow.potential, Flat)
    precision = torch.zeros(dim, dim, dtype=torch.float64) if flat else flow.potential.precision
    centre = torch.zeros(dim, dtype=torch.float64) if flat else flow.potential.centre
    temperature = 0.0 if flow.energy.internal is None else 1 / flow.inverse_temperature
    return precision, centre, flow.energy.interaction.strength, temperature


@pytest.mark.parametrize("settings", KINDS)
def test_moments_solve_their_differential_equations(settings):
    """m' = -A(m - b) and Σ' = -GΣ - ΣG + 2/β I, G = A + κI, integrated by an independent solver."""
    dim, time = 3, 0.8
    problem = build(dim, strength=1.3, **settings)
    precision, centre, strength, temperature = parts(problem)
    stiffness = precision + strength * torch.eye(dim, dtype=torch.float64)
    mean, covariance = (part.numpy() for part in problem.flow.initial.moments())
    precision, stiffness, centre = precision.numpy(), stiffness.numpy(), centre.numpy()

    def derivative(_, state):
        m, s = state[:dim], state[dim:].reshape(dim, dim)
        widening = -stiffness @ s - s @ stiffness + 2 * temperature * np.eye(dim)
        return np.concatenate([-precision @ (m - centre), widening.ravel()])

    start = np.concatenate([mean, covariance.ravel()])
    end = solve_ivp(derivative, (0, time), start, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    law = problem.truth(time)
    np.testing.assert_allclose(law.mean, end[:dim], rtol=0, atol=1e-11)
    np.testing.assert_allclose(law.covariance, end[dim:].reshape(dim, dim), rtol=0, atol=1e-11)


@pytest.mark.parametrize("components", [1, 3])
@pytest.mark.parametrize("settings", KINDS)
def test_density_solves_the_equation(settings, components):
    """∂ log ρ = ∇·∇Φ + ∇ log ρ·∇Φ + β⁻¹ (Δ log ρ + |∇ log ρ|²), ∇Φ = ∇V + κ(x - E X)."""
    problem = build(3, strength=1.3, initial_components=components, **settings)
    precision, _, strength, temperature = parts(problem)
    time, step = 0.3, 5e-4
    law = problem.truth(time)
    x = law.sample(20, generator(9))
    near, far = (
        problem.truth(time + k * step).log_prob(x) - problem.truth(time - k * step).log_prob(x) for k in (1, 2)
    )
    by_time = (8 * near - far) / (12 * step)
    score = torch.func.vmap(torch.func.grad(lambda row: law.log_prob(row[None])[0]))(x)
    curvature = torch.func.vmap(torch.func.hessian(lambda row: law.log_prob(row[None])[0]))(x)
    laplacian = curvature.diagonal(dim1=1, dim2=2).sum(1)
    force = problem.flow.potential.gradient(x) + strength * (x - law.moments()[0])
    transport = precision.trace() + 3 * strength + (score * force).sum(1)
    stated = transport + temperature * (laplacian + (score**2).sum(1))
    torch.testing.assert_close(by_time, stated, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [*KINDS, NO_ENTROPY | {"initial_components": 2}])
def test_free_energy_is_that_of_draws_and_falls(settings):
    problem = build(2, **settings)
    law, energy = problem.truth(0.4), problem.flow.energy
    x, other = law.sample(50_000, generator(2)), law.sample(50_000, generator(3))
    values = energy.potential.value(x) + 0.5 * energy.interaction.value(x - other)
    if energy.internal is not None:
        values = values + energy.internal.energy(law.log_prob(x))
    error = sigmas(20) * float(values.std()) / math.sqrt(len(values))
    assert problem.free_energy(0.4) == pytest.approx(float(values.mean()), abs=error)
    assert problem.free_energy(0.5) < problem.free_energy(0.4) < problem.free_energy(0.0)


def test_the_energy_of_several_components_with_an_entropy_is_not_known():
    problem = build(2, initial_components=2)
    assert isinstance(problem.flow.initial, GaussianMixture)
    assert problem.free_energy is None


def test_a_weak_attraction_is_none():
    settings = {"instance": "random", "inverse_temperature": 0.7}
    plain = OrnsteinUhlenbeck(**settings).build(3, 0, generator(4)).truth(0.6)
    weak = McKeanVlasov(strength=1e-9, inverse_temperature=0.7).build(3, 0, generator(4)).truth(0.6)
    assert isinstance(weak, Gaussian)
    torch.testing.assert_close(weak.mean, plain.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(weak.covariance, plain.covariance, rtol=1e-7, atol=1e-8)


def test_random_instances_do_not_commute():
    problem = build(5)
    precision, covariance = problem.flow.potential.precision, problem.flow.initial.covariance
    commutator = precision @ covariance - covariance @ precision
    assert float(commutator.norm()) > 0.05 * float(precision.norm() * covariance.norm())
    assert torch.equal(precision, build(5).flow.potential.precision)
    assert not torch.equal(precision, build(5, 1).flow.potential.precision)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.0}, "strength must be a finite number > 0"),
        ({"internal": "power"}, "internal must be one of 'entropy', 'none'; got 'power'"),
        ({"potential": "flat"}, "potential must be one of 'quadratic', 'none'; got 'flat'"),
        ({"internal": "none", "inverse_temperature": 2.0}, "inverse_temperature must be left at 1.0, got 2.0"),
        ({"potential": "none", "spectrum": (1.0, 2.0)}, r"spectrum must be left at \(0.5, 2.0\)"),
        ({"spectrum": (2.0, 1.0)}, "spectrum must be .smallest, largest., got"),
        ({"spectrum": (1.0, 2.0, 3.0)}, "spectrum must be .smallest, largest., got"),
        ({"spectrum": 1.0}, "spectrum must be .smallest, largest., got 1.0"),
        ({"spectrum": (0.0, 1.0)}, r"spectrum\[0\] must be a finite number > 0"),
        ({"initial_components": 0}, "initial_components must be a whole number >= 1"),
        ({"times": (1.0, 0.5)}, "times must increase"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        McKeanVlasov(**settings)


@pytest.mark.parametrize(("dim", "seed"), [(0, 0), (2, -1)])
def test_bad_sizes_and_seeds(dim, seed):
    with pytest.raises(ValueError, match="must be a whole number"):
        build(dim, seed)


@pytest.mark.parametrize(("dim", "time"), [(1, 300.0), (3, 30.0)])
def test_a_law_that_has_become_a_point_is_refused_by_its_time(dim, time):
    with pytest.raises(ValueError, match=f"mckean-vlasov: times must be earlier .* at {time:g} it is a point, or flat"):
        build(dim, times=(0.5, time), internal="none")
    assert build(dim, times=(0.5, time)).truth(time).dim == dim
