#!/usr/bin/env bash
# POT 0.9.7.post1, OTT 0.6.0, geomloss 0.3.1: one entropic transport problem, squared distances, regularisation 1. The cost is
# <P, C> in ot.sinkhorn2, with KL(P, product of the weights) in ot.solve and OTT, half of that in geomloss, and with the sum of
# P log P in ot.solve(reg_type="entropy"). So the Sinkhorn divergence of the same samples is another one in POT, of <P, C>,
# than in OTT and geomloss.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install POT==0.9.7.post1 ott-jax==0.6.0 geomloss==0.3.1 torch==2.13.0 jax==0.10.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import jax
import jax.numpy as jnp
import numpy as np
import ot
import torch
from geomloss import SamplesLoss
from ott.geometry.pointcloud import PointCloud
from ott.solvers import linear
from ott.tools.sinkhorn_divergence import sinkdiv

jax.config.update("jax_enable_x64", True)
x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[1.0], [2.0], [6.0]])
cost, weights, exactly = ot.dist(x, y), np.full(3, 1 / 3), {"threshold": 1e-12, "max_iterations": 10_000}
by_pot = {"numItermax": 10_000, "stopThr": 1e-12}


def geomloss(regularisation, **settings):
    # Its cost is half the squared distance, and so is its regularisation, blur^2.
    loss = SamplesLoss("sinkhorn", p=2, blur=(regularisation / 2) ** 0.5, scaling=0.99, **settings)
    return float(loss(torch.tensor(x), torch.tensor(y)))


plan = ot.sinkhorn(weights, weights, cost, 1.0, **by_pot)
entropy, divergence = -(plan * np.log(plan)).sum(), (plan * np.log(plan / np.outer(weights, weights))).sum()
print(f"<P, C> {(plan * cost).sum():.3f}, with KL {(plan * cost).sum() + divergence:.3f}", end=", ")
print(f"less the entropy {(plan * cost).sum() - entropy:.3f}")
print(f"POT: sinkhorn2 {ot.sinkhorn2(weights, weights, cost, 1.0, **by_pot):.3f}", end=", ")
solved = [ot.solve(cost, reg=1.0, reg_type=kind, max_iter=10_000, tol=1e-12).value for kind in ("KL", "entropy")]
print(f"solve {solved[0]:.3f}, reg_type='entropy' {solved[1]:.3f}")
cloud = PointCloud(jnp.array(x), jnp.array(y), epsilon=1.0)
print(f"OTT: reg_ot_cost {float(linear.solve(cloud, **exactly).reg_ot_cost):.3f}")
print(f"geomloss: debias=False {geomloss(1.0, debias=False):.3f}")
print(f"divergence at 10: POT {ot.bregman.empirical_sinkhorn_divergence(x, y, 10.0, numIterMax=10_000, stopThr=1e-12):.3f}", end=", ")
print(f"OTT {float(sinkdiv(jnp.array(x), jnp.array(y), epsilon=10.0, solve_kwargs=exactly)[0]):.3f}", end=", ")
print(f"geomloss {geomloss(10.0):.3f}")
PYTHON
expected="<P, C> 3.847, with KL 4.556, less the entropy 2.359
POT: sinkhorn2 3.847, solve 4.556, reg_type='entropy' 2.359
OTT: reg_ot_cost 4.556
geomloss: debias=False 2.278
divergence at 10: POT 4.037, OTT 3.578, geomloss 1.789"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
