"""Charts: drawn right, escaped, and with their figures in a table."""

import math
import re

import pytest

pytest.importorskip("markupsafe")

from instructloop.web.charts import Bar, Interval, Line, bars, intervals, lines, number, ticks


def widths(svg: str) -> list[float]:
    return [float(width) for width in re.findall(r'class="bar"[^>]*width="([\d.]+)"', svg)]


def test_bars_are_as_long_as_their_values() -> None:
    drawn = widths(bars("Answers", [Bar("a", 10), Bar("b", 5), Bar("c", 0)]))
    assert drawn == [380.0, 190.0, 0.0]


def test_an_interval_lies_where_its_numbers_say() -> None:
    svg = intervals("Agreement", [Interval("training", 0.75, 0.5, 1.0, 40)], low=0.0, high=1.0, mark=0.5, percent=True)
    whisker = re.search(r'class="whisker" x1="([\d.]+)"[^>]*x2="([\d.]+)"', svg)
    dot = re.search(r'class="dot" cx="([\d.]+)"', svg)
    assert whisker is not None
    assert dot is not None
    assert [float(whisker[1]), float(dot[1]), float(whisker[2])] == [380.0, 475.0, 570.0]
    assert "<td>75.0 %</td><td>50.0 % to 100.0 %</td><td>40</td>" in svg


def test_undefined_figures_are_called_so_and_draw_nothing() -> None:
    svg = intervals("Alpha", [Interval("x", math.nan, math.nan, math.nan)])
    assert "undefined" in svg
    assert 'class="dot"' not in svg
    assert widths(bars("b", [Bar("x", math.nan)])) == [0.0]


def test_labels_cannot_bring_markup_or_style_in() -> None:
    for svg in (
        bars("<script>x</script>", [Bar('"><img onerror=x>', 1)]),
        intervals("t", [Interval("<b>", 0.1, 0.0, 0.2)]),
        lines("t", [Line("</svg><script>", [(0, 1), (1, 2)])], x_label="<i>"),
    ):
        assert not re.search(r"<(script|img|b|i)\b", svg)
        assert "style=" not in svg


def test_lines_reach_from_edge_to_edge_and_scale() -> None:
    svg = lines("Done", [Line("a", [(0, 0), (10, 4)])], height=220)
    points = re.search(r'class="series series-0" points="([^"]+)"', svg)
    assert points is not None
    assert points[1] == "60.0,220.0 620.0,12.0"


def test_lines_without_data_say_so() -> None:
    assert "no data yet" in lines("Done", [])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0, 7, [0, 2, 4, 6]),
        (-1, 1, [-1, -0.5, 0, 0.5, 1]),
        (3, 3, [3]),
        (0, 250, [0, 50, 100, 150, 200, 250]),
    ],
)
def test_ticks_are_round_numbers(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_read_well() -> None:
    assert [number(value) for value in (3.0, 0.12345, math.nan, 1e6)] == ["3", "0.123", "undefined", "1000000"]
