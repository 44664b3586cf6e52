#!/usr/bin/env bash
# scikit-learn 1.9.1 and torch 2.13.0: the log-loss of one wrong prediction, 20 or 50 nats. scikit-learn's log_loss clips
# probabilities by the precision that they are in: at most 36.04 nats in float64, 15.94 in float32. torch's
# binary_cross_entropy clips logarithms: at most 100, which is also what a probability that rounds to 1 costs.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install scikit-learn==1.9.1 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import torch
from sklearn.metrics import log_loss
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

for logit in (20.0, 50.0):
    for dtype in (torch.float64, torch.float32):
        z = torch.tensor([logit], dtype=dtype)
        p, label = torch.sigmoid(z), torch.zeros(1, dtype=dtype)
        by_scikit_learn = log_loss([0], p.numpy(), labels=[0, 1])
        print(f"logit {logit:g}, {str(dtype)[6:]}: scikit-learn {by_scikit_learn:.4f}", end=", ")
        print(f"torch {binary_cross_entropy(p, label):.4f}", end=", ")
        print(f"torch of the logit {binary_cross_entropy_with_logits(z, label):.4f}")
PYTHON
expected="logit 20, float64: scikit-learn 20.0000, torch 20.0000, torch of the logit 20.0000
logit 20, float32: scikit-learn 15.9424, torch 100.0000, torch of the logit 20.0000
logit 50, float64: scikit-learn 36.0437, torch 100.0000, torch of the logit 50.0000
logit 50, float32: scikit-learn 15.9424, torch 100.0000, torch of the logit 50.0000"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
