#!/usr/bin/env bash
# POT 0.9.7.post1: np.random.seed does not repeat ot.sliced_wasserstein_distance: without its own seed, the directions come
# from fresh entropy, not from NumPy's global state. Only the argument seed repeats a figure.
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

x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
y = np.array([[3.0, 6.0], [4.0, 4.0], [3.0, 4.0]])


def twice(**settings):
    found = []
    for _ in range(2):
        np.random.seed(0)
        found.append(float(ot.sliced_wasserstein_distance(x, y, n_projections=3, **settings)))
    return found[0] == found[1]


print("same after np.random.seed(0):", twice())
print("same with seed=0:", twice(seed=0))
PYTHON
expected="same after np.random.seed(0): False
same with seed=0: True"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
