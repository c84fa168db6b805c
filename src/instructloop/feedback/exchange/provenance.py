"""How sure a task's answer is: ``unanimous | majority | adjudicated | unresolved``.

Tasks with one answer, and written texts, have none of these.

The raw answers of all labelers are exported too: training on decided cases alone throws away what people disagree about.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.hashing import canonical_json
from instructloop.feedback.exchange.gather import Gathered, Given
from instructloop.feedback.schema import Adjudication


def provenance(gathered: Gathered) -> Mapping[str, Mapping[str, Any]]:
    """Task to ``{"provenance": ...}`` and, where a person decided, ``{"adjudication": {...}}``.

    Surplus answers and decisions themselves do not count as answers.
    """
    by_task: dict[str, list[Given]] = defaultdict(list)
    for given in gathered.answers:
        if not given.row.surplus and given.row.kind != "adjudicate":
            by_task[given.task.id].append(given)
    found: dict[str, Mapping[str, Any]] = {}
    for task_id in {*by_task, *gathered.adjudications}:
        decision = gathered.adjudications.get(task_id)
        if decision is not None:
            found[task_id] = {
                "provenance": "adjudicated" if decision.decision_submission_id else "unresolved",
                "adjudication": _decision(decision, gathered),
            }
        elif len(by_task[task_id]) > 1:
            signatures = [signature(given) for given in by_task[task_id]]
            if None not in signatures:
                found[task_id] = {"provenance": _counted(signatures)}
    return found


def _counted(signatures: Sequence[str | None]) -> str:
    count = Counter(signatures).most_common(1)[0][1]
    if count == len(signatures):
        return "unanimous"
    return "majority" if 2 * count > len(signatures) else "unresolved"


def signature(given: Given) -> str | None:
    """What two labelers must share to agree: the order, the vote, or the numbers; None for written texts."""
    body = given.body
    if body.vote is not None:
        return body.vote[2]
    if body.none_acceptable is not None:
        return canonical_json([body.none_acceptable, [body.places.get(output.id, (None, None))[1] for output in given.outputs]])
    if body.ratings:
        return canonical_json([body.ratings[output.id][0] if output.id in body.ratings else None for output in given.outputs])
    if given.row.kind == "instruction":
        return canonical_json(dict(body.flags.get(None, {})))
    return None


def _decision(row: Adjudication, gathered: Gathered) -> dict[str, Any]:
    return {
        "id": row.id,
        "decided_by": gathered.people[row.decided_by].code,
        "cohort": gathered.people[row.decided_by].cohort,
        "decision": row.decision_submission_id,
        "taxonomy": row.taxonomy,
        "created_at": row.created_at,
    }
