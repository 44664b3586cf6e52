#!/usr/bin/env bash
# FiPy 4.0.3, its defaults: a density that follows dX = -X dt + sqrt(2) dW does not move at all in steps of 1e-5, however
# many; in steps of 1e-4 it does. The linear solver, the direct one too, is asked for a residual below 1e-5 of the right-hand
# side, and the density of before is within that when the step is small. A smaller tolerance mends it.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install fipy==4.0.3 numpy==2.4.6 scipy==1.17.1
cat > "$folder/seen.py" <<'PYTHON'
import fipy
import numpy as np

cells, length, start = 200, 10.0, 1.0
mesh = fipy.Grid1D(nx=cells, dx=length / cells) - length / 2
x = mesh.cellCenters.value[0]
gaussian = np.exp(-((x - start) ** 2) / 2) / np.sqrt(2 * np.pi)
drift = fipy.FaceVariable(mesh=mesh, rank=1, value=mesh.faceCenters.value)
equation = fipy.TransientTerm() == fipy.DiffusionTerm(1.0) + fipy.ConvectionTerm(drift)


def mean(step, count, solver=None):
    density = fipy.CellVariable(mesh=mesh, value=gaussian, hasOld=True)
    for _ in range(count):
        density.updateOld()
        equation.solve(density, dt=step, solver=solver)
    return (density.value * x).sum() / density.value.sum()


print(f"solver: {fipy.DefaultSolver.__name__}, at t = 0: {mean(1.0, 0):.4f}")
print(f"at t = 0.004: {mean(0, 0) * np.exp(-0.004):.4f}")
print(f"40 steps of 1e-4: {mean(1e-4, 40):.4f}")
print(f"400 steps of 1e-5: {mean(1e-5, 400):.4f}")
print(f"400 steps of 1e-5, tolerance 1e-12: {mean(1e-5, 400, fipy.LinearLUSolver(tolerance=1e-12)):.4f}")
PYTHON
expected="solver: LinearLUSolver, at t = 0: 0.9999
at t = 0.004: 0.9959
40 steps of 1e-4: 0.9959
400 steps of 1e-5: 0.9999
400 steps of 1e-5, tolerance 1e-12: 0.9959"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
