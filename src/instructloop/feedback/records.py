"""Prompts, checkpoints and completions going into the store: normalised, hashed, and each kept once."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from instructloop.core.errors import DataError
from instructloop.core.hashing import hash_bytes, hash_json, hash_tree
from instructloop.core.records import Message, PromptContent, prompt_json, prompt_text
from instructloop.feedback.database import insert_if_new
from instructloop.feedback.ids import new_id, now_ms
from instructloop.feedback.schema import Checkpoint, CompletionRow, Model, PromptOwner, PromptRow, Task

MAX_PROMPT_BYTES = 64_000
PREFIX_CHARACTERS = 200
"""Prompts that agree in this many characters (white space and case aside) count as relatives; the paper gives no length (spec A3)."""
USABLE_PII = ("unchecked", "clean", "redacted")
"""States of a prompt that may be shown to labelers; training takes ``clean`` and ``redacted`` only."""


def nfc(prompt: PromptContent) -> PromptContent:
    """The prompt with every text in Unicode normal form C."""
    if isinstance(prompt, str):
        return unicodedata.normalize("NFC", prompt)
    return tuple(Message(message.role, unicodedata.normalize("NFC", message.content)) for message in prompt)


def prompt_sha256(prompt: PromptContent) -> str:
    """The hash that names a prompt: of the canonical JSON of its NFC form."""
    return hash_json(prompt_json(nfc(prompt)))


def prefix_key(prompt: PromptContent, characters: int = PREFIX_CHARACTERS) -> str:
    """Hash of the first ``characters`` of the prompt, white space collapsed and case folded (spec A3; length ours).

    System turns do not count: one system text may head very different requests.
    """
    if not isinstance(prompt, str):
        prompt = tuple(message for message in prompt if message.role != "system")
    return hash_bytes(" ".join(prompt_text(nfc(prompt)).casefold().split())[:characters].encode())


def prompt_of(row: PromptRow) -> PromptContent:
    """The prompt of a row as the rest of the program knows it.

    Raises:
        DataError: it was erased.
    """
    if row.text is None:
        raise DataError(f"prompt {row.id} was erased", hint="leave it out: only its hash and its counts are kept")
    if row.messages:
        return tuple(Message(item["role"], item["content"]) for item in row.messages)  # type: ignore[arg-type]
    return row.text


def add_prompt(
    session: Session,
    *,
    prompt: PromptContent,
    source: str,
    owner: str,
    split: str,
    kind: str = "plain",
    language: str | None = None,
    use_case: str | None = None,
    tokens: int = 0,
    pii_status: str = "unchecked",
    pii_report: Mapping[str, Any] | None = None,
    consent_id: str | None = None,
    licence: str | None = None,
    parent_id: str | None = None,
    prefix: str | None = None,
    original_sha256: str | None = None,
    meta: Mapping[str, Any] | None = None,
    now: int | None = None,
) -> tuple[str, bool]:
    """Keep a prompt, once; the same prompt again gives the row that is there.

    Args:
        session: inside ``Database.write()``.
        prompt: text or messages; stored NFC.
        source: one of ``schema.prompts.SOURCES``.
        owner: hash of the owner (``Project.pseudonym("owner", ...)``), never the name.
        split: train, valid or test; the same for every prompt of one owner, which the database insists on (spec A5).
        prefix: overrides :func:`prefix_key`.

    Returns:
        The identifier, and whether the row is new.

    Raises:
        DataError: empty or too long; or the owner's prompts lie in another split.
    """
    prompt = nfc(prompt)
    text = prompt_text(prompt)
    if not text.strip():
        raise DataError("prompt: is empty", hint="leave the row out")
    if len(text.encode()) > MAX_PROMPT_BYTES:
        raise DataError(f"prompt: is longer than {MAX_PROMPT_BYTES:,} bytes", hint="shorten it or leave it out")
    sha = prompt_sha256(prompt)
    known = session.scalar(select(PromptRow.id).where(PromptRow.sha256 == sha))
    if known is not None:
        return known, False
    _own(session, owner, split)
    messages = prompt_json(prompt)
    values = {
        "id": new_id(),
        "text": text,
        "messages": None if isinstance(messages, str) else messages,
        "sha256": sha,
        "original_sha256": original_sha256,
        "prefix_key": prefix or prefix_key(prompt),
        "source": source,
        "kind": kind,
        "owner_hash": owner,
        "split": split,
        "language": language,
        "use_case": use_case,
        "tokens": tokens,
        "pii_status": pii_status,
        "pii_report": dict(pii_report or {}),
        "consent_id": consent_id,
        "licence": licence,
        "parent_id": parent_id,
        "meta": dict(meta or {}),
        "created_at": now_ms() if now is None else now,
    }
    if insert_if_new(session, PromptRow, values, on=("sha256",)):
        return str(values["id"]), True
    return session.scalars(select(PromptRow.id).where(PromptRow.sha256 == sha)).one(), False


def _own(session: Session, owner: str, split: str) -> None:
    """Every owner has one split, from their first prompt on."""
    insert_if_new(session, PromptOwner, {"owner_hash": owner, "split": split}, on=("owner_hash",))
    settled = session.scalars(select(PromptOwner.split).where(PromptOwner.owner_hash == owner)).one()
    if settled != split:
        raise DataError(
            f"split: an owner's prompts lie in {settled!r}, this one says {split!r}",
            hint="splits are made by owner: put all prompts of one owner into one split",
        )


def owner_split(session: Session, owner: str) -> str | None:
    """The split an owner's prompts already lie in, if any."""
    return session.scalar(select(PromptOwner.split).where(PromptOwner.owner_hash == owner))


def quarantine_prompt(session: Session, prompt_id: str, why: Mapping[str, Any]) -> None:
    """Set a prompt aside because of personal information: nobody is given it any more, nothing of it goes to training."""
    row = session.get_one(PromptRow, prompt_id)
    row.pii_status = "quarantined"
    row.pii_report = {**row.pii_report, **why}
    session.execute(update(Task).where(Task.prompt_id == prompt_id, Task.state == "open").values(state="withdrawn"))


def clear_prompt(session: Session, prompt_id: str, *, status: str = "clean", why: Mapping[str, Any] | None = None) -> None:
    """Take a prompt out of quarantine after a person looked at it; its unfinished tasks open again.

    Raises:
        DataError: ``status`` is not one that may be shown.
    """
    if status not in USABLE_PII:
        raise DataError(f"status: {status!r} does not clear a prompt", hint=f"use one of {', '.join(USABLE_PII)}")
    row = session.get_one(PromptRow, prompt_id)
    row.pii_status = status
    row.pii_report = {**row.pii_report, **(why or {})}
    session.execute(
        update(Task).where(Task.prompt_id == prompt_id, Task.state == "withdrawn", Task.done < Task.wanted).values(state="open")
    )


def add_checkpoint(
    session: Session,
    *,
    model: str,
    path_or_sha: str | Path,
    stage: str = "other",
    base: str | None = None,
    licence: str | None = None,
    parent_id: str | None = None,
    run: str | None = None,
    step: int | None = None,
    config: Mapping[str, Any] | None = None,
    tokenizer_sha256: str | None = None,
) -> str:
    """Keep a checkpoint, once, named by the hash of its files; returns its identifier.

    Hashing gigabytes inside a transaction would hold up everybody: pass ``sha256:...`` for anything big.
    """
    sha = str(path_or_sha)
    if not sha.startswith("sha256:"):
        sha = hash_tree(Path(path_or_sha))
    insert_if_new(session, Model, {"id": new_id(), "name": model, "base": base, "licence": licence, "created_at": now_ms()}, on=("name",))
    insert_if_new(
        session,
        Checkpoint,
        {
            "id": new_id(),
            "model_id": session.scalars(select(Model.id).where(Model.name == model)).one(),
            "parent_id": parent_id,
            "stage": stage,
            "run": run,
            "step": step,
            "sha256": sha,
            "config": dict(config or {}),
            "tokenizer_sha256": tokenizer_sha256,
            "created_at": now_ms(),
        },
        on=("sha256",),
    )
    return session.scalars(select(Checkpoint.id).where(Checkpoint.sha256 == sha)).one()


def add_completion(
    session: Session,
    *,
    prompt_id: str,
    text: str,
    checkpoint_id: str | None = None,
    origin: str = "model",
    sampling: Mapping[str, Any] | None = None,
    template: str = "",
    draw: int = 0,
    finish_reason: str | None = None,
    tokens: int | None = None,
    meta: Mapping[str, Any] | None = None,
) -> str:
    """Keep a completion; a model's draw (checkpoint, template, sampling, number) is kept once.

    Raises:
        DataError: the same draw is there with another text.
    """
    text = unicodedata.normalize("NFC", text)
    sampling_sha = hash_json(dict(sampling)) if sampling and checkpoint_id else None
    values = {
        "id": new_id(),
        "prompt_id": prompt_id,
        "checkpoint_id": checkpoint_id,
        "text": text,
        "sha256": hash_bytes(text.encode()),
        "origin": origin,
        "sampling": dict(sampling or {}),
        "sampling_sha256": sampling_sha,
        "template": template,
        "draw": draw,
        "finish_reason": finish_reason,
        "tokens": tokens,
        "meta": dict(meta or {}),
        "created_at": now_ms(),
    }
    drawn = ("prompt_id", "checkpoint_id", "template", "sampling_sha256", "draw")
    if insert_if_new(session, CompletionRow, values, on=drawn):
        return str(values["id"])
    there = session.scalars(select(CompletionRow).where(*(getattr(CompletionRow, name) == values[name] for name in drawn))).one()
    if there.sha256 != values["sha256"]:
        raise DataError(
            f"completion: draw {draw} of checkpoint {checkpoint_id} for prompt {prompt_id} is in the store with another text",
            hint="draw with another seed, or number the draw",
        )
    return there.id


def completions_of(session: Session, ids: Sequence[str]) -> dict[str, CompletionRow]:
    """Completions by identifier."""
    rows: dict[str, CompletionRow] = {}
    for start in range(0, len(ids), 500):
        found = session.scalars(select(CompletionRow).where(CompletionRow.id.in_(ids[start : start + 500])))
        rows.update({row.id: row for row in found})
    return rows
