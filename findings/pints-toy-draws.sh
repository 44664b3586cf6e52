#!/usr/bin/env bash
# PINTS 0.6.1: sample() of three of its toy laws does not draw from their densities, so that perfect samples are at a distance
# from the truth. AnnulusLogPDF draws radii from N(r0, sigma), without the r^(d-1) of d dimensions; ConeLogPDF interpolates its
# distribution function between 100 points, too wide; and x1 of TwistedGaussianLogPDF, by its documentation of variance V = 100,
# has variance V^2 in density, sample and distance alike. Its gradient is right for V = 100 alone.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install matplotlib==3.11.2 numpy==2.4.6 pints==0.6.1 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
import pints.toy as toy

print("law: mean and variance of |x| by integrals of the density, by sample(), distance() of that sample")
r = np.linspace(1e-6, 60, 600001)
for law in (toy.AnnulusLogPDF(2), toy.AnnulusLogPDF(10), toy.AnnulusLogPDF(50), toy.ConeLogPDF(2, 1), toy.ConeLogPDF(2, 2)):
    d = law.n_parameters()
    along = np.zeros((2, d))
    along[:, 0] = 1.0, 2.0
    if isinstance(law, toy.AnnulusLogPDF):
        logs = -((r - law.r0()) ** 2) / (2 * law.sigma() ** 2)
        options = f"dimensions={d}"
        step = ((1 - law.r0()) ** 2 - (2 - law.r0()) ** 2) / 2
    else:
        logs = -(r ** law.beta())
        options = f"dimensions={d}, beta={law.beta():g}"
        step = 1 - 2 ** law.beta()
    assert np.isclose(law(along[1]) - law(along[0]), step)
    logs += (d - 1) * np.log(r)
    density = np.exp(logs - logs.max())
    density /= density.sum()
    mean = density @ r
    np.random.seed(0)
    draws = law.sample(50000)
    radii = np.linalg.norm(draws, axis=1)
    truth = f"{mean:.1f}, {density @ (r - mean) ** 2:.2f}"
    print(f"{type(law).__name__}({options}): {truth}; {radii.mean():.1f}, {radii.var():.2f}; {law.distance(draws):.1f}")

law = toy.TwistedGaussianLogPDF(dimension=2)
np.random.seed(0)
deviation = law.sample(50000)[:, 0].std()
fall = law([0.0, 10.0]) - law([10.0, 0.0])
print(f"TwistedGaussianLogPDF: deviation of x1 {deviation:.0f}; one documented deviation out, log-density falls by {fall:.3f}")
for V in (100, 25):
    law = toy.TwistedGaussianLogPDF(dimension=2, V=V)
    # Along the ridge of the banana nothing but x1's own part changes.
    ridge = [[x, -0.1 * (x**2 - V)] for x in (9.9, 10.1)]
    slope = (law(ridge[1]) - law(ridge[0])) / 0.2
    stated = law.evaluateS1([10.0, -0.1 * (100 - V)])[1][0]
    print(f"V = {V}: slope of the log-density {slope:.4f}, gradient {stated:.4f}")
PYTHON
expected="law: mean and variance of |x| by integrals of the density, by sample(), distance() of that sample
AnnulusLogPDF(dimensions=2): 10.1, 0.99; 10.0, 0.99; 0.1
AnnulusLogPDF(dimensions=10): 10.8, 0.93; 10.0, 0.99; 0.9
AnnulusLogPDF(dimensions=50): 13.6, 0.79; 10.0, 0.99; 3.8
ConeLogPDF(dimensions=2, beta=1): 2.0, 2.00; 2.0, 2.26; 0.3
ConeLogPDF(dimensions=2, beta=2): 0.9, 0.21; 0.9, 0.31; 0.1
TwistedGaussianLogPDF: deviation of x1 100; one documented deviation out, log-density falls by 0.005
V = 100: slope of the log-density -0.0010, gradient -0.0010
V = 25: slope of the log-density -0.0160, gradient -0.0040"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
