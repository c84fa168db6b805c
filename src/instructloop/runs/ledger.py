"""What each stage of a pipeline cost: seconds, tokens and useful floating-point operations (spec H20), from the files alone.

Trainers write ``flops`` and ``tokens`` into ``result.json``. For a stage that only samples or scores, and for runs from before trainers
counted, the operations are estimated from files: 2 for each parameter and token that was generated or read, 6 for each that was trained.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.core.files import read_json, read_jsonl

_TRAINED = frozenset({"pretrain", "sft", "rm"})
_LARGEST_HEADER = 1 << 26
Row = dict[str, Any]


def ledger(path: str | Path) -> list[Row]:
    """One row a stage, in the order of the loop.

    Args:
        path: a pipeline's directory (``pipeline.json``) or a run's.

    Returns:
        Rows ``{"stage", "kind", "seconds", "flops", "tokens", "share", "estimated"}``. ``flops`` and ``tokens`` are None where nothing
        is known (people's work, building data); ``share`` is of all operations, or of the time where those of a trainer are not known;
        ``estimated`` says that the operations were not counted by a trainer.

    Raises:
        DataError: a file is not valid JSON.
    """
    place = Path(path)
    return with_shares([stage_row(name, kind, run, seconds) for name, kind, run, seconds in _runs(place)])


def with_shares(rows: Sequence[Row]) -> list[Row]:
    """The rows with ``share`` filled in: of all operations, or of the time where those of a trainer are not known."""
    by = "flops" if is_counted(rows) else "seconds"
    total = sum(row[by] or 0.0 for row in rows)
    return [{**row, "share": (row[by] or 0.0) / total if total else 0.0} for row in rows]


def is_counted(rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the operations of every trainer are known, so that sums of them mean something."""
    trained = [row["flops"] for row in rows if row["kind"] in _TRAINED | {"ppo"}]
    return any(row["flops"] for row in rows) and all(trained)


def by_kind(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The ledger summed by kind of stage (all SFT runs as one row): ``{"kind", "seconds", "flops", "tokens", "share"}``."""
    found: dict[str, Row] = {}
    for row in rows:
        total = found.setdefault(str(row["kind"]), {"kind": row["kind"], "seconds": 0.0, "flops": 0.0, "tokens": 0, "share": 0.0})
        for name in ("seconds", "flops", "tokens", "share"):
            total[name] += row[name] or 0
    return list(found.values())


def _runs(place: Path) -> Iterator[tuple[str, str, Path, float]]:
    if not (place / "pipeline.json").is_file():
        yield place.resolve().name, _kind(place, ""), place, 0.0
        return
    for row in read_json(place / "pipeline.json")["stages"]:
        run = place / row.get("path", f"stages/{row['name']}")
        kind = _kind(run, str(row.get("kind") or ""))
        if kind != "report":
            yield str(row["name"]), kind, run, float(row.get("seconds") or 0.0)


def _kind(run: Path, given: str) -> str:
    return (given or str(_read(run / "config.json").get("stage") or "run")).rpartition(".")[2]


def _read(file: Path) -> dict[str, Any]:
    found = read_json(file) if file.is_file() else {}
    return found if isinstance(found, dict) else {}


def stage_row(name: str, kind: str, run: Path, seconds: float = 0.0) -> Row:
    """The row of one stage, its share still 0.

    Args:
        name: how the ledger calls it.
        kind: ``sft``, ``rm``, ``ppo``, ``sample``, ``evaluate``...
        run: its directory.
        seconds: its time, where a pipeline knows it; 0 reads it from the run's status.
    """
    result = _read(run / "result.json")
    tokens, flops = result.get("tokens"), result.get("flops")
    estimated = False
    if not flops:
        tokens, flops = _estimate(kind, run, result)
        estimated = flops is not None
    return {
        "stage": name,
        "kind": kind,
        "seconds": seconds or float(_read(run / "status.json").get("seconds") or 0.0),
        "flops": flops,
        "tokens": None if tokens is None else int(tokens),
        "share": 0.0,
        "estimated": estimated,
    }


def _estimate(kind: str, run: Path, result: Mapping[str, Any]) -> tuple[int | None, float | None]:
    if kind in _TRAINED:
        tokens = round(_clocked(run))
        size = result.get("parameters") or parameters(run / "model")
        return (tokens or None), (6.0 * size * tokens if size and tokens else None)
    if kind in {"sample", "evaluate"}:
        return _generated(run)
    return (round(_clocked(run)) or None), None


def _clocked(run: Path) -> float:
    """Tokens of a trainer's steps, from its clock's file."""
    total = 0.0
    for row in read_jsonl(run / "timings.jsonl", drop_torn_tail=True) if (run / "timings.jsonl").is_file() else ():
        named = {key.rpartition("/")[2]: value for key, value in row.items()}
        total += float(named.get("tokens", float(named.get("seconds", 0.0)) * float(named.get("tokens_per_s", 0.0))))
    return total


def _generated(run: Path) -> tuple[int | None, float | None]:
    """Prompt and completion tokens of a file of completions, and two operations for each and every parameter of its model."""
    file = run / "completions.jsonl"
    if not file.is_file():
        return None, None
    config = _read(run / "config.json").get("config") or {}
    places = models_of(config.get("models"))
    tokens: dict[str, int] = {}
    for row in read_jsonl(file, drop_torn_tail=True):
        if isinstance(row.get("tokens"), int):
            name = str(row.get("model", ""))
            tokens[name] = tokens.get(name, 0) + int(row["tokens"]) + int(row.get("prompt_tokens") or 0)
    sizes = {name: parameters(_resolved(run, places[name])) for name in tokens if name in places}
    known = {name: size for name, size in sizes.items() if size}
    total, seen = sum(tokens.values()), sum(tokens[name] for name in known)
    flops = sum(2.0 * size * tokens[name] for name, size in known.items())
    # a model whose files are gone or that has another name (a few-shot base) counts like the others on average
    return (total or None), (flops * total / seen if seen else None)


def models_of(given: Any) -> dict[str, str]:
    """Names and paths from the ``models`` of an evaluation's configuration: ``{"sft": path}`` or ``["sft=path"]``."""
    if isinstance(given, Mapping):
        return {str(name): str(one.get("path", "") if isinstance(one, Mapping) else one) for name, one in given.items()}
    pairs = [str(one).partition("=") for one in given or ()]
    return {name: path for name, sign, path in pairs if sign}


def _resolved(run: Path, path: str) -> Path:
    """A model directory of a configuration; within a pipeline that has moved, its stage of the same name."""
    place = Path(path)
    beside = run.parent / place.name
    for found in (place, beside):
        if (found / "model").is_dir():
            return found / "model"
    return place


def parameters(model: str | Path) -> int:
    """Parameters of a model directory, from the headers of its safetensors files; 0 where there are none. Loads no weight."""
    total = 0
    for file in sorted(Path(model).glob("*.safetensors")):
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 0 < length <= _LARGEST_HEADER:
                return 0
            try:
                header = json.loads(stream.read(length))
            except ValueError:
                return 0
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for width in tensor.get("shape", ()):
                    size *= int(width)
                total += size
    return total
