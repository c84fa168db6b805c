"""Comparison files (``eval/*.json``) as rows to draw: who wins, scores and flags, held capabilities, samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from markupsafe import Markup

from instructloop.report import chart
from instructloop.report.marks import Bar, Block, verdict, win_of
from instructloop.report.numbers import Estimate, estimate, grouped
from instructloop.report.read import StageFiles, Story
from instructloop.report.standing import Standing, standing
from instructloop.report.tell import words

_ALL_PAIRS_UP_TO = 5
_NEGLIGIBLE_KL = 0.01
_VOICES = {"reward model": "the reward model", "voter": "the voter"}
_PLAIN = ("base", "pretrained")


@dataclass(frozen=True, slots=True)
class Table:
    """Estimates by model (rows) and quantity (columns)."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, int, Sequence[Estimate | None]]]
    """Model, color, cells."""
    note: str = ""

    @property
    def common(self) -> str:
        """The count behind every number, if it is one and the same."""
        counts = {found.count() for _, _, cells in self.rows for found in cells if found is not None}
        return counts.pop() if len(counts) == 1 else ""


@dataclass(frozen=True, slots=True)
class ComparisonView:
    """One voter's view of one prompt set."""

    title: str
    voter: str
    n_prompts: int
    models: Sequence[tuple[str, int]]
    wins: Sequence[Bar]
    matrix: Sequence[tuple[str, int, Sequence[Estimate | None]]]
    tables: Sequence[Table]
    by_case: Block | None
    capabilities: Sequence[Block]
    samples: Sequence[Mapping[str, Any]]
    path: str
    against_kl: Markup
    """Mean score over sequence KL to the reference, one dot a model; empty where no KL was measured."""
    over_long: str
    standing: Standing
    reference: str
    """The model whose distance from the others was measured: where reinforcement learning began; empty if unknown."""
    sets: Sequence["ComparisonView"] = field(default_factory=tuple)


def comparisons(story: Story) -> list[ComparisonView]:
    """All comparisons of a story, the one with most prompts first among those of one stage."""
    found = []
    for stage in story.stages:
        tables = {name: row for name, row in stage.evaluations.items() if row.get("kind") == "comparison"}
        for name, row in sorted(tables.items(), key=lambda item: (-int(item[1].get("n_prompts", 0)), item[0])):
            found.append(_view(row, f"{stage.name}/eval/{name}.json", ""))
    return found


def color_of(story: Story, name: str) -> int | None:
    """The color of the model that a stage made: that of the model of the same name in the first comparison."""
    for stage in story.stages:
        for row in stage.evaluations.values():
            for model, color in palette(row.get("models", ())).items():
                if same_name(model, name):
                    return color
    return None


_USUAL = (("few", 1), ("ptx", 4), ("ppo", 3), ("sft", 2), ("base", 0))


def palette(models: Sequence[str]) -> dict[str, int]:
    """A color a model: the usual one of what its name says, so that SFT is blue in every report, else the next free one."""
    found: dict[str, int] = {}
    for name in models:
        color = next((color for word, color in _USUAL if word in name.lower()), None)
        if color is not None and color not in found.values():
            found[name] = color
    free = [color for color in (5, 7, 6, 2, 3, 4, 1, 0) if color not in found.values()]
    for place, name in enumerate(name for name in models if name not in found):
        found[name] = free[place % len(free)] if free else place % chart.COLORS
    return {name: found[name] for name in models}


def same_name(first: str, second: str) -> bool:
    """``PPO-ptx`` and ``ppo_ptx`` are one."""
    return first.lower().replace("-", "").replace("_", "") == second.lower().replace("-", "").replace("_", "")


def rival(models: Sequence[str]) -> str | None:
    """What the last model is first of all compared with: the SFT model if there is one, else the model before it."""
    earlier = list(models[:-1])
    return next((name for name in reversed(earlier) if "sft" in name.lower()), earlier[-1] if earlier else None)


def plain_base(models: Sequence[str]) -> str | None:
    """The base model, if it takes part."""
    return next((name for name in models if name.lower() in _PLAIN), None)


def _view(row: Mapping[str, Any], path: str, title: str) -> ComparisonView:
    models = list(row.get("models", ()))
    colors = palette(models)
    return ComparisonView(
        title=title,
        voter=_VOICES.get(str(row.get("voter")), str(row.get("voter") or "the voter")),
        n_prompts=int(row.get("n_prompts", 0)),
        models=list(colors.items()),
        wins=_forest(row, models, colors),
        matrix=[(a, colors[a], [None if a == b else win_of(row, a, b) for b in models]) for a in models],
        tables=_tables(row, models, colors),
        by_case=_by_case(row, models, colors),
        capabilities=_capabilities(row, models, colors),
        samples=[sample | {"set": title} for sample in map(dict, row.get("samples", ()))],
        path=path,
        against_kl=_against_kl(row, models, colors),
        over_long=_over_long(row),
        standing=standing(row, models, colors),
        reference=str(row.get("reference") or ""),
        sets=[_view(own, path, str(name)) for name, own in (row.get("sets") or {}).items()],
    )


def _over_long(row: Mapping[str, Any]) -> str:
    left_out = row.get("over_long") or {}
    return ", ".join(f"{count} of the {name} prompts" for name, count in left_out.items())


def _against_kl(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> Markup:
    marks = []
    for name in models:
        kl, score = estimate(row.get("descriptions", {}).get(name, {}).get("kl")), estimate(row.get("scores", {}).get(name))
        if kl is not None and score is not None:
            told = f"{name}: KL {kl.text()} {kl.interval()}, score {score.text()} {score.interval()}"
            marks.append(chart.Mark(told, kl, score, colors[name]))
    if len(marks) < 2 or max(abs(mark.x.value) for mark in marks) < _NEGLIGIBLE_KL:
        return Markup("")
    return chart.path_chart([], marks, title="Score against KL", x_label="KL, nats", y_label="mean score", names=True)


def _forest(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> list[Bar]:
    bars = []
    for a in reversed(models):
        if len(models) > _ALL_PAIRS_UP_TO and a != models[-1]:
            break
        for b in reversed(models[: models.index(a)]):
            if (found := win_of(row, a, b)) is not None:
                mark = chart.interval_mark(found, low=0, high=1, color=colors[a], reference=0.5)
                bars.append(Bar(a, found, mark, colors[a], verdict(found), b))
    return bars


def _tables(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> list[Table]:
    scores = {name: row.get("scores", {}).get(name, {}) for name in models}
    tables = []
    parts = _names(one.get("parts", {}) for one in scores.values())
    if any(estimate(one) for one in scores.values()):
        cells = [
            (name, colors[name], [estimate(scores[name]), *(estimate(scores[name].get("parts", {}).get(part)) for part in parts)])
            for name in models
        ]
        tables.append(Table("Mean score and its parts", ["score", *(words(part) for part in parts)], cells))
    if flags := _names(one.get("flags", {}) for one in scores.values()):
        rates = [(name, colors[name], [_asked(scores[name].get("flags", {}).get(flag)) for flag in flags]) for name in models]
        note = "Each rate counts only the prompts where the question arises."
        tables.append(Table("How often", [words(flag) for flag in flags], rates, note))
    described = {name: row.get("descriptions", {}).get(name, {}) for name in models}
    if kinds := _names(described.values()):
        shown = [
            (name, colors[name], [estimate(described[name].get(kind), share=kind in {"ended", "different"}) for kind in kinds])
            for name in models
        ]
        names = {
            "ended": "ends by itself",
            "kl": "KL to the reference (nats)",
            "distinct_2": "distinct-2",
            "different": "different replies",
            "words": "words",
        }
        tables.append(Table("The shape of the replies", [names.get(kind, words(kind)) for kind in kinds], shown))
    return tables


def _asked(row: Any) -> Estimate | None:
    found = estimate(row)
    return found if found is not None and found.n else None


def _names(rows: Any) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _by_case(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> Block | None:
    last, other = (models[-1], rival(models)) if models else ("", None)
    if other is None:
        return None
    bars, corrected = [], False
    for name, own in (row.get("groups") or {}).items():
        if (found := win_of(own, last, other)) is not None:
            mark = chart.interval_mark(found, low=0, high=1, color=colors[last], reference=0.5)
            tested = next((one for one in own.get("wins", ()) if {one["a"], one["b"]} == {last, other} and "significant" in one), None)
            corrected = corrected or tested is not None
            # of many use cases some stand out by chance alone: where a test corrected for their number exists, it decides
            word = verdict(found) if tested is None or tested["significant"] else "undecided"
            bars.append(Bar(words(name), found, mark, colors[last], word))
    bars.sort(key=lambda bar: -bar.estimate.value)
    note = "better and worse after correction for the number of use cases (Holm)" if corrected else ""
    return Block(f"{last} over {other}, by use case", note, bars) if len(bars) > 1 else None


def _capabilities(row: Mapping[str, Any], models: Sequence[str], colors: Mapping[str, int]) -> list[Block]:
    held = row.get("capabilities") or {}
    blocks = []
    for name in _names(held.get(model, {}) for model in models):
        share = not name.endswith("loss") and all(
            0 <= one.value <= 1 for model in models if (one := estimate(held.get(model, {}).get(name)))
        )
        found = {model: one for model in models if (one := estimate(held.get(model, {}).get(name), share=share)) is not None}
        if not found:
            continue
        low, high = scale_from_zero(list(found.values())) if share else chart.scale_of(list(found.values()))
        lower = any(held[model].get(name, {}).get("better") == "lower" for model in found) or name.endswith("loss")
        start = next(iter(found.values()))
        bars = [
            Bar(model, one, chart.interval_mark(one, low=low, high=high, color=colors[model], reference=start.value), colors[model])
            for model, one in found.items()
        ]
        blocks.append(Block(_capability(name), "lower is better" if lower else "higher is better", bars))
    return blocks


def scale_from_zero(_: Sequence[Estimate]) -> tuple[float, float]:
    """Shares stand on the whole scale, so that small differences look small."""
    return 0.0, 1.0


def _capability(name: str) -> str:
    return {"lm_loss": "Language modeling: loss on held-out text, nats a token"}.get(name, words(name).capitalize())


def held_out_blocks(stage: StageFiles) -> list[Block]:
    """A reward model's agreement with held-out rankings: overall, by number of completions, labeler and confidence."""
    folds = _cross_validation(stage)
    held = stage.result.get("held_out")
    if not isinstance(held, Mapping) or (found := estimate(held)) is None:
        return folds
    overall = [_agreement("reward model", found, 5)]
    if isinstance(held.get("longer_wins"), int | float):
        overall.append(_agreement("the longer one", Estimate(float(held["longer_wins"]), n=held.get("pairs"), share=True), 0))
    blocks = [Block("Agreement with held-out rankings", f"share of strict pairs; {_ties(held)}".rstrip("; "), overall)]
    for name, title in (("by_k", "by completions ranked"), ("by_labeler", "by labeler"), ("by_confidence", "by confidence")):
        bars = [_agreement(str(key), one, 5) for key, row in (held.get(name) or {}).items() if (one := estimate(row)) is not None]
        if bars:
            blocks.append(Block(f"Agreement {title}", "", bars))
    return blocks + folds


def _cross_validation(stage: StageFiles) -> list[Block]:
    """Agreement with labelers whose rankings a fold never saw, beside its own labelers (spec D10)."""
    found = stage.result.get("cross_validation") or {}
    bars = []
    for name, label in (("own_labelers", "own labelers"), ("held_out_labelers", "others")):
        row = found.get(name) or {}
        if "accuracy" in row:
            value, spread = float(row["accuracy"]), float(row.get("std_over_seeds", 0.0))
            bars.append(_agreement(label, Estimate(value, value - spread, value + spread, row.get("pairs"), share=True), 5))
    note = f"{found.get('groups')} labeler groups; brackets are one standard deviation over {found.get('seeds')} seeds"
    return [Block("Cross-validation", note, bars)] if bars else []


def _agreement(label: str, found: Estimate, color: int) -> Bar:
    # ties carry no verdict here: they are counted beside, not within n
    plain = replace(found, ties=None)
    return Bar(label, plain, chart.interval_mark(plain, low=0, high=1, color=color, reference=0.5), color)


def _ties(held: Mapping[str, Any]) -> str:
    return f"{grouped(held['ties'])} tied pairs are left out" if held.get("ties") else ""
