"""A diagnosis of this machine: versions, cores, devices, optional packages, components, and the store."""

from __future__ import annotations

import multiprocessing
import os
import platform
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version as version_of
from importlib.util import find_spec
from pathlib import Path

from rich.text import Text

import solvers.peers
from harness.catalogue import Kind, catalogue, import_target
from harness.errors import UsageError
from harness.listing import console, listed, table
from harness.provenance import code_state, installed_versions, machine
from harness.server import context
from harness.store import Store
from problems.data.datasets import SHAPES, whereabouts
from solvers.reproducibility import arithmetic, batches_are_alike

OPTIONAL = {
    "cluster": ("distributed", "`run --backend dask` on many machines", "wgfbench[dask]"),
    "parquet": ("pyarrow", "`export --format parquet`", "wgfbench[parquet]"),
    "reference": ("numpyro", "`reference`, new posterior references", "wgfbench[reference]"),
    "asv": ("asv", "`make bench`", "wgfbench[dev]"),
}
"""Optional packages: the module to look for, what it enables, and the extra that brings it."""


def print_diagnosis(plugins: Sequence[Path], store_path: Path) -> None:
    """Print the diagnosis; what cannot be found out is said, and stops nothing."""
    screen = console()
    rows = table("", "", title="This machine")
    rows.show_header = False
    for what, ask in (
        ("machine", machine),
        ("python", lambda: f"{platform.python_version()}, {platform.python_implementation()}"),
        ("code", code),
        ("packages", lambda: ", ".join(f"{name} {version}" for name, version in installed_versions().items())),
        ("torch", torch_state),
        ("same bits", same_bits),
        ("processes", processes),
    ):
        rows.add_row(what, Text(answer(ask)))
    for what, (module, enables, extra) in OPTIONAL.items():
        rows.add_row(what, Text(f"{enables}: {availability(module, extra)}"))
    rows.add_row("peers", Text(answer(peers)))
    rows.add_row("data sets", Text(answer(data_sets)))
    rows.add_row("components", Text(answer(partial(components, ()))))
    for plugin in plugins:
        rows.add_row(f"plugin {plugin}", Text(answer(partial(plugin_state, plugin))))
    rows.add_row(f"store {store_path}", Text(answer(partial(store_state, store_path))))
    screen.print(rows)


def answer(ask: Callable[[], str]) -> str:
    """Return ``ask()``, or why it failed."""
    try:
        return ask()
    except UsageError as error:
        return str(error)
    except Exception as error:
        return f"not known: {type(error).__name__}: {error}"


def code() -> str:
    """Return the commit that runs, and whether files differ from it."""
    commit, dirty = code_state()
    where = Path(__file__).parents[1]
    if commit == "unknown":
        return f"{where}, no commit known (not a git checkout, or no git)"
    return f"{where} at {commit[:12]}" + (", with changes that are not committed" if dirty else "")


def torch_state() -> str:
    """Return torch's threads and the CUDA devices that it sees."""
    import torch

    if not torch.cuda.is_available():
        return f"{torch.get_num_threads()} threads; no CUDA device, so --device cpu"
    devices = [
        f"cuda:{index} {torch.cuda.get_device_name(index)} "
        f"({torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB)"
        for index in range(torch.cuda.device_count())
    ]
    return f"{torch.get_num_threads()} threads; {', '.join(devices)}"


def same_bits() -> str:
    """Return what decides the bits of figures here, and whether a cell solved in a batch has those it has alone."""
    alike = batches_are_alike()
    return f"{arithmetic()}; " + (
        "a cell has the same bits alone and in a batch of seeds"
        if alike
        else "products in a batch are rounded otherwise than alone, so cells are solved one at a time"
    )


def processes() -> str:
    """Return how cells are started and how many run at once."""
    started = context().get_start_method()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    methods = ", ".join(multiprocessing.get_all_start_methods())
    return f"cells start by {started} (this system has {methods}); {usable} of {os.cpu_count()} cores may be used"


def availability(module: str, extra: str) -> str:
    """Return whether an optional package is there, and how to get it."""
    return "available" if find_spec(module) is not None else f"not installed: pip install '{extra}'"


def peers() -> str:
    """Return the libraries that are here to be solvers beside ours, with their versions, and how to get the others."""
    here: dict[str, str] = {}
    absent: dict[str, dict[str, None]] = {}
    for target in solvers.peers.BUILTIN.values():
        component = import_target(target)
        for module, command in component.needs.items():
            if find_spec(module) is None:
                absent.setdefault(command, {})[module] = None
            else:
                here[module] = version_of(solvers.peers.DISTRIBUTIONS.get(module, module))
    found = ", ".join(f"{module} {number}" for module, number in here.items()) or "none"
    wanted = (f"{command} brings {', '.join(modules)}" for command, modules in absent.items())
    return "; ".join((found, *wanted))


def data_sets() -> str:
    """Return where each data set would come from: a folder, the cache, a download, or nowhere."""
    places = {name: whereabouts(name) for name in SHAPES}
    return "; ".join(
        f"{place}: {', '.join(name for name in places if places[name] == place)}"
        for place in sorted(set(places.values()))
    )


def components(plugins: Sequence[Path]) -> str:
    """Return how many problems and solvers there are, and why some cannot be used."""
    kinds: tuple[Kind, ...] = ("problem", "solver")
    found = [(kind, each) for kind in kinds for each in listed(kind, plugins)]
    lines = [
        ", ".join(f"{sum(each == kind for each, _ in found)} {kind}s" for kind in kinds),
        *(f"{kind} {each.name} is not available: {each.missing}" for kind, each in found if each.missing is not None),
    ]
    return "\n".join(lines)


def plugin_state(plugin: Path) -> str:
    """Return what a plugin file adds; raises ``UsageError`` when it does not import."""
    own = catalogue().targets
    added = catalogue([plugin]).targets
    return ", ".join(f"{kind} {name}" for kind in added for name in added[kind] if name not in own[kind])


def store_state(path: Path) -> str:
    """Return the cells of a store by status, its size, and the room left beside it."""
    free = f"{shutil.disk_usage(existing_parent(path)).free / 2**30:.1f} GiB free"
    if not path.exists():
        return f"not there yet: `wgfbench run SUITE` makes it; {free}"
    if path.is_file() and path.stat().st_size == 0:
        return f"an empty file, which the first run will make a store; {free}"
    with Store(path, create=False, reading=True) as store, store.guarded():
        counts = dict(store.connection.execute("SELECT status, count(*) FROM cells GROUP BY status ORDER BY status"))
        runs = store.connection.execute("SELECT count(*) FROM runs").fetchone()[0]
    cells = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no cells"
    return f"{cells}; {runs} runs; {path.stat().st_size / 2**20:.1f} MiB; {free}"


def existing_parent(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    return next(parent for parent in path.resolve().parents if parent.is_dir())
