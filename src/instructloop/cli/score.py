"""``instructloop score``: marks of outputs made elsewhere; loads no model and no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from instructloop.cli.arguments import parse
from instructloop.cli.tables import console
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_json

_DIGITS = {"points": 2, "share": 3}


@dataclass(frozen=True)
class ScoreArguments:
    """Arguments of ``score``."""

    file: Annotated[str, tyro.conf.Positional]
    """Outputs: CSV, JSON lines or Parquet (.gz too), with the columns of the released InstructGPT samples or plain rows
    {"id"?, "completion", "references"}; other columns are kept."""
    suite: str
    """How they are marked: squadv2, drop, quac, wmt15_fr_en, cnn_dm, tldr, xsum, gsm8k, ifeval, xstest, truthfulqa and
    realtoxicityprompts (with their marks in columns), or a multiple-choice set."""
    by: str = ""
    """Columns that make groups, joined by commas, the model's first; empty takes model_type (or model, generator) and prompt_type."""
    data: str = ""
    """File or folder of the set itself, where the outputs lack references, options or instructions."""
    baseline: str = ""
    """Model that the others are compared with, pair by pair on the same contexts; empty takes the first. --out keeps the differences."""
    out: str = ""
    """Where to keep the table: a file that ends in .json (the layout of eval/suites.json), or a new run directory, which the report draws."""
    bootstrap_samples: int = 2000
    """Resamples behind each 95 % interval."""
    seed: int = 0
    """Base of the resampling stream."""

    def __post_init__(self) -> None:
        if self.bootstrap_samples < 100:
            raise ConfigError(f"--bootstrap-samples must be >= 100, got {self.bootstrap_samples}", hint="2000 is the default")


def score(arguments: list[str], prog: str) -> None:
    """Mark the outputs, print one table, write it where asked."""
    given = parse(ScoreArguments, arguments, prog)
    from instructloop.scoring.score import score_file

    by = [name.strip() for name in given.by.split(",") if name.strip()]
    table = score_file(
        given.suite, given.file, by, data=given.data, baseline=given.baseline, samples=given.bootstrap_samples, seed=given.seed
    )
    _print(console(), table)
    if given.out:
        _write(given, table)
        print(f"wrote {given.out}")


def _write(given: ScoreArguments, table: Mapping[str, Any]) -> None:
    if given.out.endswith(".json"):
        write_json(Path(given.out), table)
        return
    from instructloop.runs import RunDir, parent

    parents = [parent("outputs", given.file)]
    if given.data and Path(given.data).exists():
        parents.append(parent("set", given.data))
    with RunDir.open(given.out, stage="score", config=asdict(given), parents=parents) as run:
        run.evaluation("suites", table)
        run.result({"suite": given.suite, "outputs": table["settings"]["outputs"]})


def _print(out: Console, table: Mapping[str, Any]) -> None:
    """Models by ways of asking, one block of rows a metric."""
    rows = table["rows"]
    variants = list(dict.fromkeys(row["variant"] for row in rows))
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    out.print(f"\n[bold]{escape(rows[0]['title'])}, 95 % intervals that resample contexts[/bold]", soft_wrap=True)
    shown = Table("metric", "model", *(escape(variant) for variant in variants), "n", box=box.SIMPLE_HEAD)
    for metric in metrics:
        own = {row["variant"]: row for row in rows if row["metric"] == metric}
        for place, model in enumerate(table["models"]):
            results = [own[variant]["results"][model] for variant in variants]
            cells = [_cell(result, next(iter(own.values()))["unit"]) for result in results]
            end = place + 1 == len(table["models"])
            shown.add_row(escape(metric) if place == 0 else "", escape(model), *cells, _counts(results), end_section=end)
    out.print(shown)
    for row in {row["metric"]: row for row in rows}.values():
        out.print(f"  {escape(row['metric'])}: {escape(row['signature'])}", style="dim", soft_wrap=True)


def _cell(result: Mapping[str, Any], unit: str) -> str:
    if "value" not in result:
        return ""
    digits = _DIGITS[unit]
    if result["low"] is None:
        return f"{result['value']:.{digits}f}"
    return f"{result['value']:.{digits}f} \\[{result['low']:.{digits}f}, {result['high']:.{digits}f}]"


def _counts(results: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(dict.fromkeys(str(result["n"]) for result in results if "n" in result))
