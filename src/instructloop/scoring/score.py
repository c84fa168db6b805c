"""Outputs made elsewhere against their references: one table, model by prompt type, every number with n, interval and signature."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.core.errors import DataError
from instructloop.formats.loaded import Where
from instructloop.scoring.outputs import Output, as_outputs, match_items, read_outputs
from instructloop.scoring.score_marks import RULES, Marks, Measure, Rule
from instructloop.scoring.sets import SETS, Item, read_set
from instructloop.scoring.sets_items import Row
from instructloop.stats import mean_interval, rate_interval
from instructloop.stats.bootstrap import Interval

SCHEMA_VERSION = 1
_SCALE = {"points": 100.0, "share": 1.0}
_SHOWN = 24
_TEXT_SHOWN = 1500


def score_file(
    suite: str, path: str | Path, by: Sequence[str] = (), *, data: str = "", baseline: str = "", samples: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """The table of one file of outputs (columns: ``outputs``).

    Args:
        suite: one of ``RULES``.
        path: CSV, JSON lines or Parquet, ``.gz`` too.
        by: columns that make groups, the model's first; empty takes the usual ones.
        data: file or folder of the set, where the outputs lack references or options; empty: they hold what is needed.
        baseline: model that the others' differences are to; empty takes the first.
        samples: resamples behind each interval.
        seed: base of the resampling stream.

    Raises:
        DataError: an unknown suite, or a row that cannot be used.
        MissingExtraError: the suite's scorer is not installed.
    """
    _rule(suite)
    outputs = read_outputs(path, by)
    items = read_set(suite, data) if data else None
    settings = {"file": Path(path).name}
    return _score(suite, outputs, by, items=items, baseline=baseline, samples=samples, seed=seed, settings=settings)


def score_rows(
    suite: str,
    rows: Iterable[Mapping[str, Any]],
    by: Sequence[str] = (),
    *,
    items: Sequence[Item] | None = None,
    baseline: str = "",
    samples: int = 2000,
    seed: int = 0,
) -> dict[str, Any]:
    """The same from rows; ``items`` of the set serve where the rows lack references or options."""
    _rule(suite)
    outputs = as_outputs([Row(Where("<list>", number), row) for number, row in enumerate(rows, start=1)], by)
    return _score(suite, outputs, by, items=items, baseline=baseline, samples=samples, seed=seed, settings={})


def _rule(suite: str) -> Rule:
    if suite not in RULES:
        hint = f"suites that need no model: {', '.join(sorted(RULES))}"
        raise DataError(f"no suite {suite!r} to score outputs with", hint=f"{hint}; the others: instructloop evaluate CKPT --suite {suite}")
    return RULES[suite]


def _score(
    suite: str,
    outputs: Sequence[Output],
    by: Sequence[str],
    *,
    items: Sequence[Item] | None,
    baseline: str,
    samples: int,
    seed: int,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    if items is not None:
        outputs = match_items(outputs, items)
    rule = RULES[suite]
    models = list(dict.fromkeys(output.model for output in outputs))
    if baseline:
        if baseline not in models:
            raise DataError(f"no outputs of a model {baseline!r}", hint=f"models: {', '.join(models)}")
        models = [baseline, *(model for model in models if model != baseline)]
    groups: dict[str, dict[str, list[tuple[Output, Marks]]]] = {}
    for output in outputs:
        groups.setdefault(output.variant, {}).setdefault(output.model, []).append((output, rule.mark(output)))
    rows = []
    for variant, by_model in groups.items():
        for measure in rule.measures:
            results = {model: _result(rule, measure, by_model.get(model, []), samples, seed) for model in models}
            row = _table_row(suite, variant, measure, by_model, results)
            others = [model for model in models[1:] if model in by_model and models[0] in by_model]
            found = {model: _difference(rule, measure, by_model[models[0]], by_model[model], samples, seed) for model in others}
            rows.append({**row, "differences": {model: cell for model, cell in found.items() if cell is not None}})
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "suites",
        "models": models,
        "settings": {
            **settings,
            "by": list(by),
            "interval": "95 % bootstrap over contexts",
            "bootstrap_samples": samples,
            "seed": seed,
            "outputs": len(outputs),
        },
        "rows": rows,
        "samples": [sample for variant, by_model in groups.items() for sample in _samples(suite, variant, by_model, rule)],
    }


def _table_row(
    suite: str, variant: str, measure: Measure, by_model: Mapping[str, Sequence[tuple[Output, Marks]]], results: Mapping[str, Any]
) -> dict[str, Any]:
    signature = measure.signature if isinstance(measure.signature, str) else measure.signature()
    return {
        "suite": suite,
        "title": SETS[suite].title,
        "variant": variant or "outputs",
        "metric": measure.name,
        "key": measure.key,
        "unit": measure.unit,
        "better": measure.better,
        "shots": None,
        "items": len({output.key for pairs in by_model.values() for output, _ in pairs}),
        "signature": signature,
        "results": dict(results),
        "note": "",
    }


def _result(rule: Rule, measure: Measure, marked: Sequence[tuple[Output, Marks]], samples: int, seed: int) -> dict[str, Any]:
    if rule.corpus_bleu and marked:
        from instructloop.scoring.translation import bleu_interval

        texts, references = [output.text for output, _ in marked], [output.references for output, _ in marked]
        return _as_json(bleu_interval(texts, references, [output.cluster for output, _ in marked], samples=samples, seed=seed), 1.0)
    values: list[float] = []
    clusters: list[str] = []
    for output, marks in marked:
        parts = _parts(marks.get(measure.key, ()))
        values += parts
        clusters += [output.cluster] * len(parts)
    if not values:
        return {"not_run": "no output has this number"}
    interval = rate_interval if all(0 <= value <= 1 for value in values) else mean_interval
    return _as_json(interval(values, clusters, samples=samples, seed=seed), _SCALE[measure.unit])


def _difference(
    rule: Rule, measure: Measure, first: Sequence[tuple[Output, Marks]], second: Sequence[tuple[Output, Marks]], samples: int, seed: int
) -> dict[str, Any] | None:
    """Second minus first over the contexts that both answered, paired, which is far narrower than two intervals beside each other."""
    sides = [_by_context(first), _by_context(second)]
    both = [name for name in sides[1] if name in sides[0]]
    if rule.corpus_bleu:
        pairs = [(one, two) for name in both for (one, _), (two, _) in zip(sides[0][name], sides[1][name], strict=False)]
        if not pairs:
            return None
        from instructloop.scoring.translation import bleu_difference

        texts = [[pair[side].text for pair in pairs] for side in (0, 1)]
        references, clusters = [pair[1].references for pair in pairs], [pair[1].cluster for pair in pairs]
        return _as_json(bleu_difference(texts[0], texts[1], references, clusters, samples=samples, seed=seed), 1.0)
    values, clusters = list[float](), list[str]()
    for name in both:
        before, after = (_mean(measure.key, side[name]) for side in sides)
        if before is not None and after is not None:
            values.append(after - before)
            clusters.append(sides[1][name][0][0].cluster)
    return _as_json(mean_interval(values, clusters, samples=samples, seed=seed), _SCALE[measure.unit]) if values else None


def _by_context(marked: Sequence[tuple[Output, Marks]]) -> dict[str, list[tuple[Output, Marks]]]:
    found: dict[str, list[tuple[Output, Marks]]] = {}
    for output, marks in marked:
        found.setdefault(output.key, []).append((output, marks))
    return found


def _mean(key: str, marked: Sequence[tuple[Output, Marks]]) -> float | None:
    values = [value for _, marks in marked for value in _parts(marks.get(key, ()))]
    return sum(values) / len(values) if values else None


def _parts(found: float | Sequence[float]) -> list[float]:
    return [found] if isinstance(found, float | int) else list(found)


def _as_json(found: Interval, scale: float) -> dict[str, Any]:
    known = found.clusters > 1
    return {
        "value": scale * found.value,
        "low": scale * found.low if known else None,
        "high": scale * found.high if known else None,
        "n": found.n,
        "clusters": found.clusters,
    }


def _asked(output: Output) -> str:
    fields = output.item.fields if output.item else {}
    return output.context or str(fields.get("question") or fields.get("prompt") or "")


def _samples(suite: str, variant: str, by_model: Mapping[str, Sequence[tuple[Output, Marks]]], rule: Rule) -> list[dict[str, Any]]:
    """The first contexts with what each model wrote."""
    found: dict[str, dict[str, Any]] = {}
    for model, marked in by_model.items():
        for output, marks in marked:
            name = output.key
            if name not in found and len(found) == _SHOWN:
                continue
            sample = found.setdefault(
                name,
                {
                    "suite": suite,
                    "variant": variant or "outputs",
                    "id": output.id,
                    "prompt": _asked(output)[-_TEXT_SHOWN:],
                    "references": list(output.alternatives),
                    "outputs": {},
                },
            )
            mark = next((value for measure in rule.measures if isinstance(value := marks.get(measure.key), float | int)), None)
            sample["outputs"].setdefault(model, {"text": output.text[:_TEXT_SHOWN], "mark": mark})
    return list(found.values())
