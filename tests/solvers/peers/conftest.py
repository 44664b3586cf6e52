"""What tests of the peers share: programs of JAX that several of them compile are compiled once."""

from __future__ import annotations

import os
import tempfile

# Read when JAX is imported, which no test does before.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(tempfile.gettempdir(), "wgfbench-tests-jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
