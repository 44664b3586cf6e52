#!/usr/bin/env bash
# geomloss 0.3.1: SamplesLoss("sinkhorn") with its defaults is a quarter too small for two samples of the plane that are near,
# of N(0, I) and N(0, 1.21 I). It goes down to the blur by factors of scaling=0.5, one sweep each, and does not iterate until
# it has converged, nor says so. With scaling=0.99 it has what Sinkhorn's iterations of POT 0.9.7.post1 converge to.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install geomloss==0.3.1 POT==0.9.7.post1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import ot
import torch
from geomloss import SamplesLoss

source = np.random.default_rng(0)
x, y = source.normal(size=(50, 2)), 1.1 * source.normal(size=(50, 2))


def cost(a, b, regularisation):
    return ot.solve(ot.dist(a, b) / 2, reg=regularisation, max_iter=20_000, tol=1e-9).value


print(f"half of W2 squared: {ot.emd2([], [], ot.dist(x, y) / 2):.3f}")
for blur in (0.05, 0.2):
    for settings in ({}, {"scaling": 0.9}, {"scaling": 0.99}):
        loss = SamplesLoss("sinkhorn", p=2, blur=blur, **settings)(torch.tensor(x), torch.tensor(y))
        print(f"blur {blur}, {settings or 'defaults'}: {float(loss):.3f}")
converged = cost(x, y, 0.2**2) - cost(x, x, 0.2**2) / 2 - cost(y, y, 0.2**2) / 2
print(f"blur 0.2, POT's Sinkhorn to 1e-9: {converged:.3f}")
PYTHON
expected="half of W2 squared: 0.154
blur 0.05, defaults: 0.114
blur 0.05, {'scaling': 0.9}: 0.153
blur 0.05, {'scaling': 0.99}: 0.154
blur 0.2, defaults: 0.110
blur 0.2, {'scaling': 0.9}: 0.139
blur 0.2, {'scaling': 0.99}: 0.141
blur 0.2, POT's Sinkhorn to 1e-9: 0.141"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
