#!/usr/bin/env bash
# SciPy 1.17.1: scipy.stats.energy_distance is the root of the energy distance 2E|X-Y| - E|X-X'| - E|Y-Y'| of the same two
# samples, all pairs counted (those of a point with itself, too). A table of energy distances that mixes it with a
# library's that has no root compares 1.054 with 1.111 here, and .1 with .01 where it matters.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from scipy.stats import energy_distance

x, y = np.array([0.0, 1.0, 3.0]), np.array([1.0, 2.0, 6.0])


def mean_distance(a, b):
    return np.abs(a[:, None] - b).mean()


print(f"energy_distance {energy_distance(x, y):.6f}")
print(f"2E|X-Y| - E|X-X'| - E|Y-Y'| {2 * mean_distance(x, y) - mean_distance(x, x) - mean_distance(y, y):.6f}")
PYTHON
expected="energy_distance 1.054093
2E|X-Y| - E|X-X'| - E|Y-Y'| 1.111111"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
