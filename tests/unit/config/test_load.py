import ast
import inspect
import itertools
import textwrap
from pathlib import Path

import pytest

from instructloop.config import (
    CheckpointConfig,
    ComputeConfig,
    LoraConfig,
    OptimizerConfig,
    PPOConfig,
    PretrainConfig,
    RewardModelConfig,
    SamplingConfig,
    SFTConfig,
    from_command_line,
    from_mapping,
    load_toml,
    to_json,
)
from instructloop.core.errors import ConfigError

STAGES = [PretrainConfig, SFTConfig, RewardModelConfig, PPOConfig]


@pytest.mark.parametrize("stage", STAGES)
def test_a_configuration_survives_the_way_through_json(stage: type) -> None:
    assert from_mapping(stage, to_json(stage())) == stage()


@pytest.mark.parametrize("stage", [*STAGES, OptimizerConfig, SamplingConfig, LoraConfig, ComputeConfig, CheckpointConfig])
def test_every_field_has_a_docstring_which_is_its_help_text(stage: type) -> None:
    body = ast.parse(textwrap.dedent(inspect.getsource(stage))).body[0].body  # type: ignore[attr-defined]
    for field, following in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign):
            documented = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert documented, f"{stage.__name__}.{ast.unparse(field.target)} has no docstring"


def test_the_help_of_a_stage_shows_the_field_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        from_command_line(PPOConfig, ["--help"], prog="instructloop train ppo", description="")
    assert stopped.value.code == 0
    assert "Ratio clip c in PPO eq. 7" in capsys.readouterr().out


def test_a_misspelt_key_gets_a_suggestion_also_in_a_nested_table(tmp_path: Path) -> None:
    file = tmp_path / "ppo.toml"
    file.write_text("beta = 0.05\n[optimizer]\nlearning_rat = 1e-5\n")
    with pytest.raises(ConfigError, match=r"ppo.toml: optimizer: unknown key 'learning_rat'"):
        load_toml(PPOConfig, file)
    with pytest.raises(ConfigError, match="unknown key 'betta'") as caught:
        from_mapping(PPOConfig, {"betta": 1})
    assert caught.value.hint == "did you mean 'beta'?"


def test_a_value_of_the_wrong_type_is_named(tmp_path: Path) -> None:
    file = tmp_path / "sft.toml"
    file.write_text('epochs = "many"\n')
    with pytest.raises(ConfigError, match=r"sft.toml: epochs: .*integer.*'many'"):
        load_toml(SFTConfig, file)


def test_a_value_out_of_range_keeps_its_hint() -> None:
    with pytest.raises(ConfigError, match=r"ppo.clip must be in \(0, 1\), got 3") as caught:
        from_mapping(PPOConfig, {"clip": 3})
    assert caught.value.hint == "InstructGPT used 0.2"


def test_broken_toml_and_a_missing_file_are_clear(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("epochs = \n")
    with pytest.raises(ConfigError, match=r"bad.toml: .*line 1"):
        load_toml(SFTConfig, tmp_path / "bad.toml")
    with pytest.raises(ConfigError, match="no such file"):
        load_toml(SFTConfig, tmp_path / "none.toml")


def test_the_command_line_overrides_the_file_and_nested_fields_are_dotted() -> None:
    cfg = from_command_line(PPOConfig, ["--optimizer.lr", "5e-6"], prog="p", description="", default=PPOConfig(beta=0.1))
    assert (cfg.beta, cfg.optimizer.lr) == (0.1, 5e-6)


def test_truncated_sampling_is_refused_in_ppo() -> None:
    with pytest.raises(ConfigError, match="top_k, top_p or repetition_penalty"):
        from_mapping(PPOConfig, {"sampling": {"top_p": 0.9}})


def test_ptx_needs_pretraining_data() -> None:
    with pytest.raises(ConfigError, match="needs ppo.pretrain_data"):
        from_mapping(PPOConfig, {"ptx_coef": 0.5})


def test_selection_by_reward_model_needs_one() -> None:
    with pytest.raises(ConfigError, match="needs sft.reward_model"):
        from_mapping(SFTConfig, {"select_by": "rm_score"})
