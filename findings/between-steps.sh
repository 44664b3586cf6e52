#!/usr/bin/env bash
# torchsde 0.2.6 and Diffrax 0.7.2: at times asked for between two steps the answer is a straight line between them, though
# both know the Brownian motion there. The variance of a Brownian path is then too small, by half in the middle of the first
# step; no step is shortened for those times, and nothing is said.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torchsde==0.2.6 torch==2.13.0 diffrax==0.7.2 lineax==0.1.1 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import diffrax
import jax
import jax.numpy as jnp
import lineax
import torch
import torchsde

jax.config.update("jax_enable_x64", True)
PATHS, TIMES, STEP = 20_000, [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0], 1.0


class Brownian:
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, x):
        return torch.zeros_like(x)

    def g(self, t, x):
        return torch.ones_like(x)


motion = torchsde.BrownianInterval(0.0, 2.0, size=(PATHS, 1), dtype=torch.float64, entropy=0)
start, times = torch.zeros(PATHS, 1, dtype=torch.float64), torch.tensor([0.0, *TIMES], dtype=torch.float64)
points = torchsde.sdeint(Brownian(), start, times, bm=motion, dt=STEP, method="euler")[1:, :, 0].numpy()

tree = diffrax.VirtualBrownianTree(
    0.0, 2.0, 2.0**-10, jax.ShapeDtypeStruct((PATHS,), jnp.float64), jax.random.key(0)
)
noise = diffrax.ControlTerm(lambda t, x, args: lineax.DiagonalLinearOperator(jnp.ones_like(x)), tree)
terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, x, args: 0 * x), noise)
kept = diffrax.SaveAt(ts=jnp.array(TIMES))
found = diffrax.diffeqsolve(terms, diffrax.Euler(), 0.0, 2.0, STEP, jnp.zeros(PATHS), saveat=kept)

print("variance over time at t = " + ", ".join(map(str, TIMES)))
for library, ends in (("torchsde", points), ("Diffrax", found.ys)):
    print(library + ": " + ", ".join(f"{float((x**2).mean()) / t:.2f}" for t, x in zip(TIMES, ends)))
PYTHON
expected="variance over time at t = 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0
torchsde: 0.25, 0.50, 0.75, 1.00, 0.86, 0.84, 0.90, 1.00
Diffrax: 0.25, 0.50, 0.75, 1.00, 0.85, 0.84, 0.90, 1.01"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
