"""``instructloop sample --project``: what was drawn goes straight into a project's ranking or comparison tasks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.config import SampleConfig, to_json
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json
from instructloop.core.records import Prompt
from instructloop.feedback.project import Project
from instructloop.feedback.records import prompt_sha256
from instructloop.feedback.sampled import Drawn, ToLabel, Weights, due_prompts, put_to_compare, put_to_label
from instructloop.formats import read_prompts
from instructloop.recipes.draws import Origin
from instructloop.runs import Parent, enclosing_run
from instructloop.runs.lineage import LINEAGE_FILE

_STAGES = {"pretrain": "base", "sft": "sft", "rm": "rm", "ppo": "ppo"}


class SampledProject:
    """A project whose prompts are completed: where they come from, and where the completions go.

    Args:
        cfg: with ``project``.
        parents: the models, hashed, in their order.

    Raises:
        ConfigError: no project there, or a model without a hash.
    """

    def __init__(self, cfg: SampleConfig, parents: Sequence[Parent]) -> None:
        self.cfg = cfg
        self.project = Project.open(cfg.project)
        self.weights = weights_of(cfg.models, parents)

    def prompts(self) -> tuple[tuple[Prompt, ...], dict[str, int]]:
        """See :func:`project_prompts`."""
        return project_prompts(self.cfg, self.project)

    def fill(self, rows: Sequence[Mapping[str, Any]], origins: Sequence[Sequence[Origin]]) -> dict[str, Any]:
        """See :func:`fill_project`."""
        return fill_project(self.cfg, self.project, self.weights, rows, origins)


def queue_name(cfg: SampleConfig) -> str:
    """The queue that is filled."""
    return cfg.queue or ("comparison" if cfg.pairwise else "rankings")


def project_prompts(cfg: SampleConfig, project: Project) -> tuple[tuple[Prompt, ...], dict[str, int]]:
    """The project's prompts that are due, in a random order; those of ``cfg.prompts``, imported first, where a file is named.

    Returns:
        The prompts (``meta["prompt_id"]`` names the row), and how many were passed over for which reason.

    Raises:
        ConfigError: none is due, with the reasons.
    """
    db = project.database()
    try:
        only: list[str] = []
        if cfg.prompts:
            from instructloop.feedback.prompts.importing import import_prompts  # brings the detectors of personal data

            import_prompts(project, cfg.prompts, database=db, actor="sample")
            only = [prompt_sha256(row.prompt) for row in read_prompts(cfg.prompts, skip_bad_rows=cfg.skip_bad_rows).records]
        due = due_prompts(db, queue=queue_name(cfg), split=cfg.split, per_owner=cfg.per_owner, limit=cfg.limit, seed=cfg.seed, only=only)
    finally:
        db.close()
    if not due.prompts:
        reasons = ", ".join(f"{name.replace('_', ' ')}: {count}" for name, count in sorted(due.passed_over.items()))
        raise ConfigError(
            f"project {project.name!r} has no prompt of the split {cfg.split!r} for the queue {queue_name(cfg)!r} ({reasons or 'no prompts'})",
            hint=f"add some: instructloop prompts import FILE --project {cfg.project}",
        )
    return due.prompts, dict(due.passed_over)


def weights_of(models: Sequence[str], parents: Sequence[Parent]) -> list[Weights]:
    """The models as the store names them: by path as given, hash and stage.

    Raises:
        ConfigError: a model is no local directory, so that it has no hash.
    """
    found = []
    for model, parent in zip(models, parents, strict=True):
        if parent.sha256 is None:
            raise ConfigError(f"{model} is no local directory: its completions could not be traced", hint="download it and give the folder")
        run = enclosing_run(Path(parent.path))
        stage = read_json(run / LINEAGE_FILE)["stage"] if run else ""
        found.append(Weights(name=model, sha256=parent.sha256, stage=_STAGES.get(stage, "other"), run=model))
    return found


def fill_project(
    cfg: SampleConfig, project: Project, weights: Sequence[Weights], rows: Sequence[Mapping[str, Any]], origins: Sequence[Sequence[Origin]]
) -> dict[str, Any]:
    """Put sampled rows into the queue; returns what ``result.json`` says about it."""
    items = [
        ToLabel(
            prompt_id=row["prompt_id"],
            completions=tuple(_drawn(text, origin) for text, origin in zip(row["completions"], own, strict=True)),
        )
        for row, own in zip(rows, origins, strict=True)
    ]
    db = project.database()
    try:
        if cfg.pairwise:
            plan = {
                "question": "which completion do people prefer",
                "analysis": "win rate with ties as half, both bad apart, cluster bootstrap over prompts",
                "prompts": len(items),
                "split": cfg.split,
                "sampling": to_json(cfg.sampling),
            }
            tasks = put_to_compare(db, queue=queue_name(cfg), models=weights, items=items, plan=plan, seed=cfg.seed)
        else:
            tasks = put_to_label(db, queue=queue_name(cfg), kind=cfg.queue_kind, models=weights, items=items)
    finally:
        db.close()
    return {"project": project.name, "queue": queue_name(cfg), "tasks": len(tasks)}


def _drawn(text: str, origin: Origin) -> Drawn:
    return Drawn(
        text=text,
        model=origin.model,
        sampling={**origin.sampling, "seed": origin.seed, "row": origin.row},
        draw=origin.draw,
        finish_reason=origin.finish_reason,
        tokens=origin.tokens,
    )
