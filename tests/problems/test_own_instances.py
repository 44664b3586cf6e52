"""Instances of one's own: mixtures with given weights, places and widths, and observations with their dimension."""

from __future__ import annotations

import math

import pytest
import torch

from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import Density
from problems.nonlinear_filtering import NonlinearFiltering
from seeding import generator

CENTRES = ((-2.0,), (1.5,), (3.0,))
WEIGHTS = (2.0, 1.0, 1.0)
WIDTHS = (0.5, 1.0, 0.8)


def own(**settings: object) -> GaussianMixtureFlow:
    return GaussianMixtureFlow(instance="given", **settings)  # type: ignore[arg-type]


def test_a_mixture_of_one_s_own_is_the_stationary_law() -> None:
    family = own(centres=CENTRES, weights=WEIGHTS, widths=WIDTHS)
    assert family.dims() == (1,)
    problem = family.build(1, 0, generator(0))
    assert problem.truth is not None
    law = problem.truth(4.0)
    assert isinstance(law, Density)
    x = torch.linspace(-4, 5, 37, dtype=torch.float64)
    density = sum(
        weight / 4 * torch.exp(-0.5 * ((x - centre) / width) ** 2) / (width * math.sqrt(2 * math.pi))
        for weight, (centre,), width in zip(WEIGHTS, CENTRES, WIDTHS, strict=True)
    )
    torch.testing.assert_close(law.log_prob(x[:, None]).exp(), density)
    torch.testing.assert_close(-problem.flow.potential.value(x[:, None]), law.log_prob(x[:, None]))
    again = family.build(1, 7, generator(7)).truth
    assert again is not None
    assert torch.equal(again(4.0).moments()[0], law.moments()[0])


def test_weights_and_widths_may_be_left_out() -> None:
    given = own(centres=((0.0, 1.0), (2.0, -1.0))).build(2, 0, generator(0))
    equal = own(centres=((0.0, 1.0), (2.0, -1.0)), weights=(3.0, 3.0), widths=(1.0, 1.0)).build(2, 0, generator(0))
    x = torch.randn(50, 2, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(given.flow.potential.value(x), equal.flow.potential.value(x))


def test_its_law_at_a_time_comes_from_a_grid() -> None:
    """By t = 40 the narrow, near mixture is at rest: the marginal is the stationary law."""
    settings = {"centres": ((-0.5,), (0.8,)), "weights": (1.0, 3.0), "widths": (0.6, 0.9), "initial_std": 1.0}
    late = own(truth="marginal", times=(40.0,), **settings).build(1, 0, generator(0))
    rest = own(**settings).build(1, 0, generator(0))
    assert late.truth is not None
    assert rest.truth is not None
    for found, exact in zip(late.truth(40.0).moments(), rest.truth(40.0).moments(), strict=True):
        torch.testing.assert_close(found, exact, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "instance='given' needs centres, such as"),
        ({"centres": ()}, "instance='given' needs centres, such as"),
        ({"centres": ((0.0, 1.0), (1.0,))}, "centres[1] has 1 number(s), the first has 2"),
        ({"centres": ((0.0,), (math.inf,))}, "centres[1][0] must be a finite number, got inf"),
        ({"centres": CENTRES, "weights": (1.0, 1.0)}, "3 centres, but 2 weights"),
        ({"centres": CENTRES, "weights": (1.0, 0.0, 1.0)}, "weights[1] must be a finite number > 0, got 0.0"),
        ({"centres": CENTRES, "widths": (1.0, -1.0, 1.0)}, "widths[1] must be a finite number > 0, got -1.0"),
        ({"centres": CENTRES, "half_width": 2.0}, "only instance='random' uses it"),
        ({"instance": "random", "centres": CENTRES}, "only instance='given' uses it, not instance='random'"),
    ],
)
def test_what_makes_no_mixture_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match="gaussian-mixture") as error:
        GaussianMixtureFlow(**{"instance": "given", **settings})  # type: ignore[arg-type]
    assert said in str(error.value)


def test_observations_have_the_dimension_that_they_have() -> None:
    line = {"instance": "given", "observation_times": (0.1, 0.2), "times": (0.3,)}
    assert NonlinearFiltering(values=((1.0,), (2.0,)), **line).dims() == (1,)  # type: ignore[arg-type]
    assert NonlinearFiltering(values=((1.0, 0.0), (2.0, 0.5)), **line).dims() == (2,)  # type: ignore[arg-type]
    seen = NonlinearFiltering(values=((1.0,), (2.0,)), observed="distance", **line)  # type: ignore[arg-type]
    assert seen.dims() == (1, 2)
    none = {**line, "observation_times": ()}
    assert NonlinearFiltering(values=(), **none).dims() == (1, 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"values must have 1 or 2 number\(s\) a row where 'identity' is observed"):
        NonlinearFiltering(values=((1.0, 2.0, 3.0), (1.0, 2.0, 3.0)), **line)  # type: ignore[arg-type]
