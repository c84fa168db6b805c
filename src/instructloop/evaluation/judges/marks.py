"""A language model that gives single answers a mark from 1 to 7 (spec B12's overall quality)."""

from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.errors import JudgeError
from instructloop.core.hashing import hash_json
from instructloop.core.records import Prompt, prompt_json, prompt_text
from instructloop.evaluation.judges.asking import Ask, Asking
from instructloop.evaluation.judges.templates import HIGHEST, LOWEST, SCORES, Template, read_score, score_messages
from instructloop.evaluation.voters import Judged

_CHOICES = tuple(str(mark) for mark in range(LOWEST, HIGHEST + 1))


class MarkJudge:
    """A voter that marks each answer by itself; there is no place that could be preferred, but marks are coarse and tie often.

    A local model that is read by likelihood gives the expected mark, sum over k of k p(k).

    Args:
        asking: the model and the journal.
        settings: what else answers depend on (temperature...), for the keys.
        template: the judge's instructions.
        prices: of a million prompt tokens and of a million completion tokens; zeros count tokens only.
    """

    def __init__(
        self,
        asking: Asking,
        *,
        settings: Mapping[str, Any] | None = None,
        template: Template = SCORES,
        prices: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self._asking, self._template, self._prices = asking, template, prices
        self._marked = 0
        self._settings = {**(settings or {}), "judge": asking.backend.name, "template": template.sha256}

    def judge(self, prompts: Sequence[Prompt], completions: Sequence[str], /) -> list[Judged]:
        """One mark for each answer.

        Raises:
            JudgeError: the model can't be asked any more, or an answer has no readable mark after all asks: a mean over the others only
                would favor models whose bad answers puzzle the judge.
        """
        asks = [self._ask(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
        readings = self._asking.ask(asks)
        judged = []
        for prompt, ask in zip(prompts, asks, strict=True):
            reading = readings[ask.key]
            if reading.value is None:
                lost = sum(readings[one.key].value is None for one in asks)
                raise JudgeError(
                    f"{lost} of {len(asks)} answers have no mark from {self._asking.backend.name}; the first: {reading.problem}"
                    f" (prompt {prompt_text(prompt.prompt)[:60]!r}, it said {reading.text[-80:]!r})",
                    hint="compare pairs instead (--judge.mode pairs), or raise --judge.reasks and --judge.max_tokens",
                )
            chances = reading.probabilities
            score = sum(float(mark) * share for mark, share in chances.items()) if chances else float(reading.value)
            judged.append(Judged(score=score, parts={"mark": score}))
        self._marked += len(judged)
        return judged

    def report(self) -> dict[str, Any]:
        """Whom was asked, and what it cost: the layout of ``judge`` in a comparison's table, without what only pairs have."""
        spent = self._asking.spent
        return {
            "name": self._asking.backend.name,
            "marks": self._marked,
            "template": {"source": self._template.source, "sha256": self._template.sha256},
            "asks": {"now": spent.asked, "from_journal": spent.kept},
            "tokens": {"prompt": spent.prompt_tokens, "completion": spent.completion_tokens},
            "cost": spent.cost(*self._prices),
        }

    def _ask(self, prompt: Prompt, completion: str) -> Ask:
        texts = {"prompt": prompt_text(prompt.prompt), "completion": completion}
        return Ask(
            key=hash_json({"kind": "score", "settings": self._settings, "texts": texts}),
            kind="score",
            messages=score_messages(self._template, prompt.prompt, completion),
            read=read_score,
            form="Score: 4",
            lead="Score:",
            choices=_CHOICES,
            shown={"prompt": prompt_json(prompt.prompt), "completion": completion},
        )
