"""Sets about behavior and knowledge of language: TruthfulQA, RealToxicityPrompts, Winogender, CrowS-Pairs, BLiMP, IFEval, XSTest, GSM8K.

Sets of sentence pairs (Winogender, CrowS-Pairs, BLiMP) hold ``first`` and ``second``: he and she, more and less stereotyping, good and bad.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from instructloop.scoring.sets_items import Item, Row, SetInfo

_PRONOUNS = {"$NOM_PRONOUN": ("he", "she"), "$POSS_PRONOUN": ("his", "her"), "$ACC_PRONOUN": ("him", "her")}
_GSM8K_ANSWER = re.compile(r"####\s*(\S.*?)\s*$")
_CONTRAST = "contrast_"


def _truthfulqa(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        correct, incorrect = _answers(row, "correct_answers", "Correct Answers"), _answers(row, "incorrect_answers", "Incorrect Answers")
        fields = {
            "question": row.text("question", "Question"),
            "category": row.text("category", "Category", default=""),
            "adversarial": row.text("type", "Type", default="").strip().lower() == "adversarial",
            "best_answer": row.text("best_answer", "Best Answer", default=correct[0] if correct else ""),
            "correct_answers": correct,
            "incorrect_answers": incorrect,
        }
        yield Item(id=str(number), fields=fields, references=correct)


def _answers(row: Row, *names: str) -> tuple[str, ...]:
    """A list, or one text whose parts stand between semicolons (the released CSV)."""
    parts = row.texts(*names)
    return tuple(part.strip() for text in parts for part in text.split(";") if part.strip()) if len(parts) == 1 else parts


def _real_toxicity(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        prompt = row.get("prompt")
        if isinstance(prompt, dict):  # as released: the Perspective scores stand beside the text
            part = row.part(prompt, "prompt")
            fields = {"prompt": part.text("text"), "toxicity": part.number("toxicity")}
        else:
            fields = {"prompt": row.text("prompt"), "toxicity": row.number("prompt_toxicity", "toxicity")}
        yield Item(id=str(number), fields={**fields, "challenging": bool(row.values.get("challenging"))})


def _winogender(rows: Iterator[Row]) -> Iterator[Item]:
    """The 120 pairs he and she, from the templates or from the 720 sentences made of them (those that name the other participant)."""
    halves: dict[str, dict[str, str]] = {}
    for row in rows:
        if "sentid" not in row and "id" not in row:
            yield _from_template(row)
            continue
        occupation, participant, answer, gender = row.text("sentid", "id").removesuffix(".txt").split(".")
        if participant == "someone" or gender not in ("male", "female"):
            continue
        name = f"{occupation}.{participant}.{answer}"
        halves.setdefault(name, {})[gender] = row.text("sentence")
        if len(halves[name]) == 2:
            yield _winogender_item(occupation, participant, answer, halves[name]["male"], halves[name]["female"])


def _from_template(row: Row) -> Item:
    occupation = row.text("occupation", "occupation(0)")
    participant = row.text("participant", "other-participant(1)")
    sentence = row.text("sentence").replace("$OCCUPATION", occupation).replace("$PARTICIPANT", participant)
    both = [sentence, sentence]
    for mark, pronouns in _PRONOUNS.items():
        both = [text.replace(mark, pronoun) for text, pronoun in zip(both, pronouns, strict=True)]
    if both[0] == both[1]:
        raise row.problem("sentence", f"holds none of {', '.join(_PRONOUNS)}")
    return _winogender_item(occupation, participant, str(row.get("answer")), both[0], both[1])


def _winogender_item(occupation: str, participant: str, answer: str, male: str, female: str) -> Item:
    fields = {"first": male, "second": female, "occupation": occupation, "participant": participant, "refers_to_occupation": answer == "0"}
    return Item(id=f"{occupation}.{participant}.{answer}", fields=fields)


def _crows_pairs(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        fields = {
            "first": row.text("more", "sent_more"),
            "second": row.text("less", "sent_less"),
            "direction": row.text("direction", "stereo_antistereo", default=""),
            "bias_type": str(row.values.get("bias_type", "")),
        }
        yield Item(id=str(number), fields=fields)


def _blimp(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        task = row.text("task", "UID", default="")
        fields = {
            "first": row.text("good", "sentence_good"),
            "second": row.text("bad", "sentence_bad"),
            "task": task,
            "phenomenon": row.text("phenomenon", "linguistics_term", default=""),
        }
        own = row.values.get("pair_id", row.values.get("pairID", number))
        yield Item(id=f"{task}.{own}", fields=fields)


def _ifeval(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        kinds = row.texts("instruction_id_list")
        settings = [_without_none(value) for value in _objects(row, "kwargs")]
        if len(settings) != len(kinds):
            raise row.problem("kwargs", f"{len(settings)} objects for {len(kinds)} instructions")
        fields = {"prompt": row.text("prompt"), "instruction_id_list": kinds, "kwargs": tuple(settings)}
        yield Item(id=str(row.values.get("key", number)), fields=fields)


def _objects(row: Row, name: str) -> list[Any]:
    value = row.get(name)
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            value = ast.literal_eval(value)
    return list(value)


def _without_none(value: Any) -> dict[str, Any]:
    """Parquet and ``datasets`` fill the settings of other instruction kinds with null."""
    return {key: part for key, part in (value or {}).items() if part is not None}


def _xstest(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        kind = row.text("type", default="")
        label = row.text("label", default="unsafe" if kind.startswith(_CONTRAST) else "safe")
        if label not in ("safe", "unsafe"):
            raise row.problem("label", f"{label!r} is neither safe nor unsafe")
        yield Item(id=str(row.values.get("id", number)), fields={"prompt": row.text("prompt"), "type": kind, "safe": label == "safe"})


def _gsm8k(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        solution = row.text("answer", "completion", "solution")
        found = _GSM8K_ANSWER.search(solution)
        if found is None:
            raise row.problem("answer", "must end in '#### NUMBER'")
        yield Item(
            id=str(number),
            fields={"question": row.text("question", "prompt"), "solution": solution},
            references=(found.group(1).replace(",", ""),),
        )


_PAIR = ("first", "second")

BEHAVIOR: dict[str, SetInfo] = {
    "truthfulqa": SetInfo(
        title="TruthfulQA",
        read=_truthfulqa,
        fields=("question", "category", "adversarial", "best_answer", "correct_answers", "incorrect_answers"),
        licence="Apache-2.0",
        source="https://github.com/sylinrl/TruthfulQA",
        names=("truthful_qa", "truthfulqa-questions"),
        files=("truthfulqa.csv", "questions_train.jsonl", "truthfulqa*.jsonl", "truthfulqa*.parquet"),
        hub="truthfulqa/truthful_qa:generation#validation",
    ),
    "realtoxicityprompts": SetInfo(
        title="RealToxicityPrompts",
        read=_real_toxicity,
        fields=("prompt", "toxicity", "challenging"),
        licence="Apache-2.0",
        source="https://github.com/allenai/real-toxicity-prompts",
        names=("realtoxicityprompts", "real-toxicity-prompts", "real_toxicity_prompts"),
        hub="allenai/real-toxicity-prompts#train",
        uniform_in="toxicity",
    ),
    "winogender": SetInfo(
        title="Winogender",
        read=_winogender,
        fields=(*_PAIR, "occupation", "participant", "refers_to_occupation"),
        licence="MIT",
        source="https://github.com/rudinger/winogender-schemas",
        names=("winogender", "winogender-schemas"),
        files=("winogender_templates.jsonl", "templates.tsv", "all_sentences.tsv"),
        hub="oskarvanderwal/winogender:all#test",
    ),
    "crows_pairs": SetInfo(
        title="CrowS-Pairs",
        read=_crows_pairs,
        fields=(*_PAIR, "direction", "bias_type"),
        licence="CC BY-SA 4.0",
        source="https://github.com/nyu-mll/crows-pairs",
        names=("crows_pairs", "crows-pairs"),
        files=("crows_pairs_anonymized.csv",),
        hub="nyu-mll/crows_pairs#test",
    ),
    "blimp": SetInfo(
        title="BLiMP",
        read=_blimp,
        fields=(*_PAIR, "task", "phenomenon"),
        licence="CC BY 4.0",
        source="https://github.com/alexwarstadt/blimp",
        names=("blimp",),
        many=True,
    ),
    "ifeval": SetInfo(
        title="IFEval",
        read=_ifeval,
        fields=("prompt", "instruction_id_list", "kwargs"),
        licence="Apache-2.0",
        source="https://github.com/google-research/google-research/tree/master/instruction_following_eval",
        names=("ifeval", "instruction_following_eval"),
        files=("input_data.jsonl",),
        hub="google/IFEval#train",
    ),
    "xstest": SetInfo(
        title="XSTest",
        read=_xstest,
        fields=("prompt", "type", "safe"),
        licence="CC BY 4.0",
        source="https://github.com/paul-rottger/xstest",
        names=("xstest", "xstest_v2"),
        files=("xstest_v2_prompts.csv", "xstest_prompts.csv"),
        hub="walledai/XSTest#test",
    ),
    "gsm8k": SetInfo(
        title="GSM8K",
        read=_gsm8k,
        fields=("question", "solution"),
        licence="MIT",
        source="https://github.com/openai/grade-school-math",
        names=("gsm8k", "grade_school_math", "grade-school-math"),
        hub="openai/gsm8k:main#test",
        splits=("test", "train"),
    ),
}
