"""The queries of OpenAI's released InstructGPT samples as small test sets: 100 contexts a file, exactly as the models were asked (spec G16)."""

import re
from collections.abc import Callable, Iterator

from instructloop.scoring.answers import NOT_IN_BACKGROUND
from instructloop.scoring.sets_items import Item, Reader, Row

RELEASED_FILES = "*_samples.csv"
"""What the released files are called (without ``.gz``)."""
RELEASED_NOTE = "the 100 contexts of the released InstructGPT samples, a part of the set"

_DIALOGUE = re.compile(r"Title: (?P<title>.*?)\n+(?:Background|Paragraph|Section): (?P<background>.*?)\n\n(?P<turns>Q:.*)A:\s*", re.DOTALL)
_TURN = re.compile(r"Q:\s*(.*?)\s*\nA:\s*(.*?)\s*(?=\nQ:|\Z)", re.DOTALL)
_PASSAGE = re.compile(r"Passage: (?P<passage>.*)\nQuestion: (?P<question>.*?)\nAnswer:\s*", re.DOTALL)
_FRENCH = re.compile(r"French: (?P<french>.*)\nEnglish:\s*", re.DOTALL)
_POST = re.compile(r"(?P<post>.*?)\s*TL;DR:\s*", re.DOTALL)


def _contexts(parse: Callable[[Row, str, tuple[str, ...], str], Item]) -> Reader:
    """Each context once, whatever the number of models that answered it."""

    def read(rows: Iterator[Row]) -> Iterator[Item]:
        seen: set[str] = set()
        for row in rows:
            context = row.text("context")
            if context not in seen:
                seen.add(context)
                yield parse(row, context, tuple(row.text("ref_text").split("|")), str(len(seen)))

    return read


def _matched(pattern: re.Pattern[str], row: Row, context: str) -> dict[str, str]:
    match = pattern.fullmatch(context)
    if match is None:
        raise row.problem("context", "is not laid out as in the released samples")
    return {name: text.strip() for name, text in match.groupdict().items()}


def _dialogue(row: Row, context: str, references: tuple[str, ...], number: str) -> Item:
    parts = _matched(_DIALOGUE, row, context)
    turns = _TURN.findall(re.sub(r"\n+", "\n", f"{parts.pop('turns')}\nA:"))
    fields = {
        **parts,
        "section": "",
        "question": turns[-1][0],
        "history": tuple(turns[:-1]),
        "answerable": references != (NOT_IN_BACKGROUND,),
    }
    return Item(id=number, fields=fields, references=references, group=parts["background"])


def _drop(row: Row, context: str, references: tuple[str, ...], number: str) -> Item:
    parts = _matched(_PASSAGE, row, context)
    fields = {**parts, "answers": tuple((reference,) for reference in references)}
    return Item(id=number, fields=fields, references=references, group=parts["passage"])


def _french(row: Row, context: str, references: tuple[str, ...], number: str) -> Item:
    return Item(id=number, fields=_matched(_FRENCH, row, context), references=references)


def _summary(name: str) -> Callable[[Row, str, tuple[str, ...], str], Item]:
    def parse(row: Row, context: str, references: tuple[str, ...], number: str) -> Item:
        return Item(id=number, fields={name: _matched(_POST, row, context)["post"], "title": ""}, references=references)

    return parse


RELEASED: dict[str, Reader] = {
    "squadv2": _contexts(_dialogue),
    "quac": _contexts(_dialogue),
    "drop": _contexts(_drop),
    "wmt15_fr_en": _contexts(_french),
    "tldr": _contexts(_summary("post")),
    "cnn_dm": _contexts(_summary("article")),
}
