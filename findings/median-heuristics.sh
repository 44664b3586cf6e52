#!/usr/bin/env bash
# BlackJAX 1.3 and NumPyro 0.22.0: "the median heuristic" of Stein variational gradient descent for the same four particles,
# in exp(-|x-y|^2/h), is h = m^2/log n in both, but m is the median distance of distinct pairs in BlackJAX and of all n^2
# pairs, those of a particle with itself too, in NumPyro (the mean of the middle two before it is squared). BlackJAX starts
# with h = 1 all the same, whatever the particles are: the heuristic comes in after a step.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install blackjax==1.3 numpyro==0.22.0 optax==0.2.8 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
import optax
from blackjax.vi import svgd
from numpyro.contrib.einstein import RBFKernel

jax.config.update("jax_enable_x64", True)
particles = jnp.array([[0.0], [1.0], [3.0], [7.0]])
start = svgd.as_top_level_api(lambda x: -x, optax.sgd(1.0)).init(particles)
print(f"BlackJAX: at first {start.kernel_parameters['length_scale']:.4f}", end=", ")
print(f"then {float(svgd.update_median_heuristic(start).kernel_parameters['length_scale']):.4f}")
kernel = RBFKernel().compute(None, particles, None, lambda x: 0.0)
print(f"NumPyro: {-1 / np.log(float(kernel(particles[0], particles[1]))):.4f}")
distances = np.abs(np.subtract.outer(*[np.asarray(particles)[:, 0]] * 2))
print(f"distinct pairs {np.median(distances[np.triu_indices(4, 1)]) ** 2 / np.log(4):.4f}", end=", ")
print(f"all pairs {np.median(distances) ** 2 / np.log(4):.4f}")
PYTHON
expected="BlackJAX: at first 1.0000, then 8.8365
NumPyro: 4.5084
distinct pairs 8.8365, all pairs 4.5084"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
