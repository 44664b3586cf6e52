#!/usr/bin/env bash
# arviz-stats 0.8.0 (the statistics of ArviZ): chains that all stand still at one place have an effective sample size of all
# their draws; antithetic ones, x_t = -0.9 x_(t-1) + noise, at most n log10(n), here where the true one is 19 n; and R-hat of
# one chain is NaN, though it would be split in two.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install arviz-stats==0.8.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from arviz_stats.base import array_stats

noise = np.random.default_rng(0).normal(size=(4, 1000))
antithetic = np.zeros((4, 1000))
for t in range(1, 1000):
    antithetic[:, t] = -0.9 * antithetic[:, t - 1] + noise[:, t]
axes = {"chain_axis": 0, "draw_axis": 1}
print(f"still: {array_stats.ess(np.ones((4, 1000)), **axes):.1f}")
print(f"antithetic: {array_stats.ess(antithetic, **axes):.1f}, 4000 log10 4000 = {4000 * np.log10(4000):.1f}")
print(f"R-hat of still chains: {array_stats.rhat(np.ones((4, 1000)), **axes)}")
print(f"R-hat of one chain: {array_stats.rhat(noise[:1], **axes)}")
PYTHON
expected="still: 4000.0
antithetic: 14408.2, 4000 log10 4000 = 14408.2
R-hat of still chains: nan
R-hat of one chain: nan"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
