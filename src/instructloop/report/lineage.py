"""Where everything came from, as an indented list from the inputs of each stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from instructloop.report.read import Story
from instructloop.report.tell import source


@dataclass(frozen=True, slots=True)
class Origin:
    """One input of a stage."""

    role: str
    what: str
    sha256: str
    """First digits of the hash; empty for an input that was no local file."""
    made_by: str
    """The stage that made it; empty for what came from outside."""


def origin(story: Story) -> Sequence[tuple[str, Sequence[Origin]]]:
    """The inputs of every stage by role, with the first digits of their hashes."""
    found = []
    for stage in story.stages:
        rows = []
        for parent in stage.parents:
            owner = story.stage_of(str(parent["path"]))
            digits = str(parent.get("sha256") or "").removeprefix("sha256:")[:12]
            rows.append(Origin(str(parent["role"]), source(story, parent["path"]), digits, owner.name if owner else ""))
        found.append((stage.name, rows))
    return found
