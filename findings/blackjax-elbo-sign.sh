#!/usr/bin/env bash
# BlackJAX 1.7.1: the elbo of meanfield_vi and fullrank_vi is what they minimise, the mean of log q - log p, so that it ends at
# minus the log-evidence; pathfinder's elbo, of the same description, ends at the log-evidence. And init(position) of the two
# takes the shape of the position alone: they begin at 0.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install \
    blackjax==1.7.1 jax==0.10.2 numpy==2.4.6 optax==0.2.8 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import blackjax
import jax
import jax.numpy as jnp
import optax
from jax.scipy.stats import norm

jax.config.update("jax_enable_x64", True)


def logdensity(x):
    return jnp.log(5.0) + norm.logpdf(x["x"], 2.0, 0.5)


print(f"log-evidence {float(jnp.log(5.0)):.3f}")
for name in ("meanfield_vi", "fullrank_vi"):
    method = getattr(blackjax, name)(logdensity, optax.adam(0.01), 100)
    state = method.init({"x": jnp.array(10.0)})
    print(f"{name}: starts at {float(state.mu['x']):g} where 10 is asked for")
    step = jax.jit(method.step)
    for key in jax.random.split(jax.random.key(0), 3000):
        state, info = step(key, state)
    print(f"{name}: elbo {float(info.elbo):.3f} of N({float(state.mu['x']):.1f}, ...) after 3000 steps")
state, _ = blackjax.vi.pathfinder.approximate(jax.random.key(0), logdensity, {"x": jnp.array(10.0)})
print(f"pathfinder: elbo {float(state.elbo):.3f}")
PYTHON
expected="log-evidence 1.609
meanfield_vi: starts at 0 where 10 is asked for
meanfield_vi: elbo -1.609 of N(2.0, ...) after 3000 steps
fullrank_vi: starts at 0 where 10 is asked for
fullrank_vi: elbo -1.609 of N(2.0, ...) after 3000 steps
pathfinder: elbo 1.609"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
