"""Records into the rows that TRL's trainers read: ``prompt``/``completion``, ``prompt``/``chosen``/``rejected``, ``prompt``/``completion``/``label``.

Standard form holds texts, conversational form lists of ``{"role", "content"}``. A ranking becomes its strict pairs (ties give none, spec
D5), neighbours in the file, with the same ``submission_id``.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from instructloop.core.errors import DataError
from instructloop.core.records import Comparison, Demonstration, Pair, Prompt, PromptContent, Ranking, Unpaired, prompt_json, prompt_text

Row: TypeAlias = dict[str, Any]
_PLAIN = (str, int, float, bool)


def trl_rows(records: Iterable[Any], *, conversational: bool) -> Iterator[Row]:
    """TRL's rows of demonstrations, rankings, pairs, comparisons, unpaired labels and prompts.

    Texts and numbers of ``meta`` travel as further columns, so that lineage survives; lists and objects do not, for the loaders of
    these trainers want one type a column.

    Args:
        records: records of ours.
        conversational: messages instead of texts. A conversation in standard form becomes lines ``role: content`` and ``assistant:``.

    Raises:
        DataError: something that is no such record.
    """
    for record in records:
        if not isinstance(record, Demonstration | Unpaired | Ranking | Pair | Comparison | Prompt):
            raise DataError(f"TRL has no row for {type(record).__name__}", hint="export it in our own layout")
        prompt = _prompt(record.prompt, conversational)
        meta = _meta(record)
        match record:
            case Demonstration():
                yield {"prompt": prompt, "completion": _answer(record.completion, conversational), **meta}
            case Unpaired():
                yield {"prompt": prompt, "completion": _answer(record.completion, conversational), "label": record.label, **meta}
            case Ranking() | Pair() | Comparison():
                for chosen, rejected in _strict(record):
                    yield {
                        "prompt": prompt,
                        "chosen": _answer(chosen, conversational),
                        "rejected": _answer(rejected, conversational),
                        **meta,
                    }
            case Prompt():
                yield {"prompt": prompt, **meta}


def _strict(record: Ranking | Pair | Comparison) -> Iterator[tuple[str, str]]:
    if isinstance(record, Comparison):
        if record.winner in {"a", "b"}:
            sides = (record.completion_a, record.completion_b)
            yield sides if record.winner == "a" else (sides[1], sides[0])
        return
    ranking = record.as_ranking() if isinstance(record, Pair) else record
    if not ranking.none_acceptable:
        yield from ((ranking.completions[i], ranking.completions[j]) for i, j in ranking.strict_pairs())


def _prompt(prompt: PromptContent, conversational: bool) -> str | list[dict[str, str]]:
    if conversational:
        return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else _messages(prompt)
    return prompt if isinstance(prompt, str) else f"{prompt_text(prompt)}\nassistant:"


def _messages(prompt: PromptContent) -> list[dict[str, str]]:
    rows = prompt_json(prompt)
    return rows if isinstance(rows, list) else [{"role": "user", "content": rows}]


def _answer(text: str, conversational: bool) -> str | list[dict[str, str]]:
    return [{"role": "assistant", "content": text}] if conversational else text


def _meta(record: Any) -> Mapping[str, Any]:
    taken = {"prompt", "completion", "chosen", "rejected", "label"}
    named = {"labeler": getattr(record, "labeler", None), **record.meta}
    return {name: value for name, value in named.items() if name not in taken and isinstance(value, _PLAIN)}
