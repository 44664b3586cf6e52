#!/usr/bin/env bash
# emcee 3.1.6: autocorr.integrated_time takes each walker's own mean out before it looks for correlations, so that walkers
# that stay around different places forever have the autocorrelation time of independent draws, to the last digit. For
# antithetic chains, x_t = -0.9 x_(t-1) + noise, of time 1/19, it is negative; the effective size n/time is so too.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install emcee==3.1.6 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import emcee
import numpy as np

noise = np.random.default_rng(0).normal(size=(1000, 4))
antithetic = np.zeros((1000, 4))
for t in range(1, 1000):
    antithetic[t] = -0.9 * antithetic[t - 1] + noise[t]


def time(chains):
    return emcee.autocorr.integrated_time(chains[:, :, None], quiet=True)[0]


print(f"independent {time(noise):.4f}")
print(f"independent, walkers 10 apart {time(noise + 10 * np.arange(4)):.4f}")
print(f"antithetic {time(antithetic):.4f}")
PYTHON
expected="independent 1.1104
independent, walkers 10 apart 1.1104
antithetic -0.8232"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
