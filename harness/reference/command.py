"""The command that makes reference posteriors: for data of one's own, or for other settings of known ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.catalogue import make
from harness.errors import UsageError
from harness.parsing import parse_seeds
from harness.reference.nuts import Sampling
from harness.reference.posterior import add_evidence
from harness.reference.posterior import make as make_reference
from harness.supervise import check_data
from problems.data.data_folder import data_in
from problems.data.datasets import in_folder
from problems.logistic_regression import OWN_REFERENCES, REFERENCE, LogisticRegression
from problems.unavailable import Unavailable


def make_references(
    data: str,
    seeds: str,
    settings: Mapping[str, Any],
    sampling: Sampling,
    folder: Path | None,
    output: Path | None,
    evidence_only: bool,
) -> None:
    """Make the reference of each seed, say how good it is, and write it beside the data or into ``output``.

    Raises ``UsageError`` for data and settings that there are not, without the packages that sample, and for a run that
    is not good enough: of that nothing is written.
    """
    if not evidence_only:
        use_float64()
    found = check_data(folder)
    with data_in(found):
        family: LogisticRegression = make("problem", LogisticRegression, {"data": data, **settings})
        place = output or home_of(data, None if found is None else Path(found))
        for seed in parse_seeds(seeds):
            try:
                if evidence_only:
                    log = add_evidence(family, seed, place)
                    print(f"seed {seed}: log-evidence {log['log_value']:.3f} ± {log['standard_error']:.3f}", flush=True)
                    continue
                summary = make_reference(family, seed, sampling, place)
            except (ArithmeticError, ValueError, OSError, Unavailable) as error:
                raise UsageError(" ".join(str(error).split())) from error
            print(line_of(seed, summary), flush=True)
    print(f"in {place}")


def home_of(data: str, folder: Path | None) -> Path:
    """Return where references of a data set are kept: beside a file of one's own, else with those of the project."""
    if folder is not None and in_folder(data, folder) is not None:
        return folder / OWN_REFERENCES
    return REFERENCE


def use_float64() -> None:
    """Have the sampler's packages compute in float64; raises ``UsageError`` without them."""
    try:
        import arviz  # noqa: F401 - which judges the run once it is over
        import jax
        import numpyro  # noqa: F401
    except ImportError as error:
        raise UsageError(f"reference needs the extra: pip install 'wgfbench[reference]' ({error})") from error
    jax.config.update("jax_enable_x64", True)


def line_of(seed: int, summary: Mapping[str, Any]) -> str:
    """Return in one line how good a reference is, and what it predicts."""
    figures, prediction = summary["diagnostics"], summary["prediction"]
    return (
        f"seed {seed}: R-hat {figures['max_rhat']:.4f}, ESS bulk {figures['min_ess_bulk']:.0f} "
        f"tail {figures['min_ess_tail']:.0f}, {figures['mean_leapfrog_steps']:.1f} leapfrog steps, "
        f"accuracy {prediction['accuracy']:.4f}, log-predictive {prediction['log_predictive']:.4f}, "
        f"{summary['sampling_seconds']} s"
    )
