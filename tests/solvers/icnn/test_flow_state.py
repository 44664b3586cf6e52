"""Which steps of a flow are trained: those where there is something to gain, and all of a law that units have bent."""

import pytest
import torch

from problems.energies import Entropy
from problems.flow import FreeEnergy, GradientFlow
from problems.laws import Gaussian
from problems.potentials import Quadratic
from seeding import fixed_generator
from solvers.icnn.flow_state import FlowState
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.networks.convex_network import Architecture
from solvers.threads import workers


@pytest.mark.parametrize("start", ["previous", "affine"])
@pytest.mark.parametrize("bent_before", [False, True])
def test_a_law_that_was_bent_is_trained_although_its_last_map_was_affine(start, bent_before):
    """What an affine step leaves undone of it is below what one step's particles can tell, and adds up over steps."""
    one = torch.eye(1, dtype=torch.float64)
    law = Gaussian(torch.zeros(1, dtype=torch.float64), one)
    flow = GradientFlow(law, FreeEnergy(Quadratic(one, law.mean), Entropy(1.0)), (0.1,))
    settings = ICNNJKO(pool_size=4096, width=8, step_size=0.1, start=start, dtype="float64")
    # With scores it would know that the law is Gaussian, and that nothing is left.
    state = FlowState.drawn_from(flow, settings, fixed_generator(5), torch.device("cpu"), scored=False)
    affine = (one, law.mean)
    state.affine = [affine, None, affine] if bent_before else [affine] * 3
    scheme, schedule = settings.scheme_of(0.1, 1), settings.schedule
    weights = Architecture(1, 8, 2, 1).identity(1.0, fixed_generator(6))
    with workers() as run:
        state.initialise(scheme)
        whole, _ = state.objectives(scheme, run)
        assert state.begins_to_learn(weights, whole, scheme, schedule, run) is (bent_before and start == "previous")
