#!/usr/bin/env bash
# stochastic 0.6.0 (0.7.0, for Pythons before 3.11, does the same): the Brownian part of VarianceGammaProcess has variance
# sigma^2 t^2/n in n steps, not sigma^2 t: it vanishes as the steps get finer, and its rng is not used. InverseGaussianProcess
# has half of its variance in fine steps, and in one step an eighth of its mean.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install numpy==1.26.4 scipy==1.14.1 stochastic==0.6.0
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import stochastic
from scipy.stats import skew
from stochastic.processes.continuous import BrownianMotion, GammaProcess, InverseGaussianProcess, VarianceGammaProcess

laws = {
    BrownianMotion: ({}, 0, 4, 0),
    GammaProcess: ({"mean": 1, "variance": 1}, 4, 4, 1),
    VarianceGammaProcess: ({"drift": 0, "variance": 1, "scale": 1}, 0, 4, 0),
    InverseGaussianProcess: ({}, 4, 4, 1.5),
}
print("at time 4: mean, variance, skewness of the law; of 4000 paths in 1, 10 and 400 steps")
for process, (options, *moments) in laws.items():
    seen = []
    for steps in (1, 10, 400):
        stochastic.random.seed(0)
        made = process(t=4, rng=np.random.default_rng(0), **options)
        ends = np.array([made.sample(steps)[-1] for _ in range(4000)])
        seen.append(f"{abs(ends.mean()):.1f}, {ends.var():.2g}, {abs(skew(ends)):.1f}")
    print(f"{process.__name__}: {', '.join(map(str, moments))}; {'; '.join(seen)}")
for process, (options, *_) in laws.items():
    one, other = (process(t=4, rng=np.random.default_rng(0), **options).sample(10) for _ in range(2))
    print(f"{process.__name__}: the same rng, {'the same path' if (one == other).all() else 'another path'}")
PYTHON
expected="at time 4: mean, variance, skewness of the law; of 4000 paths in 1, 10 and 400 steps
BrownianMotion: 0, 4, 0; 0.0, 4, 0.0; 0.0, 4, 0.0; 0.0, 4, 0.0
GammaProcess: 4, 4, 1; 4.0, 4.1, 1.0; 4.0, 4.1, 1.0; 4.0, 4, 1.0
VarianceGammaProcess: 0, 4, 0; 0.1, 16, 0.0; 0.0, 1.6, 0.0; 0.0, 0.041, 0.1
InverseGaussianProcess: 4, 4, 1.5; 0.5, 0.21, 2.2; 3.0, 2.7, 3.1; 4.0, 1.9, 1.1
BrownianMotion: the same rng, the same path
GammaProcess: the same rng, the same path
VarianceGammaProcess: the same rng, another path
InverseGaussianProcess: the same rng, the same path"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
