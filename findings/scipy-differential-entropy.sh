#!/usr/bin/env bash
# SciPy 1.17.1: differential_entropy falls by 0.02 nats when the 1,001st draw comes. Its default, method="auto", is Van Es's
# estimator up to 10 draws, Ebrahimi's up to 1,000 and Vasicek's beyond, whose errors have other signs: a study of convergence
# in n has a step there.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from scipy.stats import differential_entropy

true = np.log(2 * np.pi * np.e) / 2
x = np.random.default_rng(0).normal(size=(2000, 1001))
for count in (1000, 1001):
    guesses = differential_entropy(x[:, :count], axis=1) - true
    print(f"{count} draws: mean error {guesses.mean():.3f}, of one sample {guesses[0]:.3f}")
falls = differential_entropy(x[:, :1000], axis=1) > differential_entropy(x, axis=1)
print(f"the last draw makes it smaller in {falls.sum()} of {len(x)} samples")
for method in ("ebrahimi", "vasicek"):
    print(f"{method}, 1000 draws: mean error {(differential_entropy(x[:, :1000], axis=1, method=method) - true).mean():.3f}")
PYTHON
expected="1000 draws: mean error 0.011, of one sample -0.007
1001 draws: mean error -0.009, of one sample -0.027
the last draw makes it smaller in 2000 of 2000 samples
ebrahimi, 1000 draws: mean error 0.011
vasicek, 1000 draws: mean error -0.009"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
