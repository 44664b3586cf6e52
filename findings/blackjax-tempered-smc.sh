#!/usr/bin/env bash
# BlackJAX 1.7.1: tempered_smc weights its particles after it has moved them, so that at the end, tempering_param 1, they are
# those of the temperature before, and only their weights make the posterior of them, here N(1.5, 0.5). A last step at 1 again
# resamples and moves them.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install blackjax==1.7.1 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import blackjax
import jax
import jax.numpy as jnp
from blackjax.smc import extend_params
from blackjax.smc.resampling import systematic

jax.config.update("jax_enable_x64", True)
sampler = blackjax.tempered_smc(
    lambda x: -0.5 * jnp.sum(x**2),
    lambda x: -0.5 * jnp.sum((x - 3) ** 2),
    blackjax.hmc.build_kernel(),
    blackjax.hmc.init,
    extend_params({"step_size": 0.4, "inverse_mass_matrix": jnp.eye(1), "num_integration_steps": 5}),
    systematic,
    num_mcmc_steps=10,
)
step = jax.jit(sampler.step)
print("temperatures: tempering_param, mean of the particles, mean with their weights")
for temperatures in ((0.5, 1.0), (0.25, 0.5, 0.75, 1.0), (0.5, 1.0, 1.0)):
    keys = jax.random.split(jax.random.key(0), len(temperatures) + 1)
    state = sampler.init(jax.random.normal(keys[0], (20_000, 1)))
    for key, temperature in zip(keys[1:], temperatures):
        state, _ = step(key, state, temperature)
    x = state.particles[:, 0]
    print(f"{temperatures}: {float(state.tempering_param):g}, {float(x.mean()):.1f}, {float(state.weights @ x):.1f}")
PYTHON
expected="temperatures: tempering_param, mean of the particles, mean with their weights
(0.5, 1.0): 1, 1.0, 1.5
(0.25, 0.5, 0.75, 1.0): 1, 1.3, 1.5
(0.5, 1.0, 1.0): 1, 1.5, 1.5"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
