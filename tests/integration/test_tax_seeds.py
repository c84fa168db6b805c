"""The alignment tax in the small world over four seeds (H12, H13): reported with intervals, whichever way it comes out.

    INSTRUCTLOOP_EVIDENCE=DIR pytest -m slow -s tests/integration/test_tax_seeds.py

keeps the folders in DIR and does not repeat what is there. About twenty-five minutes on two idle cores.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev

import pytest
from scipy.stats import t

SEEDS = (11, 12, 13, 14)
MODELS = ("base", "rl_init", "sft", "ppo", "ppo_ptx", "ppo_beta_2x", "ppo_beta_10x")


def over_seeds(values: list[float]) -> tuple[float, float]:
    """Mean and half of its 95 % interval by Student's t: four values are too few to be resampled."""
    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5


@pytest.mark.slow
def test_four_seeds_give_a_table_of_held_capabilities_with_intervals(tmp_path: Path) -> None:
    folder = Path(os.environ.get("INSTRUCTLOOP_EVIDENCE") or tmp_path)
    values: dict[tuple[str, str], list[float]] = {}
    for seed in SEEDS:
        out = folder / f"tax-{seed}"
        command = [sys.executable, "-m", "instructloop.cli.main", "run", "tax", "--out", str(out), "--set", f"seed={seed}"]
        subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        table = json.loads((out / "stages/evaluate/eval/gold.json").read_text())
        for model in MODELS:
            scores = table["scores"][model]
            values.setdefault((model, "gold"), []).append(scores["mean"])
            for name, row in table["capabilities"][model].items():
                values.setdefault((model, name), []).append(row["value"])
    names = list(dict.fromkeys(name for _, name in values))
    lines = []
    for model in MODELS:
        cells = []
        for name in names:
            mean, half = over_seeds(values[model, name])
            cells.append(f"{name} {mean:.3f} ± {half:.3f}")
        lines.append(f"{model:14s} " + "; ".join(cells))
    (folder / "tax.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert all(len(found) == len(SEEDS) for found in values.values())
    loss = {model: sum(values[model, "lm_loss"]) / len(SEEDS) for model in MODELS}
    assert loss["ppo_ptx"] < loss["ppo"], "the pretraining mix must at least keep the loss on pretraining text lower"
