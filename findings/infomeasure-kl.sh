#!/usr/bin/env bash
# infomeasure 0.6.3: kld(p, q, approach="metric") of samples of unequal sizes is far off, and depends on their unit: the sum
# over the draws of p is divided by the number of those of q. approach="kernel" leaves out draws of p where q has density 0, so
# that laws far apart have a negative divergence, and the bandwidth of kernel="gaussian" is in deviations of the sample, that of
# "box" in the data's unit. approach="renyi" is no divergence but a difference of two entropies, negative for a narrower q.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install infomeasure==0.6.3 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import infomeasure as im
import numpy as np


def draws(mean, deviation, count, seed):
    return mean + deviation * np.random.default_rng(seed).normal(size=count)


print("KL of N(0, 1) and N(1, 1), draws of each, unit: true, metric, renyi of order 1 (the same neighbours)")
for n, m in ((2000, 2000), (2200, 2000), (4000, 2000), (2000, 4000)):
    for unit in (1, 1000):
        p, q = unit * draws(0, 1, n, 0), unit * draws(1, 1, m, 1)
        found = im.kld(p, q, approach="metric", k=4), im.kld(p, q, approach="renyi", alpha=1.0, k=4)
        print(f"{n} and {m}, {unit}: 0.50, {found[0]:.2f}, {found[1]:.2f}")

print("KL of N(0, 1) and N(shift, 1): true, by kernels of bandwidth 0.5")
for shift in (0, 1, 4, 8, 100):
    p, q = draws(0, 1, 2000, 0), draws(shift, 1, 2000, 1)
    found = [im.kld(p, q, approach="kernel", kernel=kernel, bandwidth=0.5) for kernel in ("box", "gaussian")]
    print(f"{shift}: {shift**2 / 2:.2f}, box {found[0]:.2f}, gaussian {found[1]:.2f}")

print("unit: entropy of N(0, unit^2), by kernels of bandwidth unit/2")
for unit in (0.01, 1, 100):
    p = unit * draws(0, 1, 2000, 0)
    found = [im.entropy(p, approach="kernel", kernel=kernel, bandwidth=unit / 2) for kernel in ("box", "gaussian")]
    print(f"{unit}: {np.log(2 * np.pi * np.e) / 2 + np.log(unit):.2f}, box {found[0]:.2f}, gaussian {found[1]:.2f}")

# Renyi's divergence of order 2 of N(0, 1) from N(0, s^2) has a closed form where 2 s^2 > 1.
print("Renyi's divergence of order 2 of N(0, 1) from N(0, s^2): true, kld by renyi")
for s in (0.8, 2):
    found = im.kld(draws(0, 1, 4000, 0), draws(0, s, 4000, 1), approach="renyi", alpha=2.0, k=4)
    print(f"s = {s}: {np.log(s) + np.log(s**2 / (2 * s**2 - 1)) / 2:.2f}, {found:.2f}")
PYTHON
expected="KL of N(0, 1) and N(1, 1), draws of each, unit: true, metric, renyi of order 1 (the same neighbours)
2000 and 2000, 1: 0.50, 0.50, 0.50
2000 and 2000, 1000: 0.50, 0.50, 0.50
2200 and 2000, 1: 0.50, 0.07, 0.51
2200 and 2000, 1000: 0.50, 0.76, 0.51
4000 and 2000, 1: 0.50, -3.93, 0.50
4000 and 2000, 1000: 0.50, 2.97, 0.50
2000 and 4000, 1: 0.50, 3.05, 0.49
2000 and 4000, 1000: 0.50, -0.40, 0.49
KL of N(0, 1) and N(shift, 1): true, by kernels of bandwidth 0.5
0: 0.00, box 0.00, gaussian 0.00
1: 0.50, box 0.46, gaussian 0.41
4: 8.00, box 0.95, gaussian 7.00
8: 32.00, box -1.42, gaussian 47.96
100: 5000.00, box -1.42, gaussian -1.43
unit: entropy of N(0, unit^2), by kernels of bandwidth unit/2
0.01: -3.19, box -3.19, gaussian -3.34
1: 1.42, box 1.42, gaussian 1.43
100: 6.02, box 6.02, gaussian 9.44
Renyi's divergence of order 2 of N(0, 1) from N(0, s^2): true, kld by renyi
s = 0.8: 0.19, -0.10
s = 2: 0.41, 0.45"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
