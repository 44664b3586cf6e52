"""The suite's own draws: the same in every plain run, others for every RESEED, decided by it."""

import numpy as np
import pytest
import torch

import seeding
from seeding import generator, numpy_generator


def drawn(seed):
    return torch.rand(4, generator=generator(seed)), numpy_generator(seed).random(4)


@pytest.fixture
def reseed(monkeypatch):
    return lambda number: monkeypatch.setattr(seeding, "RESEED", number)


def test_a_plain_run_draws_from_the_seeds_themselves(reseed):
    reseed(0)
    ours, numpys = drawn(7)
    assert torch.equal(ours, torch.rand(4, generator=torch.Generator().manual_seed(7)))
    assert np.array_equal(numpys, np.random.default_rng(7).random(4))


def test_each_number_gives_other_draws_and_gives_them_again(reseed):
    seen = []
    for number in (0, 1, 2, 1):
        reseed(number)
        seen += [drawn(seed)[0].tolist() for seed in (0, 1)]
    assert seen[2:4] == seen[6:8]
    assert len({tuple(draws) for draws in seen}) == 6
