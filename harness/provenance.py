"""Where figures come from: the machine, the versions, the commit and the command of a run."""

from __future__ import annotations

import json
import os
import platform
import shlex
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from solvers.reproducibility import arithmetic

PACKAGES = ("wgfbench", "torch", "numpy", "scipy", "pandas", "scikit-learn", "joblib", "pydantic")


@dataclass(frozen=True)
class Provenance:
    """One ``wgfbench run``: when it started, its command, its code and its machine.

    ``code`` holds the checksums of the files of its plug-ins (JSON), the empty text where it has none.
    """

    started: str
    argv: str
    commit: str
    dirty: bool
    machine: str
    threads: int
    versions: str
    arithmetic: str | None
    code: str = ""


def provenance(threads: int, *, computes: bool = True, known: str | None = None) -> Provenance:
    """Return the provenance of figures of this process, on so many ``threads`` a cell.

    A run that ``computes`` nothing has no arithmetic, which is asked of this process where it is not ``known``.
    """
    commit, dirty = code_state()
    return Provenance(
        started=now(),
        argv=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        commit=commit,
        dirty=dirty,
        machine=machine(),
        threads=threads,
        versions=json.dumps({"python": platform.python_version()} | installed_versions()),
        arithmetic=(known or arithmetic()) if computes else None,
    )


def now() -> str:
    """Return the time in UTC, ISO 8601 to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that figures depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def code_state() -> tuple[str, bool]:
    """Return the commit of this code and whether tracked files differ from it; ``unknown`` outside a checkout."""
    root = Path(__file__).parents[1]
    try:
        commit = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        changes = subprocess.run(
            ["git", "-C", str(root), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return "unknown", False
    return commit, bool(changes.strip())


def machine() -> str:
    """Return the processor, its cores, the memory and the system in one line."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}"


def processor() -> str:
    """Return the processor's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
