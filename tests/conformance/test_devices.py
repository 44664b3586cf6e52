"""Every built-in solver computes on a GPU, here a pretended one, what it computes on the CPU."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from unittest.mock import patch

import pytest
import torch

import solvers
from harness.catalogue import catalogue
from harness.conformance import trial
from harness.conformance.contract import generator, torch_threads
from harness.conformance.gallery import Exhibit
from harness.conformance.runs import CPU, bits
from problems.flow import Entropy, FreeEnergy, GradientFlow
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import Gaussian
from problems.posterior.logistic_posterior import LogisticPosterior
from problems.potentials import MixturePotential, Potential
from problems.problem import Problem
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.solver import Solution, Solver
from tests.pretended_gpu import GPU, OnGPU, PretendedGraph, pretended_gpu

# As many particles as one block on the CPU holds, or other random numbers would move them.
SETTINGS = {
    "barenblatt-jko": '{"step_size": 0.02}',
    "euler-maruyama": '{"particles": 500}',
    "bootstrap-filter": '{"particles": 500}',
    "blob": '{"particles": 50}',
    "icnn-jko": '{"iterations": 20, "width": 8, "batch_size": 64, "pool_size": 512, "step_size": 0.1}',
    "primal-dual-jko": (
        '{"iterations": 4, "width": 8, "dual_width": 8, "batch_size": 64, "pool_size": 256, "step_size": 0.1, '
        '"start": "previous", "patience": 0, "dtype": "float64"}'
    ),
    "proximal-recursion": '{"particles": 60, "step_size": 0.02}',
    "dual-jko": '{"basis": "gaussian", "kernels": 20, "kernel_variance": 1.0, "samples": 200}',
    "svgd": '{"particles": 100, "iterations": 30}',
    "mala": '{"particles": 400, "chains": 100, "warmup": 200, "preconditioner": "dense"}',
}


def solved(solver: Solver, exhibit: Exhibit, device: torch.device) -> list[torch.Tensor]:
    """Return what the solver gives on one thread, which alone sees the pretended GPU."""
    with torch_threads(1):
        if device == CPU:
            return bits(solver.solve(exhibit.problem, generator(1), CPU))
        with pretended_gpu():
            solution = solver.solve(exhibit.problem, generator(1), device)
        return bits(solution)


IN_A_METRIC = {"preconditioner": "hessian"}


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


def replays(solver: ICNNJKO, problems: Sequence[Problem]) -> tuple[list[torch.Tensor], int]:
    """Return what networks trained together on the GPU give, and how many of their iterations were replayed."""
    graphs: list[PretendedGraph] = []

    class Counted(PretendedGraph):
        def __init__(self) -> None:
            super().__init__()
            graphs.append(self)

    with torch_threads(1), pretended_gpu() as gpu, patch("torch.cuda.CUDAGraph", Counted):
        answers = solver.solve_batch(problems, [generator(seed) for seed in range(len(problems))], gpu)
    for answer in answers:
        assert isinstance(answer, Solution)
    return [part for answer in answers for part in bits(answer)], sum(graph.replays for graph in graphs)


@pytest.mark.parametrize("order", [1, 2])
def test_replayed_iterations_are_those_worked_on_one_by_one(order: int) -> None:
    family = GaussianMixtureFlow(instance="random", times=(0.1, 0.3))
    problems = [family.build(2, seed, generator(seed)) for seed in range(3)]
    # Networks that converge at different times skip ahead in their schedules, each for itself.
    solver = ICNNJKO(iterations=80, width=8, batch_size=64, pool_size=512, step_size=0.1, tolerance=0.02, order=order)
    recorded, replayed = replays(solver, problems)
    plain, none = replays(replace(solver, cuda_graph=False), problems)
    assert none == 0
    assert replayed > 60
    assert all(torch.equal(one, other) for one, other in zip(recorded, plain, strict=True))


@dataclass(frozen=True, eq=False)
class Waiting(MixturePotential):
    """A potential that asks the device for a number."""

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return super().gradient(x).mul(float(x.sum()) ** 0)


def test_a_gradient_that_waits_for_the_device_cannot_be_recorded() -> None:
    built = GaussianMixtureFlow(instance="random", times=(0.1,)).build(2, 0, generator(0))
    potential, energy = built.flow.potential, built.flow.energy
    assert isinstance(potential, MixturePotential)
    waiting = Waiting(potential.stationary, potential.inverse_temperature)
    flow = replace(built.flow, energy=replace(energy, potential=waiting))
    solver = ICNNJKO(iterations=20, width=8, batch_size=64, pool_size=512, step_size=0.1)
    with pytest.raises(RuntimeError, match=r"could not be recorded as a CUDA graph.*cuda_graph = False.*capturing"):
        replays(solver, [replace(built, flow=flow)])
    replays(replace(solver, cuda_graph=False), [replace(built, flow=flow)])


def test_minibatches_are_not_recorded() -> None:
    solver = ICNNJKO(iterations=20, width=8, batch_size=64, pool_size=512, step_size=0.1, minibatch=8)
    # Wide enough at the start for steps that are not affine.
    features = torch.randn(60, 2, generator=generator(0), dtype=torch.float64)
    start = Gaussian(torch.zeros(3, dtype=torch.float64), 4 * torch.eye(3, dtype=torch.float64))
    energy = FreeEnergy(LogisticPosterior(features, 2.0, 3.0), Entropy(1.0))
    flow = GradientFlow(start, energy, (0.1, 0.3))
    posterior = Problem(flow, (), truth=None, truth_missing="not needed", stationary=True)
    assert replays(solver, [posterior])[1] == 0
    assert replays(replace(solver, minibatch=None), [posterior])[1] > 0


def test_a_graph_does_again_what_was_recorded() -> None:
    with pretended_gpu() as device:
        numbers, total = torch.arange(3.0).to(device), torch.zeros(1).to(device)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            doubled = numbers.mul_(2)[1:] + 1
            total.add_(doubled.sum())
        assert numbers.cpu().tolist() == [0, 1, 2]
        assert total.cpu().item() == 0
        graph.replay()
        assert numbers.cpu().tolist() == [0, 2, 4]
        assert total.cpu().item() == 8
        numbers.copy_(torch.ones(3))
        graph.replay()
        assert doubled.cpu().tolist() == [3, 3]
        assert total.cpu().item() == 14


@pytest.mark.parametrize(
    "waiting",
    [
        lambda there: there.sum().item(),
        lambda there: bool(there.any()),
        lambda there: there.cpu(),
        lambda there: there.to("cpu"),
        lambda there: there[there > 0],
        lambda there: there.copy_(torch.ones(2)),
        lambda there: there.new_tensor([1.0]),
        lambda there: torch.ones(2).to(there.device),
    ],
)
def test_what_waits_is_refused_in_a_recording(waiting) -> None:
    with pretended_gpu():
        there = torch.ones(2, device="cuda")
        waiting(there)
        with pytest.raises(RuntimeError, match="stream is capturing"), torch.cuda.graph(torch.cuda.CUDAGraph()):
            waiting(there)


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
