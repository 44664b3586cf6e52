import torch

from seeding import generator
from solvers.samplers.optimisers import OPTIMISERS


def normals(n, dim, seed=0):
    return torch.randn(n, dim, generator=generator(seed), dtype=torch.float64)


def test_adam_is_that_of_torch():
    x = normals(7, 3)
    theirs = x.clone().requires_grad_()
    reference, ours = torch.optim.Adam([theirs], lr=0.03), OPTIMISERS["adam"](0.03)
    for step in range(20):
        direction = normals(7, 3, seed=step + 1)
        theirs.grad = -direction
        reference.step()
        ours.move(x, direction)
    torch.testing.assert_close(x, theirs.detach(), rtol=1e-10, atol=1e-12)
