"""What is read from a run directory."""

import pytest

from instructloop.core.errors import CheckpointError
from instructloop.evaluation.observatory.readings import RunFiles, stages_of

ROW = {"prompt": "p", "meta": {"known": True}, "completion": "a b", "tokens": 3, "ended": False, "proxy": 1.5, "held_out": [0.5, 2.0]}


def test_the_kl_of_a_look_is_what_the_next_rollouts_measure(make_run) -> None:
    metrics = [{"step": step, "ppo/kl": step / 10, "ppo/reward": 1.0} for step in (1, 2, 3)]
    run = RunFiles.read(make_run(metrics=metrics, watch={0: [ROW], 2: [ROW], 3: [ROW]}))
    assert [(look.step, look.kl) for look in run.looks] == [(0, 0.0), (2, 0.3), (3, 0.3)]  # nothing follows the last iteration


def test_kl_measured_on_the_replies_themselves_goes_first(make_run) -> None:
    run = RunFiles.read(make_run(metrics=[{"step": 1, "ppo/kl": 9.0}], watch={0: [ROW], 1: [{**ROW, "kl": 2.0}, {**ROW, "kl": 4.0}]}))
    assert run.looks[1].kl == 3.0


def test_a_watch_row_keeps_every_field(make_run) -> None:
    (only,) = RunFiles.read(make_run(watch={0: [ROW]})).looks[0].answers
    assert (only.completion, only.tokens, only.ended, only.proxy, only.held_out) == ("a b", 3, False, 1.5, (0.5, 2.0))
    assert only.prompt.meta == {"known": True}
    assert {name: value for name, value in only.json().items() if name != "kl"} == ROW


def test_a_conversation_is_read_as_one(make_run) -> None:
    turns = [{"role": "user", "content": "Hi"}]
    (only,) = RunFiles.read(make_run(watch={0: [{**ROW, "prompt": turns}]})).looks[0].answers
    assert only.key == "user: Hi"
    assert only.json()["prompt"] == turns


def test_a_pipeline_is_inspected_reward_models_first(make_run, tmp_path) -> None:
    for name, stage in (("a_ppo", "ppo"), ("b_rm", "rm"), ("c_sft", "sft")):
        make_run(f"stages/{name}", stage=stage)
    assert [place.name for place in stages_of(tmp_path)] == ["b_rm", "a_ppo"]
    assert stages_of(tmp_path / "stages" / "b_rm") == [tmp_path / "stages" / "b_rm"]
    with pytest.raises(CheckpointError, match="a run of stage 'sft'"):
        stages_of(tmp_path / "stages" / "c_sft")


def test_a_folder_that_is_neither_is_refused(tmp_path) -> None:
    with pytest.raises(CheckpointError, match="neither a run nor a pipeline"):
        stages_of(tmp_path)
    with pytest.raises(CheckpointError, match="no run directory"):
        RunFiles.read(tmp_path)


def test_a_reward_for_one_group_or_without_a_model_is_not_asked_again(make_run) -> None:
    learned = make_run("one", config={"reward": {"name": "model", "args": {"path": "gone"}}})
    rule = make_run("two", config={"reward": {"name": "length_band", "args": {}}})
    assert RunFiles.read(learned).reward_model is None
    assert RunFiles.read(rule).reward_model is None
