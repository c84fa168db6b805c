"""Everything that was answered, read in a few bulk queries: the newest revision of each submission with all that it hangs on.

Nothing is chosen here and nothing is left out except superseded revisions; ``selection`` says what may leave.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from instructloop.core.records import Message, PromptContent
from instructloop.feedback import schema as table
from instructloop.feedback.prompts.storing import FROM_TEMPLATE

NAMED_MODEL = "model"
"""Key of a completion's ``meta`` that holds the name of a model whose weights nobody has (an import)."""


@dataclass(frozen=True, slots=True)
class ConsentItem:
    """An agreement, as far as an export needs it."""

    id: str
    scope: str
    text_version: str
    revoked: bool


@dataclass(frozen=True, slots=True)
class PromptItem:
    """A prompt of the store. ``content`` is None after an erasure."""

    id: str
    content: PromptContent | None
    sha256: str
    source: str
    kind: str
    owner: str
    split: str
    language: str | None
    use_case: str | None
    tokens: int
    pii_status: str
    consent: ConsentItem | None
    licence: str | None
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """A completion that was shown. ``text`` is None after an erasure."""

    id: str
    text: str | None
    origin: str
    model: str | None
    checkpoint: str | None
    """Content hash of the weights."""
    stage: str | None
    run: str | None
    sampling: Mapping[str, Any]
    template: str
    draw: int
    finish_reason: str | None
    tokens: int | None
    meta: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """A labeler by code; no name and no address."""

    id: str
    code: str
    cohort: str
    kind: str


@dataclass(slots=True)
class Body:
    """What was answered, by completion."""

    text: str | None = None
    edited_from: str | None = None
    none_acceptable: bool | None = None
    """None: there is no ranking."""
    places: dict[str, tuple[int | None, int | None]] = field(default_factory=dict)
    """Completion to (tier, rank)."""
    ratings: dict[str, tuple[int, bool, str | None]] = field(default_factory=dict)
    """Completion to (overall, included, note)."""
    flags: dict[str | None, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    """None = about the instruction."""
    vote: tuple[str, str, str, int | None, bool] | None = None
    """(completion_a, completion_b, outcome, strength, left_is_a)."""
    toxicity: dict[str | None, tuple[int, int | None, int | None]] = field(default_factory=dict)
    critiques: dict[str, str] = field(default_factory=dict)
    erased: bool = False
    """A text of it was erased."""


@dataclass(frozen=True, slots=True)
class Given:
    """The newest revision of one answer."""

    row: table.Submission
    prompt: PromptItem
    outputs: tuple[Output, ...]
    """In the task's stored order (slots)."""
    labeler: Person
    guideline: table.Guideline
    queue: table.Queue
    task: table.Task
    body: Body
    evaluation: str | None = None
    """Name of the blind evaluation that asked, if one did."""

    @property
    def id(self) -> str:
        """The submission's identifier; sorts by time."""
        return self.row.id


@dataclass(frozen=True, slots=True)
class Gathered:
    """All of the store that exports read."""

    answers: tuple[Given, ...]
    """By identifier."""
    prompts: tuple[PromptItem, ...]
    """By identifier."""
    adjudications: Mapping[str, table.Adjudication]
    """The newest decision of each task."""
    people: Mapping[str, Person]
    template_responses: tuple[tuple[PromptItem, Output], ...] = ()
    """Responses that came with a labeler-written few-shot prompt (spec A8), by prompt: demonstrations that no task asked for."""


def gather(session: Session) -> Gathered:
    """Read the store.

    Args:
        session: an open one; all of it is one consistent view.
    """
    consents = {
        row.id: ConsentItem(row.id, row.scope, row.text_version, row.revoked_at is not None)
        for row in session.scalars(select(table.Consent))
    }
    prompts = {row.id: _prompt(row, consents) for row in session.scalars(select(table.PromptRow))}
    outputs = _outputs(session)
    people = {row.id: Person(row.id, row.code, row.cohort, row.kind) for row in session.scalars(select(table.Labeler))}
    guidelines = {row.id: row for row in session.scalars(select(table.Guideline))}
    queues = {row.id: row for row in session.scalars(select(table.Queue))}
    evaluations = {row.id: row.name for row in session.scalars(select(table.Evaluation))}
    tasks = {row.id: row for row in session.scalars(select(table.Task))}
    shown: dict[str, list[str]] = defaultdict(list)
    for task_id, completion_id in session.execute(
        select(table.TaskItem.task_id, table.TaskItem.completion_id).order_by(table.TaskItem.task_id, table.TaskItem.slot)
    ):
        shown[task_id].append(completion_id)
    bodies = _bodies(session)
    superseded = select(table.Submission.supersedes).where(table.Submission.supersedes.is_not(None))
    newest = session.scalars(select(table.Submission).where(table.Submission.id.not_in(superseded)).order_by(table.Submission.id))
    answers = tuple(
        Given(
            row=row,
            prompt=prompts[tasks[row.task_id].prompt_id],
            outputs=tuple(outputs[name] for name in shown[row.task_id]),
            labeler=people[row.labeler_id],
            guideline=guidelines[row.guideline_id],
            queue=queues[tasks[row.task_id].queue_id],
            task=tasks[row.task_id],
            body=bodies.get(row.id) or Body(),
            evaluation=evaluations.get(queues[tasks[row.task_id].queue_id].evaluation_id or ""),
        )
        for row in newest
    )
    decisions = {row.task_id: row for row in session.scalars(select(table.Adjudication).order_by(table.Adjudication.id))}
    return Gathered(
        answers,
        tuple(sorted(prompts.values(), key=lambda item: item.id)),
        decisions,
        people,
        _template_responses(session, prompts, outputs),
    )


def _template_responses(
    session: Session, prompts: Mapping[str, PromptItem], outputs: Mapping[str, Output]
) -> tuple[tuple[PromptItem, Output], ...]:
    query = select(table.CompletionRow.id, table.CompletionRow.prompt_id).where(table.CompletionRow.origin == "human")
    rows = [(prompts[prompt_id], outputs[key]) for key, prompt_id in session.execute(query)]
    shipped = [(prompt, output) for prompt, output in rows if output.meta.get("from") == FROM_TEMPLATE and output.text is not None]
    return tuple(sorted(shipped, key=lambda pair: (pair[0].id, pair[1].id)))


def _prompt(row: table.PromptRow, consents: Mapping[str, ConsentItem]) -> PromptItem:
    content: PromptContent | None = row.text
    if row.messages is not None and row.text is not None:
        content = tuple(Message(turn["role"], turn["content"]) for turn in row.messages)  # type: ignore[arg-type]
    return PromptItem(
        id=row.id,
        content=None if row.erased_at is not None else content,
        sha256=row.sha256,
        source=row.source,
        kind=row.kind,
        owner=row.owner_hash,
        split=row.split,
        language=row.language,
        use_case=row.use_case,
        tokens=row.tokens,
        pii_status=row.pii_status,
        consent=consents.get(row.consent_id or ""),
        licence=row.licence,
        meta=row.meta,
    )


def _outputs(session: Session) -> dict[str, Output]:
    models = {row.id: row.name for row in session.scalars(select(table.Model))}
    checkpoints = {row.id: row for row in session.scalars(select(table.Checkpoint))}
    found = {}
    for row in session.scalars(select(table.CompletionRow)):
        weights = checkpoints.get(row.checkpoint_id or "")
        found[row.id] = Output(
            id=row.id,
            text=None if row.erased_at is not None else row.text,
            origin=row.origin,
            model=models[weights.model_id] if weights else row.meta.get(NAMED_MODEL),
            checkpoint=weights.sha256 if weights else None,
            stage=weights.stage if weights else None,
            run=weights.run if weights else None,
            sampling=row.sampling,
            template=row.template,
            draw=row.draw,
            finish_reason=row.finish_reason,
            tokens=row.tokens,
            meta={name: value for name, value in row.meta.items() if name != NAMED_MODEL},
        )
    return found


def _bodies(session: Session) -> dict[str, Body]:
    """The typed answers by submission; columns instead of objects, for these are the big tables."""
    bodies: dict[str, Body] = defaultdict(Body)
    written = table.DemonstrationRow
    for key, text, edited in session.execute(select(written.submission_id, written.text, written.edited_from)):
        bodies[key].text, bodies[key].edited_from, bodies[key].erased = text, edited, text is None
    for key, none in session.execute(select(table.RankingRow.submission_id, table.RankingRow.none_acceptable)):
        bodies[key].none_acceptable = none
    item = table.RankingItem
    for key, completion, tier, rank in session.execute(select(item.submission_id, item.completion_id, item.tier, item.rank)):
        bodies[key].places[completion] = (tier, rank)
    rated = table.Rating
    for key, completion, overall, included, note in session.execute(
        select(rated.submission_id, rated.completion_id, rated.overall, rated.included, rated.note)
    ):
        bodies[key].ratings[completion] = (overall, included, note)
    flag = table.Flag
    for key, about, name, value in session.execute(select(flag.submission_id, flag.completion_id, flag.key, flag.value).order_by(flag.key)):
        bodies[key].flags[about][name] = value
    vote = table.PairwiseVote
    for key, a, b, outcome, strength, left_is_a in session.execute(
        select(vote.submission_id, vote.completion_a, vote.completion_b, vote.outcome, vote.strength, vote.left_is_a)
    ):
        bodies[key].vote = (a, b, outcome, strength, left_is_a)
    toxic = table.Toxicity
    for key, about, score, relative, continuity in session.execute(
        select(toxic.submission_id, toxic.completion_id, toxic.toxicity, toxic.relative, toxic.continuity)
    ):
        bodies[key].toxicity[about] = (score, relative, continuity)
    critique = table.Critique
    for key, completion, text in session.execute(select(critique.submission_id, critique.completion_id, critique.text)):
        if text is None:
            bodies[key].erased = True
        elif text:  # empty: nothing to say about this one
            bodies[key].critiques[completion] = text
    return bodies
