"""Flows of several instances followed to their last time together, with a checkpoint after every JKO step."""

from __future__ import annotations

from solvers.checkpoint import Checkpoint
from solvers.icnn.joint_steps import JointSteps
from solvers.icnn.step_objective import StepScheme


def follow(steps: JointSteps, scheme: StepScheme, count: int, checkpoint: Checkpoint | None) -> float:
    """Take ``count`` steps, and return the seconds of those that ``checkpoint`` held and that were not done again.

    Flows that fail say so in their ``failure``. Raises ``ForeignCheckpoint`` where the checkpoint is another run's.
    """
    done, earlier = resumed(steps, checkpoint)
    seconds = earlier
    for step in range(done + 1, count + 1):
        if not steps.going:
            break
        seconds += steps.take(scheme, f"step {step} of {count} (t = {step * scheme.step_size:g})")
        if checkpoint is not None:
            checkpoint.save(step, steps.parameters.cpu(), {"seconds": seconds, "courses": steps.state()})
    return earlier


def resumed(steps: JointSteps, checkpoint: Checkpoint | None) -> tuple[int, float]:
    """Go to where ``checkpoint`` was left, and return how many steps that is and the seconds they took."""
    found = None if checkpoint is None else checkpoint.load()
    if found is None:
        return 0, 0.0
    snapshots, kept = found
    steps.restore(kept["courses"], snapshots)
    return len(snapshots), kept["seconds"]
