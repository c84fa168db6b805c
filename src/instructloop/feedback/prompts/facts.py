"""What the paper's prompt tables need to know of each prompt, gathered from a file or from the store."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from instructloop.core.errors import DataError
from instructloop.core.records import prompt_text
from instructloop.feedback.prompts.categories import use_case
from instructloop.feedback.prompts.language import identify
from instructloop.feedback.prompts.lengths import ESTIMATE, TokenCounter
from instructloop.feedback.prompts.owners import owner_of
from instructloop.feedback.prompts.storing import FROM_TEMPLATE
from instructloop.feedback.schema import Assignment, CompletionRow, DemonstrationRow, Flag, PromptRow, RankingRow, Submission, Task
from instructloop.formats import fields, layouts, read_rows
from instructloop.formats.loaded import RowProblemError

STAGES = ("sft", "rm", "ppo", "unused")
"""SFT: has a demonstration; RM: has a ranking; PPO: a customer's prompt (spec A9); unused (ours): none of these yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptFacts:
    """One prompt. It counts in every stage it serves."""

    source: str
    """labeler, customer, dataset or synthetic."""
    split: str
    stages: tuple[str, ...]
    owner: str
    tokens: int
    use_case: str | None = None
    language: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    """yes or no by key; what was not asked is missing."""
    demonstration_tokens: tuple[int, ...] = ()
    """Length of each demonstration."""


def facts_of_file(
    path: str | Path, *, source: str = "customer", split: str = "train", counter: TokenCounter = ESTIMATE
) -> list[PromptFacts]:
    """Facts of a file in our layouts: rows with ``completion`` serve SFT, with ``completions`` or ``chosen`` the reward model.

    Args:
        path: the file.
        source: of rows that name none.
        split: of rows that name none.
        counter: how tokens are counted.

    Raises:
        DataError: a row has no prompt, or the file cannot be read.
    """
    facts = []
    for where, row in read_rows(path):
        try:
            found = layouts.with_ranks(row) if "chosen" in row else layouts.with_prompt(row)
            text = prompt_text(fields.prompt(fields.required(found, "prompt")))
        except RowProblemError as problem:
            raise problem.as_error(where) from None
        ranked = any(found.get(name) is not None for name in ("completions", "chosen"))
        demo = found.get("completion")
        demos = () if demo is None else (counter.count(fields.completion(demo)),)
        who = {"api": "customer", "playground": "customer"}.get(str(found.get("source", source)), str(found.get("source", source)))
        stages = [name for name, holds in (("sft", bool(demos)), ("rm", ranked)) if holds] or (["ppo"] if who == "customer" else ["unused"])
        named = found.get("use_case")
        facts.append(
            PromptFacts(
                source=who,
                split=str(found.get("split", split)),
                stages=tuple(stages),
                owner=owner_of(found) or f"row {where.line}",
                tokens=counter.count(text),
                use_case=use_case(str(named)) if named else None,
                language=identify(text).code,
                flags={key: _yes_no(value) for key, value in (found.get("flags") or {}).items() if _yes_no(value)},
                demonstration_tokens=demos,
            )
        )
    if not facts:
        raise DataError(f"{path}: holds no rows", hint="check that this is the right file")
    return facts


def _yes_no(value: Any) -> str:
    return {True: "yes", False: "no", "yes": "yes", "no": "no"}.get(value, "")


def facts_of_store(session: Session, *, counter: TokenCounter = ESTIMATE) -> list[PromptFacts]:
    """Facts of every prompt that is not erased, with the newest revision of what labelers answered about it."""
    newer = aliased(Submission)
    latest = ~select(newer.id).where(newer.supersedes == Submission.id).exists()
    answers = select(Task.prompt_id).select_from(Submission).join(Assignment, Assignment.id == Submission.assignment_id)
    answers = answers.join(Task, Task.id == Assignment.task_id).where(latest, Submission.erased_at.is_(None))

    demos: dict[str, list[int]] = defaultdict(list)
    written = answers.join(DemonstrationRow, DemonstrationRow.submission_id == Submission.id).add_columns(DemonstrationRow.text)
    for prompt_id, text in session.execute(written.where(DemonstrationRow.text.is_not(None))):
        demos[prompt_id].append(counter.count(text))
    # responses of few-shot templates are demonstrations that came with the prompt (spec A8)
    shipped = select(CompletionRow.prompt_id, CompletionRow.text, CompletionRow.meta).where(
        CompletionRow.origin == "human", CompletionRow.text.is_not(None)
    )
    for prompt_id, text, meta in session.execute(shipped):
        if text is not None and (meta or {}).get("from") == FROM_TEMPLATE:
            demos[prompt_id].append(counter.count(text))
    ranked = set(session.scalars(answers.join(RankingRow, RankingRow.submission_id == Submission.id)))

    flags: dict[str, dict[str, str]] = defaultdict(dict)
    asked = answers.join(Flag, Flag.submission_id == Submission.id).where(Flag.completion_id.is_(None)).add_columns(Flag.key, Flag.value)
    for prompt_id, key, value in session.execute(asked.order_by(Submission.created_at, Submission.id)):
        flags[prompt_id][key] = value
    return [_of_row(row, demos.get(row.id, []), row.id in ranked, flags.get(row.id, {})) for row in _prompts(session)]


def _prompts(session: Session) -> Any:
    columns = (PromptRow.id, PromptRow.source, PromptRow.split, PromptRow.owner_hash, PromptRow.tokens, PromptRow.use_case,
               PromptRow.language, PromptRow.meta)  # fmt: skip
    return session.execute(select(*columns).where(PromptRow.erased_at.is_(None)).order_by(PromptRow.id))


def _of_row(row: Any, demos: list[int], ranked: bool, flags: Mapping[str, str]) -> PromptFacts:
    served = [name for name, holds in (("sft", bool(demos)), ("rm", ranked), ("ppo", row.source == "api")) if holds]
    found = {**(row.meta or {}).get("flags", {}), **flags}
    return PromptFacts(
        source="customer" if row.source == "api" else row.source,
        split=row.split,
        stages=tuple(served or ["unused"]),
        owner=row.owner_hash,
        tokens=row.tokens,
        use_case=found.get("use_case") or row.use_case,
        language=row.language,
        flags={key: value for key, value in found.items() if value in {"yes", "no"}},
        demonstration_tokens=tuple(demos),
    )
