"""The committed posterior references against the project's potential and against exact conditionals."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import special, stats

from harness.reference import nuts as posterior_nuts
from harness.reference import posterior as script
from problems.data.datasets import FOLDER_VARIABLE, load
from problems.logistic_regression import REFERENCE, LogisticRegression
from problems.posterior.bridge_sampling import log_normaliser
from seeding import generator, numpy_generator

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT.parent / "shared" / "datasets"
PUBLISHED = LogisticRegression()
LIGHT = LogisticRegression(prior_shape=4.0, prior_rate=4.0)
SEEDS = range(5)

every_reference = pytest.mark.parametrize(
    ("family", "seed"),
    [pytest.param(family, seed, id=family.reference_stem(seed)) for family in (PUBLISHED, LIGHT) for seed in SEEDS],
)


def summary_of(family, seed):
    return json.loads((REFERENCE / f"{family.reference_stem(seed)}.json").read_text())


def arrays_of(family, seed):
    with np.load(REFERENCE / f"{family.reference_stem(seed)}.npz") as arrays:
        return dict(arrays)


def problem_of(family, seed):
    return family.build(31, seed, generator(0))


def draws_of(family, seed):
    return torch.from_numpy(arrays_of(family, seed)["draws"].astype(np.float64))


def z_scores(samples):
    """Mean of each column in its standard errors; the draws are thinned until nearly independent."""
    return samples.mean(0) / samples.std(0, ddof=1) * math.sqrt(len(samples))


@every_reference
def test_run_met_the_bar(family, seed):
    """What is stated is judged anew by the script's own rule: R̂ < 1.01, ESS > 4000 bulk and tail, no divergence."""
    summary = summary_of(family, seed)
    assert script.Diagnostics(**summary["diagnostics"]).shortcomings() == []
    assert summary["largest_difference_to_potential"] < 1e-8
    assert summary["problem"] == {**family.reference_settings(), "seed": seed}
    assert (summary["training_rows"], summary["held_out_rows"]) == (455, 114)


@pytest.mark.parametrize("path", sorted(REFERENCE.glob("*.json")), ids=lambda path: path.stem)
def test_every_file_met_the_bar_and_is_that_of_its_settings(path, monkeypatch):
    summary = json.loads(path.read_text())
    assert script.Diagnostics(**summary["diagnostics"]).shortcomings() == []
    assert summary["largest_difference_to_potential"] < 1e-8
    assert summary["evidence"]["standard_error"] < 0.1
    posed = dict(summary["problem"])
    seed = posed.pop("seed")
    family = LogisticRegression(**posed)
    assert path.stem == family.reference_stem(seed)
    (dim,) = family.dims()
    with np.load(path.with_suffix(".npz")) as arrays:
        mean, covariance, draws = arrays["mean"], arrays["covariance"], arrays["draws"]
    assert (mean.shape, covariance.shape, draws.shape) == ((dim,), (dim, dim), (2000, dim))
    deviation = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(0) - mean) / deviation).max() < 0.15, "kept draws are those of the moments"
    split = data_of(family, seed)
    assert summary["checksum"] == split.checksum
    if family.data != "breast-cancer":
        monkeypatch.setenv(FOLDER_VARIABLE, str(FOLDER))
    law = family.build(dim, seed, generator(0)).truth(1.0)
    torch.testing.assert_close(law.moments()[0], torch.from_numpy(mean))


def data_of(family, seed):
    """Return the split, or skip where the data are not at hand."""
    if family.data == "breast-cancer":
        return load(family.data).split(seed)
    if not (FOLDER / f"{family.data}.csv.gz").exists():
        pytest.skip(f"no {family.data}.csv.gz beside the repository")
    return load(family.data, FOLDER).split(seed, family.constant_features)


@every_reference
def test_checksum_is_that_of_the_split_made_now(family, seed):
    assert summary_of(family, seed)["checksum"] == load("breast-cancer").split(seed).checksum


@every_reference
def test_files_are_whole_and_small(family, seed):
    arrays = arrays_of(family, seed)
    assert {name: array.shape for name, array in arrays.items()} == {
        "mean": (31,),
        "covariance": (31, 31),
        "levels": (9,),
        "quantiles": (9, 31),
        "draws": (script.KEPT_DRAWS, 31),
    }
    assert arrays["draws"].dtype == np.float32
    assert all(np.isfinite(array).all() for array in arrays.values())
    np.testing.assert_array_equal(arrays["levels"], script.LEVELS)
    assert (np.diff(arrays["quantiles"], axis=0) > 0).all()
    assert np.linalg.eigvalsh(arrays["covariance"])[0] > 0
    assert (REFERENCE / f"{family.reference_stem(seed)}.npz").stat().st_size < 300_000


@every_reference
def test_truth_is_the_reference_at_every_time(family, seed):
    problem = problem_of(family, seed)
    arrays = arrays_of(family, seed)
    assert problem.truth is not None
    assert problem.truth_missing == ""
    law = problem.truth(0.1)
    mean, covariance = problem.truth(10.0).moments()
    np.testing.assert_array_equal(mean.numpy(), arrays["mean"])
    np.testing.assert_array_equal(covariance.numpy(), arrays["covariance"])
    drawn = law.sample(2000, generator(1)).numpy()
    np.testing.assert_array_equal(np.sort(drawn[:, 0]), np.sort(arrays["draws"][:, 0].astype(np.float64)))


@every_reference
def test_thinned_draws_have_the_stored_quantiles(family, seed):
    """At each level the share of 2000 draws below the stored quantile is binomial; 279 tests, |z| > 5: 2e-4."""
    arrays = arrays_of(family, seed)
    levels = arrays["levels"][:, None]
    share = (arrays["draws"][None] <= arrays["quantiles"][:, None]).mean(1)
    assert np.abs((share - levels) / np.sqrt(levels * (1 - levels) / len(arrays["draws"]))).max() < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_thinned_draws_have_the_stored_moments(seed):
    """Where moments of order 4 exist. Mean: 31 tests; covariance: 496; |z| > 5 in any: 3e-4."""
    arrays = arrays_of(LIGHT, seed)
    centred = arrays["draws"] - arrays["mean"]
    assert np.abs(z_scores(centred)).max() < 5
    rows, columns = np.triu_indices(31)
    assert np.abs(z_scores(centred[:, rows] * centred[:, columns] - arrays["covariance"][rows, columns])).max() < 5


@every_reference
def test_stein_identity_of_the_gradient(family, seed):
    """E ∇V = 0 under the posterior: integration by parts, whatever made the draws. 31 tests, |z| > 5: 2e-5."""
    gradient = problem_of(family, seed).flow.potential.gradient(draws_of(family, seed))
    assert np.abs(z_scores(gradient.numpy())).max() < 5


@pytest.mark.parametrize("seed", SEEDS)
def test_stein_identity_of_second_order(seed):
    """E[∂_i V x_j] = δ_ij, x centred. 961 tests, |z| > 5.5: 4e-5."""
    x = draws_of(LIGHT, seed)
    gradient = problem_of(LIGHT, seed).flow.potential.gradient(x)
    products = gradient[:, :, None] * (x - x.mean(0))[:, None, :] - torch.eye(31, dtype=torch.float64)
    assert np.abs(z_scores(products.reshape(len(x), -1).numpy())).max() < 5.5


@every_reference
def test_precision_given_weights_is_its_exact_gamma_law(family, seed):
    """α | w ~ Gamma(a + d/2, rate b + ½‖w‖²), so α (b + ½‖w‖²) ~ Gamma(a + d/2, 1) without w. KS at p = 1e-4."""
    x = draws_of(family, seed).numpy()
    standardised = np.exp(x[:, -1]) * (family.prior_rate + 0.5 * (x[:, :-1] ** 2).sum(1))
    assert stats.kstest(standardised, stats.gamma(family.prior_shape + 15).cdf).pvalue > 1e-4
    rank, _ = stats.spearmanr(standardised, (x[:, :-1] ** 2).sum(1))
    assert abs(rank) < 4 / math.sqrt(len(x))


def test_stein_identities_see_a_wrong_prior_and_a_wrong_split():
    """The same figures for twice the rate, and for the neighbouring split, are far outside."""
    x = draws_of(LIGHT, 0)
    wrong_rate = LogisticRegression(prior_shape=4.0, prior_rate=8.0).build(31, 0, torch.Generator())
    assert np.abs(z_scores(wrong_rate.flow.potential.gradient(x).numpy())).max() > 10
    assert np.abs(z_scores(problem_of(LIGHT, 1).flow.potential.gradient(x).numpy())).max() > 10


@every_reference
def test_stored_prediction_is_that_of_the_draws(family, seed):
    """Mean log predictive probability of 2000 draws against that of the full run, in jackknife standard errors."""
    stated = summary_of(family, seed)["prediction"]
    log_likelihood = problem_of(family, seed).prediction.log_likelihood(draws_of(family, seed)).numpy()
    blocks = np.array_split(numpy_generator(0).permutation(len(log_likelihood)), 50)

    def log_predictive(rows):
        return special.logsumexp(log_likelihood[rows], axis=0) - math.log(len(rows))

    estimate = log_predictive(np.arange(len(log_likelihood)))
    left_out = np.array(
        [log_predictive(np.concatenate([b for b in blocks if b is not block])).mean() for block in blocks]
    )
    error = math.sqrt(49 / 50 * ((left_out - left_out.mean()) ** 2).sum())
    assert abs(estimate.mean() - stated["log_predictive"]) < 5 * error + 1e-9
    undecided = np.abs(estimate - math.log(0.5)) < 0.1
    assert abs((estimate > math.log(0.5)).mean() - stated["accuracy"]) <= undecided.mean() + 1e-12
    assert stated["accuracy"] > 0.9


@pytest.mark.parametrize("seed", SEEDS)
def test_measures_of_second_moments_are_left_out_where_they_do_not_exist(seed):
    """Every split of breast-cancer is separable, so moments exist below order 2a only."""
    assert summary_of(PUBLISHED, seed)["moments_exist_below"] == 2.0
    assert summary_of(LIGHT, seed)["moments_exist_below"] == 8.0
    moments = {"mean-error", "deviation-error", "marginal-w1", "symkl-gaussian", "bures-w2", "sliced-w2"}
    assert not moments & set(problem_of(PUBLISHED, seed).measures)
    assert moments < set(problem_of(LIGHT, seed).measures)
    assert set(problem_of(LIGHT, seed).measures) - moments == set(problem_of(PUBLISHED, seed).measures)


@every_reference
def test_stored_evidence_is_that_of_the_weights_alone(family, seed):
    """Bridge sampling of p(y, w), log α integrated out in closed form: another density in one dimension less.

    Both rest on the same draws, so that 4 of their errors together are on the safe side.
    """
    problem = problem_of(family, seed)
    found = log_normaliser(problem.flow.potential.log_marginal, draws_of(family, seed)[:, :-1], generator(5))
    assert problem.evidence is not None
    apart = abs(found.log_value - problem.evidence.log_value)
    assert apart < 4 * math.hypot(found.standard_error, problem.evidence.standard_error)
    assert problem.evidence.standard_error < 0.05


def test_evidence_is_added_to_a_reference_and_to_no_other(tmp_path):
    stem = LIGHT.reference_stem(0)
    summary = summary_of(LIGHT, 0)
    stated = summary.pop("evidence")
    (tmp_path / f"{stem}.npz").write_bytes((REFERENCE / f"{stem}.npz").read_bytes())
    (tmp_path / f"{stem}.json").write_text(json.dumps(summary))
    found = script.add_evidence(LIGHT, 0, tmp_path)
    assert found["log_value"] == pytest.approx(stated["log_value"], abs=4 * stated["standard_error"])
    assert json.loads((tmp_path / f"{stem}.json").read_text()) == {**summary, "evidence": found}
    (tmp_path / f"{stem}.json").write_text(json.dumps({**summary, "checksum": "00000000"}))
    for seed in (0, 1):
        with pytest.raises(ArithmeticError, match="is not there or was made for other data"):
            script.add_evidence(LIGHT, seed, tmp_path)


def test_moments_exist_where_classes_overlap():
    split = load("breast-cancer").split(0)
    flipped = split.training_labels.copy()
    flipped[numpy_generator(0).permutation(455)[:100]] *= -1
    noisy = type(split)(**{**vars(split), "training_labels": flipped})
    assert script.moments_exist_below(PUBLISHED, noisy) is None
    assert script.moments_exist_below(PUBLISHED, split) == 2.0
    quasi = np.zeros((4, 2))
    quasi[:, 0] = [1, 1, -1, 0]
    quasi[:, 1] = [0, 0, 0, 1]
    # the cases y φ = (1,0), (-1,0) overlap along the first axis, (0,1) is quasi-separated along the second
    degenerate = type(split)(**{**vars(split), "training_features": quasi, "training_labels": np.ones(4)})
    # and so the weights in the tail are a ray, to which a prior of order 2a + d comes as a law of order 2a + d - 1
    assert script.moments_exist_below(PUBLISHED, degenerate) == 3.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_rhat": 1.01}, "R-hat 1.0100 is not below 1.01"),
        ({"max_rhat": math.nan}, "R-hat nan"),
        ({"min_ess_bulk": 4000.0}, "bulk ESS 4000 is not above 4000"),
        ({"min_ess_tail": math.nan}, "tail ESS nan"),
        ({"divergences": 1}, "1 transitions diverged"),
    ],
)
def test_a_poor_run_is_not_written(change, message, tmp_path, monkeypatch):
    good = {**summary_of(LIGHT, 0)["diagnostics"], **change}
    rng = numpy_generator(0)
    monkeypatch.setattr(script, "assert_agreement", lambda family, split: 0.0)
    monkeypatch.setattr(script, "sample", lambda *_: (rng.normal(size=(4, 1000, 31)), {}))
    monkeypatch.setattr(script, "diagnose", lambda draws, statistics: script.Diagnostics(**good))
    with pytest.raises(ArithmeticError, match=re.escape(message)):
        script.make(LIGHT, 0, script.Sampling(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_condensed_run_keeps_moments_quantiles_and_draws():
    draws = numpy_generator(0).normal(size=(4, 1000, 3))
    kept = script.condense(draws)
    flat = draws.reshape(-1, 3)
    np.testing.assert_allclose(kept["mean"], flat.mean(0))
    np.testing.assert_allclose(kept["covariance"], np.cov(flat.T))
    np.testing.assert_allclose(kept["quantiles"][4], np.median(flat, axis=0))
    assert len(np.unique(kept["draws"], axis=0)) == script.KEPT_DRAWS
    with pytest.raises(ValueError, match="at least 2000 draws are needed, got 1999"):
        script.condense(draws.reshape(-1, 3)[None, :1999])


def test_other_data_than_the_reference_was_made_for_are_not_given_it(tmp_path, monkeypatch):
    stem = LIGHT.reference_stem(0)
    (tmp_path / f"{stem}.npz").write_bytes((REFERENCE / f"{stem}.npz").read_bytes())
    (tmp_path / f"{stem}.json").write_text(json.dumps({**summary_of(LIGHT, 0), "checksum": "00000000"}))
    monkeypatch.setattr("problems.logistic_regression.REFERENCE", tmp_path)
    problem = problem_of(LIGHT, 0)
    assert problem.truth is None
    assert (
        "was made for other data or settings; make it by: wgfbench reference breast-cancer --seeds 0:0"
        in problem.truth_missing
    )


def test_sampler_agrees_with_the_committed_reference():
    """A short run of the sampler itself, where its packages are installed: quantiles within Monte Carlo error."""
    pytest.importorskip("numpyro", reason="needs the extra 'reference'")
    import jax

    jax.config.update("jax_enable_x64", True)
    split = load("breast-cancer").split(0)
    assert posterior_nuts.assert_agreement(LIGHT, split) < 1e-8
    draws, statistics = posterior_nuts.sample(LIGHT, split, 77, posterior_nuts.Sampling(4, 300, 250, 0.8))
    assert not statistics["diverging"].any()
    quantiles = arrays_of(LIGHT, 0)["quantiles"][[3, 4, 5]][:, None]
    share = (draws.reshape(1, -1, 31) <= quantiles).mean(1)
    assert np.abs(share - np.array([[0.25], [0.5], [0.75]])).max() < 0.1


def test_sampler_sees_the_bounds_that_rare_features_set():
    """Feature 1 is 1 in two cases, both of label +1; feature 2 has a case of either label."""
    features = np.array([[0.3, 1.0, 0.0], [0.1, 1.0, 1.0], [-2.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.7, 0.0, 0.0]])
    free_side, matrix = posterior_nuts.one_sided(features, np.array([1.0, 1.0, -1.0, 1.0, -1.0]))
    np.testing.assert_array_equal(free_side, [0.0, 1.0, 0.0])
    np.testing.assert_allclose(matrix, [[1.0, 0.0, 0.0], [0.2, 1.0, 0.5], [0.0, 0.0, 1.0]])


def test_sampler_knows_the_jacobian_of_its_coordinates():
    """Up to a constant, on both sides of each kind of bound."""
    jax = pytest.importorskip("jax", reason="needs the extra 'reference'")
    jax.config.update("jax_enable_x64", True)
    matrix = np.eye(5) + np.triu(np.full((5, 5), 0.3), 1)
    far = np.array([0.0, 0.0, 0.0, 400.0, -300.0])
    near = np.array([False, True, True, False, False])
    coordinates = posterior_nuts.Coordinates(np.array([0.0, 1, -1, 1, -1]), matrix, near, far)
    ratios = []
    for point in 3 * numpy_generator(0).standard_normal((20, 6)):
        jacobian = jax.jacobian(lambda at: coordinates.placed(at)[0])(point)
        ratios.append(np.linalg.slogdet(jacobian)[1] - float(coordinates.placed(point)[1]))
    np.testing.assert_allclose(ratios, ratios[0], rtol=1e-10)
