"""What a report is made from: the files of a pipeline or of a single run, and nothing else."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json, read_jsonl

Row = Mapping[str, Any]
_LOGS = frozenset({"metrics.jsonl", "timings.jsonl", "events.jsonl"})


@dataclass(frozen=True, kw_only=True, slots=True)
class StageFiles:
    """One stage as its run directory tells it. Files that are not there (yet) are empty."""

    name: str
    kind: str
    """``pretrain``, ``sft``, ``rm``, ``ppo``, ``sample``, ``evaluate``, ``miniature.build``..."""
    path: Path
    state: str
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    error: str = ""
    config: Row = field(default_factory=dict)
    environment: Row = field(default_factory=dict)
    result: Row = field(default_factory=dict)
    metrics: Sequence[Row] = ()
    timings: Sequence[Row] = ()
    events: Sequence[Row] = ()
    samples: Sequence[tuple[int, Sequence[Row]]] = ()
    evaluations: Mapping[str, Row] = field(default_factory=dict)
    parents: Sequence[Row] = ()
    command: str = ""
    files: Sequence[tuple[str, int]] = ()
    """Data files that the stage wrote, with their rows."""

    @property
    def family(self) -> str:
        """The last word of the kind: ``miniature.evaluate`` is an evaluation."""
        return self.kind.rpartition(".")[2]

    @property
    def tokens(self) -> float:
        """Tokens the trainer saw, summed from its clock; 0 where it keeps none."""
        return sum(_rate(row, "seconds") * _rate(row, "tokens_per_s") for row in self.timings)


def _rate(row: Row, name: str) -> float:
    return next((float(value) for key, value in row.items() if key.rpartition("/")[2] == name), 0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Stages in the order of the loop."""

    root: Path
    title: str
    description: str
    stages: Sequence[StageFiles]
    settings: Row = field(default_factory=dict)
    at: float = 0.0
    """When it was last written, in seconds since 1970."""
    evaluations: Mapping[str, Row] = field(default_factory=dict)
    """``eval/*.json`` of the pipeline as a whole."""

    def tables(self, kind: str) -> list[tuple[str, str, Row]]:
        """(stage, file, table) of every evaluation of a kind; the stage is empty for those of the pipeline as a whole."""
        owned = [("", name, row) for name, row in self.evaluations.items()]
        owned += [(stage.name, name, row) for stage in self.stages for name, row in stage.evaluations.items()]
        return [(owner, f"{owner}/eval/{name}.json".lstrip("/"), row) for owner, name, row in owned if row.get("kind") == kind]

    def stage_of(self, path: str) -> StageFiles | None:
        """The stage that a path of a configuration or lineage lies in."""
        names = {stage.name: stage for stage in self.stages}
        parts = Path(path).parts
        for place, part in enumerate(parts[:-1]):
            if part == "stages" and parts[place + 1] in names:
                return names[parts[place + 1]]
        return names.get(parts[0]) if parts else None


def read_story(path: Path) -> Story:
    """Read a pipeline (``pipeline.json`` and its stages) or a single run directory.

    Raises:
        CheckpointError: the path holds neither.
        DataError: a file is not valid JSON.
    """
    if (path / "pipeline.json").is_file():
        return _pipeline(path)
    if (path / "config.json").is_file():
        stage = _stage(path, {"name": path.resolve().name})
        return Story(root=path, title=stage.name, description="", stages=(stage,), at=_ended(path))
    raise CheckpointError(f"{path} is neither a pipeline nor a run", hint="give the --out directory of instructloop run or of a stage")


def read_stories(paths: Sequence[Path]) -> Story:
    """Several runs or pipelines as one story, so that their curves share axes; stages of the same name are told apart by their folder.

    Raises:
        CheckpointError: there is no path, or one holds neither a pipeline nor a run.
        DataError: a file is not valid JSON.
    """
    if not paths:
        raise CheckpointError("no run was given", hint="give the directory of a pipeline or of one or more runs")
    stories = [read_story(path) for path in paths]
    if len(stories) == 1:
        return stories[0]
    named = [(story, stage) for story in stories for stage in story.stages]
    names = Counter(stage.name for _, stage in named)
    stages = []
    for story, stage in named:
        folder = story.root.resolve()
        # a run is called by its own folder already: the one above tells it from its namesake
        above = folder.name if len(story.stages) > 1 else folder.parent.name
        stages.append(replace(stage, name=stage.name if names[stage.name] == 1 else f"{above}/{stage.name}"))
    return Story(
        root=paths[0],
        title=" · ".join(dict.fromkeys(story.title for story in stories)),
        description=f"{len(stories)} runs side by side",
        stages=stages,
        at=max(story.at for story in stories),
        evaluations={f"{story.root.resolve().name}/{name}": row for story in stories for name, row in story.evaluations.items()},
    )


def _ended(path: Path) -> float:
    status = _json(path / "status.json")
    return float(status.get("at", 0.0))


def _pipeline(path: Path) -> Story:
    plan = read_json(path / "pipeline.json")
    stages = [_stage(path / row.get("path", f"stages/{row['name']}"), row) for row in plan["stages"]]
    return Story(
        root=path,
        title=str(plan.get("recipe") or path.resolve().name),
        description=str(plan.get("description") or ""),
        stages=[stage for stage in stages if stage.family != "report"],
        settings=plan.get("vars") or {},
        at=float(plan.get("at", 0.0)),
        evaluations=_evaluations(path),
    )


def _stage(path: Path, row: Row) -> StageFiles:
    written, status, lineage = _json(path / "config.json"), _json(path / "status.json"), _json(path / "lineage.json")
    kind = str(row.get("kind") or written.get("stage") or "run")
    return StageFiles(
        name=str(row["name"]),
        kind=kind,
        path=path,
        state=str(row.get("state") or status.get("status") or "unknown"),
        needs=tuple(row.get("needs", ())),
        seconds=float(row.get("seconds") or status.get("seconds") or 0.0),
        error=str(row.get("error") or status.get("error") or ""),
        config=written.get("config") or row.get("config") or {},
        environment=_json(path / "environment.json"),
        result=_json(path / "result.json"),
        metrics=_rows(path / "metrics.jsonl"),
        timings=_rows(path / "timings.jsonl"),
        events=_rows(path / "events.jsonl"),
        samples=[(int(file.stem.split("-")[1]), _rows(file)) for file in sorted((path / "samples").glob("step-*.jsonl"))],
        evaluations=_evaluations(path),
        parents=lineage.get("parents") or (),
        command=(path / "command.txt").read_text(encoding="utf-8").strip() if (path / "command.txt").is_file() else "",
        files=[(file.name, _count(file)) for file in sorted(path.glob("*.jsonl")) if file.name not in _LOGS],
    )


def _evaluations(path: Path) -> dict[str, Row]:
    return {file.stem: table for file in sorted((path / "eval").glob("*.json")) if isinstance(table := read_json(file), dict)}


def _count(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) if path.is_file() else {}
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    return list(read_jsonl(path, drop_torn_tail=True))
