#!/usr/bin/env bash
# emcee 3.1.6: an EnsembleSampler starts with a copy of NumPy's global random state and does not advance the original, so
# that two samplers made one after the other, without a seed, walk the same paths: they are no independent repetitions.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" --disable-pip-version-check -q install emcee==3.1.6 numpy==2.4.6
cat > "$folder/seen.py" <<'PYTHON'
import emcee
import numpy as np

start = np.random.default_rng(0).normal(size=(8, 1))


def last():
    sampler = emcee.EnsembleSampler(8, 1, lambda x: -0.5 * x @ x)
    sampler.run_mcmc(start, 20)
    return sampler.get_chain()[-1]


print("second sampler walks the first one's paths:", bool((last() == last()).all()))
PYTHON
expected="second sampler walks the first one's paths: True"
seen=$("$folder/venv/bin/python" -W ignore "$folder/seen.py")
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
