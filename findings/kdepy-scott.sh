#!/usr/bin/env bash
# KDEpy 1.1.12: bw="scott" is n^(-1/5) times the smaller of the standard deviation and the interquartile range / 1.349;
# Scott's rule in scipy.stats.gaussian_kde of SciPy 1.17.1 takes the standard deviation. One far point among six makes it
# seven times as wide.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install KDEpy==1.1.12 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from KDEpy import NaiveKDE
from scipy.stats import gaussian_kde

x = np.array([1.0, 2.0, 4.0, 7.0, 11.0, 100.0])
kde = NaiveKDE(bw="scott").fit(x)
kde.evaluate(np.linspace(-50, 200, 5))
quartiles = np.percentile(x, [25, 75])
print(f"KDEpy {kde.bw:.4f}, n^(-1/5) IQR / 1.349 = {6**-0.2 * np.diff(quartiles)[0] / 1.349:.4f}")
print(f"scipy {gaussian_kde(x).covariance[0, 0] ** 0.5:.4f}")
PYTHON
expected="KDEpy 3.8853, n^(-1/5) IQR / 1.349 = 3.8853
scipy 27.2217"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
