"""Over-optimization on seeds that no threshold was tuned on: the alarm rings in time, the run rolls back, healthy runs stay silent.

The thresholds stand in the recipes and were frozen on seeds 0 and 1. By hand, the same runs one by one:

    instructloop run overoptimization --out DIR/over-11 --set seed=11
    instructloop run miniature --out DIR/healthy-11 --set seed=11
    INSTRUCTLOOP_EVIDENCE=DIR pytest -m slow -s tests/integration/test_overoptimization_seeds.py

With INSTRUCTLOOP_EVIDENCE the folders are kept, and finished stages are not run again. About half an hour on two idle cores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SEEDS = (11, 12, 13, 14)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("INSTRUCTLOOP_EVIDENCE", "")
    return Path(given) if given else tmp_path_factory.mktemp("evidence")


def run(recipe: str, out: Path, seed: int) -> Path:
    command = [sys.executable, "-m", "instructloop.cli.main", "run", recipe, "--out", str(out), "--set", f"seed={seed}"]
    subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return out


def tell(file: Path, lines: list[str]) -> None:
    """The table, on the terminal (pytest -s) and beside the runs."""
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n" + file.read_text(encoding="utf-8"))


def alarms(run: Path) -> list[dict[str, Any]]:
    file = run / "events.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [row for row in rows if row["kind"] == "alarm"]


def test_on_fresh_seeds_the_alarm_rings_before_gold_falls_below_sft_and_the_run_rolls_back(evidence: Path) -> None:
    lines, failures = [], []
    for seed in SEEDS:
        out = run("overoptimization", evidence / f"over-{seed}", seed)
        found = json.loads((out / "stages/observe/result.json").read_text())
        unheeded, rolled = found["runs"]["ppo_unheeded"], found["runs"]["ppo"]
        gold, last = unheeded["gold"], str(unheeded["last_step"])
        proxy = unheeded["proxy_gain"]
        law = unheeded["law_before_peak"]
        lines.append(
            f"seed {seed}: proxy +{proxy[last]:.2f} sd; gold {gold['0']['value']:.3f} -> {gold[str(unheeded['peak_step'])]['value']:.3f} "
            f"(step {unheeded['peak_step']}, KL {unheeded['peak_kl']:.2f}) -> {gold[last]['value']:.3f}; SFT {found['sft_gold']['value']:.3f}, "
            f"below it at {unheeded['below_sft_step']}; alarms {rolled['alarms']}; published {rolled['published_step']} with gold "
            f"{rolled['published_gold']['value']:.3f} [{rolled['published_gold']['low']:.3f}, {rolled['published_gold']['high']:.3f}]; "
            f"law before the peak: {law and law['peak_kl']}"
        )
        checks = {
            "proxy up": proxy[last] > 0.5,
            "gold down": unheeded["gold_from_peak_to_end"]["high"] < 0 and unheeded["gold_end_against_reference"]["high"] < 0,
            "gold ends below SFT": unheeded["below_sft_step"] is not None,
            "alarm in time": rolled["alarm_step"] is not None and rolled["alarm_step"] < (unheeded["below_sft_step"] or 10**9),
            "twin rang at the same step": rolled["alarm_step"] == unheeded["alarm_step"],
            "rolled back": rolled["ended_early"].startswith("roll_back") and rolled["published_step"] <= (rolled["alarm_step"] or 0),
            "published above SFT": rolled["published_against_sft"]["value"] > 0,
        }
        failures += [f"seed {seed}: not {name}" for name, holds in checks.items() if not holds]
    tell(evidence / "overoptimization.txt", lines)
    assert not failures, failures


def test_eight_healthy_runs_raise_no_alarm(evidence: Path) -> None:
    lines, rung = [], []
    for seed in SEEDS:
        out = run("miniature", evidence / f"healthy-{seed}", seed)
        for name in ("ppo", "ppo_ptx"):
            stage = out / "stages" / name
            looks = [json.loads(line) for line in (stage / "watch/looks.jsonl").read_text().splitlines()]
            numbers = looks[-1]["numbers"]
            shares = [
                look["numbers"]["held_out_gain"] / look["numbers"]["proxy_gain"] for look in looks if look["numbers"]["proxy_gain"] >= 0.2
            ]
            lines.append(
                f"seed {seed} {name}: {len(looks)} looks, KL {numbers['kl']:.2f}, proxy +{numbers['proxy_gain']:.2f}, "
                f"held out +{numbers['held_out_gain']:.2f}, smallest share {min(shares, default=float('nan')):.2f}, "
                f"disagreement {numbers['disagreement']:.2f}, variety {numbers['variety']:.2f}, length {numbers['length']:.2f}"
            )
            rung += [f"seed {seed} {name}: step {alarm['step']}: {alarm['message']}" for alarm in alarms(stage)]
    tell(evidence / "healthy.txt", lines)
    assert not rung, rung
