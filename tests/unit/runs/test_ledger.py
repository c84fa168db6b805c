"""The cost ledger: what trainers counted, what is estimated, and what is not known."""

import json
from pathlib import Path

import pytest

from instructloop.core.files import write_json, write_jsonl
from instructloop.runs.ledger import by_kind, ledger, parameters


def _weights(place: Path, *shapes: tuple[int, ...]) -> None:
    """A safetensors file with a header and no data: the ledger reads no more."""
    header = {"__metadata__": {"format": "pt"}} | {
        f"w{number}": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 0]} for number, shape in enumerate(shapes)
    }
    text = json.dumps(header).encode()
    place.mkdir(parents=True, exist_ok=True)
    (place / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)


def _pipeline(out: Path, **results: dict[str, object]) -> Path:
    stages = []
    for name, result in results.items():
        write_json(out / "stages" / name / "config.json", {"stage": name, "config": {}})
        write_json(out / "stages" / name / "result.json", result)
        stages.append({"name": name, "kind": name, "path": f"stages/{name}", "seconds": 10.0})
    write_json(out / "pipeline.json", {"stages": [*stages, {"name": "report", "kind": "report", "seconds": 1.0}]})
    return out


def test_counted_operations_are_shared_out(tmp_path: Path) -> None:
    out = _pipeline(tmp_path, sft={"flops": 3e12, "tokens": 500}, rm={"flops": 1e12, "tokens": 200}, ppo={"flops": 4e12, "tokens": 900})
    rows = ledger(out)
    assert [(row["stage"], row["flops"], row["tokens"], row["share"], row["estimated"]) for row in rows] == [
        ("sft", 3e12, 500, 0.375, False),
        ("rm", 1e12, 200, 0.125, False),
        ("ppo", 4e12, 900, 0.5, False),
    ]
    assert [row["seconds"] for row in rows] == [10.0] * 3


def test_where_a_trainer_s_operations_are_unknown_the_shares_are_of_the_time(tmp_path: Path) -> None:
    rows = ledger(_pipeline(tmp_path, sft={"flops": 3e12}, ppo={}))
    assert [(row["flops"], row["share"]) for row in rows] == [(3e12, 0.5), (None, 0.5)]


def test_an_older_run_is_estimated_from_its_clock_and_its_parameters(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"stage": "sft", "config": {}})
    write_json(tmp_path / "result.json", {"parameters": 1000})
    write_jsonl(tmp_path / "timings.jsonl", [{"step": step, "sft/seconds": 2.0, "sft/tokens_per_s": 50.0} for step in (1, 2)])
    (row,) = ledger(tmp_path)
    # 200 tokens, 6 operations a parameter and token
    assert (row["tokens"], row["flops"], row["estimated"]) == (200, 6 * 1000 * 200, True)


def test_an_evaluation_costs_two_operations_a_parameter_and_token(tmp_path: Path) -> None:
    _weights(tmp_path / "sft" / "model", (10, 10))
    write_json(tmp_path / "eval" / "config.json", {"stage": "evaluate", "config": {"models": [f"sft={tmp_path / 'sft'}", "base=gone"]}})
    rows = [{"model": "sft", "tokens": 6, "prompt_tokens": 4}, {"model": "base", "tokens": 10, "prompt_tokens": 0}]
    write_jsonl(tmp_path / "eval" / "completions.jsonl", rows)
    (row,) = ledger(tmp_path / "eval")
    # 100 parameters, 10 tokens of sft; the base's 10 tokens count alike
    assert (row["kind"], row["tokens"], row["flops"], row["estimated"]) == ("evaluate", 20, 2 * 100 * 20, True)


def test_stages_of_one_kind_are_summed(tmp_path: Path) -> None:
    rows = ledger(_pipeline(tmp_path, sft={"flops": 3e12, "tokens": 500}, rm={"flops": 1e12, "tokens": 200}))
    (total,) = [row for row in by_kind([*rows, *rows]) if row["kind"] == "rm"]
    assert total == {"kind": "rm", "seconds": 20.0, "flops": 2e12, "tokens": 400, "share": 0.5}


def test_parameters_are_read_from_headers_alone(tmp_path: Path) -> None:
    _weights(tmp_path, (3, 4), (5,), ())
    assert parameters(tmp_path) == 12 + 5 + 1
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 8 + b"no header")
    assert parameters(tmp_path) == 0
    assert parameters(tmp_path / "nowhere") == 0


@pytest.mark.parametrize("name", ["label", "build"])
def test_people_s_work_and_building_data_cost_no_operations(name: str, tmp_path: Path) -> None:
    (row,) = ledger(_pipeline(tmp_path, **{name: {"rankings": 3}}))
    assert (row["flops"], row["tokens"], row["share"]) == (None, None, 1.0)
