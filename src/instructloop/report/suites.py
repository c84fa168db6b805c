"""The suites' table (``eval/suites.json``): models side by side, each with its difference to the first, signatures and the paper's figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from instructloop.report.compare import palette
from instructloop.report.numbers import MINUS, Estimate, bare_percent, estimate, finite, number
from instructloop.report.observatory import plain, told
from instructloop.report.read import Story

_BETTER = {"higher": ("\u2191", "higher is better"), "lower": ("\u2193", "lower is better")}


@dataclass(frozen=True, slots=True)
class Change:
    """How far a model lies from the first one."""

    sign: str
    text: str
    word: str
    """``better``, ``worse``, ``changed`` or ``undecided``."""
    interval: str = ""


@dataclass(frozen=True, slots=True)
class Result:
    """One model's number on one row, or why there is none."""

    text: str = ""
    interval: str = ""
    count: str = ""
    not_run: str = ""
    change: Change | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One suite in one variant by one metric."""

    variant: str
    metric: str
    unit: str
    better: tuple[str, str]
    """An arrow and its meaning; empty where neither way is better."""
    count: str
    marks: Sequence[int]
    """Footnotes: how the number was computed, and what must be known about the items."""
    results: Sequence[Result]
    paper: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Group:
    """All rows of a suite."""

    title: str
    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Answered:
    """One item of a suite with every model's output."""

    suite: str
    prompt: str
    references: Sequence[str]
    outputs: Sequence[tuple[str, int, str, str]]
    """Model, color, text, mark."""


@dataclass(frozen=True, slots=True)
class SuitesView:
    """One table."""

    stage: str
    path: str
    models: Sequence[tuple[str, int]]
    groups: Sequence[Group]
    missing: Sequence[tuple[str, str]]
    """Suites that no model was asked, with the reason."""
    settings: Sequence[tuple[str, str]]
    samples: Sequence[Answered]
    footnotes: Sequence[str]
    papers: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    """Row title and the paper's figures for it."""
    clear: str
    """How a difference was found to be one."""


def suite_tables(story: Story) -> list[SuitesView]:
    """Every suites' table of a story."""
    return [_view(owner or story.title, path, row) for owner, path, row in story.tables("suites")]


def _view(stage: str, path: str, table: Mapping[str, Any]) -> SuitesView:
    models = [str(name) for name in table.get("models") or ()]
    colors = palette(models)
    rows = [(str(row.get("title") or row.get("suite") or ""), row) for row in table.get("rows") or ()]
    asked = [(title, row) for title, row in rows if any("not_run" not in (_of(row, name) or {"not_run": ""}) for name in models)]
    groups, papers = [], []
    footnotes: list[str] = []
    for title, own in groupby(asked, key=lambda one: one[0]):
        shown = [_row(row, models, footnotes) for _, row in own]
        groups.append(Group(title, shown))
        papers += [(" · ".join(filter(None, (title, row.variant, row.metric))), row.paper) for row in shown if row.paper]
    missing: dict[str, str] = {}
    for title, row in rows:
        if (title, row) not in asked:
            reasons = dict.fromkeys(str(found["not_run"]) for name in models if (found := _of(row, name)) and found.get("not_run"))
            missing.setdefault(title, "; ".join(reasons) or str(row.get("note") or "no result"))
    paired = any(_paired(row, name) for _, row in asked for name in models)
    return SuitesView(
        stage=stage,
        path=path,
        models=list(colors.items()),
        groups=groups,
        missing=list(missing.items()),
        settings=[
            (str(key).replace("_", " "), plain(value)) for key, value in (table.get("settings") or {}).items() if value not in ("", None)
        ],
        samples=[_answered(one, models, colors) for one in table.get("samples") or ()],
        footnotes=footnotes,
        papers=papers,
        clear="the 95 % interval of the paired difference leaves out zero" if paired else "the two 95 % intervals do not touch",
    )


def headline(views: Sequence[SuitesView]) -> str:
    """Who was asked what, in a sentence."""
    if not views:
        return ""
    names = [name for name, _ in views[0].models]
    titles = [group.title for group in views[0].groups]
    told = f"{len(titles)} public suites" if len(titles) > 3 else " and ".join(filter(None, (", ".join(titles[:-1]), *titles[-1:])))
    return f"{', '.join(names) if len(names) < 5 else f'{len(names)} models'} on {told}."


def _of(row: Mapping[str, Any], model: str) -> Mapping[str, Any] | None:
    found = (row.get("results") or {}).get(model)
    return found if isinstance(found, Mapping) else None


def _marks(row: Mapping[str, Any], footnotes: list[str]) -> list[int]:
    """Numbers of the footnotes that a row needs; new ones are added."""
    found = []
    for text in (str(row.get("signature") or "").replace("|", " | "), str(row.get("note") or "")):
        if text:
            if text not in footnotes:
                footnotes.append(text)
            found.append(footnotes.index(text) + 1)
    return found


def _row(row: Mapping[str, Any], models: Sequence[str], footnotes: list[str]) -> Row:
    unit, better = str(row.get("unit") or ""), str(row.get("better") or "")
    found = {name: estimate(_of(row, name), share=unit == "share") for name in models}
    counts = list(dict.fromkeys(one.count() for one in found.values() if one is not None))
    common = counts[0] if len(counts) == 1 else ""
    first = found[models[0]] if models else None
    results = []
    for place, name in enumerate(models):
        own = found[name]
        if own is None:
            results.append(Result(not_run=str((_of(row, name) or {}).get("not_run") or "no result")))
            continue
        change = None if place == 0 or first is None else _change(own, first, _paired(row, name), better)
        results.append(Result(own.text(), own.interval(), "" if common else own.count(), change=change))
    paper = [(str(name), _figure(value, unit)) for name, value in (row.get("paper") or {}).items()]
    shots = row.get("shots")
    variant = str(row.get("variant") or "").replace("_", " ")
    if shots and str(shots) not in variant:
        variant = f"{variant}, {shots} shots".lstrip(", ")
    return Row(
        variant=variant,
        metric=str(row.get("metric") or ""),
        unit="" if unit in {"share", "points"} else unit,
        better=_BETTER.get(better, ("", "")),
        count=common or (f"n {row['items']}" if row.get("items") and not counts else ""),
        marks=_marks(row, footnotes),
        results=results,
        paper=paper,
    )


def _figure(value: Any, unit: str) -> str:
    found = estimate(value, share=unit == "share")
    if found is not None:
        return f"{found.text()} {found.interval()}".strip()
    if not finite(value):
        return plain(value)
    # as printed: no digit more, no digit less
    return f"{bare_percent(float(value))}\u202f%" if unit == "share" else f"{value:g}".replace("-", MINUS)


def _paired(row: Mapping[str, Any], model: str) -> Mapping[str, Any] | None:
    """The paired difference to the first model, where the table brings one."""
    for name in ("differences", "difference"):
        found = (row.get(name) or {}).get(model)
        if isinstance(found, Mapping):
            return found
    found = (_of(row, model) or {}).get("difference")
    return found if isinstance(found, Mapping) else None


def _change(own: Estimate, first: Estimate, paired: Mapping[str, Any] | None, better: str) -> Change:
    """The difference to the first model; only one that stands out of the noise is called better or worse."""
    difference = estimate(paired, share=own.share) if paired else None
    value = difference.value if difference else own.value - first.value
    if difference is not None and difference.low is not None and difference.high is not None:
        clear = difference.low > 0 or difference.high < 0
    else:
        ends = (own.low, own.high, first.low, first.high)
        clear = None not in ends and (own.low > first.high or own.high < first.low)  # type: ignore[operator]
    show = bare_percent if own.share else number
    text = ("+" if value > 0 else "") + show(value)
    interval = difference.interval() if difference else ""
    if not clear:
        return Change("\u2248", text, "undecided", interval)
    sign = "\u25b2" if value > 0 else "\u25bc"
    if better not in {"higher", "lower"}:
        return Change(sign, text, "changed", interval)
    return Change(sign, text, "better" if (value > 0) == (better == "higher") else "worse", interval)


def _answered(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> Answered:
    outputs = row.get("outputs") or {}
    found = []
    for name in models:
        one = outputs.get(name)
        if one is not None:
            text, mark = (one.get("text"), one.get("mark")) if isinstance(one, Mapping) else (one, None)
            found.append((name, colors[name], told(text), "" if mark is None else plain(mark)))
    where = " · ".join(filter(None, (str(row.get("suite") or ""), str(row.get("variant") or ""))))
    return Answered(where, told(row.get("prompt")), [told(one) for one in row.get("references") or ()], found)
