import numpy as np
import pytest
import torch
from scipy.special import expit

from seeding import generator
from solvers.networks.activations import sigmoid, softplus

FUNCTIONS = {"softplus": lambda x: softplus(x, 30.0), "sigmoid": sigmoid}
DEFINITIONS = {"softplus": lambda x: np.logaddexp(0, x), "sigmoid": expit}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_value_has_the_same_bits_whatever_follows_it(name, dtype):
    values, function = 3 * torch.randn(4, 300, dtype=dtype, generator=generator(0)), FUNCTIONS[name]
    everything = function(values)
    for count in range(1, 300):
        assert torch.equal(function(values[2:3, :count].contiguous())[0], everything[2, :count])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_they_are_what_they_are_called(name):
    values = torch.linspace(-40, 40, 77, dtype=torch.float64).view(7, 11)
    assert FUNCTIONS[name](values).numpy() == pytest.approx(DEFINITIONS[name](values.numpy()), rel=1e-13)
