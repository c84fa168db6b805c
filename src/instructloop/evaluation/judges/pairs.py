"""A language model that compares two answers: every pair in both orders, bias measured, biased verdicts refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.errors import JudgeRefused
from instructloop.core.hashing import hash_json
from instructloop.core.records import Prompt, PromptContent, prompt_json, prompt_text
from instructloop.evaluation.judges.asking import Ask, Asking, Reading
from instructloop.evaluation.judges.bias import BothOrders, PositionBias, position_bias
from instructloop.evaluation.judges.templates import PAIRS, VERDICTS, Template, pair_messages, read_verdict
from instructloop.evaluation.voters import PairVerdict

_WIN_OF_A: Mapping[str, float] = {"A": 1.0, "B": 0.0, "tie": 0.5, "neither": 0.5}
_LISTED = 20
_QUOTED = 200


class PairJudge:
    """A pair voter that asks a language model (spec G2: who is preferred; B7's rule in the built-in template).

    Each pair is asked twice, each answer shown first once. The verdict is the mean of both: two opposite verdicts make a tie. A pair of
    which one order has no readable verdict is not counted at all, since one order alone would carry the judge's position bias.

    Args:
        asking: the model and the journal.
        settings: what else answers depend on (temperature...), for the keys.
        template: the judge's instructions.
        position_margin: see ``position_bias``.
        consistency_min: see ``position_bias``.
        accept_biased: let the verdicts of a biased judge count; they carry a warning.
        prices: of a million prompt tokens and of a million completion tokens; zeros count tokens only.
        samples: resamples behind each interval.
        seed: base seed of the resampling streams.
    """

    def __init__(
        self,
        asking: Asking,
        *,
        settings: Mapping[str, Any] | None = None,
        template: Template = PAIRS,
        position_margin: float = 0.1,
        consistency_min: float = 0.6,
        accept_biased: bool = False,
        prices: tuple[float, float] = (0.0, 0.0),
        samples: int = 2000,
        seed: int = 0,
    ) -> None:
        self._asking, self._template = asking, template
        self._settings = {**(settings or {}), "judge": asking.backend.name, "template": template.sha256}
        self._margin, self._consistency_min, self._accept_biased = position_margin, consistency_min, accept_biased
        self._prices, self._samples, self._seed = prices, samples, seed
        self._pairs: list[BothOrders] = []
        self._ties = 0
        self._missing: list[dict[str, Any]] = []
        self._seen: dict[frozenset[str], PairVerdict] = {}

    def vote(self, prompts: Sequence[Prompt], firsts: Sequence[str], seconds: Sequence[str], /) -> list[PairVerdict]:
        """One verdict for each pair, in order; equal texts tie without being asked about.

        Raises:
            JudgeError: the model can't be asked any more; what it has answered is kept in the journal.
        """
        pairs = list(zip(prompts, firsts, seconds, strict=True))
        asks = [
            None if first.strip() == second.strip() else (self._ask(prompt.prompt, first, second), self._ask(prompt.prompt, second, first))
            for prompt, first, second in pairs
        ]
        readings = self._asking.ask([one for both in asks if both is not None for one in both])
        verdicts = []
        for (prompt, _, _), both in zip(pairs, asks, strict=True):
            if both is None:
                verdicts.append(PairVerdict(win_first=0.5, note="the same text"))
                continue
            straight, swapped = both
            verdict = self._verdict(prompt, readings[straight.key], readings[swapped.key])
            verdicts.append(verdict)
            pair = frozenset((straight.key, swapped.key))
            mirrored = PairVerdict(win_first=1 - verdict.win_first, both_bad=verdict.both_bad, note=verdict.note, counted=verdict.counted)
            self._seen[pair] = verdict if straight.key < swapped.key else mirrored
        return verdicts

    def known(self, prompt: PromptContent, first: str, second: str) -> PairVerdict | None:
        """The verdict on a pair that has been voted on, without asking; None where there is none that counts."""
        straight, swapped = self._ask(prompt, first, second).key, self._ask(prompt, second, first).key
        found = self._seen.get(frozenset((straight, swapped)))
        if found is None or not found.counted:
            return None
        return found if straight < swapped else PairVerdict(win_first=1 - found.win_first, both_bad=found.both_bad, note=found.note)

    def bias(self) -> PositionBias | None:
        """Position bias over every pair so far; None before the first readable one."""
        if not self._pairs:
            return None
        return position_bias(
            self._pairs, margin=self._margin, consistency_min=self._consistency_min, samples=self._samples, seed=self._seed
        )

    def report(self) -> dict[str, Any]:
        """How the judge fared: the layout of ``judge`` in a comparison's table.

        Raises:
            JudgeRefused: the judge is biased, and ``accept_biased`` is not set.
        """
        bias = self.bias()
        if bias is not None and bias.biased and not self._accept_biased:
            raise JudgeRefused(
                f"the judge {self._asking.backend.name} is position-biased and its verdicts are refused: {'; '.join(bias.reasons)}",
                hint="ask a stronger judge or change --judge.template; --resume --accept-biased-judge counts these verdicts all the same",
            )
        spent = self._asking.spent
        asks = 2 * len(self._pairs)
        failed = sum(bool(one["failed"]) for one in self._missing)
        return {
            "name": self._asking.backend.name,
            "orders": 2,
            "template": {"source": self._template.source, "sha256": self._template.sha256},
            "pairs": len(self._pairs),
            "asks": {"now": spent.asked, "from_journal": spent.kept},
            "position_bias": None if bias is None else bias.as_json(),
            "tie_share": self._ties / asks if asks else None,
            "agreement_with_people": None,
            "unreadable": len(self._missing) - failed,
            "failed": failed,
            "missing": self._missing[:_LISTED],
            "tokens": {"prompt": spent.prompt_tokens, "completion": spent.completion_tokens},
            "cost": spent.cost(*self._prices),
            **({"warning": f"a biased judge, accepted: {'; '.join(bias.reasons)}"} if bias is not None and bias.biased else {}),
        }

    def _ask(self, prompt: PromptContent, first: str, second: str) -> Ask:
        texts = {"prompt": prompt_text(prompt), "first": first, "second": second}
        return Ask(
            key=hash_json({"kind": "pair", "settings": self._settings, "texts": texts}),
            kind="pair",
            messages=pair_messages(self._template, prompt, first, second),
            read=read_verdict,
            form="Verdict: A, Verdict: B, Verdict: tie or Verdict: neither",
            lead="Verdict:",
            choices=VERDICTS,
            shown={"prompt": prompt_json(prompt), "first": first, "second": second},
        )

    def _verdict(self, prompt: Prompt, straight: Reading, swapped: Reading) -> PairVerdict:
        values = (straight.value, swapped.value)
        asked = prompt_text(prompt.prompt)
        if None in values:
            for order, reading in (("straight", straight), ("swapped", swapped)):
                if reading.value is None:
                    self._missing.append(
                        {
                            "prompt": asked[:_QUOTED],
                            "order": order,
                            "failed": reading.failed,
                            "problem": reading.problem,
                            "answer": reading.text[-_QUOTED:],
                        }
                    )
            return PairVerdict(win_first=0.5, note="the judge gave no readable verdict", counted=False)
        pair = BothOrders(prompt=asked, straight=_WIN_OF_A[str(values[0])], swapped=_WIN_OF_A[str(values[1])])
        self._pairs.append(pair)
        self._ties += sum(value == 0.5 for value in (pair.straight, pair.swapped))
        return PairVerdict(win_first=pair.win_first, both_bad=values == ("neither", "neither"), note=_note(straight, swapped, pair))


def _note(straight: Reading, swapped: Reading, pair: BothOrders) -> str:
    said = straight.text.strip()[:_QUOTED]
    if pair.consistent:
        return said
    return f"{said} (shown the other way round: {swapped.value})"
