#!/usr/bin/env bash
# deeptime 0.4.5: ornstein_uhlenbeck(), by its documentation dX = -X dt + (2/beta)^(1/2) dW with beta = 4, has noise of size
# beta^(-1/2), and rests at variance 1/8, not 1/4. double_well_2d(temperature_factor=kT, mass=m, damping=d) rests at
# temperature kT/(4 m d): its noise is (kT/(2 m d))^(1/2), its drift knows neither m nor d. prinz_potential, of the same
# arguments, rests at kT.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install deeptime==0.4.5 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import numpy as np
from deeptime.data import double_well_2d, ornstein_uhlenbeck, prinz_potential


def at_rest(system, start):
    paths = system.trajectory(np.tile(start, (1000, 1)), 30, seed=1, n_jobs=1)
    return paths[:, 10:].reshape(-1, len(start))


# The law at rest has density exp(-V / temperature), so that variances tell the temperature, of x in V = x^2/2 and of y in
# the double well's V = (x^2 - 1)^2 + y^2.
flow = at_rest(ornstein_uhlenbeck(n_steps=1000), [0.0])
print(f"ornstein_uhlenbeck: inverse temperature {1 / flow.var():.0f}")

x = np.linspace(-1.8, 1.8, 4001)
humps = 0.8 * np.exp(-80 * x**2) + 0.2 * np.exp(-80 * (x - 0.5) ** 2) + 0.5 * np.exp(-40 * (x + 0.5) ** 2)
potential = 4 * (x**8 + humps)


def mean_square(temperature):
    density = np.exp(-potential / temperature)
    return (x**2 * density).sum() / density.sum()


law = ", ".join(f"{mean_square(temperature):.2f} at temperature {temperature:g}" for temperature in (0.5, 1, 2))
print(f"prinz_potential: mean squares of the law {law}")
for arguments in ({}, {"temperature_factor": 2.0}, {"mass": 2.0}):
    options = ", ".join(f"{name}={value:g}" for name, value in arguments.items())
    wells = at_rest(double_well_2d(n_steps=1000, **arguments), [1.0, 0.0])
    print(f"double_well_2d({options}): inverse temperature {1 / (2 * wells[:, 1].var()):.0f}")
    prinz = at_rest(prinz_potential(h=1e-4, n_steps=1000, **arguments), [0.6])
    print(f"prinz_potential({options}): mean square {(prinz**2).mean():.2f}")
PYTHON
expected="ornstein_uhlenbeck: inverse temperature 8
prinz_potential: mean squares of the law 0.23 at temperature 0.5, 0.27 at temperature 1, 0.31 at temperature 2
double_well_2d(): inverse temperature 4
prinz_potential(): mean square 0.27
double_well_2d(temperature_factor=2): inverse temperature 2
prinz_potential(temperature_factor=2): mean square 0.31
double_well_2d(mass=2): inverse temperature 8
prinz_potential(mass=2): mean square 0.27"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
