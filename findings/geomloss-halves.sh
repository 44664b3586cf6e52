#!/usr/bin/env bash
# geomloss 0.3.1: SamplesLoss("energy") is half the energy distance 2E|X-Y| - E|X-X'| - E|Y-Y'|, and
# SamplesLoss("sinkhorn", p=2) at a small blur half of W2 squared, since its cost is |x-y|^2/2; with p = 1 it is W1, not
# halved.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install geomloss==0.3.1 torch==2.13.0 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import torch
from geomloss import SamplesLoss

x, y = torch.tensor([[0.0], [1.0], [3.0]]).double(), torch.tensor([[1.0], [2.0], [6.0]]).double()
energy = 2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean()
print(f"energy: {SamplesLoss('energy')(x, y):.3f}, the energy distance {energy:.3f}")
print(f"sinkhorn, p = 2: {SamplesLoss('sinkhorn', p=2, blur=1e-3)(x, y):.3f}, W2 squared {(x - y).square().mean():.3f}")
print(f"sinkhorn, p = 1: {SamplesLoss('sinkhorn', p=1, blur=1e-3)(x, y):.2f}, W1 {(x - y).abs().mean():.2f}")
PYTHON
expected="energy: 0.556, the energy distance 1.111
sinkhorn, p = 2: 1.833, W2 squared 3.667
sinkhorn, p = 1: 1.67, W1 1.67"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
