"""Snapshots: folders named by their content, the only way out of the store to training.

::

    snapshots/3f2a9c01d4e5/
      demonstrations.jsonl   rankings.jsonl   votes.jsonl   ratings.jsonl ...   prompts of the split train
      demonstrations.valid.jsonl ...                                         the same of the split valid
      data-card.md           who labeled what, in words and tables (spec L1)
      manifest.json          counts, hashes of every file, rules, labeler codes, guideline versions, parents

The name is the first 12 digits of a hash over the data files and the selection; the card and the time do not enter it. Equal content
is one snapshot, however often it is asked for.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from alembic.runtime.migration import MigrationContext

from instructloop.core.errors import DataError
from instructloop.core.files import read_json, write_directory, write_json
from instructloop.core.hashing import hash_bytes, hash_file, hash_json
from instructloop.feedback.database import Database
from instructloop.feedback.exchange.books import SCHEMA_VERSION, record_export
from instructloop.feedback.exchange.card import data_card
from instructloop.feedback.exchange.export import MANIFEST, chosen_rows, explain, jsonl, prompt_ids
from instructloop.feedback.exchange.gather import Gathered, Given, gather
from instructloop.feedback.exchange.rows import IN_SNAPSHOTS, Row, template_demonstration
from instructloop.feedback.exchange.selection import Selection, prompt_problem
from instructloop.feedback.ids import now_ms
from instructloop.feedback.project import Project

FORMAT = "instructloop-snapshot"
CARD = "data-card.md"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot on disk."""

    path: Path
    manifest: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The folder's name: the first 12 digits of the content hash."""
        return self.path.name

    @property
    def created_at(self) -> int:
        """UTC milliseconds at which it was made."""
        return int(self.manifest["created_at"])

    def file(self, kind: str, split: str = "train") -> Path | None:
        """A data file (``demonstrations``, ``rankings``, ``pairs``, ``votes``, ``prompts``...), or None if it has no row of that split."""
        name = f"{kind}.jsonl" if split == "train" else f"{kind}.{split}.jsonl"
        return self.path / name if name in self.manifest["files"] else None


def make_snapshot(
    project: Project, db: Database, *, selection: Selection | None = None, actor: str = "cli", now: int | None = None
) -> Snapshot:
    """Write what may leave now into ``snapshots/``, enter it in the books, and give it back; equal content gives the one that is there.

    Args:
        project: where it goes.
        db: the project's store.
        selection: by default what may be training data.
        actor: who asked for it.
        now: UTC milliseconds.

    Raises:
        DataError: nothing may leave, with the reasons.
    """
    chosen = (selection or Selection()).filled()
    with db.read() as session:
        gathered = gather(session)
        files, answers, left = chosen_rows(gathered, chosen, IN_SNAPSHOTS)
        if shipped := _template_demonstrations(gathered, chosen):
            files = {"demonstrations": [*files.pop("demonstrations", []), *shipped], **files}
        revision = MigrationContext.configure(session.connection()).get_current_revision()
        card_facts = {"session": session, "gathered": gathered, "answers": answers}
        if not any(rows for name, rows in files.items() if name != "prompts"):
            raise DataError(f"project {project.name!r}: there is nothing for a snapshot", hint=explain(left))
        parts = _by_split(files)
        texts = {name: jsonl(rows) for name, rows in parts.items()}
        listed = {
            name: {"rows": len(parts[name]), "bytes": len(body.encode()), "sha256": hash_bytes(body.encode())}
            for name, body in texts.items()
        }
        digest = hash_json(
            {"schema_version": SCHEMA_VERSION, "selection": chosen.as_json(), "files": {name: listed[name]["sha256"] for name in listed}}
        )
        path = project.snapshots / digest.removeprefix("sha256:")[:12]
        if path.exists():
            return open_snapshot(path)
        made = now_ms() if now is None else now
        manifest: dict[str, Any] = {
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "sha256": digest,
            "created_at": made,
            "created": datetime.fromtimestamp(made / 1000, UTC).isoformat(timespec="seconds"),
            "made_by": actor,
            "project": project.name,
            "database_revision": revision,
            "selection": chosen.as_json(),
            "rules": chosen.rules(),
            "files": listed,
            "rows": sum(item["rows"] for item in listed.values()),
            "left_out": dict(sorted(left.items())),
            "labelers": _labelers(answers),
            "guidelines": _guidelines(answers),
            "parents": _parents(answers),
        }
        card = data_card(manifest, **card_facts)  # type: ignore[arg-type]
    manifest["files"][CARD] = {"rows": 0, "bytes": len(card.encode()), "sha256": hash_bytes(card.encode())}

    def fill(folder: Path) -> None:
        for name, body in texts.items():
            (folder / name).write_text(body, encoding="utf-8", newline="")
        (folder / CARD).write_text(card, encoding="utf-8", newline="")
        write_json(folder / MANIFEST, manifest)

    with db.write() as session:  # the books first: nothing leaves that is not written down
        record_export(
            session, actor=actor, purpose="snapshot", selection=chosen, rows=manifest["rows"], sha256=digest, prompt_ids=prompt_ids(files)
        )
    try:
        write_directory(path, fill)
    except OSError:
        if path.exists():  # somebody else made the same one in the meantime
            return open_snapshot(path)
        raise
    return Snapshot(path, manifest)


def open_snapshot(path: Path) -> Snapshot:
    """A snapshot by its folder.

    Raises:
        DataError: the folder is no snapshot.
    """
    if not (path / MANIFEST).is_file():
        raise DataError(f"{path} is no snapshot: {MANIFEST} is missing", hint="instructloop snapshot PROJECT makes one")
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path / MANIFEST}: is not the manifest of a snapshot", hint="instructloop snapshot PROJECT makes one")
    return Snapshot(path, manifest)


def snapshots(project: Project) -> list[Snapshot]:
    """All snapshots of a project, the newest last; half-written ones (``.partial``) are none."""
    if not project.snapshots.is_dir():
        return []
    folders = [path for path in project.snapshots.iterdir() if path.suffix != ".partial" and (path / MANIFEST).is_file()]
    return sorted((open_snapshot(path) for path in folders), key=lambda item: (item.created_at, item.name))


def newest(project: Project) -> Snapshot:
    """The newest snapshot.

    Raises:
        DataError: there is none yet.
    """
    found = snapshots(project)
    if not found:
        raise DataError(f"project {project.name!r} has no snapshot yet", hint=f"instructloop snapshot {project.path}")
    return found[-1]


def check_snapshot(snapshot: Snapshot) -> list[str]:
    """What is not as it was made, in words; empty = every byte is in place."""
    problems: list[str] = []
    listed: Mapping[str, Any] = snapshot.manifest["files"]
    for name, entry in listed.items():
        file = snapshot.path / name
        if not file.is_file():
            problems.append(f"{file}: is missing")
        elif hash_file(file) != entry["sha256"]:
            problems.append(f"{file}: was changed")
    strangers = sorted(file.name for file in snapshot.path.iterdir() if file.name not in {*listed, MANIFEST})
    problems += [f"{snapshot.path / name}: does not belong to the snapshot" for name in strangers]
    parts = {name: entry["sha256"] for name, entry in listed.items() if name != CARD}
    digest = hash_json({"schema_version": snapshot.manifest["schema_version"], "selection": snapshot.manifest["selection"], "files": parts})
    if digest != snapshot.manifest["sha256"] or digest.removeprefix("sha256:")[:12] != snapshot.name:
        problems.append(f"{snapshot.path / MANIFEST}: does not fit the folder's name")
    return problems


def _template_demonstrations(gathered: Gathered, selection: Selection) -> list[Row]:
    return [
        template_demonstration(prompt, response, include_pii=selection.include_pii)
        for prompt, response in gathered.template_responses
        if prompt_problem(prompt, selection) is None
    ]


def _by_split(files: Mapping[str, Sequence[Row]]) -> dict[str, list[Row]]:
    """Train rows under the plain name, those of other splits under ``name.split.jsonl``."""
    parts: dict[str, list[Row]] = {}
    for kind, rows in files.items():
        for row in rows:
            split = row.get("split", "train")
            parts.setdefault(f"{kind}.jsonl" if split == "train" else f"{kind}.{split}.jsonl", []).append(row)
    return parts


def _labelers(answers: Sequence[Given]) -> list[dict[str, Any]]:
    counts = Counter((given.labeler.code, given.labeler.cohort, given.labeler.kind) for given in answers)
    return [{"code": code, "cohort": cohort, "kind": kind, "answers": count} for (code, cohort, kind), count in sorted(counts.items())]


def _guidelines(answers: Sequence[Given]) -> list[dict[str, Any]]:
    rows = {given.guideline.id: given.guideline for given in answers}
    counts = Counter(given.guideline.id for given in answers)
    found = [
        {
            "guideline": f"{row.name}@{row.version}",
            "mode": row.mode,
            "title": row.title,
            "sha256": hash_bytes(row.body.encode()),
            "answers": counts[key],
        }
        for key, row in rows.items()
    ]
    return sorted(found, key=lambda item: str(item["guideline"]))


def _parents(answers: Sequence[Given]) -> list[dict[str, Any]]:
    """The weights whose completions were judged: what the snapshot was made from besides people's work."""
    found = {
        output.checkpoint: {
            "role": "completions",
            "model": output.model,
            "stage": output.stage,
            "path": output.run,
            "sha256": output.checkpoint,
        }
        for given in answers
        for output in given.outputs
        if output.checkpoint is not None
    }
    return [found[key] for key in sorted(found)]
