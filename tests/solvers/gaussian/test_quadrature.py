from __future__ import annotations

import pytest
import torch

from solvers.gaussian.quadrature import sobol_nodes


@pytest.mark.parametrize(("count", "dim"), [(16, 4), (1024, 40)])
def test_nodes_have_the_moments_of_a_standard_normal(count, dim):
    nodes = sobol_nodes(count, dim)
    assert nodes.shape == (count, dim)
    torch.testing.assert_close(nodes.mean(0), torch.zeros(dim).double(), rtol=0, atol=1e-14)
    torch.testing.assert_close(nodes.T @ nodes / count, torch.eye(dim).double(), rtol=0, atol=1e-12)
