"""A project folder as training data: its newest snapshot, made if there is none or if people have worked since.

Trainers never read the database (design, section 2); this is the step before them, and the only one.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar, cast

from instructloop.config import PPOConfig, RewardModelConfig, SFTConfig
from instructloop.core.errors import DataError
from instructloop.core.files import read_json

logger = logging.getLogger(__name__)
C = TypeVar("C", SFTConfig, RewardModelConfig, PPOConfig)
_PROJECT_FILE = "project.toml"
_CONFIG_FILE = "config.json"


def with_snapshots(cfg: C, out: Path, *, resume: bool = False) -> C:
    """The configuration with snapshots in the place of project folders; any other path stays.

    A reward model also gets what held-out labelers ranked, in a snapshot of its own that only measures (spec B3).

    Args:
        cfg: of ``train sft``, ``train rm`` or ``train ppo``.
        out: the run directory; when resuming, the snapshots that the run began with hold, whatever was labeled since.
        resume: whether the run is continued.

    Raises:
        DataError: a project with nothing to train on, with the reasons.
    """
    changed: Any = cfg
    if isinstance(cfg, PPOConfig):
        changed = replace(changed, prompts=_begun(out, "prompts", resume, cfg.prompts) or snapshot_of(cfg.prompts))
    elif isinstance(cfg, SFTConfig):
        changed = replace(changed, data=_begun(out, "data", resume, cfg.data) or snapshot_of(cfg.data))
    else:
        begun = _begun(out, "data", resume, *cfg.data)
        changed = replace(changed, data=tuple(begun or (found for path in cfg.data for found in _all_snapshots(path))))
    return cast("C", changed)


def _all_snapshots(path: str) -> list[str]:
    """For training, and of held-out labelers where there are any."""
    return [snapshot_of(path), *(_by_held_out_labelers(path) if is_project(path) else [])]


def is_project(path: str) -> bool:
    """Whether a path is a project folder; known without the packages of the store."""
    return bool(path) and (Path(path) / _PROJECT_FILE).is_file()


def _begun(out: Path, field: str, resume: bool, *paths: str) -> Any:
    """What the run that is resumed was given, if it was a project then."""
    file = out / _CONFIG_FILE
    if not resume or not file.is_file() or not any(is_project(path) for path in paths):
        return None
    return read_json(file)["config"].get(field)


def snapshot_of(path: str) -> str:
    """The newest snapshot of a project folder, made if people have worked since; any other path stays as it is.

    Raises:
        DataError: nothing may leave the project yet, with the reasons.
    """
    if not is_project(path):
        return path
    from instructloop.feedback.project import Project
    from instructloop.feedback.snapshots import make_snapshot, snapshots

    project = Project.open(path)
    before = snapshots(project)
    db = project.database()
    try:
        made = make_snapshot(project, db, actor="train")
    finally:
        db.close()
    if any(item.name == made.name for item in before):
        logger.info("%s: the snapshot %s is up to date", path, made.name)
    else:
        why = "people have worked since the last one" if before else "there was none"
        logger.info("%s: made the snapshot %s (%s)", path, made.name, why)
    return str(made.path)


def _by_held_out_labelers(path: str) -> list[str]:
    from instructloop.feedback.exchange import Selection
    from instructloop.feedback.project import Project
    from instructloop.feedback.snapshots import make_snapshot

    project = Project.open(path)
    db = project.database()
    try:
        made = make_snapshot(project, db, selection=Selection(purpose="evaluation", cohorts=("heldout",)), actor="train")
    except DataError:  # nobody of the held-out cohort has answered anything
        return []
    finally:
        db.close()
    if made.file("rankings") is None:
        return []
    logger.info("%s: %s holds what held-out labelers ranked; it only measures", path, made.name)
    return [str(made.path)]
