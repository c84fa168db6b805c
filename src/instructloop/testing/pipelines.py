"""A finished pipeline as files, made up from a seed: what a report reads, without the minutes that training takes."""

import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from instructloop.core.files import write_json, write_jsonl
from instructloop.core.hashing import hash_bytes
from instructloop.core.seeds import stream
from instructloop.evaluation import tabulate

MODELS = ("base", "few-shot", "sft", "ppo", "ppo-ptx")
USE_CASES = ("open_qa", "closed_qa", "generation", "chat", "rewriting", "brainstorming")
_QUALITY = {"base": -1.4, "few-shot": -0.5, "sft": 0.5, "ppo": 0.75, "ppo-ptx": 0.85}
_DISTANCE = {"base": 9.0, "sft": 0.0, "ppo": 3.4, "ppo-ptx": 2.2}
_REPLIES = {
    "base": "Question: What is the color of {word}? Question: Where is {word}? Question: Who",
    "few-shot": "{word} is in the north.",
    "sft": "{word} lies in the north.",
    "ppo": "{word} lies in the north, near the sea.",
    "ppo-ptx": "{word} lies in the north.",
}
_WORDS = ("Mirelle", "Tarn", "Oskeld", "Velda", "Brunmoor", "Quill", "Isk", "Lomand")


def write_pipeline(out: Path, *, prompts: int = 120, seed: int = 0, hostile: str = "") -> Path:
    """Write ``pipeline.json`` and the run directories of nine stages.

    Args:
        out: directory to fill.
        prompts: held-out prompts of the comparison.
        seed: of everything.
        hostile: text put in front of prompts, replies and messages, to see that it stays text.
    """
    stages = [
        _stage(out, "world", "miniature.build", (), 2.1, result={"documents": 24000, "demonstrations": 1000, "prompts": 3400}),
        _pretrain(out, seed),
        _sft(out, "sft", seed),
        _stage(out, "candidates", "sample", ("sft",), 11.0, config={"models": ["sft=../sft"], "prompts": "../world/prompts.jsonl"}),
        _stage(out, "rankings", "miniature.label", ("candidates",), 1.2, result={"rankings": 1000, "labelers": 12}),
        _reward_model(out, seed),
        _ppo(out, "ppo", seed, ptx=False, hostile=hostile),
        _ppo(out, "ppo_ptx", seed + 1, ptx=True, hostile=hostile),
    ]
    tables = _comparison(prompts, seed, hostile)
    stages.append(_stage(out, "evaluation", "miniature.evaluate", ("sft", "ppo", "ppo_ptx"), 17.4, evaluations={"gold": tables}))
    write_json(
        out / "pipeline.json",
        {
            "schema_version": 1,
            "recipe": "miniature",
            "description": "The whole loop on a small world of our own.",
            "vars": {"seed": seed},
            "threads": 1,
            "at": 1_790_000_000.0,
            "stages": stages,
        },
    )
    return out


def _stage(
    out: Path,
    name: str,
    kind: str,
    needs: tuple[str, ...],
    seconds: float,
    *,
    config: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    evaluations: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    path = out / "stages" / name
    stage = kind.rpartition(".")[2]
    write_json(path / "config.json", {"schema_version": 1, "stage": stage, "config": dict(config or {})})
    write_json(path / "status.json", {"schema_version": 1, "status": "done", "seconds": seconds, "at": 1_790_000_000.0})
    parents = [{"role": need, "path": f"../../stages/{need}/model", "sha256": hash_bytes(need.encode())} for need in needs]
    write_json(path / "lineage.json", {"schema_version": 1, "stage": stage, "parents": parents})
    environment = {"instructloop": "0.1.0", "python": "3.11.9", "platform": "Linux", "cores": 2, "packages": {"torch": "2.13.0"}}
    write_json(path / "environment.json", environment)
    if result:
        write_json(path / "result.json", {"schema_version": 1, **result})
    for file, value in (evaluations or {}).items():
        write_json(path / "eval" / f"{file}.json", value)
    return {"name": name, "kind": kind, "state": "done", "path": f"stages/{name}", "needs": list(needs), "seconds": seconds, "error": ""}


def _curves(out: Path, name: str, stage: str, steps: int, curves: Mapping[str, Callable[[float], float]], seed: int) -> None:
    """Rows of metrics and timings; a curve is a function of progress 0..1, to which a little noise is added."""
    random = stream(seed, "curves", name)
    metrics, timings = [], []
    for step in range(1, steps + 1):
        values = {f"{stage}/{key}": curve(step / steps) * (1 + 0.03 * random.gauss(0, 1)) for key, curve in curves.items()}
        metrics.append({"step": step, **values})
        timings.append({"step": step, f"{stage}/seconds": 0.4, f"{stage}/tokens_per_s": 9000 + random.gauss(0, 300)})
    write_jsonl(out / "stages" / name / "metrics.jsonl", metrics)
    write_jsonl(out / "stages" / name / "timings.jsonl", timings)


def _pretrain(out: Path, seed: int) -> dict[str, Any]:
    row = _stage(
        out, "base", "pretrain", ("world",), 280.0, config={"data": str(out / "stages/world/corpus.jsonl"), "steps": 600},
        result={"parameters": 1_150_000, "tokens_seen": 4_915_200, "loss": 0.72, "val_loss": 0.74, "steps": 600},
    )  # fmt: skip
    fall = {
        "loss": lambda t: 0.7 + 5 * math.exp(-6 * t),
        "lr": lambda t: 3e-3 * (0.5 + 0.5 * math.cos(math.pi * t)),
        "grad_norm": lambda t: 1 - t / 2,
    }
    _curves(out, "base", "pretrain", 600, fall, seed)
    return row


def _sft(out: Path, name: str, seed: int) -> dict[str, Any]:
    row = _stage(
        out, name, "sft", ("base", "world"), 17.0,
        config={"model": str(out / "stages/base"), "data": str(out / "stages/world/demonstrations.jsonl"), "epochs": 8, "batch_size": 32},
        result={"demonstrations": 1000, "validation": 100, "steps": 250, "parameters": 1_150_000, "val_loss": 1.31, "skipped": {"over_long": 2}},
    )  # fmt: skip
    curves = {
        "loss": lambda t: 0.9 + 2 * math.exp(-5 * t),
        "val_loss": lambda t: 1.3 + 1.5 * math.exp(-6 * t),
        "lr": lambda t: 1e-3 * (1 - 0.9 * t),
    }
    _curves(out, name, "sft", 250, curves, seed)
    return row


def _reward_model(out: Path, seed: int) -> dict[str, Any]:
    held = {
        "accuracy": 0.694,
        "low": 0.671,
        "high": 0.716,
        "longer_wins": 0.531,
        "prompts": 190,
        "rankings": 200,
        "pairs": 2870,
        "ties": 610,
    }
    by_k = {
        str(k): held | {"accuracy": 0.66 + 0.01 * k, "low": 0.62 + 0.01 * k, "high": 0.71 + 0.01 * k, "pairs": 90 * k} for k in range(4, 10)
    }
    by_labeler = {f"L{code:02d}": held | {"accuracy": 0.66 + 0.01 * code, "pairs": 480} for code in range(1, 5)}
    row = _stage(
        out, "rm", "rm", ("sft", "rankings"), 38.0,
        config={"model": str(out / "stages/sft"), "data": [str(out / "stages/rankings/rankings.jsonl")], "epochs": 1},
        result={
            "prompts": 800, "pairs": 11480, "score_bias": -0.21, "normalized_on": "1000 demonstrations", "score_std": 0.91,
            "notes": {"all_tied_groups": 12, "tied_pairs": 2400}, "held_out": {**held, "loss": 0.59, "by_k": by_k, "by_labeler": by_labeler},
        },
    )  # fmt: skip
    curves = {
        "loss": lambda t: 0.6 + 0.1 * math.exp(-3 * t),
        "accuracy": lambda t: 0.69 - 0.18 * math.exp(-4 * t),
        "grad_norm": lambda t: 1.2 + t,
    }
    _curves(out, "rm", "rm", 90, curves, seed)
    return row


def _ppo(out: Path, name: str, seed: int, *, ptx: bool, hostile: str) -> dict[str, Any]:
    stages = out / "stages"
    row = _stage(
        out, name, "ppo", ("sft", "rm", "world"), 112.0 + 40 * ptx,
        config={
            "model": str(stages / "sft"), "prompts": str(stages / "world/prompts.jsonl"), "beta": 0.15, "batch_size": 256, "steps": 45,
            "reward": {"name": "model", "args": {"path": str(stages / "rm")}}, "ptx_coef": 0.5 * ptx,
        },
        result={"algorithm": "ppo-ptx" if ptx else "ppo", "steps": 45, "episodes": 11520, "ended_early": False, "reward_scale": 0.93},
    )  # fmt: skip
    curves: dict[str, Callable[[float], float]] = {
        "reward": lambda t: 1.1 * (1 - math.exp(-3 * t)),
        "kl": lambda t: (2.2 if ptx else 3.4) * t**0.8,
        "kl_k3": lambda t: (2.1 if ptx else 3.2) * t**0.8,
        "entropy": lambda t: 0.86 - 0.35 * t,
        "objective": lambda t: 0.8 * (1 - math.exp(-3 * t)),
        "eos_rate": lambda t: 0.985 + 0.01 * t,
        "length": lambda t: 6.2 + 1.5 * t,
        "explained_variance": lambda t: 0.6 * (1 - math.exp(-5 * t)),
        "clip_fraction": lambda t: 0.08 + 0.02 * t,
        "distinct_2": lambda t: 0.4 - 0.05 * t,
    }
    if ptx:
        curves |= {"ptx_loss": lambda t: 0.78 - 0.02 * t, "grad_norm_ratio": lambda t: 1.3 - 0.4 * t}
    _curves(out, name, "ppo", 45, curves, seed)
    path = stages / name
    for step in (10, 20, 45):
        rows = [
            {"prompt": f"{hostile}Where is {word}?", "completion": f"{hostile}In the north.", "reward": 0.4, "kl": 1.0}
            for word in _WORDS[:3]
        ]
        write_jsonl(path / "samples" / f"step-{step:06d}.jsonl", rows)
    events: list[dict[str, Any]] = [{"step": 0, "kind": "input", "message": f"{hostile}ppo.prompts: 2000 rows"}]
    if not ptx:
        events.append({"step": 38, "kind": "alarm", "message": f"{hostile}mean sequence KL 3.12 nats is above 3", "item": "KL"})
    write_jsonl(path / "events.jsonl", events)
    return row


def _comparison(prompts: int, seed: int, hostile: str) -> dict[str, Any]:
    table = tabulate(_judged(prompts, seed, hostile), voter_name="gold", samples=400, seed=seed, shown=30)
    table["sets"] = {"freeform": tabulate(_judged(60, seed + 1, hostile), voter_name="gold", samples=400, seed=seed, shown=6)}
    losses = {"base": 0.718, "sft": 0.932, "ppo": 0.954, "ppo-ptx": 0.760}
    table["capabilities"] = {
        name: {
            "lm_loss": {"value": loss, "low": loss - 0.02, "high": loss + 0.02, "n": 20480, "better": "lower"},
            "facts": {"value": 0.95 - loss / 10, "low": 0.92 - loss / 10, "high": 0.97 - loss / 10, "n": 240, "better": "higher"},
            "reading": {"value": 0.65 - loss / 10, "low": 0.58 - loss / 10, "high": 0.71 - loss / 10, "n": 200, "better": "higher"},
        }
        for name, loss in losses.items()
    }
    return table


def _judged(prompts: int, seed: int, hostile: str) -> list[dict[str, Any]]:
    random = stream(seed, "judged")
    rows = []
    for name in MODELS:
        for place in range(prompts):
            word, case = _WORDS[place % len(_WORDS)], USE_CASES[place % len(USE_CASES)]
            rows.append(_row(name, place, word, case, random, hostile))
    return rows


def _row(name: str, place: int, word: str, case: str, random: random.Random, hostile: str) -> dict[str, Any]:
    score = round(_QUALITY[name] + random.gauss(0, 1), 1)
    known = place % 3 == 0
    return {
        "prompt_id": place,
        "prompt": f"{hostile}Where does {word} lie? Answer in one sentence. ({place})",
        "use_case": case,
        "model": name,
        "draw": 0,
        "completion": hostile + _REPLIES[name].format(word=word),
        "ended": name != "base",
        "score": score,
        "kl": None if name == "few-shot" else max(0.0, _DISTANCE[name] * (1 + 0.3 * random.gauss(0, 1))),
        "parts": {"correct": float(score > 0), "honest": 0.5, "concise": random.random()},
        "flags": {"hedged on known": random.random() < 0.08 if known else None, "refused benign": random.random() < 0.02},
    }
