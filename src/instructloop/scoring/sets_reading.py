"""Reading, translation and summary sets: SQuADv2, DROP, QuAC, WMT15 Fr-En, CNN/DM, TL;DR, XSum (spec G8)."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.formats.loaded import Where
from instructloop.scoring.answers import NO_ANSWER_QUAC, NOT_IN_BACKGROUND
from instructloop.scoring.sets_items import Item, Row, SetInfo
from instructloop.scoring.sets_released import RELEASED_NOTE

_CANNOT_ANSWER = "CANNOTANSWER"
_NUMBERED = re.compile(r"^question(\d+):\s*", re.MULTILINE)
_POSSIBLE = re.compile(r"^possible answers for question(\d+):\s*", re.MULTILINE)
_SEGMENT = re.compile(r"<seg[^>]*>(.*?)</seg>", re.DOTALL)
_SIDES = (("src.fr", "ref.en"), (".fr", ".en"))


def _squad(rows: Iterator[Row]) -> Iterator[Item]:
    """SQuADv2, nested as released or one question a row; earlier questions on the same background are its history, as in the paper."""
    background, history = "", list[tuple[str, str]]()
    for row in rows:
        for title, context, question in _squad_questions(row):
            if context != background:
                background, history = context, []
            answers = _squad_answers(question)
            text = question.text("question").strip()
            yield Item(
                id=str(question.values.get("id") or f"{question.where.line}"),
                fields={
                    "title": title,
                    "background": context,
                    "question": text,
                    "history": tuple(history),
                    "answerable": bool(answers),
                },
                references=answers or (NOT_IN_BACKGROUND,),
                group=context,
            )
            history.append((text, (answers or (NOT_IN_BACKGROUND,))[0]))


def _squad_questions(row: Row) -> Iterator[tuple[str, str, Row]]:
    if "paragraphs" not in row:
        yield row.text("title", default=""), row.text("context", "background", "passage"), row
        return
    for paragraph in row.parts("paragraphs"):
        for question in paragraph.parts("qas"):
            yield row.text("title", default=""), paragraph.text("context"), question


def _squad_answers(row: Row) -> tuple[str, ...]:
    if row.values.get("is_impossible"):
        return ()
    answers = row.get("answers", "references", "answer")
    if isinstance(answers, Mapping):
        answers = answers.get("text", [])
    elif not isinstance(answers, str):
        answers = [answer.get("text") if isinstance(answer, Mapping) else answer for answer in answers]
    given = Row(row.where, {"answers": answers}).texts("answers")
    return tuple(dict.fromkeys(answer for answer in given if answer and answer != NOT_IN_BACKGROUND))


def _drop(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        for name, passage, question in _drop_questions(row):
            answers = _drop_answers(question)
            yield Item(
                id=str(question.values.get("query_id") or question.where.line),
                fields={"passage": passage, "question": question.text("question"), "answers": answers},
                references=tuple(", ".join(spans) for spans in answers),
                group=name or passage,
            )


def _drop_questions(row: Row) -> Iterator[tuple[str, str, Row]]:
    if "question" in row:
        yield str(row.values.get("section_id") or ""), row.text("passage", "context"), row
        return
    for name, value in row.values.items():  # as released: one object, passages by their name
        part = row.part(value, str(name))
        for question in part.parts("qa_pairs"):
            yield str(name), part.text("passage"), question


def _drop_answers(row: Row) -> tuple[tuple[str, ...], ...]:
    """All accepted answers, each as its spans; the first answer, then what other people answered."""
    if "answers_spans" in row:  # the hub's layout: all answers flat
        return tuple(dict.fromkeys((span,) for span in row.part(row.get("answers_spans"), "answers_spans").texts("spans")))
    first = row.get("answer", "references", "answers")
    if not isinstance(first, Mapping):
        return tuple((text,) for text in row.texts("answer", "references", "answers"))
    validated = row.values.get("validated_answers") or []
    if isinstance(validated, Mapping):  # columns, as Parquet has it
        keys = [key for key in ("number", "date", "spans") if key in validated]
        validated = [dict(zip(keys, cells, strict=True)) for cells in zip(*(validated[key] for key in keys), strict=True)]
    found = (_drop_spans(row.part(answer, "answer")) for answer in (first, *validated))
    return tuple(dict.fromkeys(spans for spans in found if any(span.strip() for span in spans)))


def _drop_spans(answer: Row) -> tuple[str, ...]:
    if str(answer.values.get("number", "")) != "":
        return (str(answer.values["number"]),)
    spans = answer.values.get("spans")
    if spans is not None and len(spans):
        return answer.texts("spans")
    date = answer.values.get("date") or {}
    return (" ".join(str(date.get(part) or "") for part in ("day", "month", "year")).strip(),)


def _quac(rows: Iterator[Row]) -> Iterator[Item]:
    for row in rows:
        for name, turns, fields in _quac_dialogues(row):
            history: list[tuple[str, str]] = []
            for number, (question, answers) in enumerate(turns):
                texts = tuple(NO_ANSWER_QUAC if answer.strip() == _CANNOT_ANSWER else answer.strip() for answer in answers)
                yield Item(
                    id=f"{name}_q#{number}",
                    fields={**fields, "question": question, "history": tuple(history)},
                    references=texts,
                    group=name,
                )
                history.append((question, texts[0]))


def _quac_dialogues(row: Row) -> Iterator[tuple[str, list[tuple[str, list[str]]], dict[str, Any]]]:
    """Dialogues with (question, answers) turns, from the released nesting, the hub's columns, or numbered questions in one text."""
    if "paragraphs" in row:
        for part in row.parts("paragraphs"):
            turns = [(turn.text("question"), [a.text("text") for a in turn.parts("answers", "orig_answer")]) for turn in part.parts("qas")]
            yield part.text("id"), turns, _quac_fields(row, part.text("context"))
    elif "questions" in row:
        answers = row.part(row.get("answers"), "answers").get("texts")
        turns = [(question, [str(text) for text in texts]) for question, texts in zip(row.texts("questions"), answers, strict=True)]
        yield row.text("dialogue_id", default=str(row.where.line)), turns, _quac_fields(row, row.text("context"))
    else:
        yield str(row.where.line), _numbered_turns(row), _quac_fields(row, row.text("passage", "context", "background"))


def _quac_fields(row: Row, background: str) -> dict[str, Any]:
    background = background.removesuffix(_CANNOT_ANSWER).strip()
    section = row.text("section_title", default="")
    return {"title": row.text("title", "wikipedia_page_title", default=""), "section": section, "background": background}


def _numbered_turns(row: Row) -> list[tuple[str, list[str]]]:
    """Questions and answers that are one text each, the annotators' alternatives run together."""
    questions, answers = _NUMBERED.split(row.text("question")), _POSSIBLE.split(row.text("answer"))
    if questions[1::2] != answers[1::2] or len(questions) < 3:
        raise row.problem("answer", "must answer the questions 'question1: ...' in their order")
    passage = " ".join(row.text("passage", "context", "background").split())
    pairs = zip(questions[2::2], answers[2::2], strict=True)
    return [(question.strip(), _spans_of(answer.split(), passage)) for question, answer in pairs]


def _spans_of(words: list[str], passage: str) -> list[str]:
    """Cut a text into stretches of the passage, each as long as possible: every alternative is one. What is none of it stays as it is."""
    spans: list[str] = []
    place = 0
    while place < len(words):
        end = place + 1
        while (
            words[place] != _CANNOT_ANSWER and end < len(words) and " ".join(words[place : end + 1]) in passage
        ):  # a span may end inside a word
            end += 1
        spans.append(" ".join(words[place:end]))
        place = end
    return spans


def _translations(rows: Iterator[Row]) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        pair = row
        if "translation" in row:
            value = row.get("translation")
            pair = row.part(ast.literal_eval(value) if isinstance(value, str) else value, "translation")
        yield Item(
            id=str(row.values.get("id") or number),
            fields={"french": pair.text("fr", "french", "source").strip()},
            references=(pair.text("en", "english", "reference", "target").strip(),),
        )


def _open_translations(file: Path) -> Iterator[Row]:
    """Two parallel files, plain lines or SGML segments: ``...src.fr.sgm`` with ``...ref.en.sgm``, or ``NAME.fr`` with ``NAME.en``."""
    for french, english in _SIDES:
        if french in file.name:
            other = file.with_name(file.name.replace(french, english))
            break
    else:
        raise DataError(f"{file}: not the French side of a translation set", hint="name the file ....fr (with ....en beside it)")
    if not other.is_file():
        raise DataError(f"{file}: the English side {other.name} is missing", hint="put both files into one folder")
    sides = [_segments(side) for side in (file, other)]
    if len(sides[0]) != len(sides[1]):
        raise DataError(f"{file}: {len(sides[0])} French but {len(sides[1])} English segments", hint="the two files belong to other sets")
    for number, (source, target) in enumerate(zip(*sides, strict=True), start=1):
        yield Row(Where(str(file), number), {"fr": source, "en": target})


def _segments(file: Path) -> list[str]:
    import html

    text = file.read_text(encoding="utf-8")
    return [html.unescape(part).strip() for part in _SEGMENT.findall(text)] if ".sgm" in file.name else text.splitlines()


def _summaries(*, text: tuple[str, ...], summary: tuple[str, ...], field: str) -> Any:
    def read(rows: Iterator[Row]) -> Iterator[Item]:
        for number, row in enumerate(rows, start=1):
            yield Item(
                id=str(row.values.get("id") or number),
                fields={field: row.text(*text), "title": row.text("title", default="")},
                references=(row.text(*summary).strip(),),
            )

    return read


READING: dict[str, SetInfo] = {
    "squadv2": SetInfo(
        title="SQuADv2",
        read=_squad,
        fields=("title", "background", "question", "history", "answerable"),
        licence="CC BY-SA 4.0",
        source="https://rajpurkar.github.io/SQuAD-explorer/",
        names=("squadv2", "squad_v2", "squad-v2", "squad2"),
        files=("dev-v2.0.json",),
        hub="rajpurkar/squad_v2#validation",
        stand_ins={"squadv2_samples.csv": RELEASED_NOTE},
    ),
    "drop": SetInfo(
        title="DROP",
        read=_drop,
        fields=("passage", "question", "answers"),
        licence="CC BY-SA 4.0",
        source="https://allenai.org/data/drop",
        names=("drop",),
        files=("drop_dataset_dev.json",),
        hub="ucinlp/drop#validation",
        stand_ins={"drop_samples.csv": RELEASED_NOTE},
    ),
    "quac": SetInfo(
        title="QuAC",
        read=_quac,
        fields=("title", "section", "background", "question", "history"),
        licence="CC BY-SA 4.0",
        source="https://quac.ai",
        names=("quac",),
        files=("val_v0.2.json",),
        hub="allenai/quac#validation",
        stand_ins={"quac_samples.csv": RELEASED_NOTE},
    ),
    "wmt15_fr_en": SetInfo(
        title="WMT15 Fr-En",
        read=_translations,
        fields=("french",),
        licence="research use, as the WMT organizers state",
        source="https://www.statmt.org/wmt15/ (newsdiscusstest2015)",
        names=("wmt15_fr_en", "wmt15-fr-en", "wmt15", "newsdiscusstest2015"),
        files=("newsdiscusstest2015-fren-src.fr.sgm", "newsdiscusstest2015*.fr", "wmt15*.fr"),
        hub="wmt/wmt15:fr-en#test",
        stand_ins={"fr_to_en_samples.csv": RELEASED_NOTE},
        splits=("test", "validation", "dev", "train"),
        opens={".sgm": _open_translations, ".fr": _open_translations},
    ),
    "cnn_dm": SetInfo(
        title="CNN/DM",
        read=_summaries(text=("article", "document", "text"), summary=("highlights", "summary", "abstract"), field="article"),
        fields=("article", "title"),
        licence="Apache-2.0 (the script); the articles belong to their publishers",
        source="https://github.com/abisee/cnn-dailymail",
        names=("cnn_dm", "cnn_dailymail", "cnn-dailymail", "cnndm"),
        hub="abisee/cnn_dailymail:3.0.0#test",
        stand_ins={"cnn_dm_samples.csv": RELEASED_NOTE},
        splits=("test", "validation", "val", "dev", "train"),
    ),
    "tldr": SetInfo(
        title="TL;DR",
        read=_summaries(text=("post", "content", "prompt"), summary=("summary", "label", "completion"), field="post"),
        fields=("post", "title"),
        licence="CC BY 4.0 (Webis TLDR-17)",
        source="https://github.com/openai/summarize-from-feedback",
        names=("tldr", "tl-dr", "tldr-17", "reddit_tldr"),
        hub="trl-lib/tldr#test",
        stand_ins={"tldr_samples.csv": RELEASED_NOTE},
        splits=("test", "validation", "valid", "dev", "train"),
    ),
    "xsum": SetInfo(
        title="XSum",
        read=_summaries(text=("document", "article"), summary=("summary",), field="article"),
        fields=("article", "title"),
        licence="MIT (the script); the articles belong to their publisher",
        source="https://github.com/EdinburghNLP/XSum",
        names=("xsum",),
        hub="EdinburghNLP/xsum#test",
        splits=("test", "validation", "dev", "train"),
    ),
}
