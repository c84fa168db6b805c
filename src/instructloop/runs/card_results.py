"""What evaluations say about one model, as facts of its card: every number with its interval and n."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.core.files import read_json
from instructloop.runs.ledger import models_of

Fact = tuple[str, str]
_RINGING = {"alarm", "warning"}


def result_facts(run: Path, kind: str, result: Mapping[str, Any], evaluations: Sequence[Path]) -> tuple[Fact, ...]:
    """Win rates, suites, held capabilities and alarms of a run's model.

    Args:
        run: the run's directory.
        kind: its stage.
        result: its final numbers.
        evaluations: directories with ``eval/*.json``.
    """
    facts: list[Fact] = []
    if kind == "rm" and isinstance(result.get("held_out"), Mapping):
        held = result["held_out"]
        facts.append(("Agrees with held-out rankings", _share({**held, "value": held.get("accuracy"), "n": held.get("pairs")})))
        if isinstance(held.get("longer_wins"), int | float):
            facts.append(("The longer answer would agree", f"{held['longer_wins']:.1%}"))
    last = result.get("last") or {}
    if kind == "ppo" and last:
        told = ", ".join(f"{name} {last[name]:.3g}" for name in ("reward", "kl", "entropy", "length") if name in last)
        facts.append(("Last iteration, raw weights", told))
    for place in evaluations:
        name = model_name(run, place)
        for table in _tables(place) if name else ():
            facts += list(_facts(name, table))
    observed = run / "eval" / "observatory.json"
    if observed.is_file():
        alarms = [one for one in read_json(observed).get("alarms", ()) if one.get("state") in _RINGING]
        facts += [("Alarm" if one["state"] == "alarm" else "Warning", _alarm(one)) for one in alarms]
    return tuple(fact for fact in facts if fact[1])


def evaluations_of(run: Path, places: Sequence[Path]) -> list[Path]:
    """Those of the directories in which the run's model took part."""
    return [place for place in places if model_name(run, place)]


def model_name(run: Path, evaluation: Path) -> str:
    """What an evaluation calls the run's model; empty if it took no part."""
    config = (read_json(evaluation / "config.json") if (evaluation / "config.json").is_file() else {}).get("config") or {}
    mine = run.resolve()
    for name, path in models_of(config.get("models")).items():
        place = Path(path).resolve()
        moved = (evaluation.resolve().parent / Path(path).name) == mine
        if place in {mine, mine / "model"} or moved:
            return name
    return ""


def _tables(place: Path) -> list[Mapping[str, Any]]:
    return [table for file in sorted((place / "eval").glob("*.json")) if isinstance(table := read_json(file), Mapping)]


def _facts(name: str, table: Mapping[str, Any]) -> Iterator[Fact]:
    if table.get("kind") == "comparison":
        voter = str(table.get("voter") or "the voter")
        for row in table.get("wins") or ():
            if row.get("a") == name:
                yield f"Preferred over {row['b']} by {voter}", _share({**row, "value": row.get("win_rate")})
        for what, one in (table.get("capabilities") or {}).get(name, {}).items():
            name_of = {"lm_loss": "Loss on held-out text, nats a token"}.get(what, what.replace("_", " ").capitalize())
            is_share = not what.endswith("loss") and 0 <= one.get("value", -1) <= 1
            yield name_of, _share(one) if is_share else _number(one)
    if table.get("kind") == "suites":
        for row in table.get("rows") or ():
            one = (row.get("results") or {}).get(name)
            if isinstance(one, Mapping) and "not_run" not in one:
                title = " ".join(
                    filter(None, (str(row.get("title") or row.get("suite")), str(row.get("variant") or ""), str(row.get("metric"))))
                )
                text = _share(one) if row.get("unit") == "share" else _number(one)
                yield title, text + (f"; {row['signature']}" if row.get("signature") else "")


def _share(row: Mapping[str, Any]) -> str:
    return _estimate(row, lambda value: f"{100 * value:.1f}", " %")


def _number(row: Any) -> str:
    return _estimate(row, lambda value: f"{value:.3g}", "") if isinstance(row, Mapping) else ""


def _estimate(row: Mapping[str, Any], show: Any, unit: str) -> str:
    value = row.get("value")
    if not isinstance(value, int | float):
        return ""
    interval = ""
    if isinstance(row.get("low"), int | float) and isinstance(row.get("high"), int | float):
        interval = f" [{show(row['low'])}, {show(row['high'])}]"
    return f"{show(value)}{unit}{interval}" + (f", n {row['n']:,}" if isinstance(row.get("n"), int) else "")


def _alarm(row: Mapping[str, Any]) -> str:
    measured, threshold = row.get("measured"), row.get("threshold")
    numbers = f": {measured:.3g} {row.get('unit', '')}".rstrip() if isinstance(measured, int | float) else ""
    limit = f" (threshold {threshold:.3g})" if isinstance(threshold, int | float) else ""
    return f"{row.get('title', '')}{numbers}{limit}"
