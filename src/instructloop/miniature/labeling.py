"""The miniature's labeling: a project of its own, whose labelers lease, rank and submit like people, and a snapshot of it.

The store is made anew by every run of the stage, so it need not survive a power cut: writes are not flushed one by one.
"""

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.files import read_json, read_jsonl
from instructloop.core.hashing import hash_bytes
from instructloop.core.seeds import stream
from instructloop.feedback.founding import found
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.project import Project
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_checkpoint, add_prompt
from instructloop.feedback.schema import CompletionRow
from instructloop.feedback.simulate.pool import Pool
from instructloop.feedback.simulate.rehearsal import unflushed
from instructloop.feedback.simulate.run import run_pool
from instructloop.feedback.snapshots import make_snapshot
from instructloop.miniature.labelers import LONGEST, distinct, make_labelers, simulated
from instructloop.runs import enclosing_run, read_parents
from instructloop.runs.lineage import LINEAGE_FILE

QUEUE = "rankings"
_PER_OWNER = 100
"""Prompts of one simulated customer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Labeled:
    """What the labelers did."""

    project: Project
    snapshot: Path
    ranked: int
    too_few: int
    """Rows with fewer than two different completions."""
    seconds: float


def label(completions: Path, folder: Path, seed: int = 0, *, longer: float = 0.0) -> Labeled:
    """Rank a file of ``{"prompt", "completions", ...}`` rows, as ``instructloop sample`` writes it, through a project's store.

    Who ranks which row is drawn by ``seed`` alone, and so is what they find: the snapshot's rankings stand in the order of the file.

    Args:
        completions: JSONL; the rows keep the ``task`` of the miniature's prompts, which gold needs.
        folder: becomes the project; one that is there is made anew.
        seed: of the labelers' noise and of who gets which prompt.
        longer: the labelers' taste for long answers (``labelers.simulated``).

    Raises:
        DataError: a row is not from the miniature; its labelers can judge nothing else.
    """
    rows, too_few = _usable(completions)
    if not rows:
        raise DataError(f"{completions}: no row has two different completions", hint="sample again with a higher temperature")
    shutil.rmtree(folder, ignore_errors=True)
    project = found(folder, name="Pebble Bay")
    db = unflushed(project)
    try:
        queue = create_queue(db, name=QUEUE, kind="rank", extra_overlap_fraction=0.0, gold_rate=0.0, settings={"seed": seed})
        with db.write() as session:
            tasks = _tasks(session, project, rows, _checkpoints(session, completions))
        add_tasks(db, queue, tasks)
        people = make_labelers()
        turns = [stream(seed, "assign", number).choice(people).code for number, *_ in rows]
        report = run_pool(db, [queue], Pool(tuple(simulated(person, longer=longer) for person in people)), seed, turns=turns)
        snapshot = make_snapshot(project, db, actor="miniature")
    finally:
        db.close()
    return Labeled(project=project, snapshot=snapshot.path, ranked=report.total, too_few=too_few, seconds=report.seconds)


def _usable(completions: Path) -> tuple[list[tuple[int, dict[str, Any], list[str]]], int]:
    """(number, row, different completions) of the rows that can be ranked, and how many can't."""
    rows, too_few = [], 0
    for number, row in enumerate(read_jsonl(completions)):
        if "task" not in row or not isinstance(row["prompt"], str):
            raise DataError(
                f"{completions}:{number + 1}: field 'task' is missing: not a prompt of the miniature",
                hint="the simulated labelers only know Pebble Bay; sample prompts_train.jsonl of `instructloop miniature build`",
            )
        different = distinct(row["completions"])[:LONGEST]
        if len(different) < 2:
            too_few += 1
        else:
            rows.append((number, row, different))
    return rows, too_few


def _checkpoints(session: Session, completions: Path) -> dict[str, str]:
    """The models that the completions came from, where a run of ``sample`` says so: path as it stands in the rows -> identifier."""
    run = enclosing_run(completions)
    if run is None or read_json(run / LINEAGE_FILE)["stage"] != "sample":
        return {}
    names = read_json(run / "config.json")["config"]["models"]
    found_ids: dict[str, str] = {}
    for parent in read_parents(run):
        kind, _, number = parent.role.partition(":")
        if kind == "model" and parent.sha256 is not None and number.isdigit() and int(number) < len(names):
            place = Path(parent.path)
            source = enclosing_run(place) if place.exists() else None
            stage = read_json(source / LINEAGE_FILE)["stage"] if source else "base"
            name = names[int(number)]
            found_ids[name] = add_checkpoint(
                session, model=source.name if source else place.name, path_or_sha=parent.sha256, stage=stage if stage == "sft" else "other",
                run=str(parent.path),
            )  # fmt: skip
    return found_ids


def _tasks(
    session: Session, project: Project, rows: Sequence[tuple[int, dict[str, Any], list[str]]], checkpoints: Mapping[str, str]
) -> list[NewTask]:
    """Prompts and completions into the new store, in bulk; what gold reads stays in the prompts' meta, which never leaves."""
    tasks: list[NewTask] = []
    texts: list[dict[str, Any]] = []
    now = now_ms()
    draws: Counter[str] = Counter()
    for number, row, different in rows:
        meta = {key: value for key, value in row.items() if key not in ("prompt", "completions", "models", "use_case")}
        prompt_id, _ = add_prompt(
            session,
            prompt=row["prompt"],
            source="synthetic",
            owner=project.pseudonym("owner", f"customer {number // _PER_OWNER}"),
            split="train",
            use_case=row.get("use_case"),
            pii_status="clean",
            meta=meta,
        )
        models = {text.strip(): model for text, model in reversed(list(zip(row["completions"], row.get("models", ()), strict=False)))}
        ids = []
        for text in different:
            ids.append(new_id())
            draws[prompt_id] += 1
            texts.append(
                {"id": ids[-1], "prompt_id": prompt_id, "checkpoint_id": checkpoints.get(models.get(text, "")), "text": text,
                 "sha256": hash_bytes(text.encode()), "origin": "model", "sampling": {}, "sampling_sha256": None, "template": "",
                 "draw": draws[prompt_id], "meta": {}, "created_at": now}
            )  # fmt: skip
        tasks.append(NewTask(prompt_id=prompt_id, completion_ids=tuple(ids)))
    session.execute(insert(CompletionRow), texts)
    return tasks
