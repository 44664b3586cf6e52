"""Inverse of the gradient of a convex network: residuals, derivatives, and points where Newton needs its damping."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seeding import fixed_generator, generator
from solvers.networks.convex_map import ConvexMap
from solvers.networks.convex_network import STRONG_CONVEXITY, Architecture
from solvers.solver import Diverged


def random_map(architecture: Architecture, scale: float, seed: int) -> ConvexMap:
    weights = architecture.weights(
        scale * torch.randn(architecture.size, dtype=torch.float64, generator=generator(seed))
    )
    weights.project()
    return ConvexMap(weights)


@settings(max_examples=40, deadline=None)
@given(
    st.builds(Architecture, st.integers(1, 5), st.integers(1, 8), st.integers(1, 3), st.integers(1, 3)),
    st.floats(0.1, 2.0),
    st.integers(0, 2**16),
)
@example(Architecture(5, 3, 3, 1), 1.0, 1772)  # one of its points takes more than 200 iterations
def test_every_point_is_found(architecture, scale, seed):
    own = random_map(architecture, scale, seed)
    y = 20 * torch.randn(300, architecture.dim, dtype=torch.float64, generator=generator(seed + 1))
    x, log_det = own.inverse(y)
    mapped, forward_log_det = own.forward(x)
    residual = (mapped - y).norm(dim=1)
    assert bool((residual <= 1.1e-10 * y.abs().amax(1).clamp(min=1)).all())
    torch.testing.assert_close(log_det, forward_log_det, rtol=1e-9, atol=1e-9)
    assert torch.equal(own.push(x), mapped)


def test_points_in_a_curved_valley_are_found_by_trust_regions(monkeypatch):
    """A network of one steep unit: Newton's steps alone leave 4 of these 300 points after 3000 iterations."""
    architecture = Architecture(2, 1, 2, 1)
    flat = 2 * torch.randn(architecture.size, dtype=torch.float64, generator=fixed_generator(4239638125))
    weights = architecture.weights(flat)
    weights.project()
    own = ConvexMap(weights)
    y = 20 * torch.randn(300, 2, dtype=torch.float64, generator=fixed_generator(2989169088))
    x, log_det = own.inverse(y)
    # Its values are sums of terms a thousand times as large: 1e-10 of them, as the search has it, is rounding.
    assert bool(((own.push(x) - y).norm(dim=1) <= 1e-9 * y.abs().amax(1).clamp(min=1)).all())
    torch.testing.assert_close(log_det, own.forward(x)[1], rtol=1e-9, atol=1e-9)
    monkeypatch.setattr(ConvexMap, "_minima", lambda self, folded, target: target)
    with pytest.raises(Diverged, match=r"not found at \d+ of 300 points"):
        own.inverse(y)


def test_log_determinants_are_those_of_finite_differences():
    own = random_map(Architecture(3, 8, 2, 2), 0.5, 1)
    x = torch.randn(20, 3, dtype=torch.float64, generator=generator(2))
    moves = 1e-5 * torch.eye(3, dtype=torch.float64)
    jacobians = torch.stack([(own.push(x + move) - own.push(x - move)) / 2e-5 for move in moves], dim=2)
    torch.testing.assert_close(own.forward(x)[1], torch.linalg.slogdet(jacobians).logabsdet, rtol=1e-7, atol=1e-7)


def steep() -> ConvexMap:
    """ψ(x) = s(40 (x - 1)) + ε x²/2 on the line: nearly flat below 1, then a slope of 40."""
    architecture = Architecture(1, 1, 2, 1)
    weights = architecture.weights(torch.zeros(architecture.size, dtype=torch.float64))
    weights.output.fill_(1)
    weights.forms[1][0, 0, -1, 0] = 40
    weights.biases[1].fill_(-40)
    return ConvexMap(weights)


def test_damping_finds_points_where_full_steps_do_not_converge():
    own = steep()
    y = torch.linspace(-5, 45, 101, dtype=torch.float64)[:, None]
    x, _ = own.inverse(y)
    torch.testing.assert_close(own.push(x), y, rtol=1e-9, atol=1e-9)

    # Newton without damping, from the same start, leaves for points of order 1/ε.
    place = y.clone()
    for _ in range(50):
        _, log_det = own.forward(place)
        place = place + (y - own.push(place)) / log_det.exp()[:, None]
    lost = ~torch.isclose(own.push(place), y, atol=1e-6).all(1)
    assert int(lost.sum()) > 10


def test_strong_convexity_bounds_the_inverse():
    own = steep()
    x = torch.linspace(-100, 100, 11, dtype=torch.float64)[:, None]
    assert float(own.forward(x)[1].exp().min()) == pytest.approx(STRONG_CONVEXITY)


def test_results_do_not_depend_on_the_other_points():
    own = random_map(Architecture(2, 8, 2, 2), 0.7, 3)
    y = 5 * torch.randn(700, 2, dtype=torch.float64, generator=generator(4))
    together, alone = own.inverse(y)[0], own.inverse(y[600:610])[0]
    torch.testing.assert_close(alone, together[600:610], rtol=0, atol=1e-9)
