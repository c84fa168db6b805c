"""One row of an import file, checked field by field (spec A1, A2, A8, A12; control 17).

A row is ``{"prompt": text or messages, ...}``, or a few-shot template ``{"instruction", "examples": [{"query", "response"}, ...]}``.
Further fields: ``source`` (playground, api, labeler, dataset, synthetic), ``kind`` (plain, fewshot, user_based), ``owner`` (or
``organization``, ``user``...), ``use_case``, ``flags``, ``consent`` (or ``consent_version``, ``consent_at``, ``consent_scope``),
``licence``, ``id``. Anything else is refused unless it is asked to be kept: a misspelt field would otherwise vanish silently.
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from instructloop.core.errors import DataError
from instructloop.core.records import PromptContent, prompt_text
from instructloop.feedback.prompts.categories import KNOWN_FLAGS, use_case
from instructloop.feedback.prompts.fewshot import FewshotPair, FewshotTemplate, expand
from instructloop.feedback.prompts.owners import OWNER_FIELDS, owner_of
from instructloop.feedback.records import MAX_PROMPT_BYTES
from instructloop.feedback.schema.prompts import PROMPT_KINDS, SCOPES
from instructloop.formats import fields, layouts
from instructloop.formats.loaded import RowProblemError

MOST_FIELD_BYTES = MAX_PROMPT_BYTES
_SOURCES = {"playground": "api", "api": "api", "customer": "api", "labeler": "labeler", "dataset": "dataset", "synthetic": "synthetic"}
_CONTENT = ("prompt", "messages", "conversations", "instruction", "input", "examples")
_NAMED = ("source", "kind", "use_case", "flags", "consent", "consent_version", "consent_at", "consent_scope", "licence", "license", "id")
FIELDS = frozenset({*_CONTENT, *_NAMED, *OWNER_FIELDS, "labeler"})
_FLAG_VALUES = {True: "yes", False: "no", "yes": "yes", "no": "no", "na": "na", "true": "yes", "false": "no"}
_SHORT_CHARS = 200
_FORMULA_STARTS = ("=", "@", "\t", "\r")
_EARLIEST_MS = 100_000_000_000
_DEEPEST = 20


class ConsentNotice(NamedTuple):
    """What a person agreed to and when (spec A2)."""

    version: str
    granted_at: int
    """Milliseconds since 1970, UTC."""
    scope: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Defaults:
    """What holds for every row that does not say otherwise."""

    source: str = ""
    owner: str = ""
    use_case: str = ""
    licence: str = ""
    rename: Mapping[str, str] = field(default_factory=dict)
    """Fields of the file by what they should be called, e.g. ``{"question": "prompt", "source": "origin"}``."""
    keep_unknown: bool = False
    """Keep fields that are not ours (in the prompt's ``meta``) instead of refusing them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptInput:
    """A checked row: one prompt, or one few-shot template."""

    content: PromptContent | FewshotTemplate
    source: str
    """As the schema knows it; ``meta["source"]`` keeps the row's own word where that says more."""
    kind: str
    owner: str | None
    use_case: str | None = None
    consent: ConsentNotice | None = None
    licence: str | None = None
    external_id: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


def parse_row(row: Mapping[str, Any], defaults: Defaults, *, from_cells: bool = False) -> PromptInput:
    """Check one row.

    Args:
        row: the row as it was read.
        defaults: what holds where the row is silent.
        from_cells: the row comes from CSV or TSV, whose cells a spreadsheet may run as formulas.

    Raises:
        RowProblemError: with field, reason and remedy.
    """
    row = {defaults.rename.get(name, name): value for name, value in row.items() if value is not None and value != ""}
    for name, value in row.items():
        _check_value(name, value)
        if from_cells and isinstance(value, str):
            _check_formula(name, value)
    kept = _check_names(row, defaults)
    word = _short(row, "source") or defaults.source
    source = _source(word)
    content = _content(row)
    _check_length(content)
    kind = _kind(row, content)
    owner = _owner(row, source, kind) or defaults.owner or None
    if owner is None and source in {"api", "labeler"}:
        who = "the customer (organization or user)" if source == "api" else "the labeler who wrote it"
        raise RowProblemError(
            "owner", f"is missing: a prompt of source {word!r} belongs to {who}", hint="add owner to the row, or pass --owner"
        )
    consent = _consent(row)
    if consent is None and source == "api":
        raise RowProblemError(
            "consent",
            f"is missing: a prompt of source {word!r} needs the notice its owner agreed to",
            hint='add "consent": {"version": "...", "granted_at": "2026-01-31T12:00:00Z"}, or leave the row out',
        )
    licence = _short(row, "licence") or _short(row, "license") or defaults.licence or None
    if licence is None and source == "dataset":
        raise RowProblemError(
            "licence", "is missing: a prompt of source 'dataset' needs one", hint="add licence to the row, or pass --licence"
        )
    flags = _flags(row)
    meta = {**kept, **({"flags": flags} if flags else {}), **({"source": word} if word != source else {})}
    return PromptInput(
        content=content,
        source=source,
        kind=kind,
        owner=owner,
        use_case=_use_case(row, defaults),
        consent=consent,
        licence=licence,
        external_id=_short(row, "id") or None,
        meta=meta,
    )


def _check_value(name: str, value: Any) -> None:
    """Size, encoding and numbers of a field, at any depth."""
    size = 0
    for text in _texts(name, value):
        fields.check_encodable(text, name)
        if "\0" in text:
            raise RowProblemError(name, "holds a NUL character, which no database text can", hint="take it out")
        size += len(text.encode())
    if size > MOST_FIELD_BYTES:
        raise RowProblemError(name, f"is {size:,} bytes long; the most is {MOST_FIELD_BYTES:,}", hint="shorten or leave out the row")


def _texts(name: str, value: Any) -> Iterator[str]:
    waiting: list[tuple[Any, int]] = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > _DEEPEST:
            raise RowProblemError(name, f"is nested more than {_DEEPEST} deep", hint="flatten it")
        if isinstance(part, str):
            yield part
        elif isinstance(part, Mapping):
            yield from (str(key) for key in part)
            waiting += [(inner, depth + 1) for inner in part.values()]
        elif isinstance(part, Sequence) and not isinstance(part, bytes | bytearray):
            waiting += [(inner, depth + 1) for inner in part]
        elif isinstance(part, float) and not math.isfinite(part):
            raise RowProblemError(name, f"holds {part}, which JSON has no word for", hint="use null")
        elif not isinstance(part, str | int | float | bool | type(None)):
            raise RowProblemError(name, f"holds a value of type {type(part).__name__}", hint="use texts, numbers, lists and objects")


def _check_formula(name: str, value: str) -> None:
    """Refuse what Excel or LibreOffice would run: a leading ``=`` or ``@``, or ``+`` / ``-`` that is no dash before a space."""
    if value.startswith(_FORMULA_STARTS) or (value[0] in "+-" and value[1:2].strip()):
        raise RowProblemError(
            name,
            f"starts with {value[0]!r}: a spreadsheet would run it as a formula",
            hint="put the rows into JSONL, where text stays text, or a space before the sign",
        )


def _check_names(row: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The fields that are not ours: an error, or what is to be kept."""
    unknown = {str(name): value for name, value in row.items() if name not in FIELDS}
    if unknown and not defaults.keep_unknown:
        name = min(unknown)
        near = difflib.get_close_matches(name, FIELDS, n=1)
        raise RowProblemError(
            name,
            "is no field of a prompt" + (f"; did you mean {near[0]!r}?" if near else ""),
            hint="rename or remove it, or pass --keep-unknown to keep such fields beside the prompt",
        )
    return unknown


def _short(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name, "")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise RowProblemError(name, f"must be a text, got {type(value).__name__}", hint='write it as "text"')
    if len(value) > _SHORT_CHARS:
        raise RowProblemError(name, f"is {len(value)} characters long; the most is {_SHORT_CHARS}", hint="shorten it")
    return value.strip()


def _source(word: str) -> str:
    if not word:
        raise RowProblemError("source", "is missing", hint=f"add source to the row, or pass --source; known: {', '.join(_SOURCES)}")
    if word.lower() not in _SOURCES:
        raise RowProblemError("source", f"unknown source {word!r}", hint=f"known: {', '.join(_SOURCES)}")
    return _SOURCES[word.lower()]


def _content(row: Mapping[str, Any]) -> PromptContent | FewshotTemplate:
    if "examples" in row:
        return _template(row)
    for name in ("messages", "conversations"):
        if name in row and "prompt" not in row:
            return fields.prompt(fields.messages(row[name], name), name)
    found = layouts.with_prompt({name: row[name] for name in _CONTENT if name in row})
    return fields.prompt(fields.required(found, "prompt"))


def _check_length(content: PromptContent | FewshotTemplate) -> None:
    """What the store will hold of the row must fit too: a conversation with its roles, each example of a template."""
    for text in [prompt_text(content)] if not isinstance(content, FewshotTemplate) else [str(item.prompt) for item in expand(content)]:
        if len(text.encode()) > MOST_FIELD_BYTES:
            raise RowProblemError("prompt", f"is {len(text.encode()):,} bytes long; the most is {MOST_FIELD_BYTES:,}", hint="shorten it")


def _template(row: Mapping[str, Any]) -> FewshotTemplate:
    examples = row["examples"]
    if not isinstance(examples, Sequence) or isinstance(examples, str):
        raise RowProblemError("examples", f"must be a list of query/response objects, got {type(examples).__name__}", hint="see spec A8")
    pairs = []
    for place, item in enumerate(examples):
        if not isinstance(item, Mapping):
            raise RowProblemError(f"examples[{place}]", "must be an object with query and response", hint="see spec A8")
        texts = {}
        for name in ("query", "response"):
            if item.get(name) is None:
                raise RowProblemError(f"examples[{place}].{name}", "is missing", hint="add it, or take the example out")
            texts[name] = fields.text(item[name], f"examples[{place}].{name}")
        pairs.append(FewshotPair(**texts))
    instruction = fields.text(fields.required(row, "instruction"), "instruction")
    try:
        return FewshotTemplate(instruction, tuple(pairs))
    except DataError as error:
        raise RowProblemError("examples", error.message, hint=error.hint) from error


def _kind(row: Mapping[str, Any], content: PromptContent | FewshotTemplate) -> str:
    kind = _short(row, "kind") or ("fewshot" if isinstance(content, FewshotTemplate) else "plain")
    if kind not in PROMPT_KINDS:
        raise RowProblemError("kind", f"unknown kind {kind!r}", hint=f"known: {', '.join(PROMPT_KINDS)}")
    if isinstance(content, FewshotTemplate) and kind != "fewshot":
        raise RowProblemError("kind", f"is {kind!r}, but the row has examples", hint="a row with examples is of kind fewshot")
    return kind


def _owner(row: Mapping[str, Any], source: str, kind: str) -> str | None:
    for name in (*OWNER_FIELDS, "labeler"):
        _short(row, name)
    if source == "labeler" or kind == "user_based":
        return owner_of(row) or _short(row, "labeler") or None
    return owner_of(row)


def _use_case(row: Mapping[str, Any], defaults: Defaults) -> str | None:
    name = _short(row, "use_case") or defaults.use_case
    if not name:
        return None
    try:
        return use_case(name)
    except DataError as error:
        raise RowProblemError("use_case", error.message, hint=error.hint) from error


def _flags(row: Mapping[str, Any]) -> dict[str, str]:
    value = row.get("flags", {})
    if not isinstance(value, Mapping):
        raise RowProblemError("flags", f"must be an object of yes and no, got {type(value).__name__}", hint='e.g. {"closed_domain": true}')
    found = {}
    for name, answer in value.items():
        if answer is None:
            continue
        if name not in KNOWN_FLAGS:
            raise RowProblemError(f"flags.{name}", "is no known flag", hint=f"known: {', '.join(sorted(KNOWN_FLAGS))}")
        plain = answer.lower() if isinstance(answer, str) else answer
        if not isinstance(plain, str | bool) or plain not in _FLAG_VALUES:
            raise RowProblemError(f"flags.{name}", f"must be yes, no or na, got {answer!r}", hint="leave out what was not asked")
        found[str(name)] = _FLAG_VALUES[plain]
    return found


def _consent(row: Mapping[str, Any]) -> ConsentNotice | None:
    value = row.get("consent")
    if value is None and not any(name in row for name in ("consent_version", "consent_at", "consent_scope")):
        return None
    if value is None:
        value = {"version": row.get("consent_version"), "granted_at": row.get("consent_at"), "scope": row.get("consent_scope")}
    if not isinstance(value, Mapping):
        raise RowProblemError(
            "consent", f"must be an object, got {type(value).__name__}", hint='{"version": "2026-01", "granted_at": "2026-01-31T12:00:00Z"}'
        )
    if value.get("revoked_at") is not None:
        raise RowProblemError("consent.revoked_at", "says that the consent was withdrawn", hint="leave the row out")
    for name in ("version", "granted_at"):
        if value.get(name) is None:
            raise RowProblemError(f"consent.{name}", "is missing", hint="which notice was shown, and when it was agreed to")
    scope = _short(value, "scope") if value.get("scope") is not None else "train"
    if scope not in SCOPES:
        raise RowProblemError("consent.scope", f"unknown scope {scope!r}", hint=f"known: {', '.join(SCOPES)}")
    version = _short(value, "version")
    if not version:
        raise RowProblemError("consent.version", "is empty", hint="which notice was shown")
    return ConsentNotice(version, _millis(value["granted_at"]), scope)


def _millis(value: Any) -> int:
    """A moment as milliseconds: an ISO 8601 text with its zone, or the milliseconds themselves."""
    example = "write 2026-01-31T12:00:00Z, or milliseconds since 1970"
    if isinstance(value, int) and not isinstance(value, bool):
        if not _EARLIEST_MS <= value < 100 * _EARLIEST_MS:
            raise RowProblemError("consent.granted_at", f"{value} is no time in milliseconds", hint=example)
        return value
    if not isinstance(value, str):
        raise RowProblemError("consent.granted_at", f"must be a time, got {type(value).__name__}", hint=example)
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError as error:
        raise RowProblemError("consent.granted_at", f"{value[:40]!r} is no time", hint=example) from error
    if moment.tzinfo is None:
        raise RowProblemError("consent.granted_at", f"{value!r} has no time zone", hint=example)
    return round(moment.astimezone(UTC).timestamp() * 1000)
