"""Steps of ICNN-JKO that choose their sizes: within the tolerance on Gaussian flows, noisy on others, in a filter."""

from dataclasses import replace

import pytest
import torch

from problems.flow import Entropy, FreeEnergy, GradientFlow, PowerEntropy
from problems.gaussian_mixture import GaussianMixtureFlow
from problems.laws import Gaussian
from problems.linear_filtering import LinearFiltering
from problems.ornstein_uhlenbeck import OrnsteinUhlenbeck
from problems.potentials import Flat
from problems.problem import Problem
from seeding import fixed_generator, generator
from solvers.icnn.icnn_jko import ICNNJKO
from solvers.maps import Pushforward

CPU = torch.device("cpu")
AUTO = ICNNJKO(step_size="auto", iterations=60, batch_size=256, width=8, rank=1, pool_size=4096)


def symkl(fit, law) -> float:
    x, log_fit = fit.sample_with_log_prob(2000, generator(100))
    y = law.sample(2000, generator(101))
    ratio = torch.cat([log_fit - law.log_prob(x), fit.log_prob(y) - law.log_prob(y)])
    return float((2 * ratio * torch.tanh(ratio / 2)).mean())


@pytest.mark.parametrize(("dim", "tolerance"), [(2, 1e-2), (2, 1e-6), (6, 1e-3)])
def test_gaussian_flows_are_met_to_the_tolerance(dim, tolerance):
    problem = OrnsteinUhlenbeck(instance="mokrov2021", times=(0.5, 0.9)).build(dim, 0, generator())
    answer = replace(AUTO, symkl_tolerance=tolerance).solve(problem, generator(1), CPU)
    for fit, time in zip(answer.estimates, answer.times, strict=True):
        assert isinstance(fit, Pushforward)
        assert symkl(fit, problem.truth(time)) < tolerance
    sizes = answer.traces["step_size"]
    assert sum(sizes) == pytest.approx(0.9)
    assert len(sizes) == len(answer.traces["iterations"]) == 2 * answer.diagnostics["steps"]
    assert set(answer.traces["step_order"]) == {2.0}
    assert answer.diagnostics["noise_symkl"] == 0
    assert answer.diagnostics["error_symkl"] < tolerance


def test_more_steps_are_taken_for_less_error():
    problem = OrnsteinUhlenbeck(instance="mokrov2021", times=(0.5,)).build(2, 0, generator())
    steps = [
        replace(AUTO, symkl_tolerance=tolerance).solve(problem, generator(1), CPU).diagnostics["steps"]
        for tolerance in (1e-3, 1e-5, 1e-7)
    ]
    assert steps[0] < steps[1] < steps[2] < 40


def test_the_noise_of_training_is_no_reason_for_shorter_steps():
    problem = GaussianMixtureFlow(instance="random", times=(0.25,)).build(2, 0, fixed_generator(1))
    answer = replace(AUTO, symkl_tolerance=1e-7, iterations=30).solve(problem, generator(1), CPU)
    assert answer.diagnostics["noise_symkl"] > 1e-7
    # 3 to 7 under 60 seeds.
    assert answer.diagnostics["steps"] < 20


def test_a_filter_chooses_its_steps_between_observations():
    problem = LinearFiltering(times=(0.5, 1.0), observation_times=(0.4, 0.8)).build(1, 1, fixed_generator(3))
    answer = AUTO.solve(problem, generator(4), CPU)
    assert sum(answer.traces["step_size"]) == pytest.approx(1.0)
    for time, fit in zip(problem.flow.times, answer.estimates, strict=True):
        law = problem.truth(time)
        x = law.sample(2000, generator(5))
        ratio = fit.log_prob(x) - law.log_prob(x)
        assert abs(float(ratio.mean())) < 1e-2
        assert float(ratio.square().mean()) < 2e-2


def test_several_flows_choose_for_themselves():
    problems = [OrnsteinUhlenbeck(instance="random", times=(0.2,)).build(2, seed, generator(seed)) for seed in (0, 1)]
    together = AUTO.solve_batch(problems, [generator(2), generator(3)], CPU)
    for seed, answer in enumerate(together):
        alone = AUTO.solve(problems[seed], generator(2 + seed), CPU)
        draws = [each.estimates[0].sample(20, generator(9)) for each in (answer, alone)]
        assert torch.equal(*draws)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"step_size": "auto", "order": 2}, "step_size 'auto' chooses the order of every step"),
        ({"symkl_tolerance": 1e-2}, "it is that of step_size 'auto'"),
        ({"step_size": "auto", "symkl_tolerance": 0.0}, "symkl_tolerance must be"),
        ({"step_size": "automatic"}, "step_size must be a number > 0 or 'auto', got 'automatic'"),
    ],
)
def test_settings_that_exclude_each_other(settings, reason):
    with pytest.raises(ValueError, match=reason):
        ICNNJKO(**settings)


def test_other_energies_have_no_estimate_of_the_error():
    initial = Gaussian(torch.zeros(1, dtype=torch.float64), torch.eye(1, dtype=torch.float64))
    for energy, reason in ((PowerEntropy(2.0), "steps are chosen only where"), (Entropy(1.0), None)):
        problem = Problem(GradientFlow(initial, FreeEnergy(Flat(1), energy), (0.1,)), (), None, "not needed")
        found = AUTO.unsupported(problem)
        assert found is None if reason is None else found.startswith(reason)
