"""Other people's layouts, turned into ours before any field is checked. The row given is never changed.

Known besides our own: TRL's conversational layouts (messages as prompt, completion, chosen, rejected; prompt inside chosen and
rejected), LLaMA-Factory and OpenAI ``messages``, ShareGPT ``conversations``, Alpaca and Dolly ``instruction`` rows, UltraFeedback
``completions`` objects with scores, and transcripts in the form "Human: ... Assistant: ..." of HH-RLHF.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.formats.loaded import RowProblemError

Row = dict[str, Any]

_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")
_TRANSCRIPT_ROLES = {"Human": "user", "Assistant": "assistant"}
_ASSISTANTS = {"assistant", "gpt", "model", "bot"}
_SCORES = ("overall_score", "score", "fine-grained_score")


def with_prompt(row: Mapping[str, Any]) -> Row:
    """Give the row a ``prompt`` and, where its layout says one, a ``completion``; unknown layouts come back as they are."""
    if row.get("prompt") is not None:
        return dict(row)
    if isinstance(row.get("conversations"), Sequence) and not isinstance(row.get("conversations"), str):
        return _split_messages(row, "conversations")
    if isinstance(row.get("messages"), Sequence) and not isinstance(row.get("messages"), str):
        return _split_messages(row, "messages")
    if isinstance(row.get("instruction"), str):
        return _from_instruction(row)
    return dict(row)


def _split_messages(row: Mapping[str, Any], field: str) -> Row:
    """The last assistant turn is the completion, what stands before it the prompt; without one, all of it is the prompt."""
    rest = {name: value for name, value in row.items() if name != field}
    turns = list(row[field])
    if turns and _role(turns[-1]) in _ASSISTANTS and "completion" not in rest:
        if len(turns) == 1:
            raise RowProblemError(field, "has an assistant turn but no prompt before it")
        return {**rest, "prompt": turns[:-1], "completion": [turns[-1]]}
    return {**rest, "prompt": turns}


def _from_instruction(row: Mapping[str, Any]) -> Row:
    rest = {name: value for name, value in row.items() if name not in {"instruction", "input", "context", "output", "response"}}
    extra = row.get("input") or row.get("context")
    rest["prompt"] = f"{row['instruction']}\n\n{extra}" if isinstance(extra, str) and extra.strip() else row["instruction"]
    answer = row.get("output", row.get("response"))
    if "completion" not in rest and answer is not None:
        rest["completion"] = answer
    return rest


def with_ranks(row: Mapping[str, Any]) -> Row:
    """Give a preference row ``completions`` and ``ranks``: pairs become K = 2, scored completions are ranked by their score."""
    if ("chosen" in row or "rejected" in row) and "ranks" not in row:
        return _from_pair(row)
    found = with_prompt(row)
    completions = found.get("completions")
    if isinstance(completions, Sequence) and not isinstance(completions, str) and completions:
        if all(isinstance(item, Mapping) and "response" in item for item in completions):
            return _from_scored(found, completions)
        if all(isinstance(item, list) for item in completions):
            found["completions"] = [_only_message(item, f"completions[{index}]") for index, item in enumerate(completions)]
    return found


def _from_scored(row: Row, completions: Sequence[Mapping[str, Any]]) -> Row:
    texts = [item["response"] for item in completions]
    if row.get("ranks") is not None:
        return {**row, "completions": texts}
    name = next((name for name in _SCORES if all(isinstance(item.get(name), int | float) for item in completions)), None)
    if name is None:
        raise RowProblemError("completions", f"are objects without a number in one of {', '.join(_SCORES)}")
    scores = [float(item[name]) for item in completions]
    order = sorted(set(scores), reverse=True)
    return {**row, "completions": texts, "ranks": [order.index(score) for score in scores], "scores": scores}


def _from_pair(row: Mapping[str, Any]) -> Row:
    for side in ("chosen", "rejected"):
        if row.get(side) is None:
            raise RowProblemError(side, "is null" if side in row else "is missing")
    chosen, rejected = row["chosen"], row["rejected"]
    rest = {name: value for name, value in row.items() if name not in {"chosen", "rejected"}}
    has_prompt = any(rest.get(name) is not None for name in ("prompt", "instruction", "messages", "conversations"))
    if isinstance(chosen, Mapping) and isinstance(rejected, Mapping):  # ShareGPT: one message a side
        chosen, rejected = [chosen], [rejected]
    if isinstance(chosen, list) and isinstance(rejected, list) and (len(chosen) > 1 or len(rejected) > 1 or not has_prompt):
        rest["prompt"], chosen, rejected = _common(chosen, rejected)
    elif not has_prompt:
        if not (_is_transcript(chosen) and _is_transcript(rejected)):
            raise RowProblemError("prompt", "is missing")
        rest["prompt"], chosen, rejected = _common(transcript(chosen), transcript(rejected))
    sides = [_only_message(side, name) if isinstance(side, list) else side for name, side in (("chosen", chosen), ("rejected", rejected))]
    found = with_prompt({name: value for name, value in rest.items() if name != "completion"})
    return {**found, "chosen": sides[0], "rejected": sides[1]}


def _common(chosen: Sequence[Any], rejected: Sequence[Any]) -> tuple[Any, Any, Any]:
    """Two whole conversations into their shared prompt and two last turns."""
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        if len(side) < 2:
            raise RowProblemError(name, "has no prompt before its last turn")
        if _role(side[-1]) not in _ASSISTANTS:
            raise RowProblemError(name, "does not end in an assistant turn")
    if list(chosen[:-1]) != list(rejected[:-1]):
        raise RowProblemError(
            "rejected", "differs from chosen before the last turn, so the two have no common prompt", note="diverging_conversations"
        )
    return list(chosen[:-1]), [chosen[-1]], [rejected[-1]]


def _only_message(value: Sequence[Any], field: str) -> Any:
    if len(value) != 1 or _role(value[0]) not in _ASSISTANTS:
        raise RowProblemError(field, "must be one assistant message")
    return value[0].get("content", value[0].get("value"))


def _role(message: Any) -> Any:
    if isinstance(message, Mapping):
        return message.get("role", message.get("from"))
    return getattr(message, "role", None)


def _is_transcript(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("\n").startswith("Human:") and "\n\nAssistant:" in value


def transcript(value: str) -> list[dict[str, str]]:
    """Messages of a "Human: ... Assistant: ..." transcript; turns of the same speaker in a row stay apart."""
    marks = list(_TURN.finditer(value))
    ends = [mark.start() for mark in marks[1:]] + [len(value)]
    return [
        {"role": _TRANSCRIPT_ROLES[mark.group(1)], "content": value[mark.end() : end].strip()}
        for mark, end in zip(marks, ends, strict=True)
    ]
