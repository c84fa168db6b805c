"""The cost-growth benchmark: its sweeps, its slopes, its table; and one tiny point of every work."""

from pathlib import Path

import growth
import pytest
from growth import WORKS, Measured, Point, draw, exponent, measure, points, render, series


def point(work: str, axis: str = "batch", **size: int) -> Point:
    return Point(work=work, axis=axis, **({"batch": 4, "length": 12, "hidden": 32, "layers": 1} | size))  # type: ignore[arg-type]


def test_every_work_is_swept_along_batch_length_and_weights_and_rankings_along_k() -> None:
    found = {(one.work, one.axis) for one in points(quick=False)}
    assert found == {(work, axis) for work in WORKS for axis in ("batch", "length", "weights")} | {("rm", "K")}
    assert all(len(line) >= 4 for _, _, line in series([Measured(point=one, seconds=1, peak=1, estimate=1) for one in points(quick=False)]))


def test_the_slope_of_a_power_is_its_exponent() -> None:
    assert exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)
    assert exponent([10, 1000], [5, 5]) == pytest.approx(0)


def test_the_axis_of_weights_counts_them() -> None:
    """Embedding 4096 x 32 (tied), one layer: 4 x 32 x 32 attention, 3 x 32 x 80 MLP, 3 norms of 32."""
    assert point("sft", "weights").x == 4096 * 32 + 4 * 32 * 32 + 3 * 32 * 80 + 3 * 32


@pytest.mark.parametrize("work", WORKS)
def test_a_point_of_each_work_is_measured_and_estimated(work: str) -> None:
    found = measure(point(work), repeats=1)
    assert found.seconds > 0
    assert found.peak > 4096 * 32 * 4
    if work == "generate":
        assert found.estimate is None
    else:
        assert found.estimate == pytest.approx(found.peak, rel=0.15)


def test_table_and_plot_hold_every_point(tmp_path: Path) -> None:
    results = [
        Measured(point=point(work, batch=batch), seconds=batch / 100, peak=batch << 20, estimate=None) for work in WORKS for batch in (4, 8)
    ]
    text = render(results, machine="a machine", command="python benchmarks/growth.py")
    assert "| batch | sft | 8 | 0.080 | 8.0 |  |" in text
    assert "| batch | ppo | 1.00 | 1.00 |" in text
    draw(results, tmp_path / "growth.svg")
    drawn = (tmp_path / "growth.svg").read_text()
    assert drawn.count("<path") > 8
    assert growth.COLORS["rm"] in drawn
