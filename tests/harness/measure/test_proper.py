"""Which measures may decide, by the kind of answer."""

import pytest
import torch

from harness.measure import CATALOGUE
from harness.measure.measure import Figure, Measure
from harness.measure.symkl import SymKL
from problems.laws import Gaussian
from solvers.estimates import Exact, ParticleDensity, Particles


def laws(dim):
    points = torch.zeros(8, dim, dtype=torch.float64)
    weights = torch.zeros(8, dtype=torch.float64)
    return {
        "exact": Exact(Gaussian(torch.zeros(dim, dtype=torch.float64), torch.eye(dim, dtype=torch.float64))),
        "particles": Particles(points),
        "weighted": Particles(points, weights),
        "carried": ParticleDensity(points, log_density=weights),
    }


ANY = {"exact", "particles", "weighted", "carried"}
EXPECTED = {
    "symkl": {"exact"},
    "l1": {"exact"},
    "hellinger": {"exact"},
    "energy-distance": ANY,
    "c2st": ANY,
    "elbo": ANY,
    "evidence-gap": ANY,
    "crps": {"exact", "particles", "carried"},
}


@pytest.mark.parametrize("name", ["symkl", "symkl-published", "energy-distance", "bures-w2", "accuracy", *EXPECTED])
def test_measures_declare_which_answers_they_decide_about(name):
    module, _, attribute = CATALOGUE[name].target.partition(":")
    measure = getattr(__import__(module, fromlist=[attribute]), attribute)()
    for dim in (1, 3):
        found = {kind for kind, estimate in laws(dim).items() if measure.proper(estimate)}
        assert found == EXPECTED.get(name, set())


def test_transport_to_exact_quantiles_decides_on_the_line_alone():
    from harness.measure.wasserstein import W2

    assert W2().proper(laws(1)["exact"])
    assert not W2().proper(laws(1)["particles"])
    assert not W2().proper(laws(2)["exact"])


def test_a_measure_that_declares_nothing_decides_nothing():
    class Mine(Measure):
        name = "mine"

        def unsuited(self, subject):
            return None

        def __call__(self, subject, draws, generator):
            return Figure(0.0, 0.0, "nothing")

    assert not Mine().proper(laws(2)["exact"])
    assert SymKL().proper(laws(2)["exact"])
