#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): torch.cdist of 25 points far from the origin gives their distances; of 26 it takes |x|^2 + |y|^2 -
# 2xy instead, which cancels: in float32 points a thousandth apart at 1000 are then at distance 0. Moving the origin among
# the points avoids it, as does compute_mode="donot_use_mm_for_euclid_dist".
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import torch

for count in (25, 26):
    x = torch.full((count, 2), 1000.0)
    x[:, 0] += 0.001 * torch.arange(count)
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    print(f"{count} points: neighbours {float(torch.cdist(x, x)[0, 1]):.4f} apart, without products {float(exact[0, 1]):.4f}")
PYTHON
expected="25 points: neighbours 0.0010 apart, without products 0.0010
26 points: neighbours 0.0000 apart, without products 0.0010"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
