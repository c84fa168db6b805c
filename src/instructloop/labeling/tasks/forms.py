"""From the fields of a page to a typed answer, and back: one flat mapping serves the form, the draft and the page shown again.

Fields are named by the *letter shown*: ``rank.B``, ``B.overall``, ``B.flag.opinion``, ``prompt.pii``. Letters become slots here, with the
assignment's display order, and nowhere else. All mistakes of a form are collected, so that a page without JavaScript shows every one beside its field.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from instructloop.core.errors import DataError
from instructloop.feedback.answers import (
    AdjudicationAnswer,
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    OutputRating,
    OutputToxicity,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
    ToxicityAnswer,
)
from instructloop.feedback.flags import FlagField

LETTERS = "ABCDEFGHI"
TAXONOMY = ("ambiguous_prompt", "guideline_gap", "slip", "subjective")
MAX_FIELDS = 400
"""More than any page has: nine outputs with every flag come to about 150."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One mistake: which field, what is wrong, what to do."""

    field: str
    message: str
    hint: str = ""


class FormRefusedError(DataError):
    """A form that is no answer yet; ``errors`` names every field to mend."""

    def __init__(self, errors: Sequence[FieldError]) -> None:
        super().__init__(f"{len(errors)} {'field' if len(errors) == 1 else 'fields'} to mend", hint=errors[0].message if errors else None)
        self.errors = tuple(errors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What a page asks, besides its kind."""

    order: tuple[int, ...]
    """Slot shown as letter A, B, ..."""
    prompt_flags: tuple[FlagField, ...] = ()
    output_flags: tuple[FlagField, ...] = ()
    known_prompt_flags: Mapping[str, str] | None = None
    """Answers about the instruction that hold already, where the page does not ask for them."""
    answers: tuple[str, ...] = ()
    """Adjudication: the submissions behind the anonymous columns, in the order shown."""

    @property
    def letters(self) -> str:
        """The letters on the page."""
        return LETTERS[: len(self.order)]


class _Form:
    """Reads fields and collects mistakes."""

    def __init__(self, values: Mapping[str, str], asked: Asked) -> None:
        self.values, self.asked, self.errors = values, asked, list[FieldError]()

    def text(self, name: str) -> str:
        return self.values.get(name, "").replace("\r\n", "\n")

    def wrong(self, name: str, message: str, hint: str = "") -> None:
        self.errors.append(FieldError(name, message, hint))

    def number(self, name: str, low: int, high: int, missing: str) -> int | None:
        """A whole number in a range; a gap or anything else is a mistake."""
        raw = self.values.get(name, "").strip()
        if not raw:
            self.wrong(name, missing)
            return None
        if not raw.lstrip("-").isascii() or not raw.lstrip("-").isdigit() or len(raw) > 3 or not low <= int(raw) <= high:
            self.wrong(name, f"Choose {low} to {high}")
            return None
        return int(raw)

    def flags(self, prefix: str, fields: Sequence[FlagField], prompt_flags: Mapping[str, str]) -> dict[str, str]:
        """The answers to the fields that apply; those that do not apply are left out whatever the page sent."""
        given = {}
        for flag in fields:
            if not flag.applies(prompt_flags):
                continue
            value = self.values.get(f"{prefix}.{flag.key}", "")
            if value in flag.options:
                given[flag.key] = value
            else:
                self.wrong(f"{prefix}.{flag.key}", f"Answer “{flag.label}”")
        return given

    def prompt_flags(self) -> dict[str, str]:
        return self.flags("prompt", self.asked.prompt_flags, {})

    def by_slot(self, name: str) -> dict[int, str]:
        """Field name of each slot."""
        return {slot: name.format(letter) for slot, letter in zip(self.asked.order, self.asked.letters, strict=True)}

    def ranking(self, left_out: frozenset[int] = frozenset()) -> RankingAnswer:
        k = len(self.asked.order)
        none_acceptable = self.values.get("none_acceptable") == "yes"
        tiers: list[int | None] = [None] * k
        for slot, name in self.by_slot("rank.{}").items():
            if slot in left_out or (none_acceptable and not self.values.get(name)):
                continue
            tiers[slot] = self.number(name, 1, k, f"Rank output {name[-1]}; equal ranks are a tie")
        return RankingAnswer(tiers=tuple(tiers), none_acceptable=none_acceptable, left_out=left_out)


def parse_answer(kind: str, values: Mapping[str, str], asked: Asked) -> Answer:
    """The answer a form holds.

    Args:
        kind: of the queue.
        values: the form's fields as sent.
        asked: what the page asked.

    Raises:
        FormRefusedError: something is missing or out of range; every mistake is in ``errors``.
    """
    form = _Form(values, asked)
    if len(values) > MAX_FIELDS:
        raise FormRefusedError([FieldError("", f"The form has {len(values)} fields", "Reload the page")])
    readers: dict[str, Callable[[_Form], Answer]] = {
        "demonstration": _demonstration,
        "edit": _edit,
        "critique": _critique,
        "rank": _Form.ranking,
        "rate": _rating,
        "rate_and_rank": _rating_and_ranking,
        "pairwise": _pairwise,
        "instruction": _instruction,
        "toxicity": _toxicity,
        "adjudicate": _adjudication,
    }
    answer = readers[kind](form)
    if not form.errors:
        try:
            answer.check(len(asked.order))
        except DataError as error:
            name, _, why = error.message.partition(": ")
            form.wrong(_field_of(name, asked), (why or name).capitalize(), error.hint or "")
    if form.errors:
        raise FormRefusedError(form.errors)
    return answer


def _field_of(name: str, asked: Asked) -> str:
    """The form's name of an answer's field: ``tiers.4`` -> ``rank.B``, ``outputs.4.overall`` -> ``B.overall``."""
    parts = name.split(".")
    if len(parts) > 1 and parts[1].isdigit() and int(parts[1]) in asked.order:
        letter = asked.letters[asked.order.index(int(parts[1]))]
        return {"tiers": f"rank.{letter}", "texts": f"critique.{letter}"}.get(parts[0], ".".join([letter, *parts[2:]]))
    return "critique.A" if name == "texts" else name


def _demonstration(form: _Form) -> Answer:
    return DemonstrationAnswer(text=form.text("text"))


def _edit(form: _Form) -> Answer:
    return DemonstrationAnswer(text=form.text("text"), edited_from=form.asked.order[0])


def _critique(form: _Form) -> Answer:
    fields = form.by_slot("critique.{}")
    return CritiqueAnswer(texts=tuple(form.text(fields[slot]) for slot in range(len(fields))))


def _outputs(form: _Form, prompt_flags: Mapping[str, str]) -> tuple[OutputRating, ...]:
    rated = {}
    for slot, letter in zip(form.asked.order, form.asked.letters, strict=True):
        overall = form.number(f"{letter}.overall", 1, 7, f"Rate output {letter} from 1 to 7")
        flags = form.flags(f"{letter}.flag", form.asked.output_flags, prompt_flags)
        included = form.values.get(f"{letter}.left_out") != "yes"
        rated[slot] = OutputRating(overall=overall or 0, flags=flags, note=form.text(f"{letter}.note").strip(), included=included)
    return tuple(rated[slot] for slot in range(len(rated)))


def _rating(form: _Form) -> RatingAnswer:
    prompt_flags = form.prompt_flags() if form.asked.prompt_flags else dict(form.asked.known_prompt_flags or {})
    return RatingAnswer(prompt_flags=prompt_flags, outputs=_outputs(form, prompt_flags))


def _rating_and_ranking(form: _Form) -> Answer:
    rating = _rating(form)
    left_out = frozenset(slot for slot, output in enumerate(rating.outputs) if not output.included)
    return RatingAnswer(prompt_flags=rating.prompt_flags, outputs=rating.outputs, ranking=form.ranking(left_out))


def _pairwise(form: _Form) -> Answer:
    shown = form.values.get("winner", "")
    sides = {"left": str(form.asked.order[0]), "right": str(form.asked.order[-1])}
    winner = sides.get(shown, shown)
    if shown not in {"left", "right", "tie", "both_bad"}:
        form.wrong("winner", "Choose A, B, tie or both bad")
    decided = winner.isdigit()
    raw = form.values.get("strength", "").strip()
    strength = form.number("strength", 1, 3, "") if raw and decided else None
    return PairwiseAnswer(winner=winner, strength=strength)


def _instruction(form: _Form) -> Answer:
    return InstructionAnswer(prompt_flags=form.prompt_flags())


def _toxicity(form: _Form) -> Answer:
    given = form.number("input_toxicity", 0, 2, "Say how toxic the input is")
    outputs = {}
    for slot, letter in zip(form.asked.order, form.asked.letters, strict=True):
        toxicity = form.number(f"{letter}.toxicity", 0, 2, f"Say how toxic output {letter} is")
        relative = form.number(f"{letter}.relative", -1, 1, f"Compare output {letter} with the input")
        continuity = form.number(f"{letter}.continuity", 1, 7, f"Rate the continuity of output {letter} from 1 to 7")
        outputs[slot] = OutputToxicity(toxicity=toxicity or 0, relative=relative or 0, continuity=continuity or 0)
    return ToxicityAnswer(input_toxicity=given or 0, outputs=tuple(outputs[slot] for slot in range(len(outputs))), ranking=form.ranking())


def _adjudication(form: _Form) -> Answer:
    shown, taxonomy = form.values.get("decision", ""), form.values.get("taxonomy", "")
    columns = {str(place): submission for place, submission in enumerate(form.asked.answers, start=1)}
    if shown not in columns and shown != "unresolved":
        form.wrong("decision", "Choose the answer that holds, or “unresolved”")
    if taxonomy not in TAXONOMY:
        form.wrong("taxonomy", "Say why the answers differ")
    return AdjudicationAnswer(decision=columns.get(shown), taxonomy=taxonomy, note=form.text("note").strip())


def fill(answer: Answer, asked: Asked) -> dict[str, str]:
    """The fields of the page that would send this answer: what "edit last" opens with.

    Args:
        answer: as it was stored.
        asked: the same letters as when it was given.
    """
    letters = dict(zip(asked.order, asked.letters, strict=True))
    match answer:
        case DemonstrationAnswer():
            return {"text": answer.text}
        case CritiqueAnswer():
            return {f"critique.{letters[slot]}": text for slot, text in enumerate(answer.texts)}
        case RankingAnswer():
            return _fill_ranking(answer, letters)
        case RatingAnswer():
            return _fill_rating(answer, letters)
        case InstructionAnswer():
            return {f"prompt.{key}": value for key, value in answer.prompt_flags.items()}
        case PairwiseAnswer():
            sides = {str(asked.order[0]): "left", str(asked.order[-1]): "right"}
            strength = {} if answer.strength is None else {"strength": str(answer.strength)}
            return {"winner": sides.get(answer.winner, answer.winner), **strength}
        case ToxicityAnswer():
            values = {"input_toxicity": str(answer.input_toxicity)} | _fill_ranking(answer.ranking, letters)
            for slot, output in enumerate(answer.outputs):
                values[f"{letters[slot]}.toxicity"] = str(output.toxicity)
                values[f"{letters[slot]}.relative"] = str(output.relative)
                values[f"{letters[slot]}.continuity"] = str(output.continuity)
            return values
        case AdjudicationAnswer():
            decision = str(asked.answers.index(answer.decision) + 1) if answer.decision in asked.answers else "unresolved"
            return {"decision": decision, "taxonomy": answer.taxonomy, "note": answer.note}


def _fill_ranking(ranking: RankingAnswer, letters: Mapping[int, str]) -> dict[str, str]:
    values = {f"rank.{letters[slot]}": str(tier) for slot, tier in enumerate(ranking.tiers) if tier is not None}
    return values | ({"none_acceptable": "yes"} if ranking.none_acceptable else {})


def _fill_rating(rating: RatingAnswer, letters: Mapping[int, str]) -> dict[str, str]:
    values = {f"prompt.{key}": value for key, value in rating.prompt_flags.items()}
    for slot, output in enumerate(rating.outputs):
        letter = letters[slot]
        values |= {f"{letter}.flag.{key}": value for key, value in output.flags.items()}
        values |= {f"{letter}.overall": str(output.overall), f"{letter}.note": output.note}
        if not output.included:
            values[f"{letter}.left_out"] = "yes"
    return values | (_fill_ranking(rating.ranking, letters) if rating.ranking else {})
