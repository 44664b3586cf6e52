"""Every built-in solver computes on a GPU, here a pretended one, what it computes on the CPU."""

from __future__ import annotations

import json

import pytest
import torch

import solvers
from harness.catalogue import catalogue
from harness.conformance import trial
from harness.conformance.contract import generator, torch_threads
from harness.conformance.gallery import Exhibit
from harness.conformance.runs import CPU, bits
from problems.potentials import Potential
from solvers.icnn_jko import ICNNJKO
from solvers.solver import Solution, Solver
from tests.pretended_gpu import GPU, OnGPU, pretended_gpu

# As many particles as one block on the CPU holds, or other random numbers would move them.
SETTINGS = {
    "euler-maruyama": '{"particles": 500}',
    "bootstrap-filter": '{"particles": 500}',
    "icnn-jko": '{"iterations": 20, "width": 8, "batch_size": 64, "pool_size": 512, "step_size": 0.1}',
    "proximal-recursion": '{"particles": 60, "step_size": 0.02}',
    "dual-jko": '{"basis": "gaussian", "kernels": 20, "kernel_variance": 1.0, "samples": 200}',
    "svgd": '{"particles": 100, "iterations": 30}',
    "mala": '{"particles": 400, "chains": 100, "warmup": 200, "metric": "dense"}',
}


def solved(solver: Solver, exhibit: Exhibit, device: torch.device) -> list[torch.Tensor]:
    """Return what the solver gives on one thread, which alone sees the pretended GPU."""
    with torch_threads(1):
        if device == CPU:
            return bits(solver.solve(exhibit.problem, generator(1), CPU))
        with pretended_gpu():
            solution = solver.solve(exhibit.problem, generator(1), device)
        return bits(solution)


IN_A_METRIC = {"metric": "hessian"}


@pytest.mark.parametrize(
    ("name", "more"),
    [
        *((name, {}) for name in solvers.BUILTIN),
        ("euler-maruyama", IN_A_METRIC),
        ("icnn-jko", IN_A_METRIC | {"start": "affine"}),
        ("svgd", IN_A_METRIC),
    ],
)
def test_answers_do_not_depend_on_the_device(name: str, more: dict[str, str]) -> None:
    made = trial("solver", name, catalogue(), json.loads(SETTINGS.get(name, "{}")) | more)
    # Under the transforms of automatic Hessians it does not show what is on the pretended GPU.
    able = [
        exhibit
        for exhibit in made.supported
        if not more or type(exhibit.problem.flow.potential).hessian is not Potential.hessian
    ]
    assert able
    for exhibit in {exhibit.problem.flow.dim: exhibit for exhibit in able}.values():
        found, expected = solved(made.solver, exhibit, GPU), solved(made.solver, exhibit, CPU)
        for ours, theirs in zip(found, expected, strict=True):
            assert not isinstance(ours, OnGPU), f"{exhibit.title}: left on the device"
            # Blocks that the CPU works on one by one round differently as a whole.
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_networks_of_many_seeds_train_there_together() -> None:
    solver = ICNNJKO(**json.loads(SETTINGS["icnn-jko"]), order=2, start="affine")
    problem = next(
        each for each in trial("solver", "icnn-jko", catalogue(), {}).supported if "D=2" in each.title
    ).problem

    def found(device: torch.device) -> list[Solution | Exception]:
        return list(solver.solve_batch([problem, problem], [generator(1), generator(2)], device))

    with torch_threads(1):
        expected = found(CPU)
        with pretended_gpu() as gpu:
            ours = found(gpu)
    for one, other in zip(ours, expected, strict=True):
        assert isinstance(one, Solution)
        assert isinstance(other, Solution)
        for left, right in zip(bits(one), bits(other), strict=True):
            torch.testing.assert_close(left, right, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda there: there + torch.ones(2), "same device"),
        (lambda there: torch.ones(2).mul_(there), "same device"),
        (lambda there: torch.zeros(2, dtype=torch.float64).index_select(0, there.long()), "same device"),
        (lambda there: there.numpy(), "can't convert"),
        (lambda there: there.normal_(generator=torch.Generator()), "generator"),
        (lambda there: torch.randn(2, device=GPU, generator=torch.Generator()), "generator"),
    ],
)
def test_what_a_gpu_refuses_is_refused(mistake, message: str) -> None:
    with pretended_gpu(), pytest.raises((RuntimeError, TypeError), match=message):
        mistake(torch.ones(2, device="cuda"))


def test_what_a_gpu_does_is_done() -> None:
    with pretended_gpu() as device:
        there = torch.arange(4.0).to(device)
        there.add_(1)[1:].mul_(2)
        assert there.device == device
        assert there.cpu().tolist() == [1.0, 4.0, 6.0, 8.0]
        drawn = torch.empty_like(there).normal_(generator=torch.Generator(device).manual_seed(0))
        values, places = torch.stack([there, drawn]).max(1)
        assert all(isinstance(each, OnGPU) for each in (there, drawn, values, places, there[torch.tensor([0, 2])]))
        assert float(values[0]) == 8
    assert torch.Generator().device == CPU
