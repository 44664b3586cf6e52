"""The harness runs solvers on problems, measures their answers, and keeps and shows the figures.

What it offers to Python is a function a word, each imported when it is first asked for:

    from harness import problem, solve, measure, sweep, load

`docs/python.md` shows them at work.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.frame import load as load
    from harness.frame import load_projections as load_projections
    from harness.frame import load_traces as load_traces
    from harness.in_python import measure as measure
    from harness.in_python import problem as problem
    from harness.in_python import solve as solve
    from harness.in_python import sweep as sweep

DEFAULT_STORE = Path("results/wgfbench.sqlite")
"""The store that holds every run, where none is named."""

FUNCTIONS = {
    "problem": "harness.in_python",
    "solve": "harness.in_python",
    "measure": "harness.in_python",
    "sweep": "harness.in_python",
    "load": "harness.frame",
    "load_traces": "harness.frame",
    "load_projections": "harness.frame",
}
"""The functions that this package offers, and the modules that hold them."""


def __getattr__(name: str) -> Any:
    """Return a function of the package; raises ``AttributeError`` where there is none of this name."""
    if name not in FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(FUNCTIONS[name]), name)


def __dir__() -> list[str]:
    """Return the names that the package offers."""
    return sorted({*globals(), *FUNCTIONS})


class Package(ModuleType):
    """This package, in which a module that is imported does not take the place of the function of its name.

    Plug-ins import ``harness.measure.measure``, and the import system then sets ``harness.measure`` to a module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in FUNCTIONS and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = Package
