"""Progress in a pipe: a line per change, with the newest metrics."""

import io
import json
from pathlib import Path

from rich.console import Console

from instructloop.recipes import Progress, State, load_recipe
from instructloop.recipes.display import newest_metrics, shown


def progress(tmp_path: Path) -> Progress:
    stage = next(stage for stage in load_recipe("miniature").stages if stage.name == "sft")
    return Progress(stage=stage, key="sha256:0", path=tmp_path)


def test_the_newest_value_of_each_shown_metric_is_read_from_the_tail(tmp_path: Path) -> None:
    rows = [{"step": 1, "sft/loss": 2.0, "sft/val_loss": 2.5}, *({"step": n, "sft/loss": 1 / n} for n in range(2, 41))]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 41, "sft/lo')
    assert newest_metrics(progress(tmp_path)) == "step 40  loss 0.025  val_loss 2.5"


def test_a_stage_without_metrics_shows_nothing(tmp_path: Path) -> None:
    assert newest_metrics(progress(tmp_path)) == ""


def test_without_a_terminal_only_changes_are_printed(tmp_path: Path) -> None:
    text = io.StringIO()
    item = progress(tmp_path)
    with shown(Console(file=text, width=120)) as watch:
        watch([item])
        item.state = State.RUNNING
        watch([item])
        watch([item])
        item.state, item.seconds = State.DONE, 12.3
        watch([item])
    assert [line.split()[:2] for line in text.getvalue().splitlines()] == [["sft:", "running"], ["sft:", "done"]]
    assert "12 s" in text.getvalue()


def test_on_a_terminal_every_stage_has_its_line(tmp_path: Path) -> None:
    text = io.StringIO()
    with shown(Console(file=text, width=120, force_terminal=True)) as watch:
        watch([progress(tmp_path)])
    assert "sft" in text.getvalue()
