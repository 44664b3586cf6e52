"""Problem families with their exact or reference solutions; built-in ones by name, imported when first used."""

BUILTIN = {
    "ornstein-uhlenbeck": "problems.ornstein_uhlenbeck:OrnsteinUhlenbeck",
    "aggregation-diffusion": "problems.aggregation_diffusion:AggregationDiffusion",
    "double-well": "problems.double_well:DoubleWell",
    "logistic-regression": "problems.logistic_regression:LogisticRegression",
    "gaussian-mixture": "problems.gaussian_mixture:GaussianMixtureFlow",
    "two-moons": "problems.two_moons:TwoMoons",
    "nonlinear-filtering": "problems.nonlinear_filtering:NonlinearFiltering",
    "linear-filtering": "problems.linear_filtering:LinearFiltering",
    "porous-medium": "problems.porous_medium:PorousMedium",
    "mckean-vlasov": "problems.mckean_vlasov:McKeanVlasov",
    "aggregation": "problems.aggregation:Aggregation",
}
