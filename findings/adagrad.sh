#!/usr/bin/env bash
# torch 2.13.0, Optax 0.2.8, NumPyro 0.22.0: three moves of AdaGrad by their defaults with learning rate 0.1, always the same
# gradient. Optax starts its sum of squares at 0.1, so that small gradients make small moves; NumPyro's has a momentum of 0.9
# that the others have not, so that moves grow. RMSProp's first is 10 learning rates in torch, 3.16 in the others. Adam's are
# alike.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 optax==0.2.8 numpyro==0.22.0 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpyro
import optax
import torch

jax.config.update("jax_enable_x64", True)
RATE, STEPS = 0.1, 3


def torch_moves(kind, gradient):
    point = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimiser, places = kind([point], lr=RATE), [0.0]
    for _ in range(STEPS):
        point.grad = torch.full_like(point, gradient)
        optimiser.step()
        places.append(point.item())
    return places


def optax_moves(optimiser, gradient):
    point, places = jnp.zeros(1), [0.0]
    state = optimiser.init(point)
    for _ in range(STEPS):
        update, state = optimiser.update(jnp.full(1, gradient), state, point)
        point = optax.apply_updates(point, update)
        places.append(float(point[0]))
    return places


def numpyro_moves(optimiser, gradient):
    state, places = optimiser.init(jnp.zeros(1)), [0.0]
    for _ in range(STEPS):
        state = optimiser.update(jnp.full(1, gradient), state)
        places.append(float(optimiser.get_params(state)[0]))
    return places


def shown(places):
    return ", ".join(f"{before - after:.5f}" for before, after in zip(places, places[1:]))


for gradient in (1.0, 0.01):
    print(f"AdaGrad, gradient {gradient:g}: torch {shown(torch_moves(torch.optim.Adagrad, gradient))}", end="; ")
    print(f"Optax {shown(optax_moves(optax.adagrad(RATE), gradient))}", end="; ")
    print(f"NumPyro {shown(numpyro_moves(numpyro.optim.Adagrad(RATE), gradient))}")
print(f"RMSProp, gradient 1: torch {shown(torch_moves(torch.optim.RMSprop, 1.0))}", end="; ")
print(f"Optax {shown(optax_moves(optax.rmsprop(RATE), 1.0))}", end="; ")
print(f"NumPyro {shown(numpyro_moves(numpyro.optim.RMSProp(RATE), 1.0))}")
print(f"Adam, gradient 1: torch {shown(torch_moves(torch.optim.Adam, 1.0))}", end="; ")
print(f"Optax {shown(optax_moves(optax.adam(RATE), 1.0))}", end="; ")
print(f"NumPyro {shown(numpyro_moves(numpyro.optim.Adam(RATE), 1.0))}")
PYTHON
expected="AdaGrad, gradient 1: torch 0.10000, 0.07071, 0.05774; Optax 0.09535, 0.06901, 0.05680; NumPyro 0.01000, 0.01607, 0.02024
AdaGrad, gradient 0.01: torch 0.10000, 0.07071, 0.05774; Optax 0.00316, 0.00316, 0.00316; NumPyro 0.01000, 0.01607, 0.02024
RMSProp, gradient 1: torch 1.00000, 0.70888, 0.58025; Optax 0.31623, 0.22942, 0.19209; NumPyro 0.31623, 0.22942, 0.19209
Adam, gradient 1: torch 0.10000, 0.10000, 0.10000; Optax 0.10000, 0.10000, 0.10000; NumPyro 0.10000, 0.10000, 0.10000"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
