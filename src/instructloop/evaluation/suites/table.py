"""From marks per item to one table: models side by side, each number with n and an interval that resamples contexts.

A difference to the first model is taken item by item over what both answered, which is what makes a small tax visible (spec H12).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from instructloop.evaluation.suites.items import Loaded
from instructloop.evaluation.suites.paper import TABLE_14
from instructloop.evaluation.suites.suite import Metric, Suite, Variant
from instructloop.stats import Interval, mean_interval, rate_interval, wilson

SCHEMA_VERSION = 1
_PROMPT_SHOWN = 1500
_TEXT_SHOWN = 1500
_LEAST_CLUSTERS = 2

Cell = Mapping[str, Any]
"""What one model did with one variant: ``Answered.as_json``, or ``{"not_run": reason}``."""
Cells = Mapping[tuple[str, str, str], Cell]
"""By suite, variant, model."""


def build_table(
    suites: Sequence[Suite],
    loaded: Mapping[str, Loaded | str],
    cells: Cells,
    models: Sequence[str],
    *,
    settings: Mapping[str, Any],
    variants: Mapping[str, Sequence[Variant]],
    judges: Mapping[str, str] | None = None,
    samples: int = 2000,
    seed: int = 0,
    shown: int = 8,
) -> dict[str, Any]:
    """The layout of ``eval/suites.json``.

    Args:
        suites: in the order of the table.
        loaded: their items, or why there are none.
        cells: what the models did.
        models: in order; differences are to the first.
        settings: how it was run, for the reader.
        variants: the variants that were run, by suite.
        judges: signature of the judge, by suite, where one marks.
        samples: resamples behind each interval.
        seed: base of the resampling stream.
        shown: prompts of each variant whose outputs are kept for the report.
    """
    rows, kept = [], []
    for suite in suites:
        for variant in variants[suite.name]:
            own = {model: _cell(suite, variant, model, loaded, cells) for model in models}
            for metric in suite.metrics:
                row = _table_row(suite, variant, metric, loaded[suite.name], own, samples, seed)
                judge = (judges or {}).get(suite.name)
                rows.append({**row, "signature": f"{row['signature']}|{judge}"} if judge else row)
            kept += _samples(suite, variant, own, len(suite.built_in()) if suite.built_in else shown)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "suites",
        "models": list(models),
        "settings": dict(settings),
        "rows": rows,
        "samples": kept,
    }


def estimate(values: Sequence[float], clusters: Sequence[str], *, scale: float = 1.0, samples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Mean with its interval, both times ``scale``; no interval from a single cluster."""
    shares = all(0 <= value <= 1 for value in values)
    return _as_json((rate_interval if shares else mean_interval)(values, clusters, samples=samples, seed=seed), scale)


def _cell(suite: Suite, variant: Variant, model: str, loaded: Mapping[str, Loaded | str], cells: Cells) -> Cell:
    reason = loaded[suite.name]
    return {"not_run": reason} if isinstance(reason, str) else cells[suite.name, variant.name, model]


def _table_row(
    suite: Suite, variant: Variant, metric: Metric, loaded: Loaded | str, own: Mapping[str, Cell], samples: int, seed: int
) -> dict[str, Any]:
    results = {model: _result(cell, metric, samples, seed) for model, cell in own.items()}
    first = next(iter(own))
    row: dict[str, Any] = {
        "suite": suite.name,
        "title": suite.title,
        "variant": variant.name,
        "metric": metric.name,
        "key": metric.key,
        "unit": metric.unit,
        "better": metric.better,
        "shots": variant.shots,
        "items": 0 if isinstance(loaded, str) else len(loaded.scored),
        "signature": signature(suite, metric),
        "results": results,
        "differences": {
            model: _difference(own[first], cell, metric, samples, seed)
            for model, cell in own.items()
            if model != first and "value" in results[first] and "value" in results[model]
        },
        "note": "; ".join(_notes(suite, variant, loaded, own)),
    }
    paper = TABLE_14.get((suite.name, variant.name, metric.key))
    return {**row, "paper": dict(paper)} if paper else row


def _notes(suite: Suite, variant: Variant, loaded: Loaded | str, own: Mapping[str, Cell]) -> list[str]:
    notes = [suite.note] if suite.note else []
    if isinstance(loaded, Loaded) and loaded.note:
        notes.append(loaded.note)
    told: dict[str, list[str]] = {}
    for model, cell in own.items():
        if "rows" not in cell:
            continue
        if cell["shots"] < variant.shots:
            told.setdefault(f"as few as {cell['shots']} of {variant.shots} worked examples fit into the context", []).append(model)
        if cell["shortened"]:
            told.setdefault(f"{cell['shortened']} texts shortened to fit", []).append(model)
        if cell["skipped"]:
            told.setdefault(f"{cell['skipped']} items left out, too long", []).append(model)
    return notes + [f"{', '.join(models)}: {what}" for what, models in told.items()]


def _result(cell: Cell, metric: Metric, samples: int, seed: int) -> dict[str, Any]:
    if "not_run" in cell:
        return {"not_run": str(cell["not_run"])}
    if metric.corpus_bleu:
        return _bleu([cell], samples, seed)
    values, clusters = _observations(cell, metric.key)
    if not values:
        return {"not_run": "no item has this number"}
    return estimate(values, clusters, scale=metric.scale, samples=samples, seed=seed)


def _observations(cell: Cell, key: str) -> tuple[list[float], list[str]]:
    values, clusters = list[float](), list[str]()
    for row in cell["rows"]:
        marks = row["marks"].get(key)
        for mark in [] if marks is None else marks if isinstance(marks, list) else [marks]:
            values.append(float(mark))
            clusters.append(row["cluster"])
    return values, clusters


def _difference(first: Cell, second: Cell, metric: Metric, samples: int, seed: int) -> dict[str, Any]:
    """Second minus first over the items that both have."""
    theirs = {row["id"]: row for row in first["rows"]}
    both = [(theirs[row["id"]], row) for row in second["rows"] if row["id"] in theirs]
    if metric.corpus_bleu:
        return _bleu([{"rows": [one for one, _ in both]}, {"rows": [two for _, two in both]}], samples, seed)
    values, clusters = list[float](), list[str]()
    for one, two in both:
        before, after = (_mean(row["marks"].get(metric.key)) for row in (one, two))
        if before is not None and after is not None:
            values.append(after - before)
            clusters.append(two["cluster"])
    if not values:
        return {"not_run": "no item has this number for both"}
    found = mean_interval(values, clusters, samples=samples, seed=seed)
    if found.low == found.high:
        # nothing varies, which resampling takes for certainty: contexts not seen may differ by up to 1 in at most this share (Wilson)
        unseen = wilson(0, found.clusters)[1]
        found = replace(found, low=max(found.value - unseen, -1.0), high=min(found.value + unseen, 1.0))
    return _as_json(found, metric.scale)


def _mean(mark: float | list[float] | None) -> float | None:
    if mark is None or mark == []:
        return None
    return float(np.mean(mark))


def _bleu(cells: Sequence[Cell], samples: int, seed: int) -> dict[str, Any]:
    """BLEU of one system, or the second's minus the first's on the same items."""
    from instructloop.scoring.translation import bleu_difference, bleu_interval

    rows = cells[0]["rows"]
    references, clusters = [row["references"] for row in rows], [row["cluster"] for row in rows]
    texts = [[row["text"] for row in cell["rows"]] for cell in cells]
    if len(texts) == 1:
        return _as_json(bleu_interval(texts[0], references, clusters, samples=samples, seed=seed))
    return _as_json(bleu_difference(texts[0], texts[1], references, clusters, samples=samples, seed=seed))


def _as_json(found: Interval, scale: float = 1.0) -> dict[str, Any]:
    alone = found.clusters < _LEAST_CLUSTERS
    return {
        "value": found.value * scale,
        "low": None if alone else found.low * scale,
        "high": None if alone else found.high * scale,
        "n": found.n,
        "clusters": found.clusters,
    }


def _samples(suite: Suite, variant: Variant, own: Mapping[str, Cell], shown: int) -> list[dict[str, Any]]:
    cells = {model: {row["id"]: row for row in cell["rows"]} for model, cell in own.items() if "rows" in cell}
    if not cells:
        return []
    found = []
    for name, row in list(next(iter(cells.values())).items())[:shown]:
        prompt = row["prompt"]
        outputs = {
            model: {"text": rows[name]["text"][:_TEXT_SHOWN], "mark": _shown_mark(suite, rows[name])}
            for model, rows in cells.items()
            if name in rows
        }
        found.append(
            {
                "suite": suite.name,
                "variant": variant.name,
                "id": name,
                "prompt": prompt if len(prompt) <= _PROMPT_SHOWN else "… " + prompt[-_PROMPT_SHOWN:],
                "references": row["references"],
                "outputs": outputs,
            }
        )
    return found


def _shown_mark(suite: Suite, row: Mapping[str, Any]) -> float | None:
    """The mark of the suite's first metric that the item has."""
    marks = (_mean(row["marks"].get(metric.key)) for metric in suite.metrics)
    return next((mark for mark in marks if mark is not None), None)


def signature(suite: Suite, metric: Metric) -> str:
    """What a number hangs on, to be printed beside it."""
    if metric.corpus_bleu:
        from instructloop.scoring.translation import bleu

        return bleu(["one"], ["one"]).signature
    if metric.key == "rouge_l":
        from instructloop.scoring.summaries import SIGNATURE

        return str(SIGNATURE)
    if suite.name == "ifeval":
        from instructloop.scoring.ifeval import signature as ifeval_signature

        return ifeval_signature()
    if suite.mark_choice is not None:
        return "highest log-probability per character" if metric.key == "acc_norm" else "highest total log-probability"
    if suite.mode == "choice":
        return "highest mean log-probability per token"
    if suite.mode == "pair":
        return "total log-probability of a sentence"
    ending = "first line" if "\n" in suite.stop else "whole text"
    return f"T={suite.temperature:g}|{ending}|max {suite.max_new_tokens} tokens"
