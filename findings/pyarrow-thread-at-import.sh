#!/usr/bin/env bash
# pandas 3.1.1 with pyarrow 26.0.1, on Linux: importing pandas starts a thread, jemalloc_bg_thd, where pyarrow is
# installed as well, although pyarrow's memory comes from mimalloc. A process that has imported pandas is then no longer
# one of a single thread, and what it forks (multiprocessing's fork and forkserver with a preload) is forked beside a
# running thread. Without pyarrow there is none. OPENBLAS_NUM_THREADS=1 keeps NumPy's own threads out of the count.
#
# Installs pinned public packages in a temporary folder; fails if the behaviour is no longer what is said here.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
pip() { "$folder/venv/bin/pip" --disable-pip-version-check -q "$@"; }
cat > "$folder/seen.py" <<'PYTHON'
import os
from importlib.util import find_spec

import pandas

threads = sorted(open(f"/proc/self/task/{task}/comm").read().strip() for task in os.listdir("/proc/self/task"))
others = [name for name in threads if not name.startswith("python")]
pool = "no pyarrow"
if find_spec("pyarrow"):
    import pyarrow

    pool = f"pyarrow {pyarrow.__version__}, memory from {pyarrow.default_memory_pool().backend_name}"
print(f"pandas {pandas.__version__}, {pool}: {len(threads)} threads", *others)
PYTHON
look() { OPENBLAS_NUM_THREADS=1 "$folder/venv/bin/python" -W ignore "$folder/seen.py"; }
pip install pandas==3.1.1 numpy==2.4.6
seen=$(look)
pip install pyarrow==26.0.1
seen+=$'\n'$(look)
expected="pandas 3.1.1, no pyarrow: 1 threads
pandas 3.1.1, pyarrow 26.0.1, memory from mimalloc: 2 threads jemalloc_bg_thd"
echo "$seen"
[ "$seen" = "$expected" ] || { echo "this has changed; expected:"; echo "$expected"; exit 1; }
