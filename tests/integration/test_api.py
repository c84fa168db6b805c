"""The Python face: the whole loop on lists, in one notebook cell's worth of code."""

from pathlib import Path

import pytest

import instructloop
from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.files import read_json
from instructloop.core.records import Demonstration
from instructloop.runs import Verdict, verify
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

TINY = {"max_new_tokens": 6}


@pytest.fixture
def base(tmp_path: Path) -> str:
    return save_tiny(str(tmp_path / "base"), tiny_model(), tiny_tokenizer())


def test_the_loop_runs_on_lists_and_functions(base: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"say {n}", "completion": f"yes {n}"} for n in range(8)]
    sft = instructloop.sft(model=base, data=rows, out=tmp_path / "sft", epochs=1, validation_fraction=0.0)
    ranked = [{"prompt": f"ask {n}", "completions": ["a", "bb", "ccc"], "ranks": [2, 1, 0]} for n in range(4)]
    rm = instructloop.reward_model(model=sft, data=ranked, out=tmp_path / "rm", validation_fraction=0.0)
    prompts = [f"ask {n}" for n in range(4)]
    small = {"steps": 1, "batch_size": 4, "minibatches": 1, "sampling": TINY}
    learned = instructloop.ppo(model=sft, prompts=prompts, reward=rm, out=tmp_path / "ppo", **small)

    def shortness(prompts: list[str], completions: list[str]) -> list[float]:
        return [-float(len(text)) for text in completions]

    ptx = instructloop.ppo(
        model=sft,
        prompts=prompts,
        reward=shortness,
        out=tmp_path / "ptx",
        pretrain_data=["some text " * 20],
        ptx_coef=0.5,
        ptx_tokens=16,
        **small,
    )
    models = {"sft": sft, "ppo": learned, "ptx": ptx}
    with pytest.raises(ConfigError, match="4 of 4 test prompts are not held out"):
        instructloop.evaluate(models, prompts, shortness, sampling=TINY, samples=100)
    table = instructloop.evaluate(models, [f"tell {n}" for n in range(4)], shortness, sampling=TINY, samples=100)
    assert table["models"] == ["sft", "ppo", "ptx"]
    assert {row["n"] for row in table["wins"]} == {4}
    assert all(finding.verdict is Verdict.SAME for finding in verify(learned))
    first = instructloop.sample(sft, prompts, n=2, seed=3, **TINY)
    assert [len(texts) for texts in first] == [2, 2, 2, 2]
    assert instructloop.sample(sft, prompts, n=2, seed=3, **TINY) == first


def test_records_and_dictionaries_give_the_same_model(base: str, tmp_path: Path) -> None:
    settings = {"epochs": 1, "validation_fraction": 0.0}
    instructloop.sft(model=base, data=[{"prompt": "a", "completion": "b"}], out=tmp_path / "one", **settings)
    instructloop.sft(model=base, data=[Demonstration(prompt="a", completion="b")], out=tmp_path / "two", **settings)
    assert (tmp_path / "one/metrics.jsonl").read_text() == (tmp_path / "two/metrics.jsonl").read_text()


def test_a_second_call_does_not_touch_the_inputs_of_a_run(base: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    instructloop.sft(model=base, data=[{"prompt": "a", "completion": "b"}], out=out, epochs=1, validation_fraction=0.0)
    with pytest.raises(CheckpointError, match="already holds a run"):
        instructloop.sft(model=base, data=[{"prompt": "other", "completion": "x"}], out=out, epochs=1, validation_fraction=0.0)
    assert "other" not in (out / "inputs/data.jsonl").read_text()
    assert read_json(out / "status.json")["status"] == "done"


def test_a_misspelt_setting_is_named_with_the_right_one(base: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="sft: unknown key 'epoch'") as caught:
        instructloop.sft(model=base, data=[{"prompt": "a", "completion": "b"}], out=tmp_path / "run", epoch=1)
    assert "epochs" in str(caught.value.hint)


def test_the_package_says_what_it_does_not_have() -> None:
    with pytest.raises(AttributeError, match="no attribute 'dpo'"):
        _ = instructloop.dpo
    assert {"sft", "reward_model", "ppo", "evaluate", "sample"} <= set(dir(instructloop))
