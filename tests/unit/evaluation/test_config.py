"""Configuration of the stage."""

import pytest

from instructloop.config import EvaluationConfig, from_mapping, to_json
from instructloop.core.errors import ConfigError


def test_a_bare_path_is_called_by_its_last_part() -> None:
    cfg = EvaluationConfig(models=("runs/sft", "ours=runs/ppo"))
    assert cfg.named_models == (("sft", "runs/sft"), ("ours", "runs/ppo"))


def test_the_configuration_loads_back_equal() -> None:
    cfg = EvaluationConfig(models=("a=b",), few_shot=("a=t.txt",), sets=("free=f.jsonl",), limit=3)
    assert from_mapping(EvaluationConfig, to_json(cfg)) == cfg


@pytest.mark.parametrize(
    "values",
    [
        {"models": ("a=b", "a=c")},
        {"models": ("a=b",), "few_shot": ("c=t.txt",)},
        {"models": ("a=b",), "reference": "c"},
        {"models": ("=b",)},
        {"limit": -1},
        {"completions_per_prompt": 0},
        {"bootstrap_samples": 10},
        {"samples_shown": -1},
    ],
)
def test_nonsense_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        EvaluationConfig(**values)  # type: ignore[arg-type]
