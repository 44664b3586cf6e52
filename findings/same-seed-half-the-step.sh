#!/usr/bin/env bash
# torchsde 0.2.6 and Diffrax 0.7.2: with the same seed, a run of half the step sees another Brownian path. Root mean squares of
# X_1 at step h less X_1 at h/2, for dX = -X dt + dW by Euler's scheme, h = 1/8, 1/16, 1/32, halve with h if the path is the
# same, and do not with one entropy in two BrownianIntervals of torchsde (they share the end alone), nor with one
# UnsafeBrownianPath of Diffrax, even the same object. They do with one BrownianInterval object, and with Diffrax's
# VirtualBrownianTree.
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
PATHS = 4000


class Flow:
    noise_type, sde_type = "diagonal", "ito"

    def f(self, t, x):
        return -x

    def g(self, t, x):
        return torch.ones_like(x)


def motion(entropy=7):
    return torchsde.BrownianInterval(0.0, 1.0, size=(PATHS, 1), dtype=torch.float64, entropy=entropy)


def by_torchsde(step, brownian):
    start, times = torch.zeros(PATHS, 1, dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    return torchsde.sdeint(Flow(), start, times, bm=brownian, dt=step, method="euler")[-1].numpy()


def by_diffrax(step, brownian):
    noise = diffrax.ControlTerm(lambda t, x, args: lineax.DiagonalLinearOperator(jnp.ones_like(x)), brownian)
    terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, x, args: -x), noise)
    return diffrax.diffeqsolve(
        terms, diffrax.Euler(), 0.0, 1.0, step, jnp.zeros(PATHS), adjoint=diffrax.ForwardMode()
    ).ys[-1]


def errors(ends):
    return ", ".join(f"{float(((ends(h) - ends(h / 2)) ** 2).mean() ** 0.5):.3f}" for h in (1 / 8, 1 / 16, 1 / 32))


shape, one = jax.ShapeDtypeStruct((PATHS,), jnp.float64), motion()
tree = diffrax.VirtualBrownianTree(0.0, 1.0, 2.0**-10, shape, jax.random.key(0))
unsafe = diffrax.UnsafeBrownianPath(shape, jax.random.key(0))
print(f"torchsde, the same entropy: {errors(lambda h: by_torchsde(h, motion()))}")
print(f"torchsde, the same object: {errors(lambda h: by_torchsde(h, one))}")
print(f"Diffrax, UnsafeBrownianPath: {errors(lambda h: by_diffrax(h, unsafe))}")
print(f"Diffrax, VirtualBrownianTree: {errors(lambda h: by_diffrax(h, tree))}")
PYTHON
expected="torchsde, the same entropy: 0.111, 0.104, 0.104
torchsde, the same object: 0.027, 0.013, 0.006
Diffrax, UnsafeBrownianPath: 0.955, 0.948, 0.943
Diffrax, VirtualBrownianTree: 0.027, 0.013, 0.006"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
