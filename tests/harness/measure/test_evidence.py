"""ELBO and the gap to the evidence: equal to log Z for the exact Gaussian, KL below it for others."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from false_alarms import mean_error, repetitions, sigmas, spread_error
from harness.measure import evidence
from harness.measure.evidence import ELBO, EvidenceGap
from harness.measure.measure import Subject
from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.interactions import QuadraticInteraction
from problems.laws import Empirical, Gaussian
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import Potential, Quadratic
from problems.problem import Evidence, Problem
from problems.references.grid_law import GridLaw
from seeding import generator
from solvers.estimates import Exact, GridDensity, Particles
from solvers.maps import InvertibleMap, Pushforward
from solvers.solver import Diverged

BETA = 2.5
PRECISION = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
CENTRE = torch.tensor([1.0, -2.0], dtype=torch.float64)
POSTERIOR = Gaussian(CENTRE, torch.linalg.inv(BETA * PRECISION))
LOG_Z = math.log(2 * math.pi) + 0.5 * float(POSTERIOR.covariance.logdet())


def problem(potential=None, evidence=None, beta=BETA):
    potential = Quadratic(PRECISION, CENTRE) if potential is None else potential
    dim = potential.dim
    initial = Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))
    flow = GradientFlow(initial, FreeEnergy(potential, Entropy(beta)), (1.0,))
    return Problem(flow, (), None, stationary=True, evidence=evidence)


def measured(measure, estimate, posed, draws=1000, seed=0):
    subject = Subject(estimate, None, posed)
    assert measure.unsuited(subject) is None
    return measure(subject, draws, generator(seed))


def divergence(p, q):
    laws = [torch.distributions.MultivariateNormal(law.mean, law.covariance) for law in (p, q)]
    return float(torch.distributions.kl_divergence(*laws))


def test_elbo_of_the_exact_law_is_the_log_evidence_without_noise():
    figure = measured(ELBO(), Exact(POSTERIOR), problem())
    assert figure.value == pytest.approx(LOG_Z, rel=1e-12)
    assert figure.standard_error < 1e-12
    assert figure.estimator == "1000 draws of the fit"
    gap = measured(EvidenceGap(), Exact(POSTERIOR), problem(evidence=Evidence(LOG_Z, 0.03)))
    assert gap.value == pytest.approx(0, abs=1e-12)
    assert gap.standard_error == pytest.approx(0.03)


@repetitions(300, 10_000)
def test_gap_of_another_gaussian_is_its_divergence(repetitions):
    """KL in closed form, and the standard error is the spread of repetitions within 3 %."""
    fit = Gaussian(CENTRE + 0.3, POSTERIOR.covariance * torch.tensor([[1.5, 0.2], [0.2, 0.7]]).double())
    posed = problem(evidence=Evidence(LOG_Z))
    figures = [measured(EvidenceGap(), Exact(fit), posed, 400, seed) for seed in range(repetitions)]
    values = np.array([figure.value for figure in figures])
    assert abs(values.mean() - divergence(fit, POSTERIOR)) < mean_error(values)
    stated = np.mean([figure.standard_error for figure in figures])
    assert values.std() / stated == pytest.approx(1, abs=0.03 + spread_error(repetitions))
    assert figures[0].value == pytest.approx(LOG_Z - measured(ELBO(), Exact(fit), posed, 400, 0).value)


class Affine(InvertibleMap):
    def push(self, x):
        return 2 * x + 1

    def forward(self, x):
        return self.push(x), torch.full((len(x),), x.shape[1] * math.log(2), dtype=torch.float64)

    def inverse(self, y):
        raise AssertionError("draws with their density need no inverse")


def test_pushforward_and_grid():
    base = Gaussian((CENTRE - 1) / 2, POSTERIOR.covariance / 4)
    assert measured(ELBO(), Pushforward(base, (Affine(),)), problem()).value == pytest.approx(LOG_Z, rel=1e-12)
    one = Quadratic(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))
    edges = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    masses = torch.special.ndtr(edges).diff()
    grid = GridDensity(GridLaw(-8.0, 8.0, masses / masses.sum()))
    figure = measured(ELBO(), grid, problem(one, beta=1.0), 4000)
    assert abs(figure.value - 0.5 * math.log(2 * math.pi)) < sigmas() * figure.standard_error + 1e-5
    assert figure.standard_error < 1e-3


def test_tiles_and_fewer_draws_of_many_cases(monkeypatch):
    features = torch.randn(300, 2, generator=generator(1), dtype=torch.float64)
    posed = problem(LogisticPosterior(features, 1.0, 1.0), beta=1.0)
    fit = Exact(Gaussian(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)))
    whole = measured(ELBO(), fit, posed, 1500)
    monkeypatch.setattr(evidence, "TERMS_PER_TILE", 3000)
    assert measured(ELBO(), fit, posed, 1500).value == pytest.approx(whole.value, rel=1e-13)
    monkeypatch.setattr(evidence, "MOST_TERMS", 3000)
    assert measured(ELBO(), fit, posed, 1500).estimator == "1000 draws of the fit"


class Halved(Potential):
    """½|x|² where the first coordinate is positive, no mass elsewhere."""

    @property
    def dim(self):
        return 2

    def value(self, x):
        return torch.where(x[:, 0] > 0, 0.5 * (x * x).sum(1), torch.inf)


def test_mass_that_the_potential_excludes():
    figure = measured(ELBO(), Exact(POSTERIOR), problem(Halved()))
    assert figure.value == -math.inf
    assert "lie where the density is zero" in figure.estimator
    gap = measured(EvidenceGap(), Exact(POSTERIOR), problem(Halved(), Evidence(0.0, 0.0)))
    assert gap.value == math.inf


def test_nan_is_an_error():
    class Undefined(Halved):
        def value(self, x):
            return torch.full((len(x),), torch.nan, dtype=torch.float64)

    class Broken(Affine):
        def forward(self, x):
            return x, torch.full((len(x),), torch.nan, dtype=torch.float64)

    with pytest.raises(ArithmeticError, match="the potential is NaN at 1000 of 1000 draws"):
        measured(ELBO(), Exact(POSTERIOR), problem(Undefined()))
    with pytest.raises(Diverged, match="log-density of the fit is NaN at 1000 of 1000"):
        measured(ELBO(), Pushforward(POSTERIOR, (Broken(),)), problem())


def test_what_is_unsuited_says_why():
    posed = problem()
    points = POSTERIOR.sample(20, generator(0))
    assert ELBO().unsuited(Subject(Particles(points), None, posed)) == "the estimate has no density"
    finite = Empirical(points, CENTRE, POSTERIOR.covariance)
    assert ELBO().unsuited(Subject(Exact(finite), None, posed)) == "the estimate has no density"
    assert EvidenceGap().unsuited(Subject(Exact(POSTERIOR), None, posed)) == "the evidence is not known"
    energy = replace(posed.flow.energy, interaction=QuadraticInteraction(posed.flow.dim))
    attracted = replace(posed, flow=replace(posed.flow, energy=energy))
    assert "interaction" in ELBO().unsuited(Subject(Exact(POSTERIOR), None, attracted))
    for internal in (PowerEntropy(2.0), None):
        other = replace(posed, flow=replace(posed.flow, energy=replace(posed.flow.energy, internal=internal)))
        assert "is an Entropy" in ELBO().unsuited(Subject(Exact(POSTERIOR), None, other))


def test_same_bits_on_any_number_of_threads(on_threads):
    features = torch.randn(500, 20, generator=generator(2), dtype=torch.float64)
    posed = problem(LogisticPosterior(features, 1.0, 1.0), beta=1.0)
    fit = Exact(Gaussian(torch.zeros(21, dtype=torch.float64), torch.eye(21, dtype=torch.float64)))
    one, two = on_threads(lambda: measured(ELBO(), fit, posed, 3000), (1, 2))
    assert one == two
