#!/usr/bin/env bash
# torchsde 0.2.6: a path of sdeint is repeated by np.random.seed, not by torch.manual_seed, though all of it is tensors of
# torch. BrownianInterval takes its seed from NumPy's global stream, which is another one afterwards.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torchsde==0.2.6 torch==2.13.0 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import torch
import torchsde


class Brownian:
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, x):
        return torch.zeros_like(x)

    def g(self, t, x):
        return torch.ones_like(x)


def ends():
    return torchsde.sdeint(Brownian(), torch.zeros(5, 1), torch.tensor([0.0, 1.0]), dt=0.1, method="euler")[-1]


def again(seed):
    seed(0)
    first = ends()
    seed(0)
    return torch.equal(first, ends())


print(f"torch.manual_seed repeats it: {again(torch.manual_seed)}")
print(f"np.random.seed repeats it: {again(np.random.seed)}")
np.random.seed(0)
alone = np.random.random()
np.random.seed(0)
ends()
print(f"NumPy's next number is as without it: {np.random.random() == alone}")
PYTHON
expected="torch.manual_seed repeats it: False
np.random.seed repeats it: True
NumPy's next number is as without it: False"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
