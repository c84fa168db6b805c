"""Suites for one or more checkpoints: each model is opened once, every finished part is kept, one table comes out.

suites/<suite>.<variant>.<model>.json   answers and marks of one part; ``--resume`` takes them up again
eval/suites.json                        the table
completions.jsonl                       every prompt with every answer
"""

import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.errors import InstructLoopError
from instructloop.core.files import read_json, write_json
from instructloop.evaluation.sampling import Subject, opened
from instructloop.evaluation.suites.asking import NoRoomError, ask
from instructloop.evaluation.suites.catalogue import chosen
from instructloop.evaluation.suites.items import Loaded, load_all
from instructloop.evaluation.suites.judges import Judges
from instructloop.evaluation.suites.suite import Suite, Variant
from instructloop.evaluation.suites.table import build_table
from instructloop.runs import Parent, RunDir, parent

logger = logging.getLogger(__name__)
FOLDER = "suites"
SAMPLES_PER_VARIANT = 8


def variants_of(suite: Suite, shots: str) -> tuple[Variant, ...]:
    """The variants that ``--shots`` asks for; suites whose variants are no matter of worked examples keep all of theirs."""
    unwanted = {"zero": "few-shot", "few": "zero-shot", "both": ""}[shots]
    kept = tuple(variant for variant in suite.variants if variant.name != unwanted)
    return kept or tuple(suite.variants)


def data_parents(cfg: EvaluationConfig) -> list[Parent]:
    """The files of the suites, hashed: a part of what a resumed run must find unchanged."""
    found = load_all(chosen(cfg.suite), cfg.data, limit=cfg.suite_limit, seed=cfg.seed)
    files = {file: name for name, one in found.items() if isinstance(one, Loaded) for file in one.files}
    return [parent(f"data:{name}", file) for file, name in files.items()]


def run_suites(cfg: EvaluationConfig, run: RunDir) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Put the suites of a configuration to all its models.

    Args:
        cfg: models, suites, where their data lies.
        run: keeps finished parts.

    Returns:
        The table (layout ``eval/suites.json``) and a row for every answer.

    Raises:
        ConfigError: no data of any suite is there.
    """
    suites = chosen(cfg.suite)
    loaded = load_all(suites, cfg.data, limit=cfg.suite_limit, seed=cfg.seed)
    judges = Judges(cfg.data, run.path / FOLDER, toxicity=cfg.toxicity_judge, truth=cfg.truth_judge, seed=cfg.seed)
    loaded = {suite.name: _judged(suite, loaded[suite.name], judges) for suite in suites}
    for name, reason in loaded.items():
        if isinstance(reason, str):
            logger.warning("%s is not run: %s", name, reason)
    variants = {suite.name: variants_of(suite, cfg.shots) for suite in suites}
    parts = [(suite, variant) for suite in suites if isinstance(loaded[suite.name], Loaded) for variant in variants[suite.name]]
    cells: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    total, done = len(parts) * len(cfg.named_models), 0
    for name, path in cfg.named_models:
        keys = [_key(cfg, suite, variant, loaded, judges) for suite, variant in parts]
        waiting = []
        for (suite, variant), key in zip(parts, keys, strict=True):
            kept = _kept(_file(run, suite, variant, name), key)
            if kept is None:
                waiting.append((suite, variant, key))
            else:
                cells[suite.name, variant.name, name] = kept
        done += len(parts) - len(waiting)
        if len(waiting) < len(parts):
            logger.info("%s: %d of %d parts were done before", name, len(parts) - len(waiting), len(parts))
        if not waiting:
            continue
        with opened(name, path, cfg.compute, chat_template=cfg.suite_chat_template) as subject:
            for suite, variant, key in waiting:
                own = loaded[suite.name]
                assert isinstance(own, Loaded)
                started = time.monotonic()
                cell = _part(subject, suite, variant, own, judges, cfg)
                seconds = time.monotonic() - started
                write_json(_file(run, suite, variant, name), {"key": key, "seconds": round(seconds, 2), **cell})
                cells[suite.name, variant.name, name] = cell
                done += 1
                logger.info("%d/%d %s, %s: %s (%.1f s)", done, total, suite.title, variant.name, _told(name, cell), seconds)
    table = build_table(
        suites,
        loaded,
        cells,
        [name for name, _ in cfg.named_models],
        settings=settings(cfg),
        variants=variants,
        judges={suite.name: judges.name(suite.judge) for suite in suites if suite.judge},
        samples=cfg.bootstrap_samples,
        seed=cfg.seed,
        shown=SAMPLES_PER_VARIANT,
    )
    return table, list(_completions(cells))


def settings(cfg: EvaluationConfig) -> dict[str, Any]:
    """How the suites were run, for the table's reader."""
    return {
        "models": {name: str(path) for name, path in cfg.named_models},
        "data": list(cfg.data),
        "shots": cfg.shots,
        "limit": cfg.suite_limit,
        "chat_template": cfg.suite_chat_template,
        "seed": cfg.seed,
        "temperature": 0,
        "intervals": "95 %, contexts resampled",
    }


def summary(table: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """``"suite, variant, metric"`` to each model's number, for ``result.json``."""
    return {
        f"{row['suite']}, {row['variant']}, {row['metric']}": {
            model: result["value"] for model, result in row["results"].items() if "value" in result
        }
        for row in table["rows"]
    }


def _part(subject: Subject, suite: Suite, variant: Variant, own: Loaded, judges: Judges, cfg: EvaluationConfig) -> dict[str, Any]:
    try:
        return ask(_asked_as_chat(subject, suite, cfg), suite, variant, own.scored, own.shots, judges, seed=cfg.seed).as_json()
    except NoRoomError as error:
        # one model's short context is no reason to lose the others' numbers
        return {"not_run": f"{error}" + (f" ({error.hint})" if error.hint else "")}


def _asked_as_chat(subject: Subject, suite: Suite, cfg: EvaluationConfig) -> Subject:
    """Requests (IFEval, XSTest, the probes) are a user's turn for a model that was trained on turns; everything else is plain text."""
    if not suite.chat or not cfg.chat_template or subject.codec.uses_chat_template:
        return subject
    codec = type(subject.codec)(subject.codec.tokenizer, chat_template=True, name=subject.codec.name)
    return replace(subject, codec=codec)


def _judged(suite: Suite, loaded: Loaded | str, judges: Judges) -> Loaded | str:
    """The items a judge may be asked about, or why it cannot be asked."""
    if isinstance(loaded, str) or not suite.judge:
        return loaded
    try:
        judges.prepare(suite.judge, loaded)
    except InstructLoopError as error:
        return f"no judge: {error}" + (f" ({error.hint})" if error.hint else "")
    return loaded


def _key(cfg: EvaluationConfig, suite: Suite, variant: Variant, loaded: Mapping[str, Loaded | str], judges: Judges) -> str:
    """What a part's numbers hang on, besides the model: hashed in the run's parents."""
    own = loaded[suite.name]
    assert isinstance(own, Loaded)
    said = [
        own.digest,
        variant.frame.prompt(own.scored[0], own.shots[: variant.shots]),
        suite.max_new_tokens,
        list(suite.stop),
        suite.temperature,
        cfg.seed if suite.temperature else None,
        cfg.suite_chat_template,
        cfg.chat_template if suite.chat else None,
        judges.name(suite.judge) if suite.judge else None,
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def _file(run: RunDir, suite: Suite, variant: Variant, model: str) -> Path:
    parts = (re.sub(r"[^\w-]+", "_", part) for part in (suite.name, variant.name, model))
    return run.path / FOLDER / (".".join(parts) + ".json")


def _kept(file: Path, key: str) -> dict[str, Any] | None:
    if not file.is_file():
        return None
    kept: dict[str, Any] = read_json(file)
    return kept if kept.get("key") == key else None


def _told(name: str, cell: Mapping[str, Any]) -> str:
    return f"{name} not run, {cell['not_run']}" if "not_run" in cell else f"{name}, {len(cell['rows'])} items"


def _completions(cells: Mapping[tuple[str, str, str], Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for (suite, variant, model), cell in cells.items():
        for row in cell.get("rows", ()):
            renamed: dict[str, Any] = {"completion": row["text"], **{key: value for key, value in row.items() if key != "text"}}
            yield {"suite": suite, "variant": variant, "model": model, **renamed}
