#!/usr/bin/env bash
# POT 0.9.7.post1: with p = 2 and the same two samples of the line, ot.wasserstein_1d and ot.emd2_1d give W2 squared, while
# ot.sliced_wasserstein_distance (one direction, the line) gives W2, not squared.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install POT==0.9.7.post1 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import ot

x, y = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 6.0])
print(f"W2 squared {np.mean((x - y) ** 2):.6f}")
print(f"wasserstein_1d {ot.wasserstein_1d(x, y, p=2):.6f}")
print(f"emd2_1d {ot.emd2_1d(x, y):.6f}")
sliced = ot.sliced_wasserstein_distance(x[:, None], y[:, None], n_projections=10, p=2, seed=0)
print(f"sliced_wasserstein_distance {sliced:.6f}")
PYTHON
expected="W2 squared 3.666667
wasserstein_1d 3.666667
emd2_1d 3.666667
sliced_wasserstein_distance 1.914854"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
