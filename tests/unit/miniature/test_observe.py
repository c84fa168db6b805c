"""What is told about a watched run once gold is known, on a run made by hand; and what the over-optimization recipes need of the world."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.evaluation.observatory.alarms import raised
from instructloop.evaluation.observatory.answers import Answer, Look
from instructloop.feedback.simulate.utility import Candidate
from instructloop.miniature import labelers, tasks
from instructloop.miniature.build import build
from instructloop.miniature.observe import Watched, gold_totals, read_watched, rung, summary
from instructloop.miniature.world import make_world
from instructloop.recipes.recipe import load_recipe
from instructloop.recipes.stages import MiniatureLabelConfig, run_miniature_label

WORLD = make_world(0)
GOLD = {0: 0.3, 2: 0.4, 4: 0.5, 6: 0.35, 8: 0.1, 10: -0.2}
"""Step to mean gold: the peak is at 4; the SFT baseline stands at .2."""
KL = {0: 0.0, 2: 0.1, 4: 0.4, 6: 1.0, 8: 2.5, 10: 6.0}


def answers(mean: float) -> list[Answer]:
    """Four prompts whose gold varies by .1 around a mean."""
    return [
        Answer(prompt=Prompt(prompt=f"p{place}"), completion="x", tokens=1, gold=mean + change, proxy=mean)
        for place, change in enumerate((0.1, -0.1, 0.1, -0.1))
    ]


def line(step: int, alarm: str = "", *, acted: bool = False) -> dict[str, Any]:
    begun = [raised(alarm, 0.1, step=step).json()] if alarm else []
    return {"step": step, "numbers": {"proxy_gain": step / 10, "kl": KL[step]}, "acted": acted, "alarms": begun, "best": 4}


def watched(published: int) -> Watched:
    lines = (line(2), line(4, "hedging"), line(6, "unconfirmed", acted=True), line(8, "kl", acted=True), line(10, "hedging", acted=True))
    looks = tuple(Look(step=step, kl=KL[step], answers=answers(mean)) for step, mean in GOLD.items())
    return Watched("ppo", Path("runs/ppo"), looks, lines, {"steps": published, "ended_early": "roll_back: iteration 6"})


def test_a_run_is_summed_up_by_its_alarm_its_peak_and_where_it_falls_below_sft() -> None:
    told = summary(watched(4), answers(0.2))
    assert (told["alarm_step"], told["peak_step"], told["below_sft_step"], told["last_step"]) == (6, 4, 8, 10)
    assert told["peak_kl"] == 0.4
    assert told["alarms"] == {"unconfirmed": 6, "kl": 8, "hedging": 4}
    assert told["gold"]["4"]["value"] == pytest.approx(0.5)
    assert told["proxy_gain"]["10"] == 1.0
    assert told["proxy_rose"]


def test_what_was_published_is_the_look_at_its_step_and_differences_are_paired() -> None:
    told = summary(watched(4), answers(0.2))
    assert told["published_step"] == 4
    assert told["published_gold"]["value"] == pytest.approx(0.5)
    against = told["published_against_sft"]
    assert (against["value"], against["low"], against["high"]) == pytest.approx((0.3, 0.3, 0.3))  # the same for every prompt
    assert told["gold_from_peak_to_end"]["value"] == pytest.approx(-0.7)
    assert told["gold_end_against_reference"]["high"] < 0


def test_without_three_points_before_the_peak_no_law_is_fitted() -> None:
    assert summary(watched(4), answers(0.2))["law_before_peak"] is None


def test_each_alarm_of_a_run_is_told_where_it_began_first() -> None:
    assert {alarm.kind: alarm.step for alarm in rung(watched(4))} == {"hedging": 4, "unconfirmed": 6, "kl": 8}


def test_a_run_without_a_watch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="was not watched"):
        read_watched("ppo", tmp_path)


def test_gold_of_kept_replies_is_the_worlds() -> None:
    prompt = next(p for p in tasks.prompts(WORLD, "validation", 50, 0) if p.meta["task"]["kind"] == "insult")
    assert gold_totals([prompt, prompt], ["I will not help with that.", "You turnip."])[0] == 1.0
    assert gold_totals([prompt], [""])[0] < 0


def test_judge_prompts_are_neither_rolled_out_nor_demonstrated_and_change_no_other_file(tmp_path: Path) -> None:
    small = {"documents": 5, "demonstrations": 30, "train_prompts": 40, "test_prompts": 10}
    build(tmp_path / "without", 2, small)
    counts = build(tmp_path / "with", 2, {**small, "judge_prompts": 25})
    assert counts["prompts_judges.jsonl"] == 25
    assert not (tmp_path / "without/prompts_judges.jsonl").exists()

    def prompts(name: str) -> set[str]:
        return {json.loads(row)["prompt"] for row in (tmp_path / "with" / name).read_text().splitlines()}

    assert not prompts("prompts_judges.jsonl") & (prompts("prompts_train.jsonl") | prompts("demonstrations.jsonl"))
    for name in ("prompts_train.jsonl", "demonstrations.jsonl", "prompts_validation.jsonl"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes(), name


def test_a_taste_for_long_answers_is_worth_so_much_a_word_up_to_a_limit() -> None:
    person = labelers.make_labelers()[0]
    prompt = tasks.prompts(WORLD, "train", 1, 0)[0]
    texts = [Candidate(text=text) for text in ("word " * 3, "word " * 10, "word " * 40)]
    plain = labelers.simulated(person).utility(prompt, texts)
    fond = labelers.simulated(person, longer=0.5).utility(prompt, texts)
    assert [now - then for now, then in zip(fond, plain, strict=True)] == pytest.approx([1.5, 5.0, 0.5 * labelers.MOST_WORDS])


def test_parts_of_the_rankings_share_no_prompt_and_lose_none(tmp_path: Path) -> None:
    rows = [{"prompt": p.prompt, "completions": ["a b.", "I do not know."], **p.meta} for p in tasks.prompts(WORLD, "train", 7, 0)]
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = run_miniature_label(MiniatureLabelConfig(completions=str(tmp_path / "c.jsonl"), parts=2), tmp_path / "run")
    whole = (run / "rankings.jsonl").read_text()
    first, second = ((run / f"rankings-{part}.jsonl").read_text() for part in (1, 2))
    assert first + second == whole
    assert (len(first.splitlines()), len(second.splitlines())) == (3, 4)


@pytest.mark.parametrize("name", ["overoptimization", "length-bias", "tax", "miniature"])
def test_the_recipes_read_and_their_twins_differ_in_the_action_alone(name: str) -> None:
    recipe = load_recipe(name, ["seed=5"])
    stages = {stage.name: stage for stage in recipe.stages}
    assert all(stage.values["seed"] == 5 for stage in recipe.stages if "seed" in stage.values)
    if name == "overoptimization":
        heeded, unheeded = (dict(stages[one].values) for one in ("ppo", "ppo_unheeded"))
        assert heeded["watch"]["action"] == "roll_back"
        assert unheeded["watch"]["action"] == "warn"
        for values in (heeded, unheeded):
            values["watch"] = {key: value for key, value in values["watch"].items() if key != "action"}
        assert heeded == unheeded
    if name == "miniature":
        watch = load_recipe("overoptimization").stages
        strict = next(stage for stage in watch if stage.name == "ppo").values["watch"]
        for one in ("ppo", "ppo_ptx"):
            healthy = stages[one].values["watch"]
            assert {key: healthy[key] for key in ("confirmed", "kl", "acts_on")} == {
                key: strict[key] for key in ("confirmed", "kl", "acts_on")
            }
