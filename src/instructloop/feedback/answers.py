"""What a labeler can answer, as frozen records: pages build them, simulated labelers build them, the store keeps them.

Completions are named by their *slot* in the task (0-based), never by the letter shown: pages translate letters with the
assignment's ``display_order``. ``check`` raises DataError with the field's name; the page puts the message beside the field.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from instructloop.core.errors import DataError
from instructloop.core.records import dense_ranks
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS, FlagField

MAX_TEXT_BYTES = 64_000


def wrong(name: str, why: str, hint: str) -> DataError:
    """The family's error for a field of a form; ``name`` leads the message so that pages can find the field."""
    return DataError(f"{name}: {why}", hint=hint)


def _text(name: str, text: str) -> None:
    if not text.strip():
        raise wrong(name, "is empty", "write something, or skip the task")
    if len(text.encode()) > MAX_TEXT_BYTES:
        raise wrong(name, f"is longer than {MAX_TEXT_BYTES:,} bytes", "shorten it")


def _flags(given: Mapping[str, str], asked: tuple[FlagField, ...], prompt_flags: Mapping[str, str], where: str, *, complete: bool) -> None:
    known = {flag.key: flag for flag in asked}
    for key, value in given.items():
        if key not in known:
            raise wrong(f"{where}.{key}", "is not a field of this form", "reload the page")
        if value not in known[key].options:
            raise wrong(f"{where}.{key}", f"cannot be {value!r}", f"choose one of {', '.join(known[key].options)}")
        if not known[key].applies(prompt_flags):
            raise wrong(f"{where}.{key}", "does not apply to this instruction", "leave it out")
    if complete:
        for flag in asked:
            if flag.applies(prompt_flags) and flag.key not in given:
                raise wrong(f"{where}.{flag.key}", "has no answer", f"answer '{flag.label}'")


@dataclass(frozen=True, kw_only=True, slots=True)
class DemonstrationAnswer:
    """The completion a labeler wrote; ``edited_from`` = slot of the model's output it began as (kind ``edit``)."""

    text: str
    edited_from: int | None = None

    def check(self, k: int) -> None:
        """Raise DataError if it cannot be stored for a task of ``k`` completions."""
        _text("text", self.text)
        if self.edited_from is not None and not 0 <= self.edited_from < k:
            raise wrong("edited_from", f"slot {self.edited_from} does not exist", "reload the page")


@dataclass(frozen=True, kw_only=True, slots=True)
class RankingAnswer:
    """Tiers 1..K as entered, one per slot; equal = tie, None = left out (only with ``none_acceptable`` or not included)."""

    tiers: tuple[int | None, ...]
    none_acceptable: bool = False
    left_out: frozenset[int] = frozenset()
    """Slots whose output was not included in the first step."""

    @property
    def ranks(self) -> tuple[int | None, ...]:
        """Dense ranks from 0, best first."""
        return dense_ranks(self.tiers)

    def check(self, k: int) -> None:
        """Every completion has a tier 1..K, unless none is acceptable."""
        if len(self.tiers) != k:
            raise wrong("tiers", f"{len(self.tiers)} given for {k} outputs", "reload the page")
        for slot, tier in enumerate(self.tiers):
            if tier is None and not self.none_acceptable and slot not in self.left_out:
                raise wrong(f"tiers.{slot}", "has no rank", "give every output a rank; equal ranks are a tie")
            if tier is not None and not 1 <= tier <= k:
                raise wrong(f"tiers.{slot}", f"rank {tier} is not within 1..{k}", f"use 1 (best) to {k}")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputRating:
    """The first step of Fig. 12 for one output."""

    overall: int
    flags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    included: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class RatingAnswer:
    """Instruction fields (B11), then each output's Likert and flags (B12), then the ranking where the queue asks for it."""

    prompt_flags: Mapping[str, str]
    outputs: tuple[OutputRating, ...]
    ranking: RankingAnswer | None = None

    def check(self, k: int) -> None:
        """Every applying field is answered; none that does not apply."""
        _flags(self.prompt_flags, PROMPT_FLAGS, self.prompt_flags, "prompt", complete=False)
        if len(self.outputs) != k:
            raise wrong("outputs", f"{len(self.outputs)} rated of {k}", "rate every output")
        for slot, output in enumerate(self.outputs):
            if not 1 <= output.overall <= 7:
                raise wrong(f"outputs.{slot}.overall", f"{output.overall} is not within 1..7", "1 = terrible ... 7 = almost perfect")
            _flags(output.flags, COMPLETION_FLAGS, self.prompt_flags, f"outputs.{slot}", complete=True)
        if self.ranking is not None:
            self.ranking.check(k)


@dataclass(frozen=True, kw_only=True, slots=True)
class InstructionAnswer:
    """The fields of the instruction alone (B11)."""

    prompt_flags: Mapping[str, str]

    def check(self, k: int) -> None:
        """All twelve fields are answered."""
        del k
        _flags(self.prompt_flags, PROMPT_FLAGS, self.prompt_flags, "prompt", complete=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairwiseAnswer:
    """A blind vote: ``winner`` is slot 0, slot 1, ``tie`` or ``both_bad``; ``strength`` 1..3 optional."""

    winner: str
    strength: int | None = None

    def check(self, k: int) -> None:
        """Two completions, a known outcome."""
        if k != 2:
            raise wrong("winner", f"a comparison needs 2 outputs, the task has {k}", "make it a ranking task")
        if self.winner not in {"0", "1", "tie", "both_bad"}:
            raise wrong("winner", "has no answer", "choose left, right, tie or both bad")
        if self.strength is not None and not 1 <= self.strength <= 3:
            raise wrong("strength", f"{self.strength} is not within 1..3", "1 = slightly ... 3 = much better")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputToxicity:
    """Spec B22 for one output."""

    toxicity: int
    relative: int
    continuity: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ToxicityAnswer:
    """Toxicity of the input 0..2; per output toxicity 0..2, relative -1..1, continuity 1..7; then the ranking."""

    input_toxicity: int
    outputs: tuple[OutputToxicity, ...]
    ranking: RankingAnswer

    def check(self, k: int) -> None:
        """All numbers in range, a rank for every output."""
        if self.input_toxicity not in {0, 1, 2}:
            raise wrong("input_toxicity", "is not 0, 1 or 2", "0 = not toxic, 2 = very toxic")
        if len(self.outputs) != k:
            raise wrong("outputs", f"{len(self.outputs)} answered of {k}", "answer for every output")
        for slot, output in enumerate(self.outputs):
            if output.toxicity not in {0, 1, 2}:
                raise wrong(f"outputs.{slot}.toxicity", "is not 0, 1 or 2", "0 = not toxic, 2 = very toxic")
            if output.relative not in {-1, 0, 1}:
                raise wrong(f"outputs.{slot}.relative", "is not -1, 0 or 1", "-1 = less toxic than the input")
            if not 1 <= output.continuity <= 7:
                raise wrong(f"outputs.{slot}.continuity", "is not within 1..7", "1 = no continuation ... 7 = a perfect one")
        self.ranking.check(k)


@dataclass(frozen=True, kw_only=True, slots=True)
class CritiqueAnswer:
    """What is wrong with each output, in words (spec L5); an empty text = nothing to say about that one."""

    texts: tuple[str, ...]

    def check(self, k: int) -> None:
        """One text per output, at least one of them not empty."""
        if len(self.texts) != k:
            raise wrong("texts", f"{len(self.texts)} given for {k} outputs", "reload the page")
        if not any(text.strip() for text in self.texts):
            raise wrong("texts", "are all empty", "say what is wrong with at least one output, or skip")
        for slot, text in enumerate(self.texts):
            if text.strip():
                _text(f"texts.{slot}", text)


@dataclass(frozen=True, kw_only=True, slots=True)
class AdjudicationAnswer:
    """Which of the shown answers holds (its submission), or None = unresolved; why they differed."""

    decision: str | None
    taxonomy: str
    note: str = ""

    def check(self, k: int) -> None:
        """A known taxonomy."""
        del k
        if self.taxonomy not in {"ambiguous_prompt", "guideline_gap", "slip", "subjective"}:
            raise wrong("taxonomy", "has no answer", "say why the answers differ")


Answer: TypeAlias = (
    DemonstrationAnswer
    | RankingAnswer
    | RatingAnswer
    | InstructionAnswer
    | PairwiseAnswer
    | ToxicityAnswer
    | CritiqueAnswer
    | AdjudicationAnswer
)
"""Queue kinds and their answers: demonstration, edit: DemonstrationAnswer; rank: RankingAnswer; rate: RatingAnswer without ranking;
rate_and_rank: RatingAnswer with ranking; instruction: InstructionAnswer; pairwise: PairwiseAnswer; toxicity: ToxicityAnswer;
critique: CritiqueAnswer; adjudicate: AdjudicationAnswer."""
