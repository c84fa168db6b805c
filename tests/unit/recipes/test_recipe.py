"""Recipes: variables, references, overrides, order, and content addresses."""

from pathlib import Path

import pytest

from instructloop.core.errors import ConfigError
from instructloop.recipes import load_recipe, presets

RECIPE = """
name = "test"
[vars]
seed = 4
data = "demos.jsonl"
[stages.rm]
kind = "rm"
seed = "${seed}"
model = "@sft"
data = ["rankings.jsonl"]
[stages.sft]
kind = "sft"
seed = "${seed}"
model = "base"
data = "${data}"
[stages.sft.optimizer]
lr = 0.5
[stages.compare]
kind = "evaluate"
models = ["sft=@sft", "base=./base"]
prompts = "prompts.jsonl"
reward_model = "@rm"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(RECIPE)
    Path("base").mkdir()
    Path("base/config.json").write_text("{}")
    for name in ("demos", "rankings", "prompts"):
        Path(f"{name}.jsonl").write_text('{"x": 1}\n')
    return tmp_path


def test_stages_stand_behind_what_they_need(folder: Path) -> None:
    recipe = load_recipe("mine.toml")
    assert [(stage.name, stage.needs) for stage in recipe.stages] == [("sft", ()), ("rm", ("sft",)), ("compare", ("sft", "rm"))]


def test_variables_keep_their_type_and_references_become_paths(folder: Path) -> None:
    sft, rm, compare = load_recipe("mine.toml").stages
    assert sft.values["seed"] == 4
    assert sft.values["data"] == "demos.jsonl"
    assert rm.resolved(Path("out/stages"))["model"] == "out/stages/sft"
    assert compare.resolved(Path("out/stages"))["models"] == ["sft=out/stages/sft", "base=./base"]


def test_overrides_reach_variables_and_nested_fields(folder: Path) -> None:
    sft = load_recipe("mine.toml", ["seed=9", "sft.optimizer.lr=1e-3", "sft.select_by=validation_loss", "vars.data=other.jsonl"]).stages[0]
    assert (sft.values["seed"], sft.values["optimizer"]["lr"]) == (9, 1e-3)
    assert (sft.values["select_by"], sft.values["data"]) == ("validation_loss", "other.jsonl")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "sft"', 'kind = "sfd"', "unknown kind 'sfd'"),
        ("lr = 0.5", "rate = 0.5", "unknown key 'rate'"),
        ("lr = 0.5", "lr = -1", "optimizer.lr must be > 0"),
        ('"${data}"', '"${date}"', r"\$\{date\} is no variable"),
        ('model = "@sft"', 'model = "@sfd"', "refers to @sfd, which is no stage"),
        ('model = "base"', 'model = "@rm"', "in a circle"),
        ('name = "test"', 'nam = "test"', "unknown key 'nam'"),
        ('name = "test"', "jobs = 0", "jobs must be a whole number >= 1"),
    ],
)
def test_mistakes_in_a_recipe_are_named(folder: Path, old: str, new: str, message: str) -> None:
    Path("mine.toml").write_text(RECIPE.replace(old, new))
    with pytest.raises(ConfigError, match=message):
        load_recipe("mine.toml")


@pytest.mark.parametrize("item", ["sft.epochs", "sfd.epochs=2", "sede=3", "vars.sede=3"])
def test_an_override_that_fits_nothing_is_refused(folder: Path, item: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        load_recipe("mine.toml", [item])


def test_a_changed_setting_changes_its_stage_and_all_behind_it(folder: Path) -> None:
    before, after = load_recipe("mine.toml").keys(), load_recipe("mine.toml", ["rm.epochs=2"]).keys()
    assert [name for name in before if before[name] != after[name]] == ["rm", "compare"]


def test_changed_data_changes_the_key_and_a_moved_file_does_not(folder: Path) -> None:
    before = load_recipe("mine.toml").keys()
    Path("demos.jsonl").rename("moved.jsonl")
    assert load_recipe("mine.toml", ["data=moved.jsonl"]).keys() == before
    Path("moved.jsonl").write_text('{"x": 2}\n')
    after = load_recipe("mine.toml", ["data=moved.jsonl"]).keys()
    assert all(before[name] != after[name] for name in before)


def test_writing_out_a_default_changes_nothing(folder: Path) -> None:
    assert load_recipe("mine.toml", ["sft.batch_size=32"]).keys() == load_recipe("mine.toml").keys()


def test_a_missing_input_is_named_before_anything_runs(folder: Path) -> None:
    Path("demos.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"stage 'sft': data: no such file: demos\.jsonl"):
        load_recipe("mine.toml").keys()


@pytest.mark.parametrize("name", ["miniature", "laptop", "paper-1.3b"])
def test_the_presets_are_valid_and_described(name: str) -> None:
    assert presets()[name]
    recipe = load_recipe(name)
    assert recipe.stages[-1].kind.name == "report"


def test_the_paper_preset_holds_the_papers_numbers() -> None:
    """Spec C1, C6, D6, E4-E12, value by value."""
    stage = {item.name: item.kind.normal(item.values) for item in load_recipe("paper-1.3b").stages}
    assert (stage["sft"]["epochs"], stage["sft"]["dropout"], stage["sft"]["optimizer"]["lr"], stage["sft"]["batch_size"]) == (
        16,
        0.2,
        9.65e-6,
        32,
    )
    assert stage["sft"]["select_by"] == "rm_score"
    assert (stage["rl_init"]["epochs"], stage["rl_init"]["pretrain_fraction"], stage["rl_init"]["optimizer"]["lr"]) == (2, 0.1, 5e-6)
    assert (stage["rm"]["epochs"], stage["rm"]["batch_prompts"], stage["rm"]["optimizer"]["lr"]) == (1, 64, 9e-6)
    ppo = stage["ppo_ptx"]
    assert (ppo["batch_size"], ppo["minibatches"], ppo["inner_epochs"], ppo["steps"] * ppo["batch_size"]) == (512, 8, 1, 256_000)
    assert (ppo["beta"], ppo["ptx_coef"], ppo["ptx_per_episode"], ppo["ema_decay"], ppo["clip"], ppo["gamma"]) == (
        0.02,
        27.8,
        8,
        0.992,
        0.2,
        1.0,
    )
    assert ppo["optimizer"]["betas"] == [0.9, 0.95]
    assert (ppo["optimizer"]["schedule"], ppo["optimizer"]["warmup_steps"], ppo["optimizer"]["warmup_start"]) == ("constant", 10, 0.1)
    assert ppo["value_optimizer"]["lr"] == 9e-6


def test_an_unknown_preset_gets_a_suggestion() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("minature")
    assert "miniature" in str(caught.value.hint)
