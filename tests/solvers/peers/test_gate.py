"""What holds of the peers whether their libraries are here or not: names, files, refusals, and what is imported."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.catalogue import BUILTIN as EVERYTHING
from harness.catalogue import import_target
from problems.aggregation import Aggregation
from problems.laws import Empirical
from problems.linear_filtering import LinearFiltering
from problems.nonlinear_filtering import NonlinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.porous_medium import PorousMedium
from seeding import fixed_generator
from solvers import BUILTIN as OURS
from solvers.peers import BUILTIN, DISTRIBUTIONS

ROOT = Path(__file__).resolve().parents[3]
ON_THE_LINE = {"pychangcooper", "scipy-ivp"}
STATIONARY = {"blackjax-mala", "blackjax-nuts", "blackjax-svgd", "numpyro-nuts", "numpyro-svgd"}
IN_JAX = STATIONARY | {"diffrax"}
GRIDS = ON_THE_LINE | {"py-pde"}

every_peer = pytest.mark.parametrize("name", BUILTIN)


def made(name, **settings):
    return import_target(BUILTIN[name])(**settings)


def flow(dim):
    return OrnsteinUhlenbeck(instance="random").build(dim, 0, fixed_generator(0))


@every_peer
def test_the_file_that_bears_a_name_holds_the_method(name):
    module, _ = BUILTIN[name].split(":")
    assert module == f"solvers.peers.{name.replace('-', '_')}"
    assert made(name).name == name


def test_no_name_is_taken_twice():
    assert set(BUILTIN) & set(OURS) == set()
    assert set(BUILTIN) | set(OURS) == set(EVERYTHING["solver"])


@every_peer
def test_a_file_opens_with_the_version_that_is_pinned(name):
    opening = importlib.import_module(BUILTIN[name].split(":")[0]).__doc__
    library, version = re.match(r"(\S+) (\d\S*) \(``", opening).groups() if name != "scipy-ivp" else (None, None)
    assert "Kept:" in opening
    assert "Changed" in opening
    if library is not None:
        pinned = (ROOT / "constraints.txt").read_text().lower().splitlines()
        assert f"{library.lower()}=={version}" in pinned


@every_peer
def test_what_it_needs_is_pinned_and_installed_by_what_it_says(name):
    pinned = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for module, command in made(name).needs.items():
        assert DISTRIBUTIONS.get(module, module) in pinned
        assert command.startswith("pip install ")


def test_importing_the_room_imports_no_library():
    modules = [target.partition(":")[0] for target in BUILTIN.values()]
    libraries = sorted({module for name in BUILTIN for module in made(name).needs} | {"numba", "optax", "lineax"})
    code = (
        f"import importlib, sys\nfor name in {modules}: importlib.import_module(name)\n"
        f"print([name for name in {libraries} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "[]"


@every_peer
def test_it_takes_what_it_solves(name):
    problem = flow(1)
    reason = made(name).refusal(problem)
    if name in STATIONARY:
        assert reason == f"stationary problems only: {name} does not follow the flow in time"
        problem = replace(problem, stationary=True)
    assert made(name).refusal(problem) is None


@every_peer
def test_it_refuses_free_energies_that_it_does_not_solve(name):
    porous = replace(PorousMedium().build(1, 0, fixed_generator(0)), stationary=True)
    assert "must be Entropy, not PowerEntropy" in made(name).refusal(porous)
    swarm = replace(Aggregation(kernel="log-gas").build(1, 0, fixed_generator(0)), stationary=True)
    assert made(name).refusal(swarm) is not None


@every_peer
def test_it_refuses_observations_unless_it_is_a_filter(name):
    problem = LinearFiltering().build(1, 0, fixed_generator(0))
    reason = made(name).refusal(problem)
    assert (reason is None) == (name == "particles-bootstrap")
    assert reason is None or "no filter" in reason


@every_peer
def test_it_refuses_dimensions_that_it_has_not(name):
    plane, space = (replace(flow(dim), stationary=name in STATIONARY) for dim in (2, 3))
    assert (made(name).refusal(plane) is None) == (name not in ON_THE_LINE)
    assert (made(name).refusal(space) is None) == (name not in GRIDS)


@pytest.mark.parametrize("name", sorted(IN_JAX))
def test_it_refuses_potentials_that_are_not_written_in_jax(name):
    problem = NonlinearFiltering(instance="random", observation_times=()).build(1, 0, fixed_generator(0))
    problem = replace(problem, observations=None, stationary=name in STATIONARY)
    assert "written in JAX are" in made(name).refusal(problem)


@pytest.mark.parametrize("name", sorted(GRIDS))
def test_grids_want_a_density(name):
    problem = flow(1)
    draws = problem.flow.initial.sample(10, fixed_generator(0))
    cloud = Empirical(draws, draws.mean(0), draws.T.cov().reshape(1, 1))
    no_density = replace(problem, flow=replace(problem.flow, initial=cloud))
    assert "must have a density" in made(name).refusal(no_density)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("torchsde", {"order": 3}),
        ("torchsde", {"tolerance": 1e-3}),
        ("torchsde", {"order": 2, "tolerance": 0.0}),
        ("diffrax", {"tolerance": 1e-3}),
        ("diffrax", {"dtype": "float16"}),
        ("particles-bootstrap", {"threshold": 1.5}),
        ("blackjax-mala", {"thinning": 0}),
        ("blackjax-nuts", {"chains": 3}),
        ("numpyro-nuts", {"particles": 4001}),
        ("blackjax-svgd", {"particles": 1}),
        ("numpyro-svgd", {"learning_rate": 0.0}),
        ("scipy-ivp", {"method": "RK45"}),
        ("py-pde", {"cells": 4}),
        ("pychangcooper", {"cells": 3}),
    ],
)
def test_settings_out_of_range_are_refused(name, settings):
    with pytest.raises(ValueError, match=name):
        made(name, **settings)


def test_orders_are_those_of_the_settings():
    assert [made("torchsde", order=order).order_in_time for order in (1, 2)] == [1, 2]
    assert made("diffrax", order=2, tolerance=1e-3).order_in_time is None
