#!/usr/bin/env bash
# filterpy 2.0.0 and its fork bayesian-filters 1.4.5: residual_resample keeps no particle of less than 1/N, and draws the rest
# from those that have copies already: it draws in proportion to w - floor(N w), not N w - floor(N w), where the sum and all but
# the light ones are negative. Means and variances of what is left are those of another law.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install \
    bayesian-filters==1.4.5 filterpy==2.0.0 matplotlib==3.11.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import bayesian_filters.monte_carlo
import filterpy.monte_carlo
import numpy as np

weights = np.array([0.5, 0.3, 0.15, 0.05])
names = ("residual_resample", "systematic_resample", "multinomial_resample")
print(f"copies expected of weights {weights}: {4 * weights}")
for kit in (filterpy.monte_carlo, bayesian_filters.monte_carlo):
    for name in names:
        np.random.seed(0)
        copies = np.mean([np.bincount(getattr(kit, name)(weights), minlength=4) for _ in range(20000)], axis=0)
        print(f"{kit.__name__.split('.')[0]} {name}: {', '.join(f'{count:.1f}' for count in copies)}")

# Draws of N(0, 1), weighted by the likelihood of N(x, 1) at 1, stand for N(0.5, 0.5).
x = np.random.default_rng(0).normal(size=100000)
w = np.exp(-((x - 1) ** 2) / 2)
w /= w.sum()
mean = w @ x
print(f"posterior: mean 0.50 and variance 0.50; of the weighted draws {mean:.2f} and {w @ (x - mean) ** 2:.2f}")
for name in names:
    kept = x[getattr(filterpy.monte_carlo, name)(w)]
    print(f"{name}: {kept.mean():.2f} and {kept.var():.2f}, from {kept.min():.1f} to {kept.max():.1f}")
PYTHON
expected="copies expected of weights [0.5  0.3  0.15 0.05]: [2.  1.2 0.6 0.2]
filterpy residual_resample: 2.8, 1.2, 0.0, 0.0
filterpy systematic_resample: 2.0, 1.2, 0.6, 0.2
filterpy multinomial_resample: 2.0, 1.2, 0.6, 0.2
bayesian_filters residual_resample: 2.8, 1.2, 0.0, 0.0
bayesian_filters systematic_resample: 2.0, 1.2, 0.6, 0.2
bayesian_filters multinomial_resample: 2.0, 1.2, 0.6, 0.2
posterior: mean 0.50 and variance 0.50; of the weighted draws 0.50 and 0.50
residual_resample: 0.68 and 0.28, from -0.1 to 2.1
systematic_resample: 0.50 and 0.50, from -2.6 to 3.6
multinomial_resample: 0.50 and 0.50, from -2.4 to 3.6"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
