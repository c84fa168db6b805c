"""Out of the store into files: our own layouts, TRL's, or CSV, with a manifest of counts and hashes (control 14)."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from instructloop.core.errors import DataError
from instructloop.core.files import write_directory, write_json
from instructloop.core.hashing import hash_bytes, hash_json
from instructloop.feedback.database import Database
from instructloop.feedback.exchange.books import SCHEMA_VERSION, record_export
from instructloop.feedback.exchange.csvs import to_csv
from instructloop.feedback.exchange.gather import Gathered, Given, PromptItem, gather
from instructloop.feedback.exchange.rows import KINDS, Row, prompt_row, rows_of
from instructloop.feedback.exchange.selection import Selection, choose, ppo_prompts, prompt_problem
from instructloop.formats import read_demonstrations, read_prompts, read_rankings, read_unpaired, trl_rows

Layout: TypeAlias = Literal["ours", "trl", "trl-conversational"]
LAYOUTS = ("ours", "trl", "trl-conversational")
MANIFEST = "manifest.json"
_TRL_KINDS = ("demonstrations", "rankings", "unpaired", "prompts")


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What left."""

    path: Path
    sha256: str
    """Hash over the names and hashes of the files: equal content, equal hash."""
    rows: Mapping[str, int]
    left: Mapping[str, int]
    """Answers that stayed behind, by reason."""


def chosen_rows(
    gathered: Gathered, selection: Selection, kinds: Sequence[str] = KINDS
) -> tuple[dict[str, list[Row]], list[Given], Counter[str]]:
    """Rows of every file of our own layout, the chosen answers, and the reasons of the others.

    ``prompts`` holds the PPO prompts; with ``all`` every prompt that may leave, so that a copy is whole.
    """
    answers, left = choose(gathered.answers, selection)
    files: dict[str, list[Row]] = {}
    for kind in kinds:
        if kind == "prompts":
            rows = [prompt_row(prompt, include_pii=selection.include_pii) for prompt in _prompts(gathered, selection)]
        else:
            rows = [*rows_of(kind, answers, gathered, include_pii=selection.include_pii)]
        if rows:
            files[kind] = rows
    return files, answers, left


def _prompts(gathered: Gathered, selection: Selection) -> Sequence[PromptItem]:
    if selection.purpose == "all":
        return [prompt for prompt in gathered.prompts if prompt_problem(prompt, selection) is None]
    return ppo_prompts(gathered.prompts, selection)


def prompt_ids(files: Mapping[str, Iterable[Row]]) -> set[str]:
    """Prompts whose text stands in these rows."""
    return {str(row["prompt_id"]) for rows in files.values() for row in rows}


def export(
    db: Database, out: Path, *, selection: Selection | None = None, layout: Layout = "ours", csv: bool = False, actor: str = "cli"
) -> Exported:
    """Write the chosen answers into a new folder, with a manifest, and enter it in the books.

    Args:
        db: the store.
        out: must not exist yet; appears whole or not at all.
        selection: by default what may be training data.
        layout: our own, or what TRL's trainers read.
        csv: CSV files instead of JSONL, with texts that would run as formulas made harmless.
        actor: who asked for it.

    Raises:
        DataError: nothing to export, or the folder exists.
    """
    chosen = selection or Selection()
    if out.exists():
        raise DataError(f"{out} exists already", hint="name a new folder; nothing is overwritten")
    with db.read() as session:
        gathered = gather(session)
    files, _, left = chosen_rows(gathered, chosen)
    if not files:
        raise DataError("nothing to export", hint=explain(left))
    touched = prompt_ids(files)
    if layout != "ours":
        files = {name: rows for name, rows in _as_trl(files, conversational=layout == "trl-conversational").items() if rows}
    texts = (
        {f"{name}.csv": to_csv(rows) for name, rows in files.items()}
        if csv
        else {f"{name}.jsonl": jsonl(rows) for name, rows in files.items()}
    )
    listed = {name: {"rows": len(files[name.partition(".")[0]]), "sha256": hash_bytes(text.encode())} for name, text in texts.items()}
    digest = hash_json([layout, listed])
    counts = {name: len(rows) for name, rows in files.items()}
    manifest = {
        "format": "instructloop-export",
        "schema_version": SCHEMA_VERSION,
        "layout": layout,
        "sha256": digest,
        "selection": chosen.as_json(),
        "rules": chosen.rules(),
        "files": listed,
        "left_out": dict(sorted(left.items())),
        "includes_pii": chosen.include_pii,
    }

    def fill(path: Path) -> None:
        for name, text in texts.items():
            (path / name).write_text(text, encoding="utf-8", newline="")
        write_json(path / MANIFEST, manifest)

    with db.write() as session:  # the books first: nothing leaves that is not written down
        record_export(
            session,
            actor=actor,
            purpose="csv" if csv else "export",
            selection=chosen,
            rows=sum(counts.values()),
            sha256=digest,
            prompt_ids=touched,
        )
    write_directory(out, fill)
    return Exported(path=out, sha256=digest, rows=counts, left=dict(left))


def _as_trl(files: Mapping[str, Sequence[Row]], *, conversational: bool) -> dict[str, list[Row]]:
    """Votes stand among the rankings already, as rankings of two."""
    readers: dict[str, Any] = {
        "demonstrations": read_demonstrations,
        "rankings": read_rankings,
        "unpaired": read_unpaired,
        "prompts": read_prompts,
    }
    found: dict[str, list[Row]] = {}
    for name in _TRL_KINDS:
        rows = files.get(name, [])
        if name == "rankings":  # a labeler's "none will do" with fewer than two ranks is no training row
            rows = [row for row in rows if not row.get("none_acceptable")]
        if rows:
            found["pairs" if name == "rankings" else name] = [*trl_rows(readers[name](rows), conversational=conversational)]
    return found


def jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    """One JSON object a line."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def explain(left: Mapping[str, int]) -> str:
    """Why nothing came out, as a hint."""
    if not left:
        return "nobody has answered anything yet"
    reasons = ", ".join(f"{count} {name}" for name, count in sorted(left.items(), key=lambda item: -item[1]))
    remedies = {
        "personal_data_unchecked": "check the prompts: instructloop prompts check PROJECT",
        "cohort_simulated": "take simulated labelers: --cohorts simulated",
        "cohort_heldout": "held-out labelers serve evaluation: --purpose evaluation",
        "consent_missing": "customers' prompts need a consent",
    }
    return "; ".join([f"left out: {reasons}", *(text for name, text in remedies.items() if name in left)])
