#!/usr/bin/env bash
# PyTorch 2.13.0 (CPU): the bits of softplus, sigmoid, silu, elu, pow and logaddexp of a number depend on how far it stands
# from the end of its tensor: the last ones, that fill no vector, go through another function. exp, log, log1p, tanh, erf
# and sqrt of the last ones are those of the others. So a network whose layer holds no multiple of the vector's length
# rounds otherwise alone than in a batch. Seen on an AMD EPYC (Zen 4) with AVX2 and AVX-512 instructions, in single and
# double precision; with neither (ATEN_CPU_CAPABILITY=default) pow alone does, in single precision.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 numpy==2.4.6
cat > "$folder/ends.py" <<'PYTHON'
import torch
from torch.nn import functional

torch.set_num_threads(1)
FUNCTIONS = {
    "softplus": functional.softplus,
    "sigmoid": torch.sigmoid,
    "silu": functional.silu,
    "elu": functional.elu,
    "pow": lambda x: x.abs().pow(0.7),
    "logaddexp": lambda x: torch.logaddexp(x, 0.5 * x),
    "exp": torch.exp,
    "log": lambda x: x.abs().log(),
    "log1p": lambda x: x.abs().log1p(),
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sqrt": lambda x: x.abs().sqrt(),
}
for dtype in (torch.float32, torch.float64):
    values = 3 * torch.randn(2560, dtype=dtype, generator=torch.Generator().manual_seed(0))
    hang = [
        name
        for name, function in FUNCTIONS.items()
        if any(not torch.equal(function(values[:n].clone()), function(values)[:n]) for n in range(1, 400))
    ]
    print(f"{dtype}: {' '.join(hang)}")
PYTHON
expected="torch.float32: softplus sigmoid silu elu pow logaddexp
torch.float64: softplus sigmoid silu elu pow logaddexp"
seen=$("$folder/venv/bin/python" "$folder/ends.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
