"""Maps of steps as plain tensors, for checkpoints, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from problems.interactions import Interaction
from solvers.maps import InvertibleMap
from solvers.primal_dual.map_networks import MapNetwork
from solvers.primal_dual.step_maps import AffineMap, ConvexGradient, Frame, InteractionMap, ResidualMap


def record_of(step: InvertibleMap) -> dict[str, Any]:
    """Return what a map of a step is made of, as tensors and numbers; raises ``TypeError`` for other maps."""
    if isinstance(step, AffineMap):
        return {"matrix": step.matrix, "shift": step.shift}
    if isinstance(step, InteractionMap):
        return {"sources": step.sources, "step_size": step.step_size}
    if isinstance(step, ResidualMap | ConvexGradient):
        frame = step.frame
        return {
            "frame": [frame.mean, frame.source, frame.moved, frame.target],
            "parameters": step.parameters,
            "implicitness": step.implicitness,
            "scale": step.scale if isinstance(step, ResidualMap) else 1.0,
        }
    raise TypeError(f"there is no record of {type(step).__name__}")


def map_of(record: Mapping[str, Any], network: MapNetwork, interaction: Interaction | None) -> InvertibleMap:
    """Return the map that ``record_of`` gave the record of, for a flow of that network and interaction."""
    if "matrix" in record:
        return AffineMap(record["matrix"], record["shift"])
    if "sources" in record:
        assert interaction is not None
        return InteractionMap(interaction, record["sources"], record["step_size"])
    network.begin(record["scale"])
    return network.map(Frame(*record["frame"]), record["parameters"], record["implicitness"])
