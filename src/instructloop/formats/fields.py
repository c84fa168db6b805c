"""The fields of a row, checked one by one; every refusal names its field and what was found instead."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from instructloop.core.records import Message, PromptContent, Role, dense_ranks
from instructloop.formats.loaded import RowProblemError

_ROLES = {
    "system": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}


def required(row: Mapping[str, Any], field: str) -> Any:
    """The value of a field that must be there and not null."""
    if row.get(field) is None:
        found = ", ".join(sorted(str(name) for name in row)) or "nothing"
        reason = "is null" if field in row else f"is missing (the row has {found})"
        raise RowProblemError(field, reason)
    return row[field]


def text(value: Any, field: str, *, note: str | None = None) -> str:
    """A text that holds something besides white space."""
    if not isinstance(value, str):
        raise RowProblemError(field, f"must be a text, got {type(value).__name__}")
    if not value.strip():
        raise RowProblemError(field, "is empty", note=note)
    check_encodable(value, field)
    return value


def check_encodable(value: str, field: str) -> None:
    """Refuse half a surrogate pair: JSON escapes can spell one, but no tokenizer and no UTF-8 file can hold it."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RowProblemError(field, f"holds half of a surrogate pair at character {error.start + 1}: not valid UTF-8") from error


def messages(value: Any, field: str) -> tuple[Message, ...]:
    """A conversation from ``{"role", "content"}`` (or ShareGPT's ``{"from", "value"}``) objects."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise RowProblemError(field, "must be a list of messages with role and content")
    return tuple(_message(part, f"{field}[{index}]") for index, part in enumerate(value))


def _message(value: Any, field: str) -> Message:
    if isinstance(value, Message):
        value = {"role": value.role, "content": value.content}
    if not isinstance(value, Mapping):
        raise RowProblemError(field, "must be an object with role and content")
    role = value.get("role", value.get("from"))
    if not isinstance(role, str) or role not in _ROLES:
        raise RowProblemError(f"{field}.role", f"unknown role {role!r}; known: system, user, assistant")
    content = value.get("content", value.get("value"))
    if isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content):
        content = "".join(str(part.get("text", "")) for part in content)
    if not isinstance(content, str):
        raise RowProblemError(f"{field}.content", f"must be a text, got {type(content).__name__}")
    check_encodable(content, f"{field}.content")
    return Message(cast("Role", _ROLES[role]), content)


def prompt(value: Any, field: str = "prompt") -> PromptContent:
    """A text, or a conversation that ends in a user turn with text in it."""
    if isinstance(value, str):
        return text(value, field)
    turns = messages(value, field)
    if turns[-1].role != "user":
        raise RowProblemError(field, f"must end in a user turn, ends in a turn of the {turns[-1].role}")
    if not turns[-1].content.strip():
        raise RowProblemError(field, "is empty in its last turn")
    return turns


def completion(value: Any, field: str = "completion", *, note: str | None = None) -> str:
    """A text, or a list of one assistant message (TRL's conversational layout)."""
    if isinstance(value, str):
        return text(value, field, note=note)
    turns = messages(value, field)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise RowProblemError(field, "must be one assistant message", hint="put the earlier turns into the prompt")
    return text(turns[0].content, field, note=note)


def boolean(value: Any, field: str) -> bool:
    """True or false; numbers and texts are refused, for 'false' would count as true."""
    if not isinstance(value, bool):
        raise RowProblemError(field, f"must be true or false, got {value!r}")
    return value


def ranks(value: Any, k: int, field: str = "ranks") -> tuple[int | None, ...]:
    """K ranks, any integers or null, to dense ranks from 0 (only their order counts)."""
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise RowProblemError(field, f"must be a list of integers, got {type(value).__name__}")
    if len(value) != k:
        raise RowProblemError(field, f"has {len(value)} entries for {k} completions")
    return dense_ranks(tuple(_rank(rank, index, field) for index, rank in enumerate(value)))


def _rank(value: Any, index: int, field: str) -> int | None:
    if value is None:
        return None
    # Parquet and CSV tools turn integers beside nulls into floats, so 2.0 is read as 2; 2.5 and NaN are not ranks
    whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
    if isinstance(value, bool) or not (isinstance(value, int) or whole):
        raise RowProblemError(f"{field}[{index}]", f"must be an integer or null, got {value!r}")
    return int(value)


def labeler(value: Any) -> str | None:
    """Who ranked, as a text; numbers become texts."""
    return None if value is None or value == "" else str(value)


def confidence(value: Any) -> float | None:
    """How sure the labeler was; anything but a finite number is ignored here (it stays in ``meta``)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)
