#!/usr/bin/env bash
# Copulas 0.14.1: probability_density of a fitted GaussianMultivariate is the normal density at the normal scores of a point,
# without the derivative of those scores: neither the joint density nor the copula's. It is the same in every unit, integrates
# to 10^6 for two columns in thousands, and prefers marginals that do not fit; beyond 5.2 deviations it no longer falls.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install copulas==0.14.1 numpy==2.4.6 pandas==2.3.3 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import pandas as pd
from copulas.multivariate import GaussianMultivariate
from copulas.univariate import GaussianUnivariate, UniformUnivariate
from scipy.stats import multivariate_normal, norm

covariance = np.array([[1.0, 0.5], [0.5, 1.0]])
draws = np.random.default_rng(0).multivariate_normal(np.zeros(2), covariance, size=5000)
line = np.linspace(-8, 8, 161)
square = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)


def table(points):
    return pd.DataFrame(points, columns=["a", "b"])


def fitted(points, marginal):
    model = GaussianMultivariate(distribution=marginal)
    model.fit(table(points))
    return model


print("unit: mean log-density of the normal law drawn from, of the model fitted to its draws; the model's integral")
for unit in (0.001, 1, 1000):
    model = fitted(unit * draws, GaussianUnivariate)
    true = multivariate_normal(np.zeros(2), unit**2 * covariance).logpdf(unit * draws).mean()
    mean = model.log_probability_density(table(unit * draws)).mean()
    integral = model.probability_density(table(unit * square)).sum() * (0.1 * unit) ** 2
    print(f"{unit}: {true:.2f}, {mean:.2f}; {integral:.2g}")

print("marginals: mean log-density, and with the derivative of the scores")
for marginal in (GaussianUnivariate, UniformUnivariate):
    model = fitted(draws, marginal)
    mean = model.log_probability_density(table(draws)).mean()
    whole = mean
    for column, side in zip(draws.T, model.univariates):
        scores = norm.ppf(np.clip(side.cdf(column), 1e-7, 1 - 1e-7))
        whole += (side.log_probability_density(column) - norm.logpdf(scores)).mean()
    print(f"{marginal.__name__}: {mean:.1f}, {whole:.1f}")

model = fitted(draws, GaussianUnivariate)
far = model.log_probability_density(table([[6.0, 6.0], [100.0, 100.0]]))
print(f"at (6, 6) and (100, 100): {far[0]:.1f}, {far[1]:.1f}")
PYTHON
expected="unit: mean log-density of the normal law drawn from, of the model fitted to its draws; the model's integral
0.001: 11.13, -2.69; 1e-06
1: -2.69, -2.69; 1
1000: -16.51, -2.69; 1e+06
marginals: mean log-density, and with the derivative of the scores
GaussianUnivariate: -2.7, -2.7
UniformUnivariate: -1.8, -3.9
at (6, 6) and (100, 100): -19.3, -19.3"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
