"""Short training curves, stored: a change of numbers must be seen and meant.

After a change that is meant: ``INSTRUCTLOOP_UPDATE_GOLDEN=1 pytest tests/golden/test_training_curves.py``, look at the difference of
the JSON files, and say in the commit why the curve moved. Tolerances allow for other processors and library versions.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from instructloop.config import CheckpointConfig, ComputeConfig, OptimizerConfig, PretrainConfig, RewardModelConfig, SFTConfig
from instructloop.core.files import write_json
from instructloop.core.records import Demonstration, Ranking, Text
from instructloop.core.seeds import stream
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer
from instructloop.training.pretrain import run_pretrain
from instructloop.training.reward_model import run_reward_model
from instructloop.training.sft import run_sft

FOLDER = Path(__file__).parent
RELATIVE, ABSOLUTE, ONE_PAIR = 2e-3, 2e-3, 0.02
ANIMALS = ["cat", "dog", "owl", "fox", "hen", "cow", "pig", "bee"]
DOCUMENTS = [Text(text=f"The {animal} has {number} legs. ") for number in range(2, 9) for animal in ANIMALS]
DEMONSTRATIONS = [Demonstration(prompt=f"Is {animal} {n}?", completion=f"{animal} is {n * n}.") for n in range(6) for animal in ANIMALS]
COMPUTE = ComputeConfig(device="cpu", micro_batch_tokens=256)
NEVER = CheckpointConfig(every_steps=10_000)


def rankings() -> list[Ranking]:
    """Later letters are better, with ties; K = 4..6."""
    rows = []
    for index in range(40):
        random = stream(0, "golden rankings", index)
        texts = sorted({"".join(random.choices("abcdefgh", k=4)) for _ in range(4 + index % 3)})
        rows.append(
            Ranking(prompt=f"{ANIMALS[index % 8]} {index}", completions=tuple(texts), ranks=tuple("hgfedcba".index(t[0]) for t in texts))
        )
    return rows


def pretrain(folder: Path) -> Path:
    tiny_tokenizer().save_pretrained(folder / "tokenizer")
    cfg = PretrainConfig(
        tokenizer=str(folder / "tokenizer"),
        hidden_size=32,
        layers=2,
        intermediate_size=64,
        context_tokens=32,
        steps=40,
        batch_tokens=256,
        evaluate_every=10,
        optimizer=OptimizerConfig(lr=5e-3, warmup_steps=5),
        compute=COMPUTE,
        checkpoint=NEVER,
    )
    return run_pretrain(cfg, folder / "run", documents=DOCUMENTS, validation=DOCUMENTS[:16])


def sft(folder: Path) -> Path:
    model = save_tiny(str(folder / "base"), tiny_model(), tiny_tokenizer())
    cfg = SFTConfig(
        model=model,
        epochs=6,
        batch_size=8,
        pretrain_fraction=0.25,
        max_tokens=64,
        validation_fraction=0.2,
        optimizer=OptimizerConfig(lr=5e-3),
        compute=COMPUTE,
        checkpoint=NEVER,
    )
    return run_sft(cfg, folder / "run", demonstrations=DEMONSTRATIONS, pretrain_texts=DOCUMENTS)


def rm(folder: Path) -> Path:
    model = save_tiny(str(folder / "base"), tiny_model(), tiny_tokenizer())
    cfg = RewardModelConfig(
        model=model, epochs=8, batch_prompts=8, evaluate_every=8, optimizer=OptimizerConfig(lr=2e-3), compute=COMPUTE, checkpoint=NEVER
    )
    return run_reward_model(cfg, folder / "run", rankings=rankings())


@pytest.mark.parametrize("stage", [pretrain, sft, rm])
def test_a_short_curve_is_the_stored_one(stage: Callable[[Path], Path], tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (stage(tmp_path) / "metrics.jsonl").read_text().splitlines()]
    curve = [{name: round(value, 6) for name, value in row.items() if not name.endswith("grad_norm")} for row in rows]
    stored = FOLDER / f"curve_{stage.__name__}.json"
    if os.environ.get("INSTRUCTLOOP_UPDATE_GOLDEN") == "1":
        write_json(stored, curve)
    expected = json.loads(stored.read_text())
    assert [list(row) for row in curve] == [list(row) for row in expected]
    for row, before in zip(curve, expected, strict=True):
        for name, value in row.items():
            # one pair of about eighty may flip where rounding differs
            tolerance = ONE_PAIR if name.endswith("accuracy") else ABSOLUTE
            assert value == pytest.approx(before[name], rel=RELATIVE, abs=tolerance), f"{name} at step {row['step']}"
