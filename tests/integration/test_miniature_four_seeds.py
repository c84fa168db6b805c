"""The must-show lines of the miniature over four seeds (about twenty-five minutes on two idle cores)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from instructloop.stats import win_rate

SEEDS = (0, 1, 2, 3)


@pytest.mark.slow
def test_over_four_seeds_ppo_ptx_beats_sft_no_seed_collapses_and_hedging_on_known_stays_low(tmp_path: Path) -> None:
    wins: list[float] = []
    prompts: list[int] = []
    for seed in SEEDS:
        out = tmp_path / f"seed-{seed}"
        command = [sys.executable, "-m", "instructloop.cli.main", "run", "miniature", "--out", str(out), "--set", f"seed={seed}"]
        subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        table = json.loads((out / "stages/evaluate/eval/gold.json").read_text())
        flags = table["scores"]["ppo_ptx"]["flags"]
        assert flags["hedged_on_known"]["rate"] <= 0.15
        rate = {(row["a"], row["b"]): row for row in table["wins"]}
        assert rate["ppo_ptx", "base"]["win_rate"] >= 0.85
        assert rate["sft", "base"]["low"] > 0.5
        assert rate["sft", "few-shot base"]["low"] > 0.5
        last = json.loads((out / "stages/ppo_ptx/metrics.jsonl").read_text().splitlines()[-1])
        assert last["ppo/entropy"] > 0.05, "collapsed"
        scores: dict[str, dict[int, float]] = {"sft": {}, "ppo_ptx": {}}
        for line in (out / "stages/evaluate/completions.jsonl").read_text().splitlines():
            row = json.loads(line)
            if row["set"] == "" and row["model"] in scores:
                scores[row["model"]][row["prompt_id"]] = row["scores"]["gold"]
        for prompt, theirs in scores["sft"].items():
            ours = scores["ppo_ptx"][prompt]
            wins.append(0.5 if ours == theirs else float(ours > theirs))
            prompts.append(prompt)
    pooled = win_rate(wins, prompts, seed=0)
    assert pooled.low > 0.5
