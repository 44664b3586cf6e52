#!/usr/bin/env bash
# torch 2.13.0, NumPy 2.4.6, JAX 0.10.2: normal draws of one seed in float32 are not those in float64 rounded, but others, which
# have nothing to do with them; in torch they are the same ones up to 15 draws. And 100 draws begin 1000 of the seed in NumPy
# and JAX, not in torch.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install torch==2.13.0 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
import torch

jax.config.update("jax_enable_x64", True)


def by_torch(count, dtype):
    return torch.randn(count, dtype=getattr(torch, dtype), generator=torch.Generator().manual_seed(0)).numpy()


def by_numpy(count, dtype):
    return np.random.default_rng(0).standard_normal(count, dtype=dtype)


def by_jax(count, dtype):
    return np.asarray(jax.random.normal(jax.random.key(0), (count,), dtype=getattr(jnp, dtype)))


print("largest difference of float32 and float64 draws, their correlation, and whether 100 draws begin 1000")
for library, draws in (("torch", by_torch), ("NumPy", by_numpy), ("JAX", by_jax)):
    for count in (15, 1000):
        single, double = draws(count, "float32").astype(float), draws(count, "float64")
        apart, together = np.abs(single - double).max(), np.corrcoef(single, double)[0, 1]
        print(f"{library}, {count} draws: {apart:.1f}, {together:.2f}", end="; ")
    print(np.array_equal(draws(100, "float32"), draws(1000, "float32")[:100]))
PYTHON
expected="largest difference of float32 and float64 draws, their correlation, and whether 100 draws begin 1000
torch, 15 draws: 0.0, 1.00; torch, 1000 draws: 4.9, -0.01; False
NumPy, 15 draws: 3.1, -0.45; NumPy, 1000 draws: 5.1, 0.00; True
JAX, 15 draws: 2.8, 0.19; JAX, 1000 draws: 5.1, -0.03; True"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
