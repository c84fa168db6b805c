"""Stages that are no training: the miniature's world, labelers and examination, and the report.

Torch-free at import: the pipeline reads the configurations here without loading a model.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from instructloop.config import to_json
from instructloop.config.inspection import InspectionConfig
from instructloop.config.shared import ComputeConfig, SamplingConfig, require
from instructloop.core.files import read_json
from instructloop.runs import RunDir, parent


@dataclass(frozen=True, kw_only=True)
class MiniatureBuildConfig:
    """The small world as files: demonstrations, prompts by split, documents."""

    seed: int = 0
    """Base of every random stream of the stage."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """How many of each file, by name; what is not named keeps its default."""


def run_miniature_build(cfg: MiniatureBuildConfig, out: Path, *, resume: bool = False) -> Path:
    """Write the world's files into the run directory."""
    from instructloop.miniature.build import build

    with RunDir.open(out, stage="miniature.build", config=to_json(cfg), resume=resume) as run:
        build(run.path, seed=cfg.seed, sizes=dict(cfg.sizes))
    return run.path


@dataclass(frozen=True, kw_only=True)
class MiniatureLabelConfig:
    """Rankings by the simulated labelers."""

    seed: int = 0
    """Base of every random stream of the stage."""
    completions: str = ""
    """``completions.jsonl`` of a ``sample`` stage."""
    longer: float = 0.0
    """The labelers' taste for long answers: utility that a word is worth to them (gold knows nothing of it)."""
    parts: int = 1
    """With more than one, ``rankings-1.jsonl``, ``rankings-2.jsonl``... hold equal parts of the rankings, for reward models that share none."""

    def __post_init__(self) -> None:
        require(self.parts >= 1, f"miniature.label.parts must be >= 1, got {self.parts}")


def run_miniature_label(cfg: MiniatureLabelConfig, out: Path, *, resume: bool = False) -> Path:
    """A project that the labelers rank in, its ``snapshot`` and ``rankings.jsonl`` in the run directory; ConfigError if no completions are named."""
    require(
        bool(cfg.completions),
        "miniature.label needs completions",
        hint="--completions FILE, in a recipe: completions = '@sample/completions.jsonl'",
    )
    from instructloop.miniature.labeling import label

    parents = [parent("completions", cfg.completions)]
    with RunDir.open(out, stage="miniature.label", config=to_json(cfg), parents=parents, resume=resume) as run:
        done = label(Path(cfg.completions), run.path / "project", seed=cfg.seed, longer=cfg.longer)
        run.publish("snapshot", lambda path: _copy(done.snapshot, path))
        run.publish_file("rankings.jsonl", lambda path: shutil.copyfile(done.snapshot / "rankings.jsonl", path))
        lines = (done.snapshot / "rankings.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        for part in range(cfg.parts if cfg.parts > 1 else 0):
            share = "".join(lines[len(lines) * part // cfg.parts : len(lines) * (part + 1) // cfg.parts])
            run.publish_file(f"rankings-{part + 1}.jsonl", partial(_write, share))
        run.result({"ranked": done.ranked, "too_few": done.too_few, "snapshot": done.snapshot.name})
    return run.path


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _copy(source: Path, path: Path) -> None:
    shutil.copytree(source, path, dirs_exist_ok=True)


@dataclass(frozen=True, kw_only=True)
class MiniatureEvaluateConfig:
    """The models on held-out prompts of the small world, judged by its gold utility."""

    seed: int = 0
    """Base of every random stream of the stage."""
    models: dict[str, str] = field(default_factory=dict)
    """Name to model or run directory, in the order of the loop."""
    n: int = 400
    """Held-out prompts."""
    reference: str = ""
    """Name of the model that the others' sequence KL is measured against."""
    few_shot: str = ""
    """Name of the model that is also asked with worked examples before the question; empty leaves that out."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_new_tokens=48))
    """How completions are drawn."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""

    def __post_init__(self) -> None:
        require(self.n >= 1, f"miniature.evaluate.n must be >= 1, got {self.n}")


def run_miniature_evaluate(cfg: MiniatureEvaluateConfig, out: Path, *, resume: bool = False) -> Path:
    """Write ``eval/*.json`` into the run directory; ConfigError if no models are named."""
    require(
        bool(cfg.models),
        "miniature.evaluate needs models",
        hint="--models sft runs/sft ppo runs/ppo, in a recipe: models = { sft = '@sft' }",
    )
    from instructloop.miniature.examine import evaluate

    parents = [parent(f"model:{name}", path) for name, path in cfg.models.items()]
    with RunDir.open(out, stage="miniature.evaluate", config=to_json(cfg), parents=parents, resume=resume) as run:
        evaluate(cfg, run)
    return run.path


@dataclass(frozen=True, kw_only=True)
class MiniatureObserveConfig:
    """Gold of what the watches of PPO runs kept, after the runs have ended."""

    seed: int = 0
    """Base of every random stream of the stage."""
    runs: dict[str, str] = field(default_factory=dict)
    """Name to PPO run directory; all watched on the same prompts."""
    sft: str = ""
    """The SFT baseline, whose gold on the same prompts is the level to stay above."""
    sampling: SamplingConfig = field(default_factory=lambda: SamplingConfig(max_new_tokens=48))
    """How the baseline's completions are drawn."""
    compute: ComputeConfig = field(default_factory=ComputeConfig)
    """Device and precision."""


def run_miniature_observe(cfg: MiniatureObserveConfig, out: Path, *, resume: bool = False) -> Path:
    """Write ``result.json`` and ``eval/observatory.json`` into the run directory; ConfigError if no runs or no SFT model are named."""
    require(
        bool(cfg.runs and cfg.sft),
        "miniature.observe needs PPO runs and the SFT baseline",
        hint="--runs ppo runs/ppo --sft runs/sft, in a recipe: runs = { ppo = '@ppo' }, sft = '@sft'",
    )
    from instructloop.miniature.observe import observe

    parents = [*(parent(f"run:{name}", path) for name, path in cfg.runs.items()), parent("sft", cfg.sft)]
    with RunDir.open(out, stage="miniature.observe", config=to_json(cfg), parents=parents, resume=resume) as run:
        observe(cfg, run)
    return run.path


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """What ``instructloop inspect`` would say about runs of the pipeline, kept beside them."""

    runs: dict[str, str] = field(default_factory=dict)
    """Name to run directory: PPO runs or reward models."""
    settings: InspectionConfig = field(default_factory=InspectionConfig)
    """What they are examined with; runs that are examined together are each other's frontier."""


def run_inspect(cfg: InspectConfig, out: Path, *, resume: bool = False) -> Path:
    """Write ``eval/observatory_<name>.json`` for every run into the run directory; ConfigError if no runs are named."""
    require(bool(cfg.runs), "inspect needs runs", hint="in a recipe: runs = { ppo = '@ppo' }")
    from instructloop.evaluation.observatory.inspection import FOLDER, inspect_among

    parents = [parent(f"run:{name}", path) for name, path in cfg.runs.items()]
    with RunDir.open(out, stage="inspect", config=to_json(cfg), parents=parents, resume=resume) as run:
        for name, place in cfg.runs.items():
            document = run.path / FOLDER / f"{name}.json"
            inspect_among(Path(place), [Path(other) for other in cfg.runs.values()], cfg.settings, document)
            run.evaluation(f"observatory_{name}", read_json(document))
    return run.path


@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """``report.html`` of the whole pipeline; name the stages it waits for in ``needs``."""


def run_report(cfg: ReportConfig, out: Path, *, resume: bool = False) -> Path:
    """Write ``report.html`` beside ``pipeline.json``, two folders up."""
    from instructloop.report import write_report

    with RunDir.open(out, stage="report", config=to_json(cfg), resume=resume) as run:
        path: Path = write_report(run.path.parents[1])
        run.result({"report": path.name})
    return run.path
