#!/usr/bin/env bash
# scikit-learn 1.9.1: GaussianMixture.sample gives its draws ordered by component, so that the first half of them is not a
# sample of the mixture; and where the mixture was made with an integer random_state, every call gives the same draws
# again. Whoever takes two samples for two independent sides of a distance gets distance 0.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install scikit-learn==1.9.1 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from sklearn.mixture import GaussianMixture

source = np.random.default_rng(0)
points = np.concatenate([source.normal(-5, 1, (200, 1)), source.normal(5, 1, (200, 1))])
mixture = GaussianMixture(2, random_state=0).fit(points)
draws, components = mixture.sample(200)
print("components in order:", bool((np.diff(components) >= 0).all()))
print("second call gives the same draws:", bool((mixture.sample(200)[0] == draws).all()))
PYTHON
expected="components in order: True
second call gives the same draws: True"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
