"""Measures of an estimate against the truth, one file a family; this catalogue is readable without torch."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MeasureEntry:
    """A measure's target, description, and which way is better; ``has_target`` where neither way is."""

    target: str
    description: str
    higher_is_better: bool = False
    has_target: bool = False

    @property
    def better(self) -> str:
        """The better direction: "higher", "lower" or "neither"."""
        return "neither" if self.has_target else "higher" if self.higher_is_better else "lower"


CATALOGUE = {
    "symkl": MeasureEntry(
        "harness.measure.symkl:SymKL", "KL(fit‖true) + KL(true‖fit); particles through a KDE judged on fresh draws"
    ),
    "kl": MeasureEntry(
        "harness.measure.kl:KL",
        "KL(fit‖true) in nats; particles by nearest neighbours, less what as many exact draws get",
    ),
    "symkl-scipy": MeasureEntry(
        "harness.measure.library_kde:SciPySymKL",
        "symkl of particles through SciPy's gaussian_kde, which is ours, slower",
    ),
    "symkl-scikit-learn": MeasureEntry(
        "harness.measure.library_kde:ScikitLearnSymKL",
        "symkl of particles through scikit-learn's KernelDensity, of one width whatever their spread",
    ),
    "symkl-published": MeasureEntry(
        "harness.measure.published:PublishedSymKL",
        "the estimators of Mokrov et al. (2021): a KDE, or a carried density normalised by one, on its own particles",
    ),
    "symkl-carried": MeasureEntry(
        "harness.measure.carried:CarriedSymKL",
        "KL(fit‖true) + KL(true‖fit) of the density that particles carry, by self-normalised importance weights",
    ),
    "symkl-gaussian": MeasureEntry(
        "harness.measure.moments:GaussianSymKL", "SymKL of the Gaussians with the moments of fit and truth"
    ),
    "bures-w2": MeasureEntry(
        "harness.measure.moments:BuresW2", "Wasserstein-2 distance of the Gaussians with the moments of fit and truth"
    ),
    "mean-error": MeasureEntry(
        "harness.measure.coordinates:MeanError", "median over coordinates of |mean - true mean|, in true deviations"
    ),
    "deviation-error": MeasureEntry(
        "harness.measure.coordinates:DeviationError",
        "median over coordinates of |standard deviation / true standard deviation - 1|",
    ),
    "marginal-w1": MeasureEntry(
        "harness.measure.marginals:MarginalW1",
        "Wasserstein-1 distance of marginals in true deviations, mean over coordinates",
    ),
    "energy-distance": MeasureEntry(
        "harness.measure.transport:EnergyDistance", "2 E|X-Y| - E|X-X'| - E|Y-Y'| of draws"
    ),
    "sliced-w2": MeasureEntry(
        "harness.measure.transport:SlicedW2", "Wasserstein-2 distance of one-dimensional projections of draws"
    ),
    "w2": MeasureEntry(
        "harness.measure.wasserstein:W2",
        "Wasserstein-2 distance from exact quantiles of the truth: exact on the line, else a lower bound",
    ),
    "l1": MeasureEntry("harness.measure.overlap:L1", "∫ |fit - true| of the densities, from 0 to 2"),
    "hellinger": MeasureEntry(
        "harness.measure.overlap:Hellinger", "(½ ∫ (√fit - √true)²)^½ of the densities, from 0 to 1; not squared"
    ),
    "free-energy": MeasureEntry(
        "harness.measure.free_energy:FreeEnergyOfFit",
        "∫Vρ + ∫U(ρ) + ½∬Wρρ of the fit; the true law's is right, less is not better",
        has_target=True,
    ),
    "energy-gap": MeasureEntry(
        "harness.measure.free_energy:EnergyGap",
        "|F(fit) - F(true)| / |F(true)| of the free energy F; where F(true) is 0, over the size of its terms",
    ),
    "support-radius": MeasureEntry(
        "harness.measure.support:SupportRadius",
        "|R_fit/R_true - 1| of the support's radius, by the second moment; of bounded supports",
    ),
    "mass-outside": MeasureEntry(
        "harness.measure.support:MassOutside", "mass of the fit where the true density is zero; of bounded supports"
    ),
    "c2st": MeasureEntry(
        "harness.measure.classifier:C2ST",
        "accuracy at which a classifier tells draws of fit and truth apart; .5 is best",
    ),
    "elbo": MeasureEntry(
        "harness.measure.evidence:ELBO",
        "mean of -βV - log q over draws of the fit's density q: log-evidence - KL",
        True,
    ),
    "evidence-gap": MeasureEntry("harness.measure.evidence:EvidenceGap", "log-evidence - ELBO, which is KL(fit‖true)"),
    "mode-weights": MeasureEntry(
        "harness.measure.modes:ModeWeights", "total variation between the shares of a mixture's modes in fit and truth"
    ),
    "accuracy": MeasureEntry(
        "harness.measure.predictive:Accuracy", "share of held-out cases predicted by the posterior predictive", True
    ),
    "log-predictive": MeasureEntry(
        "harness.measure.predictive:LogPredictive", "mean log posterior predictive probability of held-out labels", True
    ),
    "calibration-error": MeasureEntry(
        "harness.measure.calibration:CalibrationError",
        "expected |right - confidence| of held-out predictions in bins of equal mass, debiased",
    ),
    "crps": MeasureEntry(
        "harness.measure.filtering:CRPS",
        "continuous ranked probability score of the hidden state; energy score if D > 1",
    ),
    "pit": MeasureEntry(
        "harness.measure.filtering:PIT",
        "mass below the hidden state: uniform over instances for a calibrated filter",
        has_target=True,
    ),
    "coverage-50": MeasureEntry(
        "harness.measure.filtering:Coverage50",
        "share of hidden states within the central 50 % of the posterior; .5 is right",
        has_target=True,
    ),
    "coverage-90": MeasureEntry(
        "harness.measure.filtering:Coverage90",
        "share of hidden states within the central 90 % of the posterior; .9 is right",
        has_target=True,
    ),
    "log-evidence-error": MeasureEntry(
        "harness.measure.filtering:LogEvidenceError", "|log-evidence of the observations so far - the true one|"
    ),
    "effective-share": MeasureEntry(
        "harness.measure.filtering:EffectiveShare",
        "smallest share of draws that an observation so far left effective",
        True,
    ),
}
