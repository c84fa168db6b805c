"""Run directories: metrics, samples, training states, lineage. Torch-free: the trainer brings the function that saves its state."""

from instructloop.runs.checkpoints import SavedState
from instructloop.runs.environment import environment, package_version
from instructloop.runs.lineage import (
    Finding,
    Node,
    Parent,
    Verdict,
    enclosing_run,
    is_run,
    labelers,
    lineage,
    parent,
    read_parents,
    resolve_model,
    verify,
)
from instructloop.runs.rundir import RunDir, read_status

__all__ = [
    "Finding",
    "Node",
    "Parent",
    "RunDir",
    "SavedState",
    "Verdict",
    "enclosing_run",
    "environment",
    "is_run",
    "labelers",
    "lineage",
    "package_version",
    "parent",
    "read_parents",
    "read_status",
    "resolve_model",
    "verify",
]
