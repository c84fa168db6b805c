"""A story as everything that the page shows, ready for the template: no file is read here and no HTML is written."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from instructloop.report import chart, compare, suites, tell
from instructloop.report.catalog import PANELS, Panel, describe
from instructloop.report.compare import ComparisonView
from instructloop.report.costs import CostView, cost_view
from instructloop.report.marks import Bar, Block, verdict
from instructloop.report.numbers import Estimate, grouped, number, seconds
from instructloop.report.observatory import AlarmView, ObservatoryView, alarm_view, observatories
from instructloop.report.read import StageFiles, Story
from instructloop.report.suites import SuitesView
from instructloop.runs.card import Card, model_card

_EVENTS_SHOWN = 40
_SAMPLE_STEPS = 3
_SAMPLES_A_STEP = 4


@dataclass(frozen=True, slots=True)
class Tile:
    """A key number at the top."""

    label: str
    value: str
    interval: str
    note: str


@dataclass(frozen=True, slots=True)
class Curve:
    """A chart with its caption."""

    title: str
    unit: str
    svg: Markup
    legend: Sequence[tuple[str, int, bool]]
    """Label, color, dashed."""
    meaning: str
    healthy: str
    values: str
    """First and last values in words."""


@dataclass(frozen=True, slots=True)
class StageView:
    """One stage within its chapter."""

    files: StageFiles
    color: int
    sentence: str
    facts: Sequence[tuple[str, str]]
    tables: Sequence[tuple[str, Sequence[tuple[str, str]]]]
    agreement: Sequence[Block]
    events: Sequence[Mapping[str, Any]]
    more_events: int
    samples: Sequence[tuple[int, Sequence[Mapping[str, Any]]]]
    settings: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Chapter:
    """All stages of one family, their curves on common axes."""

    anchor: str
    title: str
    subtitle: str
    per_point: str
    """What one point of its curves is made from."""
    stages: Sequence[StageView]
    curves: Sequence[Curve]
    more_curves: Sequence[Curve]


@dataclass(frozen=True, slots=True)
class Page:
    """Everything."""

    story: Story
    written: str
    headline: str
    tiles: Sequence[Tile]
    key_wins: Sequence[Bar]
    """The last model against each earlier one."""
    chapters: Sequence[Chapter]
    comparisons: Sequence[ComparisonView]
    frontier: Curve | None
    suites: Sequence[SuitesView]
    observatories: Sequence[ObservatoryView]
    alarms: Sequence[tuple[str, Mapping[str, Any], AlarmView]]
    """Stage, event, and what the event says of the alarm, for those that rang while a stage ran."""
    samples: Sequence[Mapping[str, Any]]
    sample_models: Sequence[tuple[str, int]]
    use_cases: Sequence[str]
    sample_sets: Sequence[str]
    sample_flags: Sequence[str]
    sample_rival: str
    scored: bool
    """Whether the shown samples carry scores."""
    costs: CostView
    cards: Sequence[tuple[str, int, Card]]
    """Model cards by stage, the last model's first."""
    environment: Sequence[tuple[str, str]]


def build_page(story: Story) -> Page:
    """The view of a whole story."""
    views = compare.comparisons(story)
    chapters = _chapters(story)
    first = views[0] if views else None
    samples = [sample for view in views[:1] for one in (view, *view.sets) for sample in one.samples]
    cases = sorted({str(sample["use_case"]) for sample in samples if sample.get("use_case")})
    sets = list(dict.fromkeys(str(sample.get("set") or "") for sample in samples))
    return Page(
        story=story,
        written=datetime.datetime.fromtimestamp(story.at, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC") if story.at else "",
        headline=_headline(story, first),
        tiles=_tiles(story, first),
        key_wins=[bar for bar in first.wins if bar.label == first.models[-1][0]] if first and first.models else (),
        chapters=chapters,
        comparisons=views,
        frontier=_frontier(story),
        suites=suites.suite_tables(story),
        observatories=observatories(story),
        alarms=[
            (stage.name, event, alarm_view(event, ""))
            for stage in story.stages
            for event in stage.events
            if event.get("kind") in {"alarm", "diverged"}
        ],
        samples=samples,
        sample_models=first.models if first else (),
        use_cases=cases,
        sample_sets=sets if len(sets) > 1 else (),
        sample_flags=sorted({flag for sample in samples for own in (sample.get("flags") or {}).values() for flag in own}),
        sample_rival=compare.rival([name for name, _ in first.models]) or "" if first else "",
        scored=any(sample.get("scores") for sample in samples),
        costs=cost_view(story),
        cards=_cards(story, chapters),
        environment=_environment(story),
    )


def _headline(story: Story, view: ComparisonView | None) -> str:
    unfinished = [stage.name for stage in story.stages if stage.state not in {"done", "skipped"}]
    if unfinished:
        return f"Not finished: {', '.join(unfinished)}. What follows is what there is so far."
    names = [name for name, _ in view.models] if view else []
    model, other = names[-1] if names else "", compare.rival(names)
    estimate = _last_against(view, other)
    if view is None or estimate is None:
        return story.description or suites.headline(suites.suite_tables(story))
    how = {
        "better": f"{model} beats {other}",
        "worse": f"{model} loses to {other}",
        "undecided": f"Whether {model} beats {other} stays undecided",
    }[verdict(estimate) or "undecided"]
    interval = f", 95\u202f% interval {estimate.interval()}" if estimate.interval() else ""
    told = f"{how}: judged by {view.voter}, it gave the better answer to {estimate.text()} of {view.n_prompts} held-out prompts{interval}."
    start = _last_against(view, view.reference) if view.reference != other else None
    return told + (f" Against {view.reference}, where its training began: {start.text()} {start.interval()}." if start else "")


def _last_against(view: ComparisonView | None, other: str | None) -> Estimate | None:
    """The last model's win rate over another one."""
    if view is None or not view.models:
        return None
    return next((bar.estimate for bar in view.wins if bar.label == view.models[-1][0] and bar.against == other), None)


def _tiles(story: Story, view: ComparisonView | None) -> list[Tile]:
    tiles = []
    if view is not None and view.models:
        last = view.models[-1][0]
        names = [name for name, _ in view.models]
        tiles += [
            Tile(f"{last} over {other}", found.text(), found.interval(), found.count())
            for other in dict.fromkeys((compare.rival(names), view.reference, compare.plain_base(names)))
            if (found := _last_against(view, other)) is not None
        ]
    for stage in [stage for stage in story.stages if stage.family == "ppo"][-1:]:
        kl = [row["ppo/kl"] for row in stage.metrics if "ppo/kl" in row]
        if kl:
            tiles.append(Tile(f"{stage.name}: KL to its start", f"{number(kl[-1])} nats", "", f"step {len(kl)}, {_batch(stage)}"))
    if len(story.stages) == 1:
        tiles += _run_tiles(story.stages[0])
    done = sum(stage.state in {"done", "skipped"} for stage in story.stages)
    tiles.append(Tile("time", seconds(sum(stage.seconds for stage in story.stages)), "", f"{done} of {len(story.stages)} stages done"))
    return tiles


def _batch(stage: StageFiles) -> str:
    size = stage.config.get("batch_size")
    return f"n {size} rollouts" if size else "n unknown"


def _run_tiles(stage: StageFiles) -> list[Tile]:
    tiles = []
    for panel in PANELS.get(stage.family, ())[:2]:
        points = _points(stage, panel.metrics[0])
        if points:
            note = f"from {number(points[0][1])}, {len(points)} steps"
            tiles.append(Tile(panel.title.lower(), number(points[-1][1]), "", note))
    return tiles


def _points(stage: StageFiles, metric: str) -> list[chart.Point]:
    name = metric if "/" in metric else f"{stage.family}/{metric}"
    return [(float(row["step"]), float(row[name])) for row in stage.metrics if name in row]


def _chapters(story: Story) -> list[Chapter]:
    families = dict.fromkeys(stage.family for stage in story.stages if stage.family != "evaluate")
    chapters = []
    for family in families:
        stages = [stage for stage in story.stages if stage.family == family]
        colors = _stage_colors(story, stages)
        views = [_stage_view(story, stage, color) for stage, color in zip(stages, colors, strict=True)]
        main, more = _curves(family, list(zip(stages, colors, strict=True)))
        chapters.append(Chapter(family, *tell.title_of(family), tell.per_point(family, stages), views, main, more))
    return chapters


_FAMILY_COLORS = {"pretrain": 0, "sft": 2, "rm": 5, "ppo": 3}


def _stage_colors(story: Story, stages: Sequence[StageFiles]) -> list[int]:
    """A stage has the color of its model in the comparisons; others take the next free one, so that no two of a chapter agree."""
    taken: list[int] = []
    wanted = [compare.color_of(story, stage.name) for stage in stages]
    for stage, color in zip(stages, wanted, strict=True):
        if color is None:
            start = _FAMILY_COLORS.get(stage.family, 0)
            used = {*taken, *(one for one in wanted if one is not None)}
            color = next((one % chart.COLORS for one in range(start, start + chart.COLORS) if one % chart.COLORS not in used), start)  # noqa: PLW2901
        taken.append(color % chart.COLORS)
    return taken


def _stage_view(story: Story, stage: StageFiles, color: int) -> StageView:
    told = [event for event in stage.events if event.get("kind") != "alarm"]
    chosen = list(stage.samples)
    if len(chosen) > _SAMPLE_STEPS:
        chosen = [chosen[0], chosen[len(chosen) // 2], chosen[-1]]
    return StageView(
        files=stage,
        color=color,
        sentence=tell.sentence(story, stage),
        facts=[*tell.facts(stage), *((f"{name}", f"{grouped(rows)} rows") for name, rows in stage.files)],
        tables=tell.tables(stage),
        agreement=compare.held_out_blocks(stage),
        events=told[:_EVENTS_SHOWN],
        more_events=max(0, len(told) - _EVENTS_SHOWN),
        samples=[(step, rows[:_SAMPLES_A_STEP]) for step, rows in chosen],
        settings=_settings(stage.config),
    )


def _settings(config: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            found += _settings(value, f"{prefix}{name}.")
        elif value not in ("", None, [], {}):
            found.append((prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return found


def _curves(family: str, stages: Sequence[tuple[StageFiles, int]]) -> tuple[list[Curve], list[Curve]]:
    """Curves of the panels that have data, then one for every logged metric that no panel names."""
    panels = PANELS.get(family, ())
    known = {f"{family}/{metric}" for panel in panels for metric in panel.metrics}
    logged = dict.fromkeys(name for stage, _ in stages for row in stage.metrics for name in row if name != "step")
    rest = [Panel(tell.words(name.partition("/")[2]), (name,), main=False) for name in logged if name not in known]
    drawn = [(panel, curve) for panel in (*panels, *rest) if (curve := _curve(family, panel, stages)) is not None]
    return [curve for panel, curve in drawn if panel.main], [curve for panel, curve in drawn if not panel.main]


def _curve(family: str, panel: Panel, stages: Sequence[tuple[StageFiles, int]]) -> Curve | None:
    several = len(stages) > 1
    lines = []
    for stage, color in stages:
        for place, metric in enumerate(panel.metrics):
            points = _points(stage, metric)
            name = tell.words(metric.rpartition("/")[2])
            label = f"{stage.name}: {name}" if several and len(panel.metrics) > 1 else stage.name if several else name
            if points:
                lines.append(chart.Series(label, points, color, dashed=place > 0))
    svg = chart.line_chart(lines, title=panel.title)
    if not svg:
        return None
    metric = panel.metrics[0]
    entry = describe(metric if "/" in metric else f"{family}/{metric}")
    values = "; ".join(f"{line.label} {_change(line)}" for line in lines if not line.dashed)
    legend = [(line.label, line.color, line.dashed) for line in lines] if len(lines) > 1 else []
    return Curve(panel.title, panel.unit, svg, legend, entry.meaning if entry else "", entry.healthy if entry else "", values)


def _change(line: chart.Series) -> str:
    """First and last value, of the running mean where one is drawn."""
    points = chart.smoothed(line.points) if chart.is_noisy(line) else line.points
    first, last = number(points[0][1]), number(points[-1][1])
    return f"{first} → {last}" if len(points) > 1 else last


def _frontier(story: Story) -> Curve | None:
    """Reward against KL: one path a PPO stage."""
    stages = [stage for stage in story.stages if stage.family == "ppo"]
    lines, marks = [], []
    for stage, color in zip(stages, _stage_colors(story, stages), strict=True):
        points = [(float(row["ppo/kl"]), float(row["ppo/reward"])) for row in stage.metrics if "ppo/kl" in row and "ppo/reward" in row]
        if points:
            lines.append(chart.Series(stage.name, points, color))
            kl, reward = points[-1]
            marks.append(
                chart.Mark(f"{stage.name}: ends at KL {number(kl)}, reward {number(reward)}", Estimate(kl), Estimate(reward), color)
            )
    if not lines:
        return None
    svg = chart.path_chart(lines, marks, title="Reward against KL", x_label="KL, nats", y_label="reward")
    batch = ", ".join(dict.fromkeys(_batch(stage) for stage in stages))
    meaning = f"Each dot is an iteration ({batch}); the path starts at the left, where the policy still is its reference"
    healthy = "steep at first, then flatter: further reward costs more KL. Reward that rises with KL for ever is no proof of quality"
    return Curve("Reward against KL", "", svg, [(line.label, line.color, False) for line in lines], meaning, healthy, "")


def _cards(story: Story, chapters: Sequence[Chapter]) -> list[tuple[str, int, Card]]:
    """The card of every model that a stage of the story published."""
    tables = [stage.path for stage in story.stages if stage.evaluations]
    colors = {view.files.name: view.color for chapter in chapters for view in chapter.stages}
    made = [stage for stage in story.stages if stage.family in _FAMILY_COLORS and stage.state in {"done", "skipped"}]
    return [(stage.name, colors.get(stage.name, 0), model_card(stage.path, evaluations=tables)) for stage in reversed(made)]


def _environment(story: Story) -> list[tuple[str, str]]:
    found = next((stage.environment for stage in reversed(story.stages) if stage.environment), {})
    rows = [(tell.words(name), str(found[name])) for name in ("instructloop", "python", "platform", "cores", "threads") if found.get(name)]
    if found.get("git_sha"):
        rows.append(("commit", str(found["git_sha"])[:12] + (" with uncommitted changes" if found.get("git_dirty") else "")))
    rows += [(str(name), str(version)) for name, version in (found.get("packages") or {}).items() if version]
    return rows
