#!/usr/bin/env bash
# TensorFlow Probability 0.25.0: potential_scale_reduction, called R-hat, has no root, and (m + 1)/m of m chains before it:
# 1 + (m + 1)/m (R-hat^2 - 1), nearly, of other libraries' R-hat. It is 2 to 3 times as far above 1, more for few chains, so
# that their thresholds do not hold for it. split_chains is off.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install \
    jax==0.10.2 jaxlib==0.10.2 numpy==2.4.6 numpyro==0.22.0 scipy==1.17.1 tensorflow-probability==0.25.0
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from numpyro.diagnostics import gelman_rubin
from tensorflow_probability.substrates import numpy as tfp


def textbook(chains):
    n = chains.shape[1]
    within = chains.var(axis=1, ddof=1).mean()
    return ((within * (n - 1) / n + chains.mean(axis=1).var(ddof=1)) / within) ** 0.5


print("chains, their means' deviation: R-hat, NumPyro's, TensorFlow Probability's")
noise = np.random.default_rng(0).normal(size=(64, 1000))
noise -= noise.mean(axis=1, keepdims=True)
for shift in (0.14, 0.46, 1.0):
    for m in (2, 4, 64):
        means = np.linspace(-1, 1, m)
        chains = noise[:m] + shift * means[:, None] / means.std(ddof=1)
        other = float(tfp.mcmc.potential_scale_reduction(chains.T))
        print(f"{m}, {shift}: {textbook(chains):.2f}, {float(gelman_rubin(chains)):.2f}, {other:.2f}")
PYTHON
expected="chains, their means' deviation: R-hat, NumPyro's, TensorFlow Probability's
2, 0.14: 1.01, 1.01, 1.03
4, 0.14: 1.01, 1.01, 1.02
64, 0.14: 1.01, 1.01, 1.02
2, 0.46: 1.10, 1.10, 1.32
4, 0.46: 1.10, 1.10, 1.26
64, 0.46: 1.10, 1.10, 1.21
2, 1.0: 1.41, 1.41, 2.50
4, 1.0: 1.42, 1.42, 2.25
64, 1.0: 1.41, 1.41, 2.02"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
