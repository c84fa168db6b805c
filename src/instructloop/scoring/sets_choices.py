"""Sets with options to choose from: HellaSwag, RTE, SST, WSC of the paper, and BoolQ, PIQA, OpenBookQA, MMLU and their like.

Every item holds ``choices`` (texts in order) and ``answer`` (number of the right one, from 0); its reference is that choice's text.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from instructloop.formats.loaded import Where
from instructloop.formats.rows import read_rows
from instructloop.scoring.sets_items import Item, Row, SetInfo, lettered

_YES_NO = {"true": 0, "1": 0, "yes": 0, "false": 1, "0": 1, "no": 1}
_MMLU_FILE = re.compile(r"(?P<subject>.+?)_(?:dev|val|test)\.csv")


def _item(row: Row, number: int, choices: Sequence[str], answer: int, fields: dict[str, Any], group: str = "") -> Item:
    if not 0 <= answer < len(choices):
        raise row.problem("answer", f"names none of the {len(choices)} options")
    name = next((str(row.values[key]) for key in ("id", "idx", "ind", "guid") if key in row and not isinstance(row.values[key], dict)), "")
    return Item(
        id=name or str(number),
        fields={**fields, "choices": tuple(choices), "answer": answer},
        references=(choices[answer],),
        group=group,
    )


def _hellaswag(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        endings = row.texts("endings", "choices")
        answer = row.one_of({str(place): place for place in range(len(endings))}, "label", "answer")
        if "ctx" in row or "ctx_a" not in row:
            context = row.text("ctx", "context", "prompt")
        else:
            context = f"{row.text('ctx_a')} {row.text('ctx_b', default='')}".strip()
        fields = {"context": context, "activity": row.text("activity_label", default=""), "source": row.text("source_id", default="")}
        yield _item(row, number, endings, answer, fields)


def _rte(rows: Iterator[Row]) -> Iterator[Item]:
    labels = {"entailment": 0, "0": 0, "not_entailment": 1, "1": 1}
    for number, row in enumerate(rows, start=1):
        answer = row.one_of(labels, "label")
        fields = {"passage": row.text("premise", "sentence1"), "hypothesis": row.text("hypothesis", "sentence2")}
        yield _item(row, number, ("Yes", "No"), answer, fields)


def _sst(rows: Iterator[Row]) -> Iterator[Item]:
    labels = {"positive": 0, "pos": 0, "1": 0, "negative": 1, "neg": 1, "0": 1}
    for number, row in enumerate(rows, start=1):
        text = row.text("sentence", "text").strip()
        yield _item(row, number, ("positive", "negative"), row.one_of(labels, "label"), {"text": text})


def _wsc(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        spans = row.part(row.get("target"), "target") if "target" in row else row
        fields = {"passage": row.text("text"), "noun": spans.text("span1_text"), "pronoun": spans.text("span2_text")}
        yield _item(row, number, ("True", "False"), row.one_of(_YES_NO, "label"), fields)


def _boolq(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        fields = {"title": row.text("title", default=""), "passage": row.text("passage"), "question": row.text("question")}
        yield _item(row, number, ("yes", "no"), row.one_of(_YES_NO, "answer", "label"), fields)


def _lettered_or(row: Row, number: int) -> Item | None:
    """Rows whose options are one text of lines ``A. ...`` and whose answer repeats one of them with its letter."""
    if not isinstance(row.values.get("options"), str):
        return None
    question, choices = row.text("question").strip(), lettered(row.text("options"))[1]
    if len(choices) < 2:  # the first options may have slipped into the question
        question, choices = lettered(f"{question}\n{row.text('options')}")
    if len(choices) < 2:
        raise row.problem("options", "must hold options as lines 'A. ...'")
    letter = row.text("answer").strip()[:1].upper()
    answer = ord(letter) - ord("A") if letter else -1
    return _item(row, number, choices, answer, {"question": question, "passage": row.text("passage", default="")})


def _piqa(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        found = _lettered_or(row, number)
        if found is None:
            choices = (row.text("sol1"), row.text("sol2"))
            found = _item(row, number, choices, row.one_of({"0": 0, "1": 1}, "label"), {"question": row.text("goal"), "passage": ""})
        yield found


def _open_piqa(file: Path) -> Iterator[Row]:
    """``valid.jsonl`` as released, with the labels one a line in ``valid-labels.lst`` beside it."""
    labels = file.with_name(file.name.removesuffix(".jsonl") + "-labels.lst")
    given = labels.read_text(encoding="utf-8").split() if labels.is_file() else []
    for number, (where, row) in enumerate(read_rows(file)):
        yield Row(where, {**row, "label": given[number]} if number < len(given) else row)


def _openbookqa(rows: Iterator[Row]) -> Iterator[Item]:
    """OpenBookQA, CommonsenseQA (released and hub layouts) and SocialIQA-like rows with lettered options."""
    for number, row in enumerate(rows, start=1):
        yield _lettered_or(row, number) or _keyed(row, number)


def _keyed(row: Row, number: int) -> Item:
    question = row.values.get("question")
    if isinstance(question, dict):
        stem, listed = row.part(question, "question").text("stem"), question.get("choices")
    else:
        stem, listed = row.text("question_stem", "question"), row.get("choices")
    if isinstance(listed, dict):
        choices = row.part(listed, "choices")
        texts, labels = choices.texts("text"), choices.texts("label")
    else:
        parts = [row.part(value, "choices") for value in listed or ()]
        texts, labels = tuple(part.text("text") for part in parts), tuple(part.text("label") for part in parts)
    key = row.text("answerKey")
    return _item(row, number, texts, labels.index(key) if key in labels else -1, {"question": stem, "passage": ""})


def _socialiqa(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        found = _lettered_or(row, number)
        if found is None:
            choices = (row.text("answerA"), row.text("answerB"), row.text("answerC"))
            fields = {"question": row.text("question"), "passage": row.text("context")}
            found = _item(row, number, choices, row.one_of({"1": 0, "2": 1, "3": 2, "a": 0, "b": 1, "c": 2}, "label", "correct"), fields)
        yield found


def _mmlu(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        choices = row.texts("choices")
        answers = {str(place): place for place in range(len(choices))} | {chr(ord("a") + place): place for place in range(len(choices))}
        fields = {"question": row.text("question"), "subject": row.text("subject", default="").replace("_", " ")}
        yield _item(row, number, choices, row.one_of(answers, "answer"), fields)


def _open_mmlu(file: Path) -> Iterator[Row]:
    """A released file of one subject: no header, question, four options, letter; or a table with named columns."""
    with file.open(encoding="utf-8", newline="") as stream:
        for number, cells in enumerate(csv.reader(stream), start=1):
            if number == 1 and "question" in cells:
                break
            if len(cells) != 6:
                raise Row(Where(str(file), number), {}).problem(
                    "answer", f"{len(cells)} columns where question, A, B, C, D, answer are due"
                )
            subject = match["subject"] if (match := _MMLU_FILE.fullmatch(file.name)) else ""
            yield Row(Where(str(file), number), {"question": cells[0], "choices": cells[1:5], "answer": cells[5], "subject": subject})
        else:
            return
    for where, row in read_rows(file):
        choices = [row[key] for key in ("A", "B", "C", "D") if key in row]
        yield Row(where, {**row, "choices": choices} if choices else row)


_LETTERED = ("question", "passage", "choices", "answer")

CHOICES: dict[str, SetInfo] = {
    "hellaswag": SetInfo(
        title="HellaSwag",
        read=_hellaswag,
        fields=("context", "activity", "source", "choices", "answer"),
        licence="MIT",
        source="https://github.com/rowanz/hellaswag",
        names=("hellaswag",),
        hub="Rowan/hellaswag#validation",
    ),
    "rte": SetInfo(
        title="RTE",
        read=_rte,
        fields=("passage", "hypothesis", "choices", "answer"),
        licence="research use, as GLUE and SuperGLUE state",
        source="https://super.gluebenchmark.com/tasks",
        names=("rte",),
        hub="nyu-mll/glue:rte#validation",
    ),
    "sst": SetInfo(
        title="SST",
        read=_sst,
        fields=("text", "choices", "answer"),
        licence="research use, as GLUE states",
        source="https://gluebenchmark.com/tasks",
        names=("sst", "sst2", "sst-2"),
        hub="stanfordnlp/sst2#validation",
        stand_ins={"sentence_polarity.jsonl": "Pang and Lee's sentence polarity, from which SST was made, not SST itself"},
    ),
    "wsc": SetInfo(
        title="WSC",
        read=_wsc,
        fields=("passage", "noun", "pronoun", "choices", "answer"),
        licence="CC BY 4.0",
        source="https://super.gluebenchmark.com/tasks",
        names=("wsc", "wsc.fixed"),
        hub="aps/super_glue:wsc.fixed#validation",
    ),
    "boolq": SetInfo(
        title="BoolQ",
        read=_boolq,
        fields=("title", "passage", "question", "choices", "answer"),
        licence="CC BY-SA 3.0",
        source="https://github.com/google-research-datasets/boolean-questions",
        names=("boolq",),
        hub="google/boolq#validation",
    ),
    "piqa": SetInfo(
        title="PIQA",
        read=_piqa,
        fields=_LETTERED,
        licence="AFL 3.0",
        source="https://yonatanbisk.com/piqa/",
        names=("piqa", "physicaliqa"),
        hub="ybisk/piqa#validation",
        opens={".jsonl": _open_piqa},
    ),
    "openbookqa": SetInfo(
        title="OpenBookQA",
        read=_openbookqa,
        fields=_LETTERED,
        licence="Apache-2.0",
        source="https://allenai.org/data/open-book-qa",
        names=("openbookqa", "obqa"),
        hub="allenai/openbookqa:main#test",
        splits=("test", "validation", "dev", "train"),
    ),
    "commonsenseqa": SetInfo(
        title="CommonsenseQA",
        read=_openbookqa,
        fields=_LETTERED,
        licence="MIT",
        source="https://www.tau-nlp.sites.tau.ac.il/commonsenseqa",
        names=("commonsenseqa", "commonsense_qa"),
        hub="tau/commonsense_qa#validation",
    ),
    "siqa": SetInfo(
        title="Social IQa",
        read=_socialiqa,
        fields=_LETTERED,
        licence="CC BY 4.0",
        source="https://leaderboard.allenai.org/socialiqa",
        names=("siqa", "social_i_qa", "socialiqa"),
        hub="allenai/social_i_qa#validation",
    ),
    "logiqa": SetInfo(
        title="LogiQA",
        read=_openbookqa,
        fields=_LETTERED,
        licence="research use, as the authors state",
        source="https://github.com/lgw863/LogiQA-dataset",
        names=("logiqa",),
        splits=("test", "validation", "dev", "train"),
    ),
    "mmlu": SetInfo(
        title="MMLU",
        read=_mmlu,
        fields=("question", "subject", "choices", "answer"),
        licence="MIT",
        source="https://github.com/hendrycks/test",
        names=("mmlu",),
        files=("abstract_algebra_*.csv",),  # one of 57, all of which are read
        hub="cais/mmlu:all#test",
        splits=("test", "validation", "val", "dev", "train"),
        many=True,
        opens={".csv": _open_mmlu},
    ),
}
