#!/usr/bin/env bash
# NumPyro 0.22.0: effective_sample_size of antithetic chains, x_t = -0.9 x_(t-1) + noise, is negative: -71,200 for 4 x 1,000
# draws. A guess is 76,000 = 19 n, the true one, or a cap. Chains that all stand still have NaN. Of one chain
# split_gelman_rubin gives a figure, from its halves.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install numpyro==0.22.0 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

noise = np.random.default_rng(0).normal(size=(4, 1000))
antithetic = np.zeros((4, 1000))
for t in range(1, 1000):
    antithetic[:, t] = -0.9 * antithetic[:, t - 1] + noise[:, t]
print(f"antithetic: {effective_sample_size(antithetic):.0f}")
print(f"still: {effective_sample_size(np.ones((4, 1000)))}")
print(f"split R-hat of one chain: {split_gelman_rubin(noise[:1]):.4f}")
PYTHON
expected="antithetic: -71200
still: nan
split R-hat of one chain: 0.9995"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
