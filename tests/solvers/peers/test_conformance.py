"""Every peer that is here keeps the contract of a solver, on a part of the gallery."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest

from harness.catalogue import catalogue
from harness.conformance import CHECKS, trial
from harness.conformance.contract import verdict
from installed_peers import needing
from solvers.peers import BUILTIN

SETTINGS = {
    "torchsde": {"particles": 500, "step_size": 0.01},
    "diffrax": {"particles": 500, "step_size": 0.01},
    "particles-bootstrap": {"particles": 500, "step_size": 0.01},
    "blackjax-mala": {"particles": 800, "chains": 100, "warmup": 200, "thinning": 5},
    "blackjax-nuts": {"particles": 800, "chains": 16, "warmup": 100},
    "numpyro-nuts": {"particles": 800, "chains": 16, "warmup": 100},
    "blackjax-svgd": {"particles": 150, "iterations": 150},
    "numpyro-svgd": {"particles": 150, "iterations": 150},
    "pychangcooper": {"step_size": 0.002},
    "py-pde": {"cells": 100},
}
SHOWN = {
    "double-well D=1",
    "gaussian-mixture D=2",
    "ornstein-uhlenbeck instance=random initial_components=2 D=1",
    "linear-filtering observation_times=(0.05, 0.05, 0.15) D=1",
}
COMPILED = {"py-pde": {"ornstein-uhlenbeck instance=random initial_components=2 D=1"}}
"""What is shown to a peer that compiles its program anew for each."""


@cache
def subject(name):
    made = trial("solver", name, catalogue(), json.loads(json.dumps(SETTINGS.get(name, {}))))
    shown = [exhibit for exhibit in made.exhibits if exhibit.title in COMPILED.get(name, SHOWN)]
    assert len(shown) == len(COMPILED.get(name, SHOWN))
    return replace(made, exhibits=shown)


# What it tries on problems of its own, tests/solvers/peers/test_gate.py asks without solving.
LEFT_OUT = {"py-pde": {"keeps to its declaration"}}


@pytest.mark.parametrize("name", needing(BUILTIN))
def test_peer(name):
    found = [
        verdict(check, run, subject(name))
        for check, run in CHECKS["solver"].items()
        if check not in LEFT_OUT.get(name, ())
    ]
    assert [f"{each.check}: {each.detail}" for each in found if not each.passed] == []
