#!/usr/bin/env bash
# PINTS 0.6.1: the effective sample size of n independent draws is n/3. The sum of autocorrelations in n / (1 + 2 sum) begins
# at lag 0, where it is 1, so that the autocorrelation time is too long by 2: nothing for a slow chain, a factor of 3 for a
# good one. No chain has more than n/3, and ratios of samplers are drawn together. MCMCSummary tells the same.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install matplotlib==3.11.2 numpy==2.4.6 pints==0.6.1 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import pints
from scipy.signal import lfilter

n, chains = 10000, 20
print("x' = a x + noise, 10000 draws: effective sample size n (1 - a) / (1 + a), PINTS")
for a in (-0.5, 0, 0.5, 0.9):
    noise = np.random.default_rng(0).normal(size=(chains, n))
    noise[:, 0] /= (1 - a**2) ** 0.5
    x = lfilter([1], [1, -a], noise, axis=1)
    sizes = [pints.effective_sample_size(chain[:, None])[0] for chain in x]
    print(f"{a}: {n * (1 - a) / (1 + a):.0f}, {np.mean(sizes):.0f}")
summary = pints.MCMCSummary(np.random.default_rng(0).normal(size=(1, n, 1)))
print(f"MCMCSummary of independent draws: {summary.ess()[0]:.0f}")
PYTHON
expected="x' = a x + noise, 10000 draws: effective sample size n (1 - a) / (1 + a), PINTS
-0.5: 30000, 3333
0: 10000, 3325
0.5: 3333, 1976
0.9: 526, 454
MCMCSummary of independent draws: 3333"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
