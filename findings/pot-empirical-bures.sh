#!/usr/bin/env bash
# POT 0.9.7.post1: ot.gaussian.empirical_bures_wasserstein_distance divides covariances by n, not n - 1, and adds reg = 1e-6
# to them unless told otherwise. Between few points that is another distance than that of np.cov's moments.
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
print(f"POT {ot.gaussian.empirical_bures_wasserstein_distance(x[:, None], y[:, None]):.4f}")
for ddof in (0, 1):
    found = np.hypot(x.mean() - y.mean(), x.std(ddof=ddof) - y.std(ddof=ddof))
    print(f"covariances by n - {ddof}: {found:.4f}")
PYTHON
expected="POT 1.9004
covariances by n - 0: 1.9004
covariances by n - 1: 2.0070"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
