#!/usr/bin/env bash
# hyppo 0.5.2: the statistic of MMD is not MMD^2, nor that by a fixed factor, as its documentation says, but a correlation
# (Hsic) times 2 n^2 m^2 / (n + m)^4: at most 1/8 however far apart, less where n and m differ, and of two pairs of samples the
# nearer may have the larger one. Energy(bias=True) is (8 energy distance)^(1/2) where n = m, Energy() has no root.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install hyppo==0.5.2 numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from hyppo.ksample import MMD, Energy


def kernel(x, y):
    return np.exp(-((x - y.T) ** 2) / 2)


def squared_mmd(x, y):
    n, m = len(x), len(y)
    own = (kernel(x, x).sum() - n) / (n * (n - 1)) + (kernel(y, y).sum() - m) / (m * (m - 1))
    return own - 2 * kernel(x, y).mean()


print("laws, draws: MMD^2 without pairs of a draw with itself, MMD(gamma=0.5)")
for width, shift, n, m in ((1, 100, 200, 200), (1, 100, 200, 50), (1, 100, 200, 20), (0.1, 0.5, 200, 200), (1, 1.5, 200, 200)):
    generator = np.random.default_rng(0)
    x, y = width * generator.normal(size=(n, 1)), shift + width * generator.normal(size=(m, 1))
    figures = f"{squared_mmd(x, y):.3f}, {MMD(gamma=0.5).statistic(x, y):.3f}"
    print(f"N(0, {width}^2) and N({shift}, {width}^2), {n} and {m}: {figures}")

x, y = (np.array(values, dtype=float)[:, None] for values in ((0, 1, 3), (1, 2, 6)))
true = 2 * abs(x - y.T).mean() - abs(x - x.T).mean() - abs(y - y.T).mean()
print("units: energy distance of (0, 1, 3) and (1, 2, 6), Energy(bias=True), Energy()")
for unit in (1, 100):
    biased, unbiased = (Energy(bias=bias).statistic(unit * x, unit * y) for bias in (True, False))
    print(f"{unit}: {unit * true:.4f}, {biased:.4f}, {unbiased:.4f}")
PYTHON
expected="laws, draws: MMD^2 without pairs of a draw with itself, MMD(gamma=0.5)
N(0, 1^2) and N(100, 1^2), 200 and 200: 1.165, 0.101
N(0, 1^2) and N(100, 1^2), 200 and 50: 1.092, 0.030
N(0, 1^2) and N(100, 1^2), 200 and 20: 1.127, 0.005
N(0, 0.1^2) and N(0.5, 0.1^2), 200 and 200: 0.219, 0.109
N(0, 1^2) and N(1.5, 1^2), 200 and 200: 0.306, 0.033
units: energy distance of (0, 1, 3) and (1, 2, 6), Energy(bias=True), Energy()
1: 1.1111, 2.9814, -1.0667
100: 111.1111, 29.8142, -106.6667"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
