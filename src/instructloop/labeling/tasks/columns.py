"""The columns of an adjudication: what each nameless labeler answered, in the letters of the page that decides."""

from collections.abc import Mapping
from dataclasses import dataclass

from instructloop.feedback.answers import (
    AdjudicationAnswer,
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.database import Database
from instructloop.feedback.flags import FLAGS
from instructloop.feedback.own_answers import disagreement
from instructloop.feedback.views import TaskView
from instructloop.labeling.tasks.forms import LETTERS
from instructloop.labeling.tasks.view import Column


@dataclass(frozen=True, slots=True)
class Decided:
    """A column and the submission behind it, which the page never names."""

    submission_id: str
    shown: Column


def behind(db: Database, task: TaskView) -> list[Decided]:
    """The answers to decide between; none for other kinds of tasks."""
    if task.adjudicates is None:
        return []
    found = disagreement(db, task_id=task.lease.task_id, adjudicates=task.adjudicates)
    letters = _letters(task.lease.display_order, found.slots)
    columns = []
    for given in found.answers:
        lines = told(given.answer, letters)
        columns.append(Decided(given.submission_id, Column(lines=(*lines, *([f"Comment: {given.comment}"] if given.comment else [])))))
    return columns


def _letters(order: tuple[int, ...], slots: Mapping[int, int]) -> dict[int, str]:
    """The letter of the deciding page for each slot of the disputed task."""
    shown = {slot: LETTERS[place] for place, slot in enumerate(order)}
    return {slot: shown.get(here, LETTERS[slot % len(LETTERS)]) for slot, here in slots.items()}


def order_string(ranking: RankingAnswer, letters: Mapping[int, str]) -> str:
    """``A = B > C``, the way the ranking page says it."""
    places: dict[int, list[str]] = {}
    for slot, rank in enumerate(ranking.ranks):
        if rank is not None:
            places.setdefault(rank, []).append(letters.get(slot, "?"))
    text = " > ".join(" = ".join(sorted(places[rank])) for rank in sorted(places))
    return f"{text or 'no order'}{' (none acceptable)' if ranking.none_acceptable else ''}"


def told(answer: Answer, letters: Mapping[int, str]) -> list[str]:
    """An answer in lines, the most telling one first."""
    match answer:
        case RankingAnswer():
            return [order_string(answer, letters)]
        case RatingAnswer():
            return _rating(answer, letters)
        case PairwiseAnswer():
            names = {"tie": "Tie", "both_bad": "Both bad"}
            who = names.get(answer.winner) or f"{letters.get(int(answer.winner), '?')} is better"
            return [who, *([f"by {answer.strength} of 3"] if answer.strength else [])]
        case InstructionAnswer():
            return [_flags(answer.prompt_flags) or "all no"]
        case ToxicityAnswer():
            lines = [order_string(answer.ranking, letters), f"beginning: toxicity {answer.input_toxicity}"]
            for slot, output in enumerate(answer.outputs):
                lines.append(
                    f"{letters.get(slot, '?')}: toxicity {output.toxicity}, against it {output.relative:+d}, continuity {output.continuity}"
                )
            return lines
        case DemonstrationAnswer():
            return [answer.text]
        case CritiqueAnswer():
            return [f"{letters.get(slot, '?')}: {text}" for slot, text in enumerate(answer.texts) if text.strip()]
        case AdjudicationAnswer():
            return [answer.taxonomy, answer.note]


def _rating(answer: RatingAnswer, letters: Mapping[int, str]) -> list[str]:
    order = [order_string(answer.ranking, letters)] if answer.ranking else []
    outputs = []
    for slot, output in enumerate(answer.outputs):
        parts = [f"{letters.get(slot, '?')}: {output.overall} of 7", _flags(output.flags), output.note]
        outputs.append("; ".join(part for part in parts if part))
    prompt = _flags(answer.prompt_flags)
    return [*order, *sorted(outputs), *([f"Instruction: {prompt}"] if prompt else [])]


def _flags(flags: Mapping[str, str]) -> str:
    """Only what stands out: fields answered with something else than no."""
    found = []
    for key, value in flags.items():
        if value != "no" and key in FLAGS:
            found.append(FLAGS[key].label if value == "yes" else f"{FLAGS[key].label}: {value.replace('_', ' ')}")
    return "; ".join(found)
