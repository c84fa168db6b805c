"""One simulated labeler: what they feel about completions, and what they answer on every kind of task.

The model of a judgement: utility, plus biases (length, agreement with the user, place on the page), plus fresh noise for every
completion looked at; what falls into one step of ``tie_width`` is tied. It is the model behind Bradley-Terry with normal noise
(Thurstone), and nothing downstream may assume more of people than that.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from instructloop.core.hashing import hash_json
from instructloop.core.records import Prompt, prompt_json
from instructloop.core.seeds import stream
from instructloop.feedback.answers import (
    Answer,
    CritiqueAnswer,
    DemonstrationAnswer,
    InstructionAnswer,
    OutputRating,
    PairwiseAnswer,
    RankingAnswer,
    RatingAnswer,
)
from instructloop.feedback.flags import COMPLETION_FLAGS, PROMPT_FLAGS, USE_CASES
from instructloop.feedback.simulate.utility import Candidate, Utility, echo

Writer = Callable[[Prompt, random.Random], str]
"""``writer(prompt, random) -> a demonstration``."""
Key = Callable[[Prompt, Sequence[Candidate]], str]
"""What names a look at a task: equal names, seed and labeler give the same noise."""
_LEAST, _MOST = 1, 7


def content_key(prompt: Prompt, candidates: Sequence[Candidate]) -> str:
    """A hash of prompt and completions: the same in every database, whatever identifiers the rows have."""
    return hash_json([prompt_json(prompt.prompt), [candidate.text for candidate in candidates]])


@dataclass(frozen=True, kw_only=True, slots=True)
class Habits:
    """How a labeler works, apart from what they think. Shares are of tasks opened."""

    seconds_per_output: float = 20.0
    """Median time for one completion (and for the prompt: one more)."""
    time_spread: float = 0.4
    """Standard deviation of the logarithm of the time."""
    skip_rate: float = 0.0
    leave_rate: float = 0.0
    """Goes away in the middle of a task without a word; the lease runs out."""
    late_share: float = 0.5
    """Share of those who come back after the lease has run out and submit all the same."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedLabeler:
    """A pseudonymous code, a stated utility, and how they depart from it."""

    code: str
    utility: Utility
    noise: float
    """Standard deviation of the error of one look at one completion, in units of utility."""
    tie_width: float = 0.0
    """Felt values that round to the same multiple of it are tied; 0 ties only what is equal."""
    length_bias: float = 0.0
    """Added for every doubling of the words beyond the mean of the completions shown."""
    agreement_bias: float = 0.0
    """Added for a completion that says nothing but what the user said (:func:`~instructloop.feedback.simulate.utility.echo`)."""
    position_bias: float = 0.0
    """Added to the completion shown first, taken from the one shown last, linear between."""
    center: float = 0.0
    """Utility of a 4 on the scale of 1 to 7."""
    scale: float = 1.0
    """Utility of one and a half points on that scale."""
    unacceptable_below: float | None = None
    """Both completions of a comparison below this: both bad."""
    habits: Habits = Habits()
    writer: Writer | None = None
    """Writes demonstrations; without it, queues that ask for text are left alone."""
    key: Key = content_key
    flags: Mapping[str, str] = field(default_factory=dict)
    """Answers to fields of spec B11/B12 that differ from the quiet default."""

    @property
    def kinds(self) -> frozenset[str]:
        """Queue kinds this labeler can answer."""
        judged = {"rank", "rate", "rate_and_rank", "pairwise", "instruction", "critique"}
        return frozenset(judged | {"demonstration", "edit"} if self.writer else judged)

    def appeal(self, prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
        """Utility and the biases that don't depend on the page, before noise."""
        values = [float(value) for value in self.utility(prompt, candidates)]
        if self.length_bias:
            sizes = [math.log2(1 + len(candidate.text.split())) for candidate in candidates]
            mean = sum(sizes) / max(1, len(sizes))
            values = [value + self.length_bias * (size - mean) for value, size in zip(values, sizes, strict=True)]
        if self.agreement_bias:
            values = [
                value + self.agreement_bias * echo(prompt, candidate.text) for value, candidate in zip(values, candidates, strict=True)
            ]
        return values

    def feel(
        self, prompt: Prompt, candidates: Sequence[Candidate], order: Sequence[int], seed: int, kind: str = "rank"
    ) -> tuple[float, ...]:
        """Felt values in the order of ``candidates`` (slots); ``order`` lists the slots as they were shown."""
        noise = stream(seed, kind, self.code, self.key(prompt, candidates))
        felt = [value + noise.gauss(0.0, self.noise) for value in self.appeal(prompt, candidates)]
        if self.position_bias and len(felt) > 1:
            for place, slot in enumerate(order):
                felt[slot] += self.position_bias * (1 - 2 * place / (len(felt) - 1))
        return tuple(felt)

    def ranks(self, felt: Sequence[float]) -> tuple[int, ...]:
        """Dense ranks from 0, best first; close ones tied."""
        steps = self.steps(felt)
        order = {step: place for place, step in enumerate(sorted(set(steps), reverse=True))}
        return tuple(order[step] for step in steps)

    def steps(self, felt: Sequence[float]) -> list[float]:
        """What the labeler can tell apart: multiples of ``tie_width``."""
        return [round(value / self.tie_width) for value in felt] if self.tie_width else list(felt)

    def likert(self, value: float) -> int:
        """1..7 for a felt value."""
        return max(_LEAST, min(_MOST, round(4 + 1.5 * (value - self.center) / self.scale)))

    def confidence(self, felt: Sequence[float]) -> int | None:
        """1..9: surer the further apart the best and the worst lie; None where there is nothing to compare."""
        if len(felt) < 2:
            return None
        return 1 + round(8 * min(1.0, (max(felt) - min(felt)) / (2 * self.scale)))

    def answer(
        self,
        kind: str,
        prompt: Prompt,
        candidates: Sequence[Candidate],
        order: Sequence[int],
        seed: int,
        *,
        felt: Sequence[float] | None = None,
    ) -> Answer:
        """What the labeler submits for a task of a queue's kind (one of :attr:`kinds`); ``felt`` saves a second look at it."""
        if felt is None:
            felt = self.feel(prompt, candidates, order, seed) if candidates else ()
        if kind in {"demonstration", "edit"}:
            return self._write(kind, prompt, candidates, felt, seed)
        if kind == "rank":
            return self._ranking(felt)
        if kind == "pairwise":
            return self._vote(felt)
        if kind == "instruction":
            return InstructionAnswer(prompt_flags=self.prompt_flags(prompt))
        if kind == "critique":
            return self._critique(felt)
        # a second look for the ratings: people's ratings and rankings contradict each other now and then
        rated = self.feel(prompt, candidates, order, seed, "rate")
        asked = self.prompt_flags(prompt)
        return RatingAnswer(
            prompt_flags=asked,
            outputs=tuple(OutputRating(overall=self.likert(value), flags=self._output_flags(value, asked)) for value in rated),
            ranking=self._ranking(felt) if kind == "rate_and_rank" else None,
        )

    def prompt_flags(self, prompt: Prompt) -> dict[str, str]:
        """All fields of spec B11: what the prompt's row says, else the pool's, else no."""
        stated = {**self.flags, **prompt.meta, **(prompt.meta.get("flags") or {})}
        known = {flag.key: str(stated.get(flag.key, "no")) for flag in PROMPT_FLAGS}
        known["use_case"] = str(prompt.meta.get("use_case") or "other")
        if known["use_case"] not in USE_CASES:
            known["use_case"] = "other"
        return {key: value if key == "use_case" or value in {"yes", "no"} else "no" for key, value in known.items()}

    def _output_flags(self, value: float, prompt_flags: Mapping[str, str]) -> dict[str, str]:
        bad = self.likert(value) <= 2
        answers = {}
        for flag in COMPLETION_FLAGS:
            if flag.applies(prompt_flags):
                usual = {"fails_task": "yes" if bad else "no", "satisfies_constraint": "no" if bad else "yes"}
                answers[flag.key] = self.flags.get(flag.key, usual.get(flag.key, "no"))
        return answers

    def _ranking(self, felt: Sequence[float]) -> RankingAnswer:
        return RankingAnswer(tiers=tuple(rank + 1 for rank in self.ranks(felt)))

    def _vote(self, felt: Sequence[float]) -> PairwiseAnswer:
        if self.unacceptable_below is not None and max(felt) < self.unacceptable_below:
            return PairwiseAnswer(winner="both_bad")
        first, second = self.ranks(felt)
        if first == second:
            return PairwiseAnswer(winner="tie")
        return PairwiseAnswer(winner="0" if first < second else "1", strength=1 + min(2, int(abs(felt[0] - felt[1]) / self.scale)))

    def _critique(self, felt: Sequence[float]) -> CritiqueAnswer:
        best = max(felt)
        texts = [f"Worth less to me than the best one, by {best - value:.2f}." if value < best else "" for value in felt]
        return CritiqueAnswer(texts=tuple(texts) if any(texts) else ("Nothing is better than this one here.", *texts[1:]))

    def _write(self, kind: str, prompt: Prompt, candidates: Sequence[Candidate], felt: Sequence[float], seed: int) -> DemonstrationAnswer:
        assert self.writer is not None
        text = self.writer(prompt, stream(seed, "write", self.code, self.key(prompt, candidates)))
        edited = max(range(len(felt)), key=felt.__getitem__) if kind == "edit" and felt else None
        return DemonstrationAnswer(text=text, edited_from=edited)
