#!/usr/bin/env bash
# fplanck 1.0.2: a force beside a potential, be it 0, doubles the diffusion, since the rates of both are added, each with all
# of the noise in it: the law at rest in x^2/2 at temperature 1 has variance 2, not 1. gaussian_pdf(center, width) is
# exp(-(x - center)^2 / width^2), of variance width^2 / 2; and propagate_interval(dt=0.1) stops every 0.111.
#
# Installs pinned public packages in a temporary folder (fplanck wants Python 3.12: PYTHON=python3.12); fails if the behaviour
# is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install fplanck==1.0.2 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
from fplanck.functions import gaussian_pdf
from fplanck.solver import FokkerPlanck
from scipy import constants

settings = {"temperature": 1 / constants.k, "drag": 1.0, "extent": 16.0, "resolution": 0.1}


def potential(x):
    return x**2 / 2


def variance(pdf, solver):
    x = solver.grid[0]
    return ((pdf * x**2).sum() - (pdf * x).sum() ** 2) / pdf.sum()


alone = FokkerPlanck(potential=potential, **settings)
both = FokkerPlanck(potential=potential, force=lambda x: 0 * x, **settings)
half = FokkerPlanck(potential=lambda x: x**2 / 4, force=lambda x: -x / 2, **settings)
for name, solver in (("potential x^2/2", alone), ("and force 0", both), ("potential x^2/4, force -x/2", half)):
    print(f"{name}: variance at rest {variance(solver.steady_state(), solver):.2f}")
start = gaussian_pdf(0.0, 1.0)
print(f"gaussian_pdf of width 1: variance {variance(start(*alone.grid), alone):.2f}")
times, _ = alone.propagate_interval(start, tf=1.0, dt=0.1)
print(f"propagate_interval(tf=1.0, dt=0.1): times {', '.join(f'{time:.3f}' for time in times)}")
PYTHON
expected="potential x^2/2: variance at rest 1.00
and force 0: variance at rest 2.00
potential x^2/4, force -x/2: variance at rest 2.00
gaussian_pdf of width 1: variance 0.50
propagate_interval(tf=1.0, dt=0.1): times 0.000, 0.111, 0.222, 0.333, 0.444, 0.556, 0.667, 0.778, 0.889, 1.000"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
