"""The metrics page names what the stages log: no more, no less, in the words that the report shows."""

import json
import re
from pathlib import Path

import pytest

from instructloop.config import (
    ComputeConfig,
    PPOConfig,
    PretrainConfig,
    RewardModelConfig,
    RewardSpec,
    SamplingConfig,
    SFTConfig,
    WatchConfig,
)
from instructloop.recipes.sample import SampleConfig, run_sample
from instructloop.recipes.watched import run_ppo as run_watched
from instructloop.report.catalog import METRICS, PANELS, describe
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer
from instructloop.training.ppo import run_ppo
from instructloop.training.pretrain import run_pretrain
from instructloop.training.reward_model import run_reward_model
from instructloop.training.sft import run_sft

PAGE = Path(__file__).resolve().parents[2] / "docs/reference/metrics.md"
CPU = ComputeConfig(device="cpu")
SHORT = SamplingConfig(max_new_tokens=6)


def test_every_row_of_the_page_says_what_the_report_says() -> None:
    rows = dict(re.findall(r"^\| `([\w/*]+)` \| (.* \| .*) \|$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE))
    expected = {name: " | ".join(part.replace("|", "\\|") for part in (metric.meaning, metric.healthy)) for name, metric in METRICS.items()}
    assert rows == expected


def test_every_panel_draws_metrics_that_exist() -> None:
    assert [
        f"{stage}/{name}"
        for stage, panels in PANELS.items()
        for panel in panels
        for name in panel.metrics
        if f"{stage}/{name}" not in METRICS
    ] == []


def test_parts_of_a_reward_share_one_row() -> None:
    assert describe("ppo/part/helpful") is METRICS["ppo/part/*"]
    assert describe("ppo/nonsense") is None


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names that one small run of every stage logs."""
    folder = tmp_path_factory.mktemp("runs")
    base = save_tiny(str(folder / "base"), tiny_model(), tiny_tokenizer())
    texts = _write(
        folder / "texts.jsonl", [{"text": f"the number {number} follows {number - 1} and precedes {number + 1}"} for number in range(150)]
    )
    demos = _write(folder / "demos.jsonl", [{"prompt": f"count {number}", "completion": f"{number}!"} for number in range(24)])
    rankings = _write(
        folder / "rankings.jsonl",
        [{"prompt": f"count {number}", "completions": [f"{number}", "no", "??"], "ranks": [0, 1, 2]} for number in range(12)],
    )
    run_pretrain(
        PretrainConfig(data=texts, validation=texts, init=base, steps=2, batch_tokens=512, evaluate_every=1, compute=CPU),
        folder / "pretrain",
    )
    run_reward_model(RewardModelConfig(model=base, data=(rankings,), batch_prompts=8, compute=CPU), folder / "rm")
    run_sft(
        SFTConfig(
            model=base, data=demos, pretrain_data=texts, pretrain_fraction=0.25, epochs=1, batch_size=8, sampling=SHORT,
            select_by="rm_score", reward_model=str(folder / "rm"), selection_prompts=2, max_tokens=128, compute=CPU,
        ),
        folder / "sft",
    )  # fmt: skip
    parts = [
        {"name": "contains", "args": {"word": "a"}, "weight": 1.0},
        {"name": "model", "args": {"path": str(folder / "rm")}, "weight": 1.0},
    ]
    run_ppo(
        PPOConfig(
            model=base, prompts=demos, reward=RewardSpec(name="mix", args={"parts": parts}), steps=1, batch_size=8, minibatches=2,
            ptx_coef=0.5, ptx_tokens=32, pretrain_data=texts, sampling=SHORT, compute=CPU,
        ),
        folder / "ppo",
    )  # fmt: skip
    run_ppo(
        PPOConfig(
            model=base, prompts=demos, reward=RewardSpec(name="contains", args={"word": "a"}), steps=1, batch_size=4, minibatches=1,
            sampling=SHORT, compute=ComputeConfig(device="cpu", dtype="bfloat16"),
        ),
        folder / "ppo_rescored",
    )  # fmt: skip
    run_watched(
        PPOConfig(
            model=base, prompts=demos, reward=RewardSpec(name="contains", args={"word": "a"}), steps=1, batch_size=4, minibatches=1,
            sampling=SHORT, compute=CPU, watch=WatchConfig(every=1, prompts=demos, limit=4, reward_models=(str(folder / "rm"),)),
        ),
        folder / "ppo_watched",
    )  # fmt: skip
    run_sample(SampleConfig(models=(base,), prompts=demos, sampling=SHORT, compute=CPU), folder / "sample")
    lines = [line for file in folder.glob("*/metrics.jsonl") for line in file.read_text(encoding="utf-8").splitlines()]
    return {name for line in lines for name in json.loads(line) if name != "step"}


def _write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_whatever_a_stage_logs_has_a_row(logged: set[str]) -> None:
    assert {name for name in logged if describe(name) is None} == set()


def test_whatever_has_a_row_is_logged_by_some_stage(logged: set[str]) -> None:
    names = {"ppo/part/*" if name.startswith("ppo/part/") else name for name in logged}
    assert set(METRICS) - names == set()
