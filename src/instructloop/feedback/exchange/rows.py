"""Answers as rows of our own layouts: the contract fields first, then everything that says where the row came from (spec B23).

Each row holds enough to make the same row again in another project: identifiers travel, so that export, import, export gives the
same bytes. Comments, notes and imported extra fields are personal data in waiting and come with ``include_pii`` only.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations
from typing import Any, TypeAlias

from instructloop.core.records import prompt_json
from instructloop.feedback.exchange.gather import Gathered, Given, Output, PromptItem
from instructloop.feedback.exchange.provenance import provenance

Row: TypeAlias = dict[str, Any]
KINDS = (
    "demonstrations",
    "rankings",
    "pairs",
    "pair_view",
    "votes",
    "ratings",
    "unpaired",
    "critiques",
    "toxicity",
    "instructions",
    "prompts",
)
"""Files of an export, in the order in which they are written."""
PRIMARY = ("demonstrations", "rankings", "votes", "ratings", "critiques", "toxicity", "instructions", "prompts")
"""Those from which an import makes answers; the others are views of these."""
IN_SNAPSHOTS = (*PRIMARY, "pair_view")
"""Files of a snapshot; pairs and unpaired rows repeat texts that stand in the rankings and ratings."""
UNPAIRED_RULE = "a rating of 5 to 7 is true, of 1 to 3 false; 4 gives no row"


def rows_of(kind: str, answers: Iterable[Given], gathered: Gathered, *, include_pii: bool = False) -> Iterator[Row]:
    """The rows of one file, sorted by submission.

    Args:
        kind: one of ``KINDS`` except ``prompts``.
        answers: chosen answers in order.
        gathered: the whole store, for decisions and for the other answers of a task.
        include_pii: also comments, notes and imported extra fields.
    """
    judged = provenance(gathered)
    make = {
        "demonstrations": _demonstration,
        "rankings": _ranking,
        "pairs": _pairs,
        "pair_view": _pair_view,
        "votes": _vote,
        "ratings": _ratings,
        "unpaired": _unpaired,
        "critiques": _critiques,
        "toxicity": _toxicity,
        "instructions": _instruction,
    }[kind]
    for given in answers:
        lineage = _lineage(given, judged.get(given.task.id, {}), include_pii)
        yield from make(given, lineage, include_pii)


def prompt_row(prompt: PromptItem, *, include_pii: bool = False) -> Row:
    """A prompt as a row."""
    return {"prompt": _content(prompt), **_prompt_lineage(prompt, include_pii)}


def template_demonstration(prompt: PromptItem, response: Output, *, include_pii: bool = False) -> Row:
    """A response of a few-shot template as a demonstration; no labeler was assigned, the prompt's owner wrote it (spec A8)."""
    lineage = {"completion_id": response.id, "written_with": "few-shot template", **_prompt_lineage(prompt, include_pii)}
    return {"prompt": _content(prompt), "completion": response.text, **lineage}


def _content(prompt: PromptItem) -> Any:
    return None if prompt.content is None else prompt_json(prompt.content)


def _prompt_lineage(prompt: PromptItem, include_pii: bool) -> Row:
    consent = prompt.consent
    return _given(
        {
            "prompt_id": prompt.id,
            "source": prompt.source,
            "prompt_kind": prompt.kind,
            "use_case": prompt.use_case,
            "language": prompt.language,
            "split": prompt.split,
            "owner": prompt.owner,
            "prompt_tokens": prompt.tokens or None,
            "pii_status": prompt.pii_status,
            "licence": prompt.licence,
            "consent_id": consent.id if consent else None,
            "consent_scope": consent.scope if consent else None,
            "consent_version": consent.text_version if consent else None,
            "prompt_meta": ordered(prompt.meta) if include_pii and prompt.meta else None,
        }
    )


def _lineage(given: Given, judged: Mapping[str, Any], include_pii: bool) -> Row:
    row = given.row
    return {
        "labeler": given.labeler.code,
        **_given(
            {
                "confidence": row.confidence,
                "cohort": given.labeler.cohort,
                "labeler_kind": given.labeler.kind,
                "guideline": f"{given.guideline.name}@{given.guideline.version}",
                "guideline_mode": given.guideline.mode,
                "submission_id": given.id,
                "rev": row.rev,
                "task_id": given.task.id,
                "task_kind": row.kind,
                "queue": given.queue.name,
                "evaluation": given.evaluation,
                "display_order": row.display_order.get("slots"),
                "ui_version": row.ui_version,
                "created_at": row.created_at,
                "active_ms": row.active_ms or None,
                "wall_ms": row.wall_ms or None,
                "too_fast": row.too_fast or None,
                "surplus": row.surplus or None,
                "gold": True if given.task.gold_id is not None else None,
                "comment": row.comment if include_pii else None,
                "origin": _origin(row.origin, include_pii),
            }
        ),
        **judged,
        **_prompt_lineage(given.prompt, include_pii),
        **_shown(given.outputs, include_pii),
    }


def _shown(outputs: tuple[Output, ...], include_pii: bool) -> Row:
    if not outputs:
        return {}
    return {
        "completion_ids": [output.id for output in outputs],
        "models": [output.model for output in outputs],
        "outputs": [
            _given(
                {
                    "origin": output.origin,
                    "checkpoint": output.checkpoint,
                    "stage": output.stage,
                    "run": output.run,
                    "sampling": ordered(output.sampling) or None,
                    "template": output.template or None,
                    "draw": output.draw or None,
                    "finish_reason": output.finish_reason,
                    "tokens": output.tokens,
                    "meta": ordered(output.meta) if include_pii and output.meta else None,
                }
            )
            for output in outputs
        ],
    }


def _origin(origin: Mapping[str, Any], include_pii: bool) -> Row | None:
    """Where an imported answer came from. What came from an export of ours keeps the origin that stood in its row, or none."""
    origin = origin.get("origin", origin)
    if include_pii:
        return ordered(origin) or None
    return {name: origin[name] for name in ("tool", "file", "line") if name in origin} or None


def _texts(given: Given) -> list[str | None]:
    return [output.text for output in given.outputs]


def _demonstration(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    if given.body.text is None:
        return
    edited = next((output for output in given.outputs if output.id == given.body.edited_from), None)
    beside: Row = {"shown": _texts(given)} if given.outputs else {}
    beside |= {"edited_from": edited.id, "original": edited.text} if edited else {}
    yield {"prompt": _content(given.prompt), "completion": given.body.text, **lineage, **beside}


def _ranking(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    """Rankings, and votes as rankings of two, so that this one file holds every preference a reward model can learn from."""
    body = given.body
    if body.vote is not None:
        yield _vote_as_ranking(given, lineage)
    if body.none_acceptable is None:
        return
    places = [body.places.get(output.id, (None, None)) for output in given.outputs]
    frame = {"prompt": _content(given.prompt), "completions": _texts(given), "ranks": [rank for _, rank in places]}
    none = {"none_acceptable": True} if body.none_acceptable else {}
    yield {**frame, **none, **lineage, "tiers": [tier for tier, _ in places]}


def _vote_as_ranking(given: Given, lineage: Row) -> Row:
    """``both_bad`` is a tie in which none is acceptable."""
    assert given.body.vote is not None
    a, _b, outcome, strength, left_is_a = given.body.vote
    better = [0, 1] if outcome == "a" else [1, 0] if outcome == "b" else [0, 0]
    ranks = better if given.outputs[0].id == a else better[::-1]
    frame = {"prompt": _content(given.prompt), "completions": _texts(given), "ranks": ranks}
    none = {"none_acceptable": True} if outcome == "both_bad" else {}
    return {**frame, **none, **lineage, **_given({"strength": strength}), "left_is_a": left_is_a}


def _pairs(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    """Strict pairs with their texts, of rankings and of votes; the pairs of one submission are neighbours (spec D3)."""
    by_id = {output.id: output for output in given.outputs}
    shared = {name: value for name, value in lineage.items() if name not in {"completion_ids", "models", "outputs", "display_order"}}
    for row in _pair_view(given, lineage, False):
        if row["sign"] == 0 or given.body.none_acceptable:
            continue
        better, worse = (row["completion_i"], row["completion_j"])[:: row["sign"]]
        models = {"model_chosen": by_id[better].model, "model_rejected": by_id[worse].model}
        yield {
            "prompt": _content(given.prompt),
            "chosen": by_id[better].text,
            "rejected": by_id[worse].text,
            **shared,
            "rank_gap": row["rank_gap"],
            "completion_ids": [better, worse],
            **_given(models),
        }


def _pair_view(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    """One row for each pair i < j of a submission: ``sign`` 1 = i is better, -1 = j is, 0 = a tie (kept)."""
    body = given.body
    head = {"submission_id": given.id, "prompt_id": given.prompt.id, "labeler": given.labeler.code}
    tail: Row = {name: value for name, value in lineage.items() if name in {"cohort", "split", "surplus"}}
    if body.vote is not None:
        a, b, outcome, strength, _left = body.vote
        sign = {"a": 1, "b": -1}.get(outcome, 0)
        yield {**head, "i": 0, "j": 1, "completion_i": a, "completion_j": b, "sign": sign, "rank_gap": (strength or 1) * abs(sign), **tail}
    if body.none_acceptable is None:
        return
    for (i, first), (j, second) in combinations(enumerate(given.outputs), 2):
        rank_i, rank_j = (body.places.get(output.id, (None, None))[1] for output in (first, second))
        if rank_i is None or rank_j is None:
            continue
        gap = rank_j - rank_i
        sign = (gap > 0) - (gap < 0)
        yield {**head, "i": i, "j": j, "completion_i": first.id, "completion_j": second.id, "sign": sign, "rank_gap": abs(gap), **tail}


def _vote(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    if given.body.vote is None:
        return
    a, b, outcome, strength, left_is_a = given.body.vote
    by_id = {output.id: output for output in given.outputs}
    row = {"prompt": _content(given.prompt), "completion_a": by_id[a].text, "completion_b": by_id[b].text, "winner": outcome}
    named = {"model_a": by_id[a].model, "model_b": by_id[b].model, "strength": strength}
    yield {**row, **_given(named), **lineage, "left_is_a": left_is_a}


def _ratings(given: Given, lineage: Row, include_pii: bool) -> Iterator[Row]:
    for slot, output in enumerate(given.outputs):
        if output.id not in given.body.ratings:
            continue
        overall, included, note = given.body.ratings[output.id]
        row = {"prompt": _content(given.prompt), "completion": output.text, "overall": overall}
        flags = {"flags": dict(given.body.flags.get(output.id, {})), "prompt_flags": dict(given.body.flags.get(None, {}))}
        about = _given({"included": None if included else False, "note": note if include_pii else None})
        beside = {"shown": _texts(given)} if len(given.outputs) > 1 else {}
        yield {**row, "flags": flags["flags"], **about, **lineage, "prompt_flags": flags["prompt_flags"], "slot": slot, **beside}


def _unpaired(given: Given, lineage: Row, include_pii: bool) -> Iterator[Row]:
    for row in _ratings(given, lineage, include_pii):
        if row["overall"] != 4:
            frame = {"prompt": row["prompt"], "completion": row["completion"], "label": row["overall"] > 4}
            yield {
                **frame,
                **{name: value for name, value in row.items() if name not in {*frame, "flags", "prompt_flags", "shown", "outputs"}},
            }


def _critiques(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    for slot, output in enumerate(given.outputs):
        if output.id in given.body.critiques:
            row = {"prompt": _content(given.prompt), "completion": output.text, "critique": given.body.critiques[output.id]}
            beside = {"shown": _texts(given)} if len(given.outputs) > 1 else {}
            yield {**row, **lineage, "slot": slot, **beside}


def _toxicity(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    found = given.body.toxicity
    if None not in found:
        return
    columns = [found.get(output.id, (None, None, None)) for output in given.outputs]
    row = {"prompt": _content(given.prompt), "completions": _texts(given), "input_toxicity": found[None][0]}
    scores = dict(zip(("toxicity", "relative", "continuity"), ([*column] for column in zip(*columns, strict=True)), strict=True))
    yield {**row, **scores, **lineage}


def _instruction(given: Given, lineage: Row, _: bool) -> Iterator[Row]:
    """Answers about the instruction alone (B11); with ratings they stand in the ratings' rows."""
    if given.row.kind == "instruction" and given.body.flags.get(None):
        yield {"prompt": _content(given.prompt), "prompt_flags": dict(given.body.flags[None]), **lineage}


def _given(values: Mapping[str, Any]) -> Row:
    return {name: value for name, value in values.items() if value is not None}


def ordered(value: Any) -> Any:
    """Open-ended JSON with sorted keys, so that the same content gives the same bytes on every engine."""
    if isinstance(value, Mapping):
        return {str(name): ordered(value[name]) for name in sorted(value, key=str)}
    return [ordered(item) for item in value] if isinstance(value, list | tuple) else value
