import pytest
import torch

from problems.flow import Entropy, PowerEntropy
from problems.interactions import GaussianAttraction, LogarithmicInteraction, QuadraticInteraction, QuarticInteraction
from problems.potentials import MixturePotential
from seeding import generator
from solvers.icnn.fitted_weight import FittedWeight
from solvers.icnn.pairs import GROUP, field, mean_values
from solvers.icnn.step_objective import StepObjective, derivatives_of

INTERNAL = [Entropy(2.0), PowerEntropy(2.0, 0.3), PowerEntropy(3.5), PowerEntropy(0.8), None]
# Of a curvature that has both signs: the shares of a step of 0.1 are .83 and .32.
WEIGHT = FittedWeight.of(torch.tensor([[25.0, 40.0], [40.0, 10.0]], dtype=torch.float64), 0.1, torch.device("cpu"))
INTERACTIONS = [None, QuadraticInteraction(2, 0.7), QuarticInteraction(2)]


def maps(points: int) -> tuple[torch.Tensor, ...]:
    """Return points (n, 2), images, positive definite Jacobians, and log-densities, of which one is that of 0."""
    x = torch.randn(points, 2, dtype=torch.float64, generator=generator(1))
    mapped = torch.randn(points, 2, dtype=torch.float64, generator=generator(2)).requires_grad_()
    root = torch.randn(points, 2, 2, dtype=torch.float64, generator=generator(3))
    hessian = (root @ root.mT + torch.eye(2, dtype=torch.float64)).requires_grad_()
    return x, mapped, hessian, torch.randn(points, dtype=torch.float64, generator=generator(4))


@pytest.mark.parametrize("interaction", INTERACTIONS, ids=repr)
@pytest.mark.parametrize("internal", INTERNAL, ids=repr)
@pytest.mark.parametrize(("implicitness", "weight"), [(1.0, None), (0.5, None), (1.0, WEIGHT)])
def test_derivatives_of_the_objective_are_those_of_its_values(mixture, implicitness, weight, internal, interaction):
    objective = StepObjective(MixturePotential(mixture, 2.0), internal, 0.1, implicitness, interaction, weight)
    x, mapped, hessian, density = maps(6)
    values = objective.values(x, mapped, hessian, density)
    reference = torch.autograd.grad(values.sum(), (mapped, hessian), materialize_grads=True)
    fields = objective.field(objective.intermediate_places(x, mapped.detach()))
    found = derivatives_of(
        [objective], x[None], mapped.detach()[None], hessian.detach()[None], density[None], fields[None]
    )
    for derivative, expected in zip(found, reference, strict=True):
        torch.testing.assert_close(derivative[0], expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fitted", [False, True])
def test_objectives_of_several_energies_and_steps_go_together(mixture, fitted):
    curvature = torch.tensor([[3.0, 1.0], [1.0, -2.0]], dtype=torch.float64)
    weights = [FittedWeight.of(place * curvature, 0.1, torch.device("cpu")) for place in range(len(INTERNAL))]
    objectives = [
        StepObjective(MixturePotential(mixture, 2.0), internal, 0.1 * (1 + place), 1.0, None, weights[place])
        if fitted
        else StepObjective(MixturePotential(mixture, 2.0), internal, 0.1 * (1 + place), 0.5)
        for place, internal in enumerate(INTERNAL)
    ]
    x, mapped, hessian, density = (part.detach().expand(len(INTERNAL), *part.shape) for part in maps(6))
    together = derivatives_of(objectives, x, mapped, hessian, density)
    for place, objective in enumerate(objectives):
        one = [part[:1] for part in (x, mapped, hessian, density)]
        for found, alone in zip(together, derivatives_of([objective], *one), strict=True):
            torch.testing.assert_close(found[place], alone[0], rtol=1e-14, atol=0)


@pytest.mark.parametrize("internal", INTERNAL, ids=repr)
@pytest.mark.parametrize(("implicitness", "weight"), [(1.0, None), (0.5, None), (1.0, WEIGHT)])
def test_the_identity_gains_nothing(mixture, implicitness, weight, internal):
    objective = StepObjective(MixturePotential(mixture), internal, 0.1, implicitness, QuarticInteraction(2), weight)
    x, _, _, density = maps(6)
    gains = objective.values(x, x, torch.eye(2, dtype=torch.float64).repeat(6, 1, 1), density)
    # With a weight the determinant is 1 to rounding, which a density of 30 to the power 2.5 makes more of.
    torch.testing.assert_close(gains, torch.zeros_like(gains), rtol=0, atol=1e-14 if weight is None else 1e-12)


@pytest.mark.parametrize("internal", INTERNAL, ids=repr)
def test_a_weight_of_one_half_is_the_midpoint(mixture, internal):
    """But for the unit of energy: the objective of the midpoint is twice that of a fitted step."""
    half = FittedWeight.of(torch.zeros(2, 2, dtype=torch.float64), 0.1, torch.device("cpu"))
    x, mapped, hessian, density = (part.detach() for part in maps(6))
    midpoint, fitted = (
        StepObjective(MixturePotential(mixture), internal, 0.1, implicitness, QuarticInteraction(2), weight)
        for implicitness, weight in ((0.5, None), (1.0, half))
    )
    expected = 0.5 * midpoint.values(x, mapped, hessian, density)
    torch.testing.assert_close(fitted.values(x, mapped, hessian, density), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("exponent", [1.5, 3.0])
def test_particles_where_the_density_is_zero_have_no_pressure(mixture, exponent):
    objective = StepObjective(MixturePotential(mixture), PowerEntropy(exponent), 0.1, 1.0)
    x, mapped, hessian, density = (part.detach() for part in maps(6))
    density[2] = -torch.inf
    slope, pressure = derivatives_of([objective], x[None], mapped[None], hessian[None], density[None])
    assert torch.isfinite(slope).all()
    assert torch.equal(pressure[0, 2], torch.zeros(2, 2, dtype=torch.float64))
    assert torch.isfinite(objective.values(x, mapped, hessian, density)).all()


@pytest.mark.parametrize("interaction", [LogarithmicInteraction(2), GaussianAttraction(2)], ids=repr)
@pytest.mark.parametrize("points", [8, 11])
def test_pairs_of_two_halves_have_the_gradient_of_their_mean(interaction, points):
    x = torch.randn(points, 2, dtype=torch.float64, generator=generator(5)).requires_grad_()
    first, second = x[: points // 2], x[points // 2 :]
    mean = interaction.value((first[:, None] - second).reshape(-1, 2)).mean()
    (expected,) = torch.autograd.grad(0.5 * points * mean, x)
    torch.testing.assert_close(field(interaction, x.detach()), expected, rtol=1e-10, atol=1e-12)
    # Forces of pairs are opposite: nothing moves the mean.
    torch.testing.assert_close(expected.sum(0), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)


def test_particles_meet_those_of_their_group():
    interaction, points = GaussianAttraction(2), 2 * GROUP + 7
    x = torch.randn(points, 2, dtype=torch.float64, generator=generator(6))
    values = mean_values(interaction, x)
    for start, stop in ((0, GROUP), (GROUP, points)):
        group = x[start:stop]
        torch.testing.assert_close(values[start:stop], interaction.mean_value(group, group, own=True))
    assert torch.equal(mean_values(interaction, x[:1]), torch.zeros(1, dtype=torch.float64))
