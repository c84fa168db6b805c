"""Records of Argilla: fields, questions, and responses of several people, as exported by its versions 1 and 2.

Known forms: ``responses`` as a list of ``{"user_id", "status", "values": {question: {"value"}}}`` (version 1, and the server of version 2),
``responses`` as ``{question: [{"value", "user_id"}]}`` (version 2, ``records.to_json``), and the flat columns that both write to
``datasets`` (``question: [{"user_id", "value", "status"}]``; ``question.responses``, ``question.responses.users``,
``question.responses.status``).

Each person's answers become: a ranking (a ranking question over the record's completions; Argilla's ranks start at 1 and may tie), a
rating (a number for one completion), a comparison (a choice that names one of two completions, or "tie"), a demonstration (a text
question called ``completion``, ``response``... or named by the caller). Whatever is none of these stays in ``meta["argilla"]``.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from instructloop.core.records import Comparison, Demonstration, Prompt, Ranking, Rating
from instructloop.formats import fields as check
from instructloop.formats.foreign import (
    BOTH_BAD,
    TIES,
    WRITTEN,
    ForeignRecord,
    Imported,
    Names,
    Notes,
    Source,
    find_completions,
    find_prompt,
    folded,
    listed,
    mapping,
    match,
    read_foreign,
)
from instructloop.formats.loaded import RowProblemError

TOOL = "argilla"
Answers = dict[str, Any]


def read_argilla(source: Source, *, names: Names | None = None, skip_bad_rows: bool = False) -> Imported:
    """Records of an Argilla dataset.

    Args:
        source: a JSON or JSONL file, a ``datasets`` folder, or rows.
        names: ``{"prompt": field, "completion": question with a written answer, label in a ranking: field}``, where they can't be guessed.
        skip_bad_rows: leave bad rows out and list them, instead of stopping.

    Raises:
        DataError: a bad row, with file, line, field and remedy.
    """
    said = names or {}
    return read_foreign(source, lambda row, notes: _records(row, notes, said), "Argilla", skip_bad_rows=skip_bad_rows)


def _records(row: dict[str, Any], notes: Notes, names: Names) -> Iterator[ForeignRecord]:
    nested = _nested(row)
    fields = mapping(nested.get("fields"), "fields")
    if not fields:
        raise RowProblemError("fields", "is missing or empty", hint="export whole records (fields, responses and suggestions)")
    prompt_name = find_prompt(fields, names, "fields")
    prompt = check.prompt(fields[prompt_name], f"fields.{prompt_name}")
    completions = find_completions(fields, prompt_name, names)
    base = {name: value for name, value in nested.items() if name not in {"fields", "responses"}}
    base["fields"] = {name: value for name, value in fields.items() if name != prompt_name and name not in completions}
    people = _people(nested.get("responses"), notes) or [(None, None, {})]
    for number, (user, status, answers) in enumerate(people):
        person = None if user is None else str(user)
        mine = {**base, "response": {"user_id": user, "status": status, "values": answers}}
        found = [*_answers(answers, prompt, completions, names, person, mine, f"responses[{number}]")]
        if not found:  # nothing judged: the prompt itself, with everything that stood beside it
            notes["answers_without_judgement" if answers else "records_without_answers"] += 1
            rest = {name: value for name, value in fields.items() if name != prompt_name}
            found = [Prompt(prompt=prompt, meta={TOOL: {**mine, "fields": rest}})]
        yield from found


def _answers(
    answers: Answers, prompt: Any, completions: dict[str, str], names: Names, person: str | None, mine: dict[str, Any], place: str
) -> Iterator[ForeignRecord]:
    for question, value in answers.items():
        where = f"{place}.{question}"
        meta = {TOOL: {**mine, "question": question}}
        if _is_ranking(value):
            texts, ranks, labels = _ranking(value, completions, names, where)
            meta[TOOL]["completions"] = labels
            yield Ranking(prompt=prompt, completions=texts, ranks=ranks, labeler=person, meta=meta)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            rated = _rated(question, completions)
            if rated is not None:
                meta[TOOL] |= {"completion": rated, "other_completions": _others(completions, rated)}
                yield Rating(prompt=prompt, completion=completions[rated], overall=float(value), labeler=person, meta=meta)
        elif isinstance(value, str) and (
            question == names.get("completion") or ("completion" not in names and folded(question) in WRITTEN)
        ):
            meta[TOOL]["completions"] = dict(completions)
            yield Demonstration(prompt=prompt, completion=check.completion(value, where), meta=_with_labeler(meta, person))
        elif isinstance(value, str) and len(completions) == 2:
            outcome = _choice(value, completions, names)
            if outcome is not None:
                (name_a, text_a), (name_b, text_b) = completions.items()
                meta[TOOL]["completions"] = [name_a, name_b]
                yield Comparison(prompt=prompt, completion_a=text_a, completion_b=text_b, winner=outcome, labeler=person, meta=meta)


def _with_labeler(meta: dict[str, Any], person: str | None) -> dict[str, Any]:
    return meta if person is None else {"labeler": person, **meta}


def _others(completions: Mapping[str, str], name: str) -> dict[str, str]:
    return {other: text for other, text in completions.items() if other != name}


def _choice(value: str, completions: Mapping[str, str], names: Names) -> Any:
    if folded(value) in TIES:
        return "tie"
    if folded(value) in BOTH_BAD:
        return "both_bad"
    named = match(value, completions, names)
    return None if named is None else "ab"[list(completions).index(named)]


def _is_ranking(value: Any) -> bool:
    if isinstance(value, Mapping):  # ``datasets`` turns a list of objects into an object of lists
        return isinstance(value.get("rank"), list) and isinstance(value.get("value"), list)
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and "value" in item and "rank" in item for item in value)
    )


def _ranking(
    value: Any, completions: Mapping[str, str], names: Names, place: str
) -> tuple[tuple[str, ...], tuple[int | None, ...], list[str]]:
    pairs = (
        zip(value["value"], value["rank"], strict=False)
        if isinstance(value, Mapping)
        else ((item["value"], item["rank"]) for item in value)
    )
    ranks: dict[str, Any] = {}
    for label, rank in pairs:
        name = match(label, completions, names)
        if name is None:
            raise RowProblemError(
                place,
                f"ranks {label!r}, which is no field with a completion (they are {', '.join(completions) or 'none'})",
                hint=f"say which field it is: --map '{label}=FIELD'",
            )
        if name in ranks:
            raise RowProblemError(place, f"ranks {label!r} twice")
        ranks[name] = rank
    labels = list(completions)
    found = check.ranks([ranks.get(name) for name in labels], len(labels), place)
    if sum(rank is not None for rank in found) < 2:
        raise RowProblemError(place, "ranks fewer than 2 completions")
    return tuple(check.text(completions[name], f"fields.{name}") for name in labels), found, labels


def _rated(question: str, completions: Mapping[str, str]) -> str | None:
    """Which completion a rating is about: the only one, or the one whose name the question's name ends in."""
    if len(completions) == 1:
        return next(iter(completions))
    number = "".join(char for char in question if char.isdigit())
    named = [name for name in completions if folded(question).endswith(folded(name))]
    numbered = [name for name in completions if number and "".join(char for char in name if char.isdigit()) == number]
    return named[0] if len(named) == 1 else numbered[0] if len(numbered) == 1 else None


def _people(responses: Any, notes: Notes) -> list[tuple[Any, str | None, Answers]]:
    """(user, status, answers by question) of everybody who submitted; drafts and discarded ones are listed as left out."""
    people: list[tuple[Any, str | None, Answers]] = []
    if isinstance(responses, Mapping):
        by_user: dict[str, tuple[Any, Answers]] = {}
        for question, answers in responses.items():
            for answer in listed(answers, f"responses.{question}"):
                found = mapping(answer, f"responses.{question}")
                by_user.setdefault(repr(found.get("user_id")), (found.get("user_id"), {}))[1][str(question)] = found.get("value")
        return [(user, None, answers) for user, answers in by_user.values()]
    for number, response in enumerate(listed(responses, "responses")):
        found = mapping(response, f"responses[{number}]")
        values = mapping(found.get("values"), f"responses[{number}].values")
        answers = {
            str(name): value.get("value") if isinstance(value, Mapping) and "value" in value else value for name, value in values.items()
        }
        status = found.get("status")
        if status not in (None, "submitted"):
            notes.leave_out(f"{status}_responses", f"responses[{number}]", f"is {status}, not submitted")
            continue
        people.append((found.get("user_id"), status, answers))
    return people


def _nested(row: dict[str, Any]) -> dict[str, Any]:
    """A record with ``fields`` and ``responses``, also from the flat columns of a ``datasets`` export."""
    if "fields" in row:
        return row
    questions = {name.removesuffix(".responses") for name in row if name.endswith(".responses")}
    lists = {name for name, value in row.items() if _is_answer_list(value) and f"{name}-suggestion" in row}
    if not questions and not lists:
        raise RowProblemError(
            "fields", f"is missing (the row has {', '.join(sorted(row)) or 'nothing'})", hint="is this an Argilla export?"
        )
    by_user: dict[str, dict[str, Any]] = {}
    for question in sorted(questions):
        values = listed(row[f"{question}.responses"], f"{question}.responses")
        users = listed(row.get(f"{question}.responses.users"), f"{question}.responses.users")
        states = listed(row.get(f"{question}.responses.status"), f"{question}.responses.status")
        if len(users) not in {0, len(values)}:
            raise RowProblemError(f"{question}.responses.users", f"has {len(users)} entries for {len(values)} responses")
        for number, value in enumerate(values):
            user = users[number] if users else f"{number}"
            entry = by_user.setdefault(
                repr(user), {"user_id": user, "status": states[number] if number < len(states) else None, "values": {}}
            )
            entry["values"][question] = {"value": value}
    for question in sorted(lists):
        for answer in row[question]:
            entry = by_user.setdefault(
                repr(answer.get("user_id")), {"user_id": answer.get("user_id"), "status": answer.get("status"), "values": {}}
            )
            entry["values"][question] = {"value": answer["value"]}
    used = {f"{question}{end}" for question in questions for end in (".responses", ".responses.users", ".responses.status")} | lists
    rest = {name: value for name, value in row.items() if name not in used}
    known = {"id", "_server_id", "external_id", "metadata", "vectors", "status"}
    beside = {
        name: value
        for name, value in rest.items()
        if name in known or ".suggestion" in name or name.rpartition("-")[2].startswith("suggestion")
    }
    return {**beside, "fields": {name: value for name, value in rest.items() if name not in beside}, "responses": list(by_user.values())}


def _is_answer_list(value: Any) -> bool:
    return (
        isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) and {"user_id", "value"} <= set(item) for item in value)
    )
