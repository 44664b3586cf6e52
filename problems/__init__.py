"""Problem families with their exact or reference solutions; built-in ones by name, imported when first used."""

BUILTIN = {
    "ornstein-uhlenbeck": "problems.ornstein_uhlenbeck:OrnsteinUhlenbeck",
    "aggregation-diffusion": "problems.aggregation_diffusion:AggregationDiffusion",
    "double-well": "problems.double_well:DoubleWell",
    "logistic-regression": "problems.logistic_regression:LogisticRegression",
    "gaussian-mixture": "problems.gaussian_mixture:GaussianMixtureFlow",
    "nonlinear-filtering": "problems.nonlinear_filtering:NonlinearFiltering",
    "linear-filtering": "problems.linear_filtering:LinearFiltering",
}
