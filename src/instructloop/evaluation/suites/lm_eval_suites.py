"""A few suites in lm-eval's own frames, so that our numbers can be laid beside its own on the same items.

Differences from the suites of the same sets: the prompt is lm-eval's; ``acc`` takes the option with the highest total log-probability (the
paper: per token), ``acc_norm`` divides it by the option's characters; GSM8K is asked without worked examples and its number compared letter
by letter. ``lm_eval_tasks`` writes the same items for lm-eval itself.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from instructloop.evaluation.suites import frames
from instructloop.evaluation.suites.frames import Frame, field
from instructloop.evaluation.suites.suite import Marks, Metric, Suite, Variant
from instructloop.scoring.arithmetic import exact_match
from instructloop.scoring.choices import pick
from instructloop.scoring.sets import SETS, Item

PREFIX = "lm_eval_"
ACC = Metric(key="acc", name="acc")
ACC_NORM = Metric(key="acc_norm", name="acc_norm")
_NOTE = "in lm-eval's frame"
_NO_YES = ("no", "yes")


def by_total(options: Sequence[str], sums: Sequence[float], right: int) -> Marks:
    """lm-eval's two accuracies from the options' total log-probabilities (nats)."""
    return {
        "acc": float(pick(sums, norm="sum") == right),
        "acc_norm": float(pick(sums, [len(option) for option in options]) == right),
    }


def _choices(item: Item) -> Sequence[str]:
    found: Sequence[str] = item.fields["choices"]
    return found


def _answer(item: Item) -> int:
    return int(item.fields["answer"])


def _first(_item: Item) -> int:
    return 0


def _pair(item: Item) -> Sequence[str]:
    return (str(item.fields["first"]), str(item.fields["second"]))


def _truths(item: Item) -> Sequence[str]:
    return (str(item.fields["best_answer"]), *item.fields["incorrect_answers"])


def _yes(item: Item) -> int:
    """Number of the right one of no and yes, whichever way round the set lists them."""
    return _NO_YES.index(_choices(item)[_answer(item)])


def _suite(name: str, frame: Frame, **more: Any) -> Suite:
    given = {"options": _choices, "right": _answer, "metrics": (ACC, ACC_NORM), "note": _NOTE, **more}
    variant = Variant(name="zero-shot", frame=frame)
    return Suite(name=PREFIX + name, title=f"{SETS[_SET_OF.get(name, name)].title} (lm-eval)", variants=(variant,), **given)


def _question(item: Item) -> str:
    return f"Question: {field(item, 'question')}\nAnswer:"


_SET_OF = {"truthfulqa_mc1": "truthfulqa"}
_CHOICE: Mapping[str, Any] = MappingProxyType({"mode": "choice", "mark_choice": by_total})


def _exact(items: Sequence[Item], texts: Sequence[str], _judges: Any) -> list[Marks]:
    return [
        {"strict": float(exact_match(text, item.references[0])), "flexible": float(exact_match(text, item.references[0], "flexible"))}
        for item, text in zip(items, texts, strict=True)
    ]


LM_EVAL_SUITES: Sequence[Suite] = (
    _suite("blimp", Frame(query=lambda _item: ""), options=_pair, right=_first, metrics=(ACC,), **_CHOICE),
    _suite("piqa", Frame(query=_question), **_CHOICE),
    _suite("openbookqa", Frame(query=lambda item: field(item, "question")), **_CHOICE),
    _suite(
        "boolq",
        Frame(
            query=lambda item: f"{field(item, 'passage')}\nQuestion: {field(item, 'question')}?\nAnswer:",
            long_field="passage",
        ),
        options=lambda _item: _NO_YES,
        right=_yes,
        metrics=(ACC,),
        **_CHOICE,
    ),
    _suite("truthfulqa_mc1", frames.TRUTHFULQA["QA"], options=_truths, right=_first, metrics=(ACC,), **_CHOICE),
    _suite(
        "gsm8k",
        Frame(query=_question),
        mode="generate",
        options=None,
        right=None,
        mark=_exact,
        max_new_tokens=256,
        stop=("Question:", "</s>", "<|im_end|>"),
        metrics=(Metric(key="strict", name="exact match, strict"), Metric(key="flexible", name="exact match, flexible")),
    ),
)
"""Not part of the groups ``paper``, ``further`` and ``all``: the group ``lm_eval`` names them."""
LM_EVAL_SETS: Mapping[str, str] = {
    suite.name: _SET_OF.get(suite.name[len(PREFIX) :], suite.name[len(PREFIX) :]) for suite in LM_EVAL_SUITES
}
"""Which set's items each of them scores."""
