"""The observatory's file on the page: alarms first, charts as they are, nothing lost and nothing run."""

import re
from pathlib import Path

import pytest

from instructloop.core.files import write_json, write_jsonl
from instructloop.report import chart, render
from instructloop.report.numbers import Estimate
from instructloop.report.observatory import draw, free_table, observatories, plain, sample, series_colors, told
from instructloop.report.read import read_story
from instructloop.testing.examinations import observatory_table


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "ppo", "config": {}})
    write_json(tmp_path / "eval/observatory.json", observatory_table())
    return tmp_path


def test_alarms_stand_before_warnings_and_what_is_in_order(run: Path) -> None:
    (view,) = observatories(read_story(run))
    assert [alarm.state for alarm in view.alarms] == ["alarm", "warning", "ok", "not measured"]
    assert view.summary == "1 alarm, 1 warning, 1 check in order, 1 not measured"
    assert [alarm.title for alarm in view.ringing] == ["Length drifts", "Hedging grows"]


def test_what_is_in_order_and_what_was_not_measured_stand_apart_and_folded(run: Path) -> None:
    (view,) = observatories(read_story(run))
    assert [(title, [alarm.title for alarm in alarms]) for title, alarms in view.quiet] == [
        ("in order", ["Far from the reference"]),
        ("not measured", ["Over-refusal"]),
    ]
    page = render(run)
    assert page.index("Hedging grows</h3>") < page.index("<summary>1 in order</summary>") < page.index("Far from the reference</summary>")


def test_a_second_line_of_one_color_is_dashed_and_the_legend_says_how_things_are_drawn() -> None:
    series = [
        {"name": "best of n, proxy", "kind": "line", "points": [[0, 0], [1, 1]]},
        {"name": "best of n, proxy, at the KL of the samples seen", "kind": "line", "points": [[0, 0], [1, 2]]},
        {"name": "policy, proxy", "kind": "points", "points": [[0, 0], [1, 1]]},
        {"name": "best of n, gold", "kind": "band", "points": [[0, 0, 0, 1], [1, 1, 0, 2]]},
    ]
    drawing = draw({"title": "t", "series": series})
    assert drawing is not None
    assert [swatch for _, _, swatch in drawing.legend] == ["stroke", "dashed", "dot", "band"]
    colors = [color for _, color, _ in drawing.legend]
    assert colors[0] == colors[1] == colors[2] != colors[3]


def test_a_share_is_told_in_per_cent_and_other_units_by_name(run: Path) -> None:
    (view,) = observatories(read_story(run))
    length, hedging, distance, unseen = view.alarms
    assert (length.measured, length.threshold, length.unit, length.step) == ("1.84", "1.50", "times the reference's length", "18")
    assert (hedging.measured, hedging.threshold, hedging.unit) == ("12.0\u202f%", "15.0\u202f%", "")
    assert distance.unit == "nats"
    assert unseen.measured == ""


def test_the_page_shows_every_part_of_the_file(run: Path) -> None:
    page = render(run)
    for text in (
        "Length drifts",
        "Raise beta, or stop earlier.",
        "Proxy and gold as KL grows",
        "predicted peak",
        "Highest rewards",
        "[1.48, 1.75]",
    ):
        assert text in page
    assert (
        page.index("Is the reward lying?</h2>")
        < page.index("Length drifts</h3>")
        < page.index("Hedging grows</h3>")
        < page.index("Proxy and gold")
    )
    assert "1 alarm, 1 warning" in page[: page.index("<main")]


def test_text_of_models_in_an_observatory_stays_text(run: Path) -> None:
    write_json(run / "eval/observatory.json", observatory_table(hostile="</script><script>alert(1)</script><img src=x onerror=alert(2)>"))
    page = render(run)
    assert page.count("<script>") == 1
    assert "<img" not in page


def test_an_alarm_that_rang_while_the_stage_ran_brings_its_explanation_and_examples(run: Path) -> None:
    event = {
        "step": 8,
        "kind": "alarm",
        "message": "Gain: 0.4 (threshold 0.65)",
        "title": "Gain",
        "state": "alarm",
        "explanation": "Only here.",
        "next": "Roll back.",
    }
    write_jsonl(run / "events.jsonl", [{**event, "examples": [{"prompt": "Where?", "completion": "There there."}]}])
    page = render(run)
    section = page[page.index('<section id="alarms"') : page.index("</section>", page.index('<section id="alarms"'))]
    for text in ("step 8: Gain: 0.4", "Only here.", "Roll back.", "There there."):
        assert text in section


def test_two_alarms_of_one_kind_have_two_anchors(run: Path) -> None:
    table = observatory_table()
    write_json(run / "eval/observatory.json", {**table, "alarms": table["alarms"] * 2})
    anchors = re.findall(r'id="(observatory-1-alarm-\d+)"', render(run))
    assert len(anchors) == len(set(anchors)) == 8


def test_an_unknown_state_and_missing_keys_are_no_accident(run: Path) -> None:
    write_json(
        run / "eval/observatory.json", {"kind": "observatory", "alarms": [{"kind": "new", "state": "odd"}], "sections": [{"name": "bare"}]}
    )
    (view,) = observatories(read_story(run))
    assert [(alarm.title, alarm.state, alarm.measured) for alarm in view.alarms] == [("new", "not measured", "")]
    assert view.sections[0].title == "bare"
    assert "bare" in render(run)


def test_a_pipeline_s_own_examination_is_found_too(tmp_path: Path) -> None:
    write_json(tmp_path / "pipeline.json", {"recipe": "small", "stages": []})
    write_json(tmp_path / "eval/observatory.json", observatory_table())
    (view,) = observatories(read_story(tmp_path))
    assert (view.stage, view.path) == ("ppo", "eval/observatory.json")


def test_gold_and_its_fit_share_a_color_and_strangers_do_not() -> None:
    gold, fit, proxy, other, third = series_colors(["gold", "gold: fit", "proxy", "seed 1", "seed 2"])
    assert gold == fit
    assert len({gold, proxy, other, third}) == 4


def test_a_chart_without_points_is_not_drawn() -> None:
    assert draw({"title": "t", "series": [{"name": "a", "kind": "line", "points": []}]}) is None
    assert draw({"title": "t", "series": [{"name": "a", "kind": "line", "points": [[1, None]]}]}) is None


def test_points_carry_whiskers_bands_are_shapes_and_marks_are_named() -> None:
    series = [
        {"name": "a", "kind": "points", "points": [[0, 1, 0.5, 1.5], [1, 2, 1.5, 2.5]]},
        {"name": "b", "kind": "band", "points": [[0, 0, -1, 1], [1, 1, 0, 2]]},
        {"name": "c", "kind": "line", "points": [[0, 0], [1, 3]]},
    ]
    drawing = draw({"title": "t", "x_label": "kl", "y_label": "score", "series": series, "marks": [{"x": 0.5, "label": "here"}]})
    assert drawing is not None
    assert drawing.svg.count("whisker") == 2
    assert drawing.svg.count("<polygon") == 1
    assert drawing.svg.count('class="line') == 1
    assert "here" in drawing.svg
    assert "here at 0.500" in drawing.svg, "those who do not see the chart are told its marks"


def test_a_layer_lies_where_its_numbers_say() -> None:
    layer = chart.Layer("a", "line", [(0.0, Estimate(0.0)), (10.0, Estimate(1.0))])
    svg = chart.layer_chart([layer], title="t", x_label="x", y_label="y")
    # the frame: x from 44 to 350; y has 6 % air above and none below zero, over 230 - 24 - 10 = 196 units
    assert 'points="44.0,206.0 350.0,21.1"' in svg


def test_cells_show_estimates_numbers_words_and_nothing() -> None:
    table = free_table({"columns": ["a", "b", "c", "d"], "rows": [["x", {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}, 12345, None]]})
    assert [(cell.text, cell.interval, cell.count) for cell in table.rows[0]] == [
        ("x", "", ""),
        ("0.500", "[0.400, 0.600]", ""),
        ("12\u202f345", "", ""),
        ("", "", ""),
    ]
    assert table.common == "n 9", "one count behind every estimate is told once"


def test_counts_that_differ_stay_in_their_cells() -> None:
    table = free_table({"columns": ["a", "b"], "rows": [["x", {"value": 1.0, "low": 0.0, "high": 2.0, "n": n}] for n in (3, 4)]})
    assert [row[1].count for row in table.rows] == ["n 3", "n 4"]
    assert table.common == ""


def test_a_sample_keeps_what_the_page_does_not_know() -> None:
    found = sample({"prompt": [{"role": "user", "content": "Hi"}], "completion": "Yes", "score": 1.25, "length_ratio": 2.0, "empty": None})
    assert (found.prompt, found.completion, found.score, found.rest) == ("user: Hi", "Yes", "1.25", [("length ratio", "2.00")])
    assert plain({"a": 1, "b": [True, "x"]}) == "a 1, b yes, x"
    assert told(None) == ""
