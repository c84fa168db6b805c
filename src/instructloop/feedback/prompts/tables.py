"""The paper's tables about prompts, for one's own data: Tables 1, 6, 7, 8, 9, 10 and 11, and the languages (spec A10 to A20)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from instructloop.feedback.prompts.categories import TABLE_7, USE_CASE_LABELS
from instructloop.feedback.prompts.facts import STAGES, PromptFacts
from instructloop.feedback.schema.prompts import SPLITS

Cell = str | int | float | None
_SOURCES = ("labeler", "customer", "dataset", "synthetic")
_LENGTHS = ("n", "mean", "sd", "min", "q25", "q50", "q75", "max")


@dataclass(frozen=True, slots=True)
class Table:
    """One table: numbers as numbers, None where the question was not asked."""

    key: str
    """``table_6`` and so on, as in the JSON output."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """Title, note, and a row as an object by column."""
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "note": self.note, "rows": rows}


def prompt_tables(facts: Sequence[PromptFacts], *, token_rule: str) -> list[Table]:
    """All tables, in the paper's order.

    Args:
        facts: one entry a prompt.
        token_rule: how tokens were counted, for the notes.
    """
    return [
        _use_cases(facts),
        _counts(facts),
        _flags(facts),
        _per_customer(facts),
        _token_lengths(facts, token_rule),
        _lengths_by_use_case(facts, token_rule),
        _demonstrations(facts, token_rule),
        _languages(facts),
    ]


def _stage_splits(facts: Iterable[PromptFacts]) -> list[tuple[str, str]]:
    """The (stage, split) pairs that occur, in the paper's order."""
    present = {(stage, prompt.split) for prompt in facts for stage in prompt.stages}
    splits = [*SPLITS, *sorted({split for _, split in present} - set(SPLITS))]
    return [(stage, split) for stage in STAGES for split in splits if (stage, split) in present]


def _name(stage: str, split: str) -> str:
    return f"{stage.upper() if stage != 'unused' else stage} {split}"


def _of(facts: Iterable[PromptFacts], stage: str, split: str) -> list[PromptFacts]:
    return [prompt for prompt in facts if stage in prompt.stages and prompt.split == split]


def _use_cases(facts: Sequence[PromptFacts]) -> Table:
    stages = [stage for stage in STAGES if any(stage in prompt.stages for prompt in facts)]
    counts = {stage: Counter(prompt.use_case or "not labeled" for prompt in facts if stage in prompt.stages) for stage in stages}
    rows: list[tuple[Cell, ...]] = []
    for key, label in (*USE_CASE_LABELS.items(), ("not labeled", "not labeled")):
        if key == "not labeled" and not any(counts[stage][key] for stage in stages):
            continue
        cells: list[Cell] = [label]
        for stage in stages:
            labeled = counts[stage].total() - counts[stage]["not labeled"]
            share = _percent(counts[stage][key], labeled) if key != "not labeled" else None
            cells += [counts[stage][key], share]
        rows.append(tuple(cells))
    columns = ["use case", *(name for stage in stages for name in (f"{stage} n", f"{stage} %"))]
    return Table(
        "table_1", "Use cases (Table 1)", tuple(columns), tuple(rows), "per cent of the labeled prompts; the paper gives the RM column"
    )


def _counts(facts: Sequence[PromptFacts]) -> Table:
    pairs = _stage_splits(facts)
    counts = Counter((prompt.source, stage, prompt.split) for prompt in facts for stage in prompt.stages)
    sources = [source for source in _SOURCES if source in _SOURCES[:2] or any(counts[source, *pair] for pair in pairs)]
    rows: list[tuple[Cell, ...]] = [(source, *(counts[source, *pair] for pair in pairs)) for source in sources]
    rows.append(("sum", *(sum(counts[source, *pair] for source in sources) for pair in pairs)))
    note = "a prompt counts in every stage it serves; unused: neither demonstrated nor ranked, and no customer's"
    return Table("table_6", "Number of prompts (Table 6)", ("source", *(_name(*pair) for pair in pairs)), tuple(rows), note)


def _flags(facts: Sequence[PromptFacts]) -> Table:
    pairs = _stage_splits(facts)
    asked = {key for prompt in facts for key in prompt.flags}
    further = {key: key.replace("_", " ") for key in sorted(asked - set(TABLE_7))}
    rows: list[tuple[Cell, ...]] = []
    for key, label in {**TABLE_7, **further}.items():
        answers = [[prompt.flags[key] == "yes" for prompt in _of(facts, *pair) if key in prompt.flags] for pair in pairs]
        rows.append((label, *(_percent(sum(given), len(given)) for given in answers)))
    answered = [sum(bool(prompt.flags) for prompt in _of(facts, *pair)) for pair in pairs]
    rows.append(("n with any answer", *answered))
    columns = ("% of prompts", *(_name(*pair) for pair in pairs))
    return Table(
        "table_7", "Flags of prompts (Table 7)", columns, tuple(rows), "per cent of the prompts of which it was asked; - not asked"
    )


def _per_customer(facts: Sequence[PromptFacts]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for stage, split in _stage_splits(facts):
        mine = Counter(prompt.owner for prompt in _of(facts, stage, split) if prompt.source == "customer")
        if mine:
            rows.append((_name(stage, split), mine.total(), len(mine), mine.total() / len(mine), max(mine.values())))
    columns = ("data", "prompts", "customers", "prompts per customer", "most of one customer")
    return Table("table_8", "Prompts per customer (Table 8)", columns, tuple(rows))


def _token_lengths(facts: Sequence[PromptFacts], rule: str) -> Table:
    rows = [(_name(*pair), *_lengths([prompt.tokens for prompt in _of(facts, *pair)])) for pair in _stage_splits(facts)]
    return Table("table_9", "Tokens of prompts (Table 9)", ("data", *_LENGTHS), tuple(rows), f"tokens by {rule}")


def _lengths_by_use_case(facts: Sequence[PromptFacts], rule: str) -> Table:
    def row(label: str, wanted: Callable[[PromptFacts], bool]) -> tuple[Cell, ...]:
        tokens = [prompt.tokens for prompt in facts if wanted(prompt)]
        return (label, len(tokens), float(np.mean(tokens)) if tokens else None, float(np.median(tokens)) if tokens else None)

    labels = sorted(USE_CASE_LABELS.items(), key=lambda item: item[1].lower())
    rows = [row(label, lambda prompt, key=key: prompt.use_case == key) for key, label in labels]  # type: ignore[misc]
    return Table(
        "table_10", "Tokens by use case (Table 10)", ("use case", "n", "mean", "median"), tuple(rows), f"tokens by {rule}; each prompt once"
    )


def _demonstrations(facts: Sequence[PromptFacts], rule: str) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for source in _SOURCES:
        mine = [prompt for prompt in facts if prompt.source == source and "sft" in prompt.stages]
        if mine:
            rows.append((f"{source} prompts", *_lengths([prompt.tokens for prompt in mine])))
            rows.append((f"demonstrations for {source} prompts", *_lengths([n for prompt in mine for n in prompt.demonstration_tokens])))
    return Table("table_11", "Tokens of prompts and demonstrations (Table 11)", ("text", *_LENGTHS), tuple(rows), f"tokens by {rule}")


def _languages(facts: Sequence[PromptFacts]) -> Table:
    counts = Counter(prompt.language or "und" for prompt in facts)
    rows = tuple((code, n, _percent(n, len(facts))) for code, n in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    note = "und: too short to tell; the paper found about 96 % English by such a classifier and estimated 99 %"
    return Table("languages", "Languages of prompts (spec A20)", ("language", "n", "%"), rows, note)


def _percent(part: int, whole: int) -> float | None:
    return 100 * part / whole if whole else None


def _lengths(tokens: Sequence[int]) -> tuple[Cell, ...]:
    """n, mean, sample standard deviation, least, quartiles, most."""
    if not tokens:
        return (0, *([None] * (len(_LENGTHS) - 1)))
    values = np.asarray(tokens, dtype=float)
    spread = float(values.std(ddof=1)) if len(tokens) > 1 else None
    q25, q50, q75 = (float(value) for value in np.quantile(values, [0.25, 0.5, 0.75]))
    return (len(tokens), float(values.mean()), spread, min(tokens), q25, q50, q75, max(tokens))
