"""Which of the peers are here, so that tests of the others are skipped and say so."""

from __future__ import annotations

import pytest

from harness.catalogue import import_target, missing
from solvers.peers import BUILTIN


def needing(names):
    """Return parameters of a test, one a name, those that this machine has no library for marked to be skipped."""
    return [pytest.param(name, marks=absent(name)) for name in names]


def absent(name):
    """Return the mark of a test of this solver."""
    why = missing(import_target(BUILTIN[name]))
    return pytest.mark.skipif(why is not None, reason=f"{name} needs {why}")
