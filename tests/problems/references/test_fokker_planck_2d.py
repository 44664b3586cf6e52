"""The Fokker-Planck equation in the plane: conservation, stationarity, order, and independent solutions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm

from problems.double_well import DoubleWellPotential
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import Gaussian
from problems.potentials import Potential, Quadratic
from problems.references.fokker_planck_2d import Axis, FokkerPlanck2D, points
from problems.references.marginals_1d import reference_marginal
from problems.references.marginals_2d import effective_domain, reference_marginals
from problems.references.quadratic_flow import ornstein_uhlenbeck_marginal
from seeding import generator


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


PRECISION = tensor([[2.0, 0.7], [0.7, 1.0]])
START = Gaussian(tensor([1.0, -1.5]), tensor([[0.5, -0.1], [-0.1, 0.8]]))


def flow_in(potential: Potential, initial: Gaussian = START, beta: float = 1.0) -> GradientFlow:
    return GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), (1.0,))


def quadratic(beta: float = 1.0) -> GradientFlow:
    return flow_in(Quadratic(PRECISION, tensor([0.3, 0.2])), beta=beta)


def mixture() -> GradientFlow:
    return GaussianMixtureFlow().build(2, 0, generator()).flow


def operator_of(flow: GradientFlow, cells: int) -> tuple[FokkerPlanck2D, np.ndarray]:
    axes = effective_domain(flow).axes(cells)
    operator = FokkerPlanck2D.discretise(flow, *axes)
    density = flow.initial.log_prob(points(*(axis.nodes for axis in axes))).exp().numpy()
    masses = density.reshape(operator.areas.shape) * operator.areas
    return operator, masses / masses.sum()


def test_mass_is_kept_and_nothing_is_negative():
    operator, start = operator_of(mixture(), 40)
    assert abs(operator.apply(start).sum()) < 1e-13
    for masses in operator.propagate(start, (0.01, 4.0)):
        assert masses.min() >= 0
        assert masses.sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("beta", [0.5, 1.0, 4.0])
def test_the_gibbs_law_is_stationary(beta):
    flow = flow_in(mixture().potential, beta=beta)
    operator, _ = operator_of(flow, 40)
    energy = flow.potential.value(points(operator.x.nodes, operator.y.nodes)).numpy().reshape(operator.areas.shape)
    gibbs = np.exp(-beta * (energy - energy.min())) * operator.areas
    gibbs /= gibbs.sum()
    _, rate = operator.chain
    assert np.abs(operator.apply(gibbs)).max() < 1e-14 * rate
    (after,) = operator.propagate(gibbs, (3.0,))
    matter = gibbs > 1e-250
    np.testing.assert_allclose(after[matter], gibbs[matter], rtol=1e-10)


def test_uniformisation_is_the_exponential_to_rounding_in_the_tails_too():
    operator, start = operator_of(quadratic(), 12)
    size = start.size
    generator_matrix = np.array([operator.apply(unit.reshape(start.shape)).ravel() for unit in np.eye(size)]).T
    found = operator.propagate(start, (0.02, 0.3))
    for time, masses in zip((0.02, 0.3), found, strict=True):
        exact = (expm(time * generator_matrix) @ start.ravel()).reshape(start.shape)
        np.testing.assert_allclose(masses, exact, rtol=1e-9, atol=1e-16)
    (halfway,) = operator.propagate(start, (0.15,))
    (twice,) = operator.propagate(halfway, (0.15,))
    # Every entry, down to the smallest: the sum has no negative term.
    np.testing.assert_allclose(twice, found[1], rtol=1e-10)


def test_second_order_in_space():
    flow = quadratic()
    exact = ornstein_uhlenbeck_marginal(flow.initial, flow.potential, 1.0, 0.4)
    errors = []
    for cells in (32, 64, 128):
        operator, start = operator_of(flow, cells)
        (masses,) = operator.propagate(start, (0.4,))
        density = exact.log_prob(points(operator.x.nodes, operator.y.nodes)).exp().numpy().reshape(start.shape)
        errors.append(np.abs(masses - density * operator.areas).sum())
    orders = -np.diff(np.log2(errors))
    assert np.all((orders > 1.7) & (orders < 2.3)), orders


@pytest.mark.parametrize("time", [1e-6, 0.3, 2.0])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_gaussian_flows_have_their_closed_form(time, beta):
    """The declared error, 1e-6 in SymKL, holds: with 4,000 draws J is known to a few per cent of itself."""
    flow = quadratic(beta)
    (law,) = reference_marginals(flow, (time,))
    exact = ornstein_uhlenbeck_marginal(flow.initial, flow.potential, beta, time)
    for draws in (law.sample(4000, generator(1)), exact.sample(4000, generator(2))):
        ratio = law.log_prob(draws) - exact.log_prob(draws)
        assert float((2 * ratio * torch.tanh(ratio / 2)).mean()) < 1e-6
        assert float(ratio.abs().max()) < 0.02
    for ours, theirs in zip(law.moments(), exact.moments(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


class Separable(Potential):
    """V(x, y) = W(x) + W(y / 2) of a double well W."""

    well = DoubleWellPotential(1.5, 0.3)
    dim = 2

    def value(self, x):
        return self.well.value(x[:, :1]) + self.well.value(x[:, 1:] / 2)


class Stretched(Potential):
    """V(y) = W(y / 2)."""

    dim = 1

    def value(self, x):
        return Separable.well.value(x / 2)


def test_a_separable_potential_has_the_product_of_two_lines():
    """Not Gaussian, and the truth in one dimension is right to 1e-10."""
    times = (0.4,)
    start = [Gaussian(tensor([mean]), tensor([[variance]])) for mean, variance in ((0.4, 0.2), (-0.5, 0.6))]
    both = Gaussian(tensor([0.4, -0.5]), torch.diag(tensor([0.2, 0.6])))
    laws = reference_marginals(flow_in(Separable(), both, 2.0), times)
    for time, law in zip(times, laws, strict=True):
        lines = [
            reference_marginal(flow_in(potential, initial, 2.0), time)
            for potential, initial in zip((Separable.well, Stretched()), start, strict=True)
        ]
        x = torch.cat([line.sample(4000, generator(seed)) for seed, line in enumerate(lines)], dim=1)
        exact = sum(line.log_prob(x[:, k : k + 1]) for k, line in enumerate(lines))
        ratio = law.log_prob(x) - exact
        assert float((2 * ratio * torch.tanh(ratio / 2)).mean()) < 1e-6
        assert float(ratio.abs().max()) < 0.02


def test_particles_of_the_mixture_agree():
    """χ² of 20,000 Euler-Maruyama paths in boxes against draws of the law at t = 0.5, at 1e-3; ρ* is rejected."""
    flow = mixture()
    (law,) = reference_marginals(flow, (0.5,), tolerance=1e-5)
    source, steps = generator(8), 100
    h = 0.5 / steps
    x = flow.initial.sample(20_000, source)
    for _ in range(steps):
        noise = torch.randn(x.shape, generator=source, dtype=x.dtype)
        x = x - h * flow.potential.gradient(x) + math.sqrt(2 * h) * noise

    def boxes(draws: torch.Tensor) -> np.ndarray:
        edges = np.array([-40, -6, -4, -2, 0, 2, 4, 6, 40])
        return np.histogram2d(*draws.numpy().T, bins=(edges, edges))[0].ravel()

    expected = boxes(law.sample(400_000, generator(9)))
    stationary = boxes(flow.potential.stationary.sample(400_000, generator(9)))
    counts = boxes(x)
    kept = expected > 400

    def p_value(reference: np.ndarray) -> float:
        both = np.stack([counts[kept], reference[kept]])
        return float(stats.chi2_contingency(both).pvalue)

    assert kept.sum() > 30
    assert p_value(expected) > 1e-3
    assert p_value(stationary + 1) < 1e-12


def test_times_are_worked_out_together_and_alone():
    flow = quadratic()
    together = reference_marginals(flow, (0.3, 2.0))
    for time, law in zip((0.3, 2.0), together, strict=True):
        (alone,) = reference_marginals(flow, (time,))
        assert torch.equal(alone.log_density, law.log_density)


def test_the_nodes_of_an_axis():
    axis = Axis.stretched(-3.0, 5.0, 1.0, 0.5, 10)
    assert axis.nodes[[0, -1]].tolist() == pytest.approx([-3, 5])
    assert axis.widths.sum() == pytest.approx(8)
    fine = Axis.stretched(-9.0, 9.0, 1.0, 2.0, 80)
    assert fine.weights @ np.exp(-(fine.nodes**2)) == pytest.approx(math.sqrt(math.pi), abs=1e-12)


def test_the_domain_holds_what_matters():
    domain = effective_domain(mixture())
    reach = 4 * math.sqrt(2 * 32)
    assert np.all((-1.1 * reach < domain.lower) & (domain.lower < -reach))
    assert np.all((reach < domain.upper) & (domain.upper < 1.1 * reach))
    # A well far from the start lies within, and what runs down to it on the way.
    far = effective_domain(flow_in(Quadratic(PRECISION, tensor([40.0, 0.0]))))
    assert far.lower[0] < -2
    assert far.upper[0] > 45


class Falling(Potential):
    dim = 2

    def value(self, x):
        return -x[:, 0]


class Gap(Potential):
    dim = 2

    def value(self, x):
        return torch.where((x[:, 0] - 0.5).abs() < 0.02, math.inf, (x * x).sum(1))


def test_what_cannot_be_solved_is_refused():
    with pytest.raises(ValueError, match="the potential does not confine"):
        reference_marginals(flow_in(Falling()), (1.0,))
    with pytest.raises(ValueError, match="the potential is not finite at x ="):
        FokkerPlanck2D.discretise(flow_in(Gap()), *(Axis.stretched(-2.0, 2.0, 0.0, 10.0, 200) for _ in range(2)))
    with pytest.raises(ArithmeticError, match="with 96 cells along an axis its SymKL is uncertain by about"):
        reference_marginals(mixture(), (0.3,), most_cells=96)
