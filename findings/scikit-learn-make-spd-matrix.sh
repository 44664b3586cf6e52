#!/usr/bin/env bash
# scikit-learn 1.9.1: a matrix of sklearn.datasets.make_spd_matrix(n) has one eigenvalue near n and the rest between 0 and
# 1, so that its condition number grows faster than n. One would guess at a well-conditioned matrix, or at random
# eigenvalues of one size: as a stationary covariance it is a narrow needle, and one number stands for most of its trace.
# Here: median over 20 seeds of the smallest, the second largest and the largest eigenvalue.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from sklearn.datasets import make_spd_matrix

for n in (3, 10, 50):
    spectra = [np.linalg.eigvalsh(make_spd_matrix(n, random_state=seed)) for seed in range(20)]
    low, second, high = np.median([(s[0], s[-2], s[-1]) for s in spectra], axis=0)
    print(f"n = {n}: {low:.2g}, {second:.2f}, {high:.1f}")
PYTHON
expected="n = 3: 0.28, 0.64, 3.5
n = 10: 0.1, 0.91, 10.6
n = 50: 0.019, 0.97, 50.5"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
