"""What a finished (or running) run has written down: its settings, its metrics, its samples, what its watch saw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json, read_jsonl
from instructloop.evaluation.observatory.answers import Answer, Look, from_row
from instructloop.runs import is_run, read_parents, resolve_model

REFERENCE_STEP = 0
_EXAMINED = ("rm", "ppo")


@dataclass(frozen=True)
class RunFiles:
    """A run directory, read once."""

    path: Path
    stage: str
    config: Mapping[str, Any]
    result: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    events: Sequence[Mapping[str, Any]]
    parents: Mapping[str, Path] = field(default_factory=dict)
    """Inputs by role, as absolute paths; also those that are no longer there."""

    @classmethod
    def read(cls, path: str | Path) -> "RunFiles":
        """Read a run directory.

        Raises:
            CheckpointError: it is none.
        """
        place = Path(path)
        if not is_run(place):
            raise CheckpointError(f"{place} is no run directory", hint="give the directory that train ppo, train rm or run wrote")
        head = read_json(place / "config.json")
        result = place / "result.json"
        return cls(
            path=place,
            stage=str(head["stage"]),
            config=head["config"],
            result=read_json(result) if result.exists() else {},
            metrics=list(read_jsonl(place / "metrics.jsonl", drop_torn_tail=True)),
            events=list(read_jsonl(place / "events.jsonl", drop_torn_tail=True)),
            parents={parent.role: Path(parent.path) for parent in read_parents(place)},
        )

    def series(self, name: str) -> list[tuple[int, float]]:
        """``(step, value)`` of a metric, whatever stage wrote it."""
        found = []
        for row in self.metrics:
            for key, value in row.items():
                if key.partition("/")[2] == name:
                    found.append((int(row["step"]), float(value)))
        return found

    @property
    def metric_names(self) -> list[str]:
        """Names without the stage, in order of appearance."""
        return list(dict.fromkeys(key.partition("/")[2] for row in self.metrics for key in row if "/" in key))

    @cached_property
    def looks(self) -> list[Look]:
        """What the watch saw, the reference first; empty where nothing watched."""
        files = sorted((self.path / "watch").glob("step-*.jsonl"))
        return [self._look(file) for file in files]

    def _look(self, file: Path) -> Look:
        step = int(file.stem.partition("-")[2])
        answers = [from_row(row) for row in read_jsonl(file, drop_torn_tail=True)]
        measured = [answer.kl for answer in answers if answer.kl is not None]
        if step == REFERENCE_STEP:
            kl: float | None = 0.0
        elif len(measured) == len(answers) and measured:
            kl = sum(measured) / len(measured)
        else:
            kl = self.kl_after(step)
        return Look(step=step, kl=kl, answers=answers)

    def kl_after(self, step: int) -> float | None:
        """Sequence KL of the policy that an iteration left: the next iteration's rollouts measure it, the last one's own where none follows."""
        watched = dict(self.series("eval/watch_kl"))
        if step in watched:
            return watched[step]
        kl = dict(self.series("kl"))
        return kl.get(step + 1, kl.get(step))

    @cached_property
    def samples(self) -> list[tuple[int, list[Answer]]]:
        """The few completions that the trainer kept, by step."""
        files = sorted((self.path / "samples").glob("step-*.jsonl"))
        return [(int(file.stem.partition("-")[2]), [from_row(row) for row in read_jsonl(file, drop_torn_tail=True)]) for file in files]

    @property
    def last_step(self) -> int:
        """The last iteration with metrics."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    # -- where things are ---------------------------------------------------------------------------------------------

    @property
    def reward_model(self) -> Path | None:
        """Directory of the learned reward that was maximized; None for another reward, or where it is gone."""
        spec = self.config.get("reward") or {}
        args = spec.get("args") or {}
        if spec.get("name") != "model" or args.get("group"):
            return None
        # An adapter on a shared trunk is no model by itself; the run it comes from published the whole one, too.
        places = [self._first(place) for place in (self.parents.get("reward"), args.get("path"))]
        return next((place for place in places if place is not None and (resolve_model(place) / "config.json").exists()), None)

    @property
    def reference(self) -> Path | None:
        """The model that KL is measured from."""
        named = self.config.get("reference") or self.config.get("model")
        return self._first(self.parents.get("reference"), self.parents.get("policy_init"), named)

    @property
    def prompts(self) -> Path | None:
        """The prompts of the run."""
        return self._first(self.parents.get("prompts"), self.config.get("prompts"))

    @property
    def model(self) -> Path | None:
        """The published model."""
        return self._first(self.path / "model")

    @staticmethod
    def _first(*places: str | Path | None) -> Path | None:
        return next((Path(place) for place in places if place and Path(place).exists()), None)


def stages_of(path: Path) -> list[Path]:
    """The runs that an inspection of a path covers: itself, or the reward-model and PPO stages of a pipeline in their order.

    Raises:
        CheckpointError: it is neither a run nor a pipeline with such stages.
    """
    if is_run(path):
        stage = read_json(path / "config.json")["stage"]
        if stage not in _EXAMINED:
            raise CheckpointError(
                f"{path} is a run of stage {stage!r}, and only {' and '.join(_EXAMINED)} runs are inspected",
                hint="give one of those, or a pipeline",
            )
        return [path]
    found = [stage for stage in sorted((path / "stages").glob("*")) if is_run(stage)]
    known = {place: read_json(place / "config.json")["stage"] for place in found}
    wanted = [place for kind in _EXAMINED for place in found if known[place] == kind]
    if not wanted:
        raise CheckpointError(
            f"{path} holds neither a run nor a pipeline with rm or ppo stages", hint="instructloop inspect runs/first/stages/ppo"
        )
    return wanted
