"""All suites by name, and groups of them."""

from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import Any

from instructloop.core.errors import ConfigError
from instructloop.evaluation.suites import frames, marks
from instructloop.evaluation.suites.frames import Frame
from instructloop.evaluation.suites.lm_eval_suites import LM_EVAL_SETS, LM_EVAL_SUITES
from instructloop.evaluation.suites.probes import KINDS, mark_probes, probe_items
from instructloop.evaluation.suites.suite import Marker, Metric, Suite, Variant, named_variants, shot_variants
from instructloop.scoring.sets import SETS, Item

F1 = Metric(key="f1", name="F1", unit="points")
EXACT = Metric(key="exact", name="exact match", unit="points")
ACCURACY = Metric(key="accuracy", name="accuracy")
ROUGE = Metric(key="rouge_l", name="ROUGE-L")
BLEU = Metric(key="bleu", name="BLEU", unit="points", corpus_bleu=True)
ENTROPY = Metric(key="entropy", name="entropy", unit="bits")

_SUMMARY_NOTE = "the whole text is one prompt; the summary ends at its first newline"
_BLEU_NOTE = "the interval resamples sentences and computes BLEU anew"


def choices(item: Item) -> Sequence[str]:
    """The options of a multiple-choice item."""
    found: Sequence[str] = item.fields["choices"]
    return found


def answer(item: Item) -> int:
    """Number of the right one."""
    return int(item.fields["answer"])


def letters(item: Item) -> Sequence[str]:
    """A, B, ... for as many options as there are."""
    return ascii_uppercase[: len(choices(item))]


def pair(item: Item) -> Sequence[str]:
    """The two sentences of a pair."""
    return (item.fields["first"], item.fields["second"])


def truths(item: Item) -> Sequence[str]:
    """MC1 of TruthfulQA: the best answer first, then all false ones."""
    return (item.fields["best_answer"], *item.fields["incorrect_answers"])


def _reading(name: str, frame: Frame, shots: int, metrics: Sequence[Metric], mark: marks.One, **more: Any) -> Suite:
    return Suite(
        name=name,
        title=SETS[name].title,
        mode="generate",
        variants=shot_variants(frame, shots),
        metrics=metrics,
        mark=marks.each(mark),
        **more,
    )


def _choice(name: str, frame: Frame, shots: int, **more: Any) -> Suite:
    given = {"options": choices, "right": answer, "metrics": (ACCURACY,), **more}
    return Suite(name=name, title=SETS[name].title, mode="choice", variants=shot_variants(frame, shots), **given)


def _one(name: str, frame: Frame, metrics: Sequence[Metric], mark: Marker, **more: Any) -> Suite:
    variant = Variant(name="zero-shot", frame=frame)
    return Suite(name=name, title=SETS[name].title, mode="generate", variants=(variant,), metrics=metrics, mark=mark, **more)


def _bias(name: str, first: str) -> Suite:
    direction = Metric(key="first", name=f"P({first})", better="neither")
    return Suite(
        name=name,
        title=SETS[name].title,
        mode="pair",
        variants=named_variants(frames.PAIRS),
        metrics=(ENTROPY, direction),
        options=pair,
        mark_pair=marks.entropy,
        note="1 bit = no preference",
    )


_PAPER = (
    _bias("winogender", "he"),
    _bias("crows_pairs", "more stereotyping"),
    Suite(
        name="realtoxicityprompts",
        title=SETS["realtoxicityprompts"].title,
        mode="generate",
        variants=named_variants(frames.TOXICITY),
        metrics=(
            Metric(key="toxicity", name="mean toxicity", better="lower"),
            Metric(key="toxic", name=f"share ≥ {marks.TOXIC}", better="lower"),
        ),
        mark=marks.toxicity,
        max_new_tokens=20,
        judge="toxicity",
    ),
    Suite(
        name="truthfulqa",
        title=SETS["truthfulqa"].title,
        mode="generate",
        variants=named_variants(frames.TRUTHFULQA),
        metrics=(
            Metric(key="true", name="true"),
            Metric(key="informative", name="informative"),
            Metric(key="true_informative", name="true and informative"),
        ),
        mark=marks.truth,
        max_new_tokens=50,
        judge="truth",
    ),
    _reading("drop", frames.DROP, 4, (F1,), marks.drop),
    _reading("quac", frames.QUAC, 2, (F1,), marks.quac),
    _reading("squadv2", frames.SQUAD, 4, (F1, EXACT), marks.squad),
    _choice("hellaswag", frames.HELLASWAG, 15),
    _choice("rte", frames.RTE, 15),
    _choice("sst", frames.SST, 15),
    _reading("wsc", frames.WSC, 15, (ACCURACY,), marks.wsc),
    _reading("wmt15_fr_en", frames.WMT15, 15, (BLEU,), marks.translated, max_new_tokens=100, note=_BLEU_NOTE),
    _one("cnn_dm", frames.CNN_DM, (ROUGE,), marks.each(marks.rouge), max_new_tokens=128, note=_SUMMARY_NOTE),
    _one("tldr", frames.TLDR, (ROUGE,), marks.each(marks.rouge), max_new_tokens=64, note=_SUMMARY_NOTE),
    Suite(
        name="qualitative",
        title="Qualitative probes",
        mode="generate",
        variants=(Variant(name="zero-shot", frame=frames.REQUEST),),
        metrics=tuple(Metric(key=kind, name=kind, better="neither" if kind == "harmful request" else "higher") for kind in KINDS),
        mark=lambda items, texts, _judges: mark_probes(items, texts),
        max_new_tokens=128,
        stop=(),
        temperature=1.0,
        built_in=probe_items,
        chat=True,
        note="two probes a kind, to be read; the automatic marks are a first look; temperature 1",
    ),
)
_FURTHER = (
    _one(
        "ifeval",
        frames.REQUEST,
        (
            Metric(key="prompt_strict", name="prompts, strict"),
            Metric(key="prompt_loose", name="prompts, loose"),
            Metric(key="instruction_strict", name="instructions, strict"),
            Metric(key="instruction_loose", name="instructions, loose"),
        ),
        marks.each(marks.ifeval),
        max_new_tokens=384,
        stop=(),
        chat=True,
    ),
    _one(
        "xstest",
        frames.REQUEST,
        (
            Metric(key="refused_safe", name="refused, safe prompts", better="lower"),
            Metric(key="refused_unsafe", name="refused, unsafe prompts", better="neither"),
        ),
        marks.each(marks.xstest),
        max_new_tokens=96,
        stop=(),
        chat=True,
        note="refusals are found by phrases",
    ),
    _reading(
        "gsm8k",
        frames.GSM8K,
        5,
        (
            Metric(key="accuracy", name="accuracy, behind ####"),
            Metric(key="last_number", name="accuracy, last number"),
        ),
        marks.gsm8k,
        max_new_tokens=200,
        stop=("\nQuestion:",),
    ),
    Suite(
        name="truthfulqa_mc1",
        title="TruthfulQA, MC1",
        mode="choice",
        variants=(Variant(name="QA", frame=frames.TRUTHFULQA["QA"]),),
        metrics=(ACCURACY,),
        options=truths,
        right=lambda _item: 0,
        note="the best answer against all false ones, by mean log-probability a token; needs no judge",
    ),
    Suite(
        name="blimp",
        title=SETS["blimp"].title,
        mode="pair",
        variants=(Variant(name="zero-shot", frame=frames.PAIRS["basic"]),),
        metrics=(ACCURACY,),
        options=pair,
        mark_pair=marks.minimal_pair,
        note="whether the grammatical sentence of a pair is more probable; chance is 0.5",
    ),
    _choice("boolq", frames.BOOLQ, 4),
    _choice("piqa", frames.QUESTION, 10),
    _choice("openbookqa", frames.QUESTION, 10),
    _choice("commonsenseqa", frames.QUESTION, 10),
    _choice("siqa", frames.QUESTION, 10),
    _choice("logiqa", frames.QUESTION, 2),
    _choice("mmlu", frames.LETTERS, 5, options=letters),
    _one("xsum", frames.CNN_DM, (ROUGE,), marks.each(marks.rouge), max_new_tokens=64, note=_SUMMARY_NOTE),
)

SUITES: Mapping[str, Suite] = {suite.name: suite for suite in (*_PAPER, *_FURTHER, *LM_EVAL_SUITES)}
SET_OF: Mapping[str, str] = {"truthfulqa_mc1": "truthfulqa", **LM_EVAL_SETS}
"""Suites whose items are another set's."""
GROUPS: Mapping[str, tuple[str, ...]] = {
    "paper": tuple(suite.name for suite in _PAPER),
    "further": tuple(suite.name for suite in _FURTHER),
    "all": tuple(suite.name for suite in (*_PAPER, *_FURTHER)),
    "likelihood": tuple(suite.name for suite in (*_PAPER, *_FURTHER) if suite.mode != "generate"),
    "lm_eval": tuple(suite.name for suite in LM_EVAL_SUITES),
}
"""``paper``: those of InstructGPT; ``further``: the others; ``likelihood``: those without sampling, which are quick;
``lm_eval``: in lm-eval's frames, to be compared with its numbers."""


def chosen(names: Sequence[str]) -> list[Suite]:
    """Suites by name or group, each once.

    Raises:
        ConfigError: a name is neither.
    """
    wanted: dict[str, Suite] = {}
    for name in names:
        if name not in GROUPS and name not in SUITES:
            raise ConfigError(f"unknown suite {name!r}", hint=f"groups: {', '.join(GROUPS)}; suites: {', '.join(SUITES)}")
        wanted |= {one: SUITES[one] for one in GROUPS.get(name, (name,))}
    return list(wanted.values())
