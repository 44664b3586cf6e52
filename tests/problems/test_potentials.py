import math
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from problems.devices import to_device
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.laws import Gaussian, GaussianMixture
from problems.potentials import Linear, MixturePotential, Potential, Quadratic
from problems.validation import require_choice, require_counts, require_positive, require_times
from seeding import generator

CPU = torch.device("cpu")
PRECISION = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
CENTRE = torch.tensor([1.0, -2.0], dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Quartic(Potential):
    """A potential that leaves its derivatives to the base class."""

    centre: torch.Tensor
    labels: torch.Tensor

    @property
    def dim(self):
        return len(self.centre)

    def value(self, x):
        return ((x - self.centre) ** 2).sum(1) ** 2 / 4 + x[:, 0] * x[:, 1]


def mixture_potential(inverse_temperature=1.0, distance=2.0):
    means = distance * torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]], dtype=torch.float64)
    covariances = torch.stack([torch.eye(2, dtype=torch.float64), PRECISION, 0.5 * PRECISION])
    law = GaussianMixture(torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64), means, covariances)
    return MixturePotential(law, inverse_temperature)


POTENTIALS = {
    "linear": Linear(CENTRE),
    "quadratic": Quadratic(PRECISION, CENTRE),
    "mixture": mixture_potential(),
    "cold mixture": mixture_potential(2.5),
    "distant mixture": mixture_potential(distance=20.0),
    "quartic": Quartic(CENTRE, torch.tensor([0, 1])),
}


def points(n=7, scale=2.0):
    return scale * torch.randn(n, 2, generator=generator(0), dtype=torch.float64)


@pytest.mark.parametrize("name", POTENTIALS)
def test_value_and_gradient_together_are_those_apart(name):
    value, gradient = POTENTIALS[name].value_and_gradient(points())
    assert torch.equal(value, POTENTIALS[name].value(points()))
    assert torch.equal(gradient, POTENTIALS[name].gradient(points()))


@pytest.mark.parametrize("name", POTENTIALS)
def test_gradient_is_the_derivative_of_the_value(name):
    potential, x, step = POTENTIALS[name], points(), 1e-5
    gradient = potential.gradient(x)
    for axis in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[axis]
        slope = (potential.value(x + shift) - potential.value(x - shift)) / (2 * step)
        torch.testing.assert_close(gradient[:, axis], slope, rtol=1e-7, atol=1e-7)
    assert not gradient.requires_grad


@pytest.mark.parametrize("name", POTENTIALS)
def test_hessian_is_the_derivative_of_the_gradient(name):
    potential, x, step = POTENTIALS[name], points(), 1e-5
    hessian = potential.hessian(x)
    assert hessian.shape == (7, 2, 2)
    for axis in range(2):
        shift = step * torch.eye(2, dtype=torch.float64)[axis]
        slope = (potential.gradient(x + shift) - potential.gradient(x - shift)) / (2 * step)
        torch.testing.assert_close(hessian[:, :, axis], slope, rtol=1e-6, atol=1e-6)


def test_hessian_leaves_nothing_behind_in_a_new_potential():
    """Factors that a mixture caches when it is first evaluated must be of use in other evaluations."""
    potential, x = mixture_potential(), points()
    first = potential.hessian(x)
    assert torch.equal(first, potential.hessian(x))
    assert torch.equal(potential.value(x), POTENTIALS["mixture"].value(x))


def test_gradient_does_not_track_its_argument():
    x = points()
    POTENTIALS["quartic"].gradient(x)
    assert not x.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(POTENTIALS["quartic"].gradient(x), POTENTIALS["quartic"].gradient(x))


def test_mixture_potential_has_the_mixture_as_gibbs_law():
    potential, x = POTENTIALS["cold mixture"], points()
    torch.testing.assert_close(-2.5 * potential.value(x), potential.stationary.log_prob(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mixture_gradient_where_all_components_are_far(dtype):
    """At distances where every exponential underflows, the gradient is that of the nearest component's quadratic."""
    potential = to_device(POTENTIALS["distant mixture"], CPU, dtype)
    law = potential.stationary
    far = torch.tensor([[0.0, -600.0], [900.0, 900.0]], dtype=dtype)
    winner = law.component_log_prob(far).argmax(1)
    expected = torch.stack([law.precisions[k] @ (row - law.means[k]) for k, row in zip(winner, far, strict=True)])
    torch.testing.assert_close(potential.gradient(far), expected)


def test_mixture_gradient_agrees_with_automatic_differentiation_of_its_value():
    for name in ("mixture", "cold mixture", "distant mixture"):
        x = points(200, 20.0)
        expected = Potential.gradient(POTENTIALS[name], x)
        torch.testing.assert_close(POTENTIALS[name].gradient(x), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("precision", "centre", "message"),
    [
        (torch.diag(torch.tensor([1.0, -1.0])), CENTRE, "A must be positive definite"),
        (PRECISION + torch.tensor([[0, 0.1], [0, 0]]), CENTRE, "A must be symmetric"),
        (PRECISION[:1], CENTRE, "A must be a square matrix"),
        (PRECISION, CENTRE[:1], r"b must have shape \(2,\)"),
        (PRECISION, CENTRE * math.nan, "b holds 2"),
        (PRECISION * math.inf, CENTRE, "A holds 4"),
    ],
)
def test_bad_quadratics(precision, centre, message):
    with pytest.raises(ValueError, match=message):
        Quadratic(precision, centre)


@pytest.mark.parametrize("inverse_temperature", [0, -1.0, math.nan, math.inf, "1"])
def test_bad_inverse_temperature(inverse_temperature):
    with pytest.raises(ValueError, match="inverse_temperature must be a finite number > 0"):
        mixture_potential(inverse_temperature)
    with pytest.raises(ValueError, match="inverse_temperature must be a finite number > 0"):
        Entropy(inverse_temperature)


@pytest.mark.parametrize("times", [(), (0.0, 1.0), (1.0, 0.5), (0.5, 0.5), (math.nan,), 1.0, "1", (True,)])
def test_bad_times(times):
    with pytest.raises(ValueError, match="times"):
        require_times("flow", times)


def test_flow_needs_one_dimension():
    initial = Gaussian(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="dimension 3, the potential in dimension 2"):
        GradientFlow(initial, FreeEnergy(POTENTIALS["quadratic"], Entropy()), (1.0,))


def test_other_checks_name_what_was_given():
    with pytest.raises(ValueError, match=r"n must be a whole number >= 1, got 2\.0"):
        require_counts("it", n=2.0)
    with pytest.raises(ValueError, match="n must be a whole number >= 1, got True"):
        require_counts("it", n=True)
    with pytest.raises(ValueError, match="kind must be one of 'a', 'b'; got 'c'"):
        require_choice("it", "kind", "c", ("a", "b"))
    require_positive("it", x=1, y=0.5)


def test_placed_converts_every_floating_point_tensor_and_nothing_else():
    potential = to_device(POTENTIALS["quartic"], CPU, torch.float32)
    assert isinstance(potential, Quartic)
    assert potential.centre.dtype == torch.float32
    assert potential.labels.dtype == torch.int64
    assert POTENTIALS["quartic"].centre.dtype == torch.float64
    pair = namedtuple("pair", "x y")
    moved = to_device(pair(CENTRE, ("text", CENTRE)), CPU, torch.float32)
    assert isinstance(moved, pair)
    assert (moved.x.dtype, moved.y[1].dtype, moved.y[0]) == (torch.float32, torch.float32, "text")


def test_placed_reaches_nested_laws_and_keeps_no_cached_factors():
    potential = mixture_potential(2.0)
    _ = potential.stationary.precisions
    moved = to_device(potential, CPU, torch.float32)
    assert moved.stationary.precisions.dtype == torch.float32
    assert moved.inverse_temperature == 2.0
    x = points()
    torch.testing.assert_close(moved.gradient(x.float()).double(), potential.gradient(x), rtol=1e-4, atol=1e-4)


def test_placed_accepts_matrices_that_rounding_makes_singular():
    precision = torch.tensor([[1.0, 1 - 1e-12], [1 - 1e-12, 1.0]], dtype=torch.float64)
    assert to_device(Quadratic(precision, CENTRE), CPU, torch.float32).precision.dtype == torch.float32
