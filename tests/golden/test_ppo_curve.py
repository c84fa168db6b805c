"""A stored curve of a tiny PPO-ptx run: a change of numbers anywhere in the loop shows here.

After an intended change: ``INSTRUCTLOOP_UPDATE_GOLDEN=1 pytest tests/golden/test_ppo_curve.py`` writes the curve anew; say in the
commit why the numbers moved.
"""

import json
import os
from pathlib import Path

import pytest

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, RewardSpec, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.ppo import run_ppo

GOLDEN = Path(__file__).with_name("ppo_curve.json")
WATCHED = (
    "reward",
    "objective",
    "kl_k3",
    "entropy",
    "ptx_loss",
    "value_loss",
    "grad_norm_ratio",
    "explained_variance",
    "clip_fraction",
    "lr",
)


def test_ppo_ptx_follows_its_stored_curve(tmp_path: Path) -> None:
    base = save_tiny(str(tmp_path / "base"), tiny_model(seed=1), tiny_tokenizer())
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "the cat sat on the mat and saw the moon. " * 4}) + "\n")
    cfg = PPOConfig(
        seed=11,
        model=base,
        reward=RewardSpec(name="token_count", args={"token_id": tiny_codec().encode_completion("e")[0]}),
        reward_shift="reference_mean",
        reward_scale="reference_std",
        reward_samples=64,
        missing_eos="keep",
        steps=12,
        batch_size=32,
        minibatches=2,
        beta=0.05,
        ptx_coef=0.3,
        ptx_tokens=16,
        pretrain_data=str(tmp_path / "texts.jsonl"),
        sampling=SamplingConfig(max_new_tokens=8),
        optimizer=OptimizerConfig(lr=1e-2, schedule="constant", warmup_steps=4),
        value_optimizer=OptimizerConfig(lr=3e-3, schedule="constant"),
        compute=ComputeConfig(device="cpu"),
        warn_kl=100.0,
    )
    prompts = [Prompt(prompt=f"say {letter * (1 + place % 3)}") for place, letter in enumerate("abcdefghijkl")]
    run = run_ppo(cfg, tmp_path / "run", prompts=prompts)
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    curve = {name: [round(row[f"ppo/{name}"], 6) for row in rows] for name in WATCHED}
    if os.environ.get("INSTRUCTLOOP_UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(curve, indent=1) + "\n")
    stored = json.loads(GOLDEN.read_text())
    assert curve.keys() == stored.keys()
    for name, values in stored.items():
        # one token of 128 on the other side of the clip bound counts .0078: another order of additions moves two at the end
        tolerance = 0.02 if name == "clip_fraction" else 2e-3
        assert curve[name] == pytest.approx(values, rel=3e-2, abs=tolerance), name


def test_the_stored_curve_learns() -> None:
    stored = json.loads(GOLDEN.read_text())
    assert stored["reward"][-1] > stored["reward"][0] + 0.5
    assert stored["ptx_loss"][-1] < stored["ptx_loss"][0]
    assert len({len(values) for values in stored.values()}) == 1
