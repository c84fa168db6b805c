"""Drawings: where points land, what stays when many are thinned, and that text stays text."""

import re
from xml.etree import ElementTree

import pytest

from instructloop.report.chart import Series, interval_mark, line_chart, path_chart, scale_of, smoothed, thinned, ticks
from instructloop.report.numbers import Estimate


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1.0]), (-1.2, 1.2, [-1, -0.5, 0, 0.5, 1]), (0, 45, [0, 10, 20, 30, 40])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_ticks_of_a_point_are_the_point() -> None:
    assert ticks(3, 3) == [3]


def test_a_line_runs_from_corner_to_corner() -> None:
    svg = ElementTree.fromstring(line_chart([Series("loss", [(0, 0), (10, 5)])], title="Loss"))
    points = next(element for element in svg.iter("polyline")).attrib["points"].split()
    first, last = ([float(number) for number in point.split(",")] for point in points)
    # canvas 360 x 190 with margins 44 left, 10 right, 10 top, 24 bottom, and 6 % of air above; below zero there is nothing
    assert first == [44.0, 166.0]
    assert last == [350.0, pytest.approx(10 + 156 * 0.3 / 5.3, abs=0.1)]


def test_a_chart_tells_its_content_to_those_who_do_not_see_it() -> None:
    svg = ElementTree.fromstring(line_chart([Series("loss", [(1, 2.5), (30, 0.5)])], title="Loss"))
    assert svg.attrib["aria-label"] == "Loss. loss: from 2.50 at 1.00 to 0.500 at 30.0"


def test_names_in_a_chart_stay_text() -> None:
    svg = line_chart([Series("<script>alert(1)</script>", [(0, 0), (1, 1)])], title='"><script>')
    assert "<script" not in svg
    assert ElementTree.fromstring(svg) is not None


def test_no_points_make_no_chart() -> None:
    assert line_chart([Series("loss", [])], title="Loss") == ""
    assert path_chart([], [], title="t", x_label="x", y_label="y") == ""


def test_thinning_keeps_both_ends_and_the_spike() -> None:
    points = [(float(step), 1000.0 if step == 777 else 1.0) for step in range(5000)]
    kept = thinned(points, 100)
    assert len(kept) < 220
    assert kept[0] == points[0]
    assert kept[-1] == points[-1]
    assert (777.0, 1000.0) in kept


def test_the_running_mean_of_a_straight_line_is_the_line_and_its_ends_are_means_too() -> None:
    line = [(float(step), 2.0 * step) for step in range(48)]
    # 48 points: windows of 4, two to each side; the ends have three points
    assert smoothed(line)[2:-2] == line[2:-2]
    assert smoothed(line)[0] == (0.0, 2.0)
    spike = [*((float(step), 1.0) for step in range(47)), (47.0, 4.0)]
    assert smoothed(spike)[-1] == (47.0, 2.0)


def test_an_interval_mark_stands_where_its_numbers_are() -> None:
    svg = interval_mark(Estimate(0.5, 0.25, 0.75, 8, share=True), low=0, high=1, color=2, reference=0.5)
    # two per cent of margin on both sides: 0.25 -> 26 %, 0.5 -> 50 %, 0.75 -> 74 %
    assert re.search(r'class="whisker" x1="26.00%" x2="74.00%"', svg)
    assert 'cx="50.00%"' in svg


def test_scales_of_shares_end_at_zero_and_one() -> None:
    assert scale_of([Estimate(0.98, 0.97, 1.0, 9, share=True)])[1] == 1.0
    low, high = scale_of([Estimate(5, 4, 6, 9)])
    assert low < 4 < 6 < high
