#!/usr/bin/env bash
# scikit-learn 1.9.1: lower_bound_ of BayesianGaussianMixture, "lower bound value on the model evidence", is above it, since
# constants are left out, and those depend on the prior. With one component the bound would be the log-evidence itself, which
# has a closed form (it agrees with quadrature): the prior of the largest lower_bound_ has the smallest evidence.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from scipy.special import gammaln
from sklearn.mixture import BayesianGaussianMixture

x = np.random.default_rng(0).normal(1, 2, size=20)
n, mean, degrees, scale = len(x), x.mean(), 1.0, 4.0


def log_evidence(precision):
    """Of the normal law with mean 0 a priori, as accurate as so many observations, and an inverse gamma variance."""
    spread = scale + ((x - mean) ** 2).sum() + precision * n / (precision + n) * mean**2
    gammas = gammaln((degrees + n) / 2) - gammaln(degrees / 2)
    powers = degrees / 2 * np.log(scale) - (degrees + n) / 2 * np.log(spread)
    return gammas + powers + np.log(precision / (precision + n)) / 2 - n / 2 * np.log(np.pi)


for precision in (0.001, 0.1, 10.0):
    fit = BayesianGaussianMixture(
        mean_precision_prior=precision,
        mean_prior=[0.0],
        degrees_of_freedom_prior=degrees,
        covariance_prior=[[scale]],
        reg_covar=0.0,
        tol=1e-10,
        max_iter=1000,
    ).fit(x[:, None])
    print(f"{precision}: lower_bound_ {fit.lower_bound_:.2f}, log-evidence {log_evidence(precision):.2f}")
PYTHON
expected="0.001: lower_bound_ -26.65, log-evidence -45.66
0.1: lower_bound_ -26.65, log-evidence -43.37
10.0: lower_bound_ -27.29, log-evidence -41.70"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
