"""Run tests under several instruction sets, one after the other: what one machine finds, another would.

    python scripts/processors.py --short              # a minute: what has once hung on the processor
    python scripts/processors.py                      # all mathematics: problems, solvers, measures, conformance
    python scripts/processors.py -- -k svgd           # of these, what pytest selects

A setting is an environment. What each of its variables decides is said in docs/reproducibility.md; a setting that this
processor lacks is left out, and said to be. Exit code 1: a test failed, or a setting was not obeyed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
VARIABLES = ("ATEN_CPU_CAPABILITY", "MKL_CBWR", "OPENBLAS_CORETYPE", "DNNL_MAX_CPU_ISA")
# What torch calls the instructions that it finds, from fewest to most.
CAPABILITIES = ("DEFAULT", "AVX2", "AVX512")

LONG = ("tests/problems", "tests/solvers", "tests/harness/measure", "tests/conformance")
SHORT = (
    "tests/solvers/icnn/test_icnn_runs.py::test_seeds_in_one_batch_are_those_one_at_a_time",
    "tests/solvers/icnn/test_icnn_runs.py::test_a_network_that_diverges_does_not_disturb_the_others",
    "tests/solvers/samplers/test_svgd_metric.py::test_metric_finds_a_mixture_by_automatic_derivatives",
    "tests/solvers/icnn/test_icnn_runs.py::test_results_follow_the_generator_and_not_the_threads",
    "tests/harness/measure/test_transport.py::test_same_draws_same_bits_on_any_number_of_threads",
    "tests/solvers/test_reproducibility.py",
    "tests/solvers/gaussian/test_exact_step.py",
    "tests/problems/test_laws.py::test_gaussian_draws_have_its_moments",
)


@dataclass(frozen=True)
class Setting:
    """An environment by its name, the capability of torch that it ``needs``, and the OpenBLAS kernels it then shows.

    Variables of ``VARIABLES`` that it does not name are taken away. Those of no needs run anywhere.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None
    kernels: str | None = None
    short: bool = True

    def applied(self) -> dict[str, str]:
        """Return this process's environment with the setting."""
        kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        return kept | dict(self.environment)


SETTINGS = (
    Setting("as it is", short=False),
    Setting(
        "SSE 4",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "COMPATIBLE",
            "OPENBLAS_CORETYPE": "NEHALEM",
            "DNNL_MAX_CPU_ISA": "SSE41",
        },
        needs="DEFAULT",
        kernels="Nehalem",
    ),
    Setting(
        "AVX",
        {
            "ATEN_CPU_CAPABILITY": "default",
            "MKL_CBWR": "AVX",
            "OPENBLAS_CORETYPE": "SANDYBRIDGE",
            "DNNL_MAX_CPU_ISA": "AVX",
        },
        needs="AVX2",
        kernels="Sandybridge",
        short=False,
    ),
    Setting(
        "AVX2",
        {
            "ATEN_CPU_CAPABILITY": "avx2",
            "MKL_CBWR": "AVX2",
            "OPENBLAS_CORETYPE": "HASWELL",
            "DNNL_MAX_CPU_ISA": "AVX2",
        },
        needs="AVX2",
        kernels="Haswell",
    ),
    Setting(
        "AVX-512",
        {
            "ATEN_CPU_CAPABILITY": "avx512",
            "MKL_CBWR": "AVX512",
            "OPENBLAS_CORETYPE": "SKYLAKEX",
            "DNNL_MAX_CPU_ISA": "AVX512_CORE",
        },
        needs="AVX512",
        kernels="SkylakeX",
    ),
)

FOUND = """
import json
import numpy, scipy.linalg, threadpoolctl, torch
pools = [pool for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"]
print(json.dumps([torch.backends.cpu.get_cpu_capability(), sorted({pool["architecture"] for pool in pools})]))
"""


@dataclass(frozen=True)
class Instructions:
    """What a process finds: torch's capability, and the kernels of OpenBLAS that numpy and scipy brought, if any."""

    capability: str
    kernels: tuple[str, ...]


def found(setting: Setting) -> Instructions:
    """Return what a process of the setting finds."""
    done = subprocess.run(
        [sys.executable, "-c", FOUND], env=setting.applied(), capture_output=True, text=True, check=True
    )
    capability, kernels = json.loads(done.stdout)
    return Instructions(capability, tuple(kernels))


def lacking(setting: Setting, best: str, machine: str | None = None) -> str | None:
    """Return why a processor whose ``best`` capability torch has found cannot run the setting; None when it can."""
    if setting.needs is None:
        return None
    machine = machine or platform.machine()
    if machine.lower() not in ("x86_64", "amd64"):
        return f"{machine} is not x86"
    if best not in CAPABILITIES or CAPABILITIES.index(best) < CAPABILITIES.index(setting.needs):
        return f"this processor has {best} at most"
    return None


def disobeyed(setting: Setting, instructions: Instructions) -> str | None:
    """Return which variable of the setting had no effect; None when all that can be asked had theirs."""
    asked = setting.environment.get("ATEN_CPU_CAPABILITY", instructions.capability).upper()
    if instructions.capability != asked:
        return f"torch has {instructions.capability} instructions, not {asked}"
    if setting.kernels is not None and set(instructions.kernels) - {setting.kernels}:
        return f"OpenBLAS has kernels for {', '.join(instructions.kernels)}, not {setting.kernels}"
    return None


def available() -> tuple[list[Setting], list[tuple[Setting, str]]]:
    """Return the settings that this processor can run, and the others with the reason."""
    best = found(SETTINGS[0]).capability
    reasons = [(setting, lacking(setting, best)) for setting in SETTINGS]
    return (
        [setting for setting, reason in reasons if reason is None],
        [(setting, reason) for setting, reason in reasons if reason is not None],
    )


def run(setting: Setting, tests: Sequence[str], jobs: int) -> int:
    """Run the tests under the setting and return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    if jobs > 1:
        command += ["-n", str(jobs), "--dist", "loadgroup"]
    return subprocess.run(command, cwd=ROOT, env=setting.applied() | {"OMP_NUM_THREADS": "1"}).returncode


def main() -> int:
    """Run what the command line asks for, and say which tests ran under which setting and how that ended."""
    parser = argparse.ArgumentParser(description="Run tests under several instruction sets.")
    parser.add_argument("--short", action="store_true", help="a few tests, and settings that differ most")
    parser.add_argument("-n", "--jobs", type=int, default=2, help="tests at once")
    parser.add_argument("options", nargs="*", help="after --: options of pytest")
    arguments = parser.parse_args()
    can, cannot = available()
    tests = SHORT if arguments.short else LONG
    lines, failed = [], False
    for setting in can:
        if arguments.short and not setting.short:
            continue
        instructions = found(setting)
        told = " ".join(f"{name}={value}" for name, value in setting.environment.items()) or "no variable set"
        print(f"\n== {setting.name}: {told}", flush=True)
        print(f"   found: {instructions.capability} in torch, {', '.join(instructions.kernels) or 'no'} in OpenBLAS")
        print("   tests: " + "\n          ".join(tests), flush=True)
        started = time.monotonic()
        outcome = disobeyed(setting, instructions)
        if outcome is None:
            code = run(setting, [*tests, *arguments.options], arguments.jobs)
            outcome = "passed" if code == 0 else f"FAILED (pytest ended with {code})"
        failed |= outcome != "passed"
        lines.append(f"{setting.name}: {outcome}, {time.monotonic() - started:.0f} s")
    lines += [f"{setting.name}: left out, {reason}" for setting, reason in cannot]
    print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
