"""Where a thing came from: each run names its parents by hash, so the chain can be walked and hashed again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json
from instructloop.core.hashing import hash_tree
from instructloop.runs.snapshots import changed_files, is_snapshot, snapshot_manifest

LINEAGE_FILE = "lineage.json"
STATUS_FILE = "status.json"
ARTIFACTS_FILE = "artifacts.json"
# Cards are regenerated on export and are no part of what was learned.
NOT_HASHED = ("README.md",)


@dataclass(frozen=True, slots=True)
class Parent:
    """An input of a run. ``sha256`` is None for something that is not a local file (a hub name)."""

    role: str
    path: str
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Node:
    """A run or a file in the chain, with what it was made from."""

    role: str
    path: Path
    sha256: str | None
    stage: str | None
    """Stage of the run that made it; ``snapshot`` for one; None for a file that came from outside."""
    parents: tuple["Node", ...] = ()
    people: tuple[str, ...] = ()
    """Of a snapshot: codes, cohorts and answers of the labelers behind it."""
    guidelines: tuple[str, ...] = ()
    """Of a snapshot: versions of the written instructions, with their hashes."""
    elsewhere: bool = False
    """Named by a snapshot, as a hash; its files may lie on another machine."""

    def walk(self, depth: int = 0) -> Iterator[tuple[int, "Node"]]:
        """This node and everything behind it, depth first."""
        yield depth, self
        for node in self.parents:
            yield from node.walk(depth + 1)


class Verdict(StrEnum):
    """Result of hashing an artefact again."""

    SAME = "same"
    CHANGED = "changed"
    MISSING = "missing"
    UNHASHED = "not hashed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of ``instructloop verify``."""

    path: Path
    role: str
    verdict: Verdict


def is_run(path: Path) -> bool:
    """Whether a directory is a run directory of ours."""
    return (path / LINEAGE_FILE).is_file() and (path / STATUS_FILE).is_file()


def enclosing_run(path: Path) -> Path | None:
    """The run that a path is, or lies in (``runs/sft/model`` -> ``runs/sft``)."""
    resolved = path.resolve()
    return next((place for place in (resolved, *resolved.parents) if is_run(place)), None)


def resolve_model(path: str | Path) -> Path:
    """The model directory that a path names: a run directory stands for the model it published.

    Raises:
        CheckpointError: the run has not published a model (yet).
    """
    place = Path(path)
    if not is_run(place):
        return place
    if (place / "model").is_dir():
        return place / "model"
    status = read_json(place / STATUS_FILE).get("status")
    raise CheckpointError(
        f"the run {place} has no model (status: {status})",
        hint="finish it with --resume, or give another run or a model directory",
    )


def parent(role: str, path: str | Path) -> Parent:
    """Hash an input: a file, a directory, or a run (its model). A name that is no local path is kept unhashed."""
    place = resolve_model(path)
    if not place.exists():
        return Parent(role, str(path), None)
    return Parent(role, str(place.resolve()), hash_tree(place, ignore=NOT_HASHED))


def parent_rows(run: Path, parents: tuple[Parent, ...]) -> list[dict[str, Any]]:
    """``lineage.json``: paths in the same pipeline are relative to the run, so that the whole folder can move."""
    home = run.resolve()
    rows = []
    for item in parents:
        place = Path(item.path)
        inside = (
            place.is_absolute()
            and len(home.parents) > 1
            and place.is_relative_to(home.parents[1])
            and home.parents[1].parent != home.parents[1]
        )
        shown = place.relative_to(home.parents[1]).as_posix() if inside else item.path
        rows.append({"role": item.role, "path": f"../../{shown}" if inside else shown, "sha256": item.sha256})
    return rows


def read_parents(run: Path) -> list[Parent]:
    """The parents of a run with absolute paths where they are local."""
    rows = read_json(run / LINEAGE_FILE)["parents"]
    return [Parent(row["role"], _absolute(run, row), row["sha256"]) for row in rows]


def _absolute(run: Path, row: Mapping[str, Any]) -> str:
    if row["path"].startswith("../../"):
        return str((run.resolve() / row["path"]).resolve())
    return str(row["path"])


def lineage(path: Path) -> Node:
    """The tree of everything that a run, a model or a file was made from."""
    if not path.exists():
        raise CheckpointError(f"no such path: {path}", hint="give a run directory, a model directory or a data file")
    return _node("", path.resolve(), None, ())


def _node(role: str, path: Path, sha256: str | None, above: tuple[Path, ...]) -> Node:
    snapshot = enclosing_snapshot(path)
    if snapshot is not None and snapshot not in above:
        return _snapshot_node(role, path, sha256, snapshot, above)
    run = enclosing_run(path) if path.exists() else None
    if run is None or run in above:
        return Node(role, path, sha256, None)
    parents = tuple(_node(item.role, Path(item.path), item.sha256, (*above, run)) for item in read_parents(run))
    return Node(role, path, sha256, read_json(run / LINEAGE_FILE)["stage"], parents)


def enclosing_snapshot(path: Path) -> Path | None:
    """The snapshot that a path is, or lies in directly."""
    return next((place for place in (path, path.parent) if is_snapshot(place)), None)


def _snapshot_node(role: str, path: Path, sha256: str | None, snapshot: Path, above: tuple[Path, ...]) -> Node:
    """A snapshot with the models whose completions were judged, down to people and guidelines."""
    manifest = snapshot_manifest(snapshot)
    run = enclosing_run(snapshot)
    stage, parents = "snapshot", []
    if run is not None and run not in above:  # made within a run, which knows its own inputs
        stage = f"{read_json(run / LINEAGE_FILE)['stage']}: snapshot"
        parents = [_node(item.role, Path(item.path), item.sha256, (*above, snapshot, run)) for item in read_parents(run)]
    for item in manifest.get("parents", ()) if not parents else ():
        given = str(item.get("path") or item.get("model") or item["sha256"])
        place = Path(given).resolve()
        if place.exists():
            found = _node(item["role"], resolve_model(place) if is_run(place) else place, item["sha256"], (*above, snapshot))
            parents.append(replace(found, elsewhere=True))
        else:
            parents.append(Node(item["role"], Path(given), item["sha256"], item.get("stage"), elsewhere=True))
    people = tuple(
        f"{one['code']} ({one['cohort']}{'' if one['kind'] == 'human' else ', ' + one['kind']}, {_answers(one)})"
        for one in manifest.get("labelers", ())
    )
    guidelines = tuple(
        f"{one['guideline']} ({one['mode']}, {str(one['sha256']).removeprefix('sha256:')[:12]}, {_answers(one)})"
        for one in manifest.get("guidelines", ())
    )
    return Node(role, path, sha256, stage, tuple(parents), people, guidelines)


def _answers(entry: Mapping[str, Any]) -> str:
    return "1 answer" if entry["answers"] == 1 else f"{entry['answers']} answers"


def verify(path: Path) -> list[Finding]:
    """Hash everything behind a path again, and what each run published; nearest first, each thing once."""
    findings: dict[Path, Finding] = {}
    for _, node in lineage(path).walk():
        if node.role:
            verdict = Verdict.UNHASHED if node.elsewhere and not node.path.exists() else _compare(node.path, node.sha256)
            findings.setdefault(node.path, Finding(node.path, node.role, verdict))
        snapshot = enclosing_snapshot(node.path)
        if snapshot is not None:
            for file, same in changed_files(snapshot):
                verdict = Verdict.SAME if same else Verdict.CHANGED if file.exists() else Verdict.MISSING
                findings.setdefault(file, Finding(file, "snapshot", verdict))
        run = enclosing_run(node.path) if node.path.exists() else None
        if run is not None and (run / ARTIFACTS_FILE).exists():
            for name, sha256 in read_json(run / ARTIFACTS_FILE)["artifacts"].items():
                findings.setdefault(run / name, Finding(run / name, "output", _compare(run / name, sha256)))
    return list(findings.values())


def _compare(path: Path, sha256: str | None) -> Verdict:
    if sha256 is None:
        return Verdict.UNHASHED
    if not path.exists():
        return Verdict.MISSING
    return Verdict.SAME if hash_tree(path, ignore=NOT_HASHED) == sha256 else Verdict.CHANGED


def labelers(path: Path) -> list[str]:
    """The labeler codes named in a JSONL file, sorted; empty for any other file."""
    if path.suffix != ".jsonl" or not path.is_file():
        return []
    found: set[str] = set()
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # a foreign file with bad rows still has a lineage; formats reports the rows
            code = row.get("labeler") if isinstance(row, dict) else None
            if isinstance(code, str):
                found.add(code)
    return sorted(found)
