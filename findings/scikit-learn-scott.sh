#!/usr/bin/env bash
# scikit-learn 1.9.1: KernelDensity(bandwidth="scott") is the factor n^(-1/(D+4)) alone, in the units of the data whatever
# their spread, and sample_weight does not lower n. Scott's rule, as in scipy.stats.gaussian_kde of SciPy 1.17.1, is that
# factor times their standard deviation, with n the effective number of points. Data in other units give another density,
# not the same one in other units.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from scipy.stats import gaussian_kde
from sklearn.neighbors import KernelDensity

x = np.array([1.0, 2.0, 4.0, 7.0, 11.0])
for unit in (1, 100):
    width = KernelDensity(bandwidth="scott").fit(unit * x[:, None]).bandwidth_
    print(f"data x {unit}: scikit-learn {width:.4f}, scipy {gaussian_kde(unit * x).covariance[0, 0] ** 0.5:.4f}")
weights = np.array([1.0, 1.0, 1.0, 1.0, 96.0])
width = KernelDensity(bandwidth="scott").fit(x[:, None], sample_weight=weights).bandwidth_
print(f"factor with weights: scikit-learn {width:.4f}, scipy {gaussian_kde(x, weights=weights).factor:.4f}")
PYTHON
expected="data x 1: scikit-learn 0.7248, scipy 2.9441
data x 100: scikit-learn 0.7248, scipy 294.4069
factor with weights: scikit-learn 0.7248, scipy 0.9839"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
