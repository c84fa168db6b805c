"""Writing cards beside the models that runs published. A README is no part of a model's hash, so that this changes no lineage."""

from collections.abc import Sequence
from pathlib import Path

from instructloop.core.errors import CheckpointError
from instructloop.core.files import read_json, write_atomic
from instructloop.runs.card import as_markdown, model_card
from instructloop.runs.lineage import ARTIFACTS_FILE, is_run

README = "README.md"


def write_cards(path: str | Path, evaluations: Sequence[str | Path] = ()) -> list[Path]:
    """Write ``README.md`` into every model that a run, or each run of a pipeline, has published; returns the files.

    Args:
        path: the directory of a run or of a pipeline.
        evaluations: directories with ``eval/*.json``; those of the pipeline that the run belongs to are found.

    Raises:
        CheckpointError: the path is neither, or nothing has been published there.
    """
    place = Path(path)
    runs = runs_of(place)
    if not runs:
        raise CheckpointError(f"{place} is neither a pipeline nor a run", hint="give the --out directory of a stage or of instructloop run")
    written = []
    for run in runs:
        tables = [Path(one) for one in (*evaluations, *evaluations_beside(run))]
        for name in published(run):
            weights = {"model_raw": "its last weights, not averaged"}.get(name, "")
            note = "an adapter: it needs its base model" if (run / name / "adapter_config.json").is_file() else ""
            # evaluations open a run's model, never the others beside it
            seen = list(dict.fromkeys(tables)) if name == "model" else []
            file = run / name / README
            write_atomic(file, as_markdown(model_card(run, weights=weights, note=note, evaluations=seen)))
            written.append(file)
    if not written:
        raise CheckpointError(f"no model has been published in {place}", hint="finish the training with --resume")
    return written


def runs_of(place: Path) -> list[Path]:
    """The run itself, or a pipeline's runs in the order of the loop."""
    if (place / "pipeline.json").is_file():
        stages = read_json(place / "pipeline.json")["stages"]
        return [run for one in stages if is_run(run := place / one.get("path", f"stages/{one['name']}"))]
    return [place] if is_run(place) else []


def evaluations_beside(run: Path) -> list[Path]:
    """Evaluations of the pipeline that a run belongs to."""
    home = run.resolve().parent.parent
    if not (home / "pipeline.json").is_file():
        return []
    return [one for one in runs_of(home) if (one / "eval").is_dir() and one.resolve() != run.resolve()]


def published(run: Path) -> list[str]:
    """Names of the model directories that a run has published."""
    file = run / ARTIFACTS_FILE
    names = read_json(file)["artifacts"] if file.is_file() else {}
    return [name for name in names if (run / name / "config.json").is_file() or (run / name / "adapter_config.json").is_file()]
