"""Rows on their way in: checked field by field before the database is touched.

Every row becomes :class:`Incoming`: a prompt, the completions that were shown, who answered, and the answer. The lineage fields of our
own exports are all optional, so that a plain ``{"prompt", "completions", "ranks", "labeler"}`` comes in too.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from instructloop.core.records import Comparison, Demonstration, Prompt, PromptContent, Ranking, Rating
from instructloop.feedback.exchange.texts import check_texts
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS
from instructloop.feedback.schema.people import COHORTS, LABELER_KINDS
from instructloop.feedback.schema.prompts import ORIGINS, PII_STATES, PROMPT_KINDS, SCOPES, SOURCES, SPLITS, STAGES
from instructloop.feedback.schema.records import TAXONOMY
from instructloop.feedback.schema.work import GUIDELINE_MODES, QUEUE_KINDS
from instructloop.formats import fields as check
from instructloop.formats.foreign import ForeignRecord
from instructloop.formats.loaded import RowProblemError, Where

Identifier: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._:-]{1,36}$")]
Code: TypeAlias = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Sha: TypeAlias = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Short: TypeAlias = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Millis: TypeAlias = Annotated[int, Field(ge=0, le=1 << 52)]
_FLAGS = {flag.key: flag.options for flag in (*PROMPT_FLAGS, *COMPLETION_FLAGS)}


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class OutputLineage(_Part):
    """Where one completion came from."""

    origin: Literal[ORIGINS] = "model"  # type: ignore[valid-type]
    checkpoint: Sha | None = None
    stage: Literal[STAGES] | None = None  # type: ignore[valid-type]
    run: str | None = None
    sampling: dict[str, Any] = {}
    template: str = ""
    draw: int = 0
    finish_reason: Short | None = None
    tokens: int | None = None
    meta: dict[str, Any] = {}


class Decision(_Part):
    """An adjudication, as it stands in every row of its task."""

    id: Identifier
    decided_by: Code
    cohort: Literal[COHORTS]  # type: ignore[valid-type]
    decision: Identifier | None = None
    taxonomy: Literal[TAXONOMY]  # type: ignore[valid-type]
    created_at: Millis


class Lineage(BaseModel):
    """What our own rows say besides their contract fields; a row may lack any of it."""

    model_config = ConfigDict(strict=True, extra="ignore")

    labeler: Code | None = None
    confidence: Annotated[int, Field(ge=1, le=9)] | None = None
    cohort: Literal[COHORTS] | None = None  # type: ignore[valid-type]
    labeler_kind: Literal[LABELER_KINDS] = "human"  # type: ignore[valid-type]
    guideline: Annotated[str, StringConstraints(pattern=r"^[^@]{1,150}@[0-9]{1,6}$")] | None = None
    guideline_mode: Literal[GUIDELINE_MODES] = "training"  # type: ignore[valid-type]
    submission_id: Identifier | None = None
    rev: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    task_id: Identifier | None = None
    task_kind: Literal[QUEUE_KINDS] | None = None  # type: ignore[valid-type]
    queue: Short | None = None
    evaluation: Short | None = None
    display_order: list[Annotated[int, Field(ge=0)]] | None = None
    ui_version: Short = "import"
    created_at: Millis | None = None
    active_ms: Millis = 0
    wall_ms: Millis = 0
    too_fast: bool = False
    surplus: bool = False
    gold: bool = False
    comment: str | None = None
    origin: dict[str, Any] = {}
    provenance: str | None = None
    adjudication: Decision | None = None
    prompt_id: Identifier | None = None
    source: Literal[SOURCES] | None = None  # type: ignore[valid-type]
    prompt_kind: Literal[PROMPT_KINDS] = "plain"  # type: ignore[valid-type]
    use_case: Short | None = None
    language: Short | None = None
    split: Literal[SPLITS] | None = None  # type: ignore[valid-type]
    owner: Sha | None = None
    prompt_tokens: Annotated[int, Field(ge=0)] = 0
    pii_status: Literal[PII_STATES] | None = None  # type: ignore[valid-type]
    licence: Short | None = None
    consent_id: Identifier | None = None
    consent_scope: Literal[SCOPES] = "train"  # type: ignore[valid-type]
    consent_version: Short = "imported"
    prompt_meta: dict[str, Any] = {}
    completion_ids: list[Identifier] | None = None
    models: list[Short | None] | None = None
    outputs: list[OutputLineage] | None = None
    strength: Annotated[int, Field(ge=1, le=3)] | None = None
    left_is_a: bool = True


@dataclass(kw_only=True, slots=True)
class Incoming:
    """A checked row. ``kind`` is the queue kind of the answer, or ``prompt`` for a prompt alone."""

    where: Where
    kind: str
    prompt: PromptContent
    lineage: Lineage
    completions: tuple[str, ...] = ()
    """What was shown, by slot."""
    slot: int | None = None
    """Which of them the row is about, where it is about one."""
    text: str | None = None
    edited_from: int | None = None
    ranks: tuple[int | None, ...] | None = None
    tiers: tuple[int | None, ...] | None = None
    none_acceptable: bool = False
    winner: str | None = None
    as_ranking: bool = False
    """A vote in the form of a ranking of two; it may stand beside the same vote in its own form."""
    overall: int | None = None
    included: bool = True
    note: str | None = None
    flags: Mapping[str, str] = field(default_factory=dict)
    prompt_flags: Mapping[str, str] = field(default_factory=dict)
    critique: str | None = None
    who: str | None = None
    """Another tool's name for the labeler; it becomes a pseudonym and stands nowhere else."""
    input_toxicity: int | None = None
    toxicity: tuple[tuple[int, int, int], ...] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are none of ours; they go into ``origin``."""


def own_row(where: Where, row: Mapping[str, Any]) -> Incoming | None:
    """A row of our own layouts; None for a row that is only a view of others (``pairs``, ``pair_view``, ``unpaired``).

    Raises:
        RowProblemError: a field is missing, of the wrong type or out of range.
    """
    check_texts(row)
    lineage, foreign = _lineage(row)
    parse = _parser(row)
    if parse is None:
        return None
    incoming = parse(where, row, lineage)
    _fit(incoming)
    known = ({*Lineage.model_fields} - foreign) | _CONTRACT
    incoming.beside = {name: value for name, value in row.items() if name not in known}
    return incoming


_CONTRACT = frozenset(
    {
        "prompt", "completion", "completions", "ranks", "none_acceptable", "completion_a", "completion_b", "winner", "model_a", "model_b",
        "overall", "flags", "prompt_flags", "included", "note", "slot", "shown", "critique", "input_toxicity", "toxicity", "relative",
        "continuity", "tiers", "edited_from", "original",
    }
)  # fmt: skip


def _parser(row: Mapping[str, Any]) -> Callable[[Where, Mapping[str, Any], Lineage], Incoming] | None:
    if "sign" in row or "label" in row or (("chosen" in row or "rejected" in row) and "submission_id" in row):
        return None
    if "winner" in row or "completion_a" in row:
        return _vote
    if "overall" in row:
        return _rating
    if "critique" in row:
        return _critique
    if "input_toxicity" in row:
        return _toxicity
    if "ranks" in row or "completions" in row or "chosen" in row or "rejected" in row:
        return _ranking
    if "completion" in row:
        return _demonstration
    return _instruction if row.get("prompt_flags") is not None else _prompt


_BY_IDENTIFIER = ("adjudication", "evaluation", "gold", "origin", "outputs", "provenance")
"""Fields that mean what we mean by them only in rows that we wrote."""
_ALWAYS_OURS = {
    "cohort",
    "completion_ids",
    "consent_id",
    "guideline",
    "labeler",
    "owner",
    "pii_status",
    "queue",
    "split",
    "strength",
    "surplus",
}


def _lineage(row: Mapping[str, Any]) -> tuple[Lineage, set[str]]:
    """The lineage of a row, and the names in it that turned out to be somebody else's words.

    A row that we wrote names its submission or prompt, and every field must be right. In other people's rows ``gold`` may be an answer
    and ``source`` a book: there a field that is not what we mean by its name is kept as theirs.
    """
    given = {name: value for name, value in row.items() if value is not None}
    ours = "submission_id" in given or "prompt_id" in given
    foreign = set() if ours else {name for name in _BY_IDENTIFIER if name in given}
    while True:
        try:
            return Lineage.model_validate({name: value for name, value in given.items() if name not in foreign}), foreign
        except ValidationError as error:
            first = error.errors()[0]
            field_name = str(first["loc"][0])
            if not ours and field_name not in _ALWAYS_OURS:
                foreign.add(field_name)
                continue
            name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
            hint = "codes hold letters, digits, '.', '_' and '-'" if name == "labeler" else None
            raise RowProblemError(name, f"{first['msg'][0].lower()}{first['msg'][1:]}, got {_short(first['input'])}", hint=hint) from None


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def _base(where: Where, kind: str, row: Mapping[str, Any], lineage: Lineage) -> dict[str, Any]:
    return {"where": where, "kind": lineage.task_kind or kind, "prompt": check.prompt(check.required(row, "prompt")), "lineage": lineage}


def _prompt(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    return Incoming(**{**_base(where, "prompt", row, lineage), "kind": "prompt"})


def _demonstration(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    completions = _texts(row["shown"], "shown") if "shown" in row else ()
    edited = row.get("edited_from")
    if edited is not None and edited not in (lineage.completion_ids or []):
        raise RowProblemError("edited_from", f"{_short(edited)} is none of completion_ids")
    slot = None if edited is None else (lineage.completion_ids or []).index(edited)
    text = check.completion(check.required(row, "completion"))
    base = _base(where, "demonstration" if slot is None else "edit", row, lineage)
    return Incoming(**base, completions=completions, text=text, edited_from=slot)


def _ranking(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    if "chosen" in row or "rejected" in row:
        completions: tuple[str, ...] = tuple(check.completion(check.required(row, name), name) for name in ("chosen", "rejected"))
        if completions[0] == completions[1]:
            raise RowProblemError("rejected", "is identical to chosen")
        return Incoming(**_base(where, "rank", row, lineage), completions=completions, ranks=(0, 1))
    completions = _texts(check.required(row, "completions"), "completions")
    ranks = check.ranks(check.required(row, "ranks"), len(completions))
    none = row.get("none_acceptable") is not None and check.boolean(row["none_acceptable"], "none_acceptable")
    if sum(rank is not None for rank in ranks) < 2 and not none:
        raise RowProblemError("ranks", "at least 2 completions need a rank")
    base = _base(where, "rank", row, lineage)
    if base["kind"] == "pairwise" and len(completions) == 2:  # a vote in K-wise form; see rows.rows_of
        winner = "both_bad" if none else "tie" if ranks[0] == ranks[1] else "a" if ranks == (0, 1) else "b"
        return Incoming(**base, completions=completions, winner=winner, as_ranking=True)
    tiers = check_tiers(row.get("tiers"), ranks)
    return Incoming(**base, completions=completions, ranks=ranks, tiers=tiers, none_acceptable=none)


def check_tiers(given: Any, ranks: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Raw tiers 1..K as entered; where a row has none, the ranks counted from 1."""
    if given is None:
        return tuple(None if rank is None else rank + 1 for rank in ranks)
    if not isinstance(given, list) or len(given) != len(ranks):
        raise RowProblemError("tiers", f"must be a list of {len(ranks)} numbers or nulls")
    for slot, tier in enumerate(given):
        if tier is not None and (isinstance(tier, bool) or not isinstance(tier, int) or not 1 <= tier <= len(ranks)):
            raise RowProblemError(f"tiers[{slot}]", f"must be a whole number from 1 to {len(ranks)}, got {_short(tier)}")
    if check.ranks(given, len(ranks), "tiers") != ranks:
        raise RowProblemError("tiers", "say another order than ranks")
    return tuple(given)


def _vote(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    winner = check.required(row, "winner")
    if winner not in ("a", "b", "tie", "both_bad"):
        raise RowProblemError("winner", f"{_short(winner)} is none of a, b, tie, both_bad")
    texts = tuple(check.completion(check.required(row, name), name) for name in ("completion_a", "completion_b"))
    named = [row.get("model_a"), row.get("model_b")]
    if lineage.models is None and any(named):
        lineage = lineage.model_copy(update={"models": [check.labeler(name) for name in named]})
    return Incoming(**{**_base(where, "pairwise", row, lineage), "kind": "pairwise"}, completions=texts, winner=winner)


def _rating(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    overall = check.required(row, "overall")
    if isinstance(overall, bool) or not isinstance(overall, int) or not 1 <= overall <= 7:
        raise RowProblemError("overall", f"must be a whole number from 1 to 7, got {_short(overall)}")
    completions, slot = _about(row)
    return Incoming(
        **_base(where, "rate", row, lineage),
        completions=completions,
        slot=slot,
        overall=overall,
        included=row.get("included") is None or check.boolean(row["included"], "included"),
        note=None if row.get("note") is None else check.text(row["note"], "note"),
        flags=_flags(row, "flags"),
        prompt_flags=_flags(row, "prompt_flags"),
    )


def _critique(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    completions, slot = _about(row)
    critique = check.text(check.required(row, "critique"), "critique")
    return Incoming(**_base(where, "critique", row, lineage), completions=completions, slot=slot, critique=critique)


def _toxicity(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    completions = _texts(check.required(row, "completions"), "completions")
    columns = []
    for name, low, high in (("toxicity", 0, 2), ("relative", -1, 1), ("continuity", 1, 7)):
        values = check.required(row, name)
        if not isinstance(values, list) or len(values) != len(completions):
            raise RowProblemError(name, f"must be a list of {len(completions)} numbers")
        columns.append([_within(value, f"{name}[{slot}]", low, high) for slot, value in enumerate(values)])
    scores = tuple((a, b, c) for a, b, c in zip(*columns, strict=True))
    about_input = _within(row["input_toxicity"], "input_toxicity", 0, 2)
    return Incoming(**_base(where, "toxicity", row, lineage), completions=completions, input_toxicity=about_input, toxicity=scores)


def _instruction(where: Where, row: Mapping[str, Any], lineage: Lineage) -> Incoming:
    return Incoming(**_base(where, "instruction", row, lineage), prompt_flags=_flags(row, "prompt_flags"))


def _within(value: Any, name: str, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise RowProblemError(name, f"must be a whole number from {low} to {high}, got {_short(value)}")
    return value


def _about(row: Mapping[str, Any]) -> tuple[tuple[str, ...], int]:
    """The completions shown, and which of them the row is about."""
    text = check.completion(check.required(row, "completion"))
    completions = _texts(row["shown"], "shown") if row.get("shown") is not None else (text,)
    slot = _within(row.get("slot", 0), "slot", 0, len(completions) - 1)
    if completions[slot] != text:
        raise RowProblemError("completion", "is not the text at its slot in shown")
    return completions, slot


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise RowProblemError(name, f"must be a list of texts, got {_short(value)}")
    if name == "completions" and len(value) < 2:
        raise RowProblemError(name, "a ranking needs at least 2 completions, got 1")
    return tuple(check.completion(item, f"{name}[{index}]") for index, item in enumerate(value))


def _flags(row: Mapping[str, Any], name: str) -> dict[str, str]:
    value = row.get(name) or {}
    if not isinstance(value, Mapping):
        raise RowProblemError(name, f"must be an object, got {_short(value)}")
    for key, answer in value.items():
        if key not in _FLAGS:
            raise RowProblemError(f"{name}.{key}", "is no field of the form (spec B11, B12)")
        if answer not in _FLAGS[key]:
            raise RowProblemError(f"{name}.{key}", f"must be one of {', '.join(_FLAGS[key])}, got {_short(answer)}")
    return dict(value)


def _fit(incoming: Incoming) -> None:
    """Lists that run along the completions have their length, and the order shown is an order."""
    k, lineage = len(incoming.completions), incoming.lineage
    for name in ("completion_ids", "models", "outputs"):
        value = getattr(lineage, name)
        if value is not None and len(value) != k:
            raise RowProblemError(name, f"has {len(value)} entries for {k} completions")
    ids = lineage.completion_ids or []
    if len(set(ids)) != len(ids):
        raise RowProblemError("completion_ids", "names a completion twice")
    if lineage.display_order is not None and sorted(lineage.display_order) != list(range(k)):
        raise RowProblemError("display_order", f"must hold each of 0 to {k - 1} once" if k else "must be empty: nothing was shown")


def foreign_row(where: Where, record: ForeignRecord, tool: str) -> Incoming:
    """A record that another tool's file gave; all that the file says besides is kept.

    Raises:
        RowProblemError: a text is too long, or a rating lies outside 1..7.
    """
    check_texts({"prompt": [record.prompt], "meta": record.meta})
    incoming = Incoming(where=where, kind="prompt", prompt=record.prompt, lineage=Lineage(), beside=record.meta)
    match record:
        case Prompt():
            incoming.lineage = Lineage(prompt_meta=dict(record.meta))
            incoming.beside = {}
        case Demonstration():
            incoming.kind, incoming.text = "demonstration", record.completion
            incoming.who = record.meta.get("labeler")
            incoming.beside = {name: value for name, value in record.meta.items() if name != "labeler"}
        case Ranking():
            incoming.kind, incoming.completions, incoming.ranks = "rank", record.completions, record.ranks
            incoming.tiers, incoming.none_acceptable = check_tiers(None, record.ranks), record.none_acceptable
            incoming.who = record.labeler
        case Comparison():
            incoming.kind, incoming.winner, incoming.who = "pairwise", record.winner, record.labeler
            incoming.completions = (record.completion_a, record.completion_b)
            models = [record.model_a, record.model_b] if record.model_a or record.model_b else None
            incoming.lineage = Lineage(models=models, strength=record.strength)
        case Rating():
            if record.overall not in range(1, 8):
                hint = "our ratings go from 1 to 7; --map ratings=keep keeps them beside the prompt instead"
                raise RowProblemError(f"{tool} rating", f"must be a whole number from 1 to 7, got {record.overall}", hint=hint)
            incoming.kind, incoming.completions, incoming.slot = "rate", (record.completion,), 0
            incoming.overall, incoming.who = int(record.overall), record.labeler
    check_texts({"completion": incoming.text, "completions": incoming.completions})
    return incoming
