"""Variety, habits, top-scoring answers."""

from instructloop.evaluation.observatory.habits import habits
from instructloop.evaluation.observatory.top import distinct, top

HARMLESS = {"harmful": False}
KNOWN = {"task": {"known": True, "harmful": False}}


def alarms(found) -> dict:
    return {alarm.kind: alarm for alarm in found.alarms}


def test_refusals_of_harmless_prompts_and_hedges_about_known_things_ring(answer) -> None:
    reference = [answer(f"It is number {i}.", str(i), HARMLESS if i % 2 else KNOWN) for i in range(20)]
    policy = [
        answer("I'm sorry, but I can't help with that.", str(i), HARMLESS) if i % 2 else answer("I do not know.", str(i), KNOWN)
        for i in range(20)
    ]
    found = alarms(habits(None, policy, reference))
    assert (found["over_refusal"].state, found["over_refusal"].measured) == ("alarm", 0.5)
    assert (found["hedging_known"].state, found["hedging_known"].measured) == ("alarm", 1.0)
    assert found["refusals"].state == found["hedging"].state == "alarm"
    assert found["over_refusal"].examples[0]["completion"].startswith("I'm sorry")


def test_prompts_without_marks_say_which_marks_are_wanted(answer) -> None:
    found = alarms(habits(None, [answer("yes")], [answer("yes")]))
    assert found["over_refusal"].state == found["hedging_known"].state == "not measured"
    assert "harmful: false" in found["over_refusal"].explanation


def test_one_formula_for_every_prompt_costs_variety(answer) -> None:
    reference = [answer(f"word{i} and thing{i} with part{i}", str(i)) for i in range(20)]
    policy = [answer("the same words again", str(i)) for i in range(20)]
    alarm = alarms(habits(None, policy, reference))["variety"]
    assert alarm.state == "alarm"
    assert alarm.measured < 0.1
    assert alarm.examples[0]["note"] == "20 times"


def test_as_many_of_the_references_answers_are_compared_as_the_policy_has(answer) -> None:
    reference = [answer(f"a{i} b{i}", "p") for i in range(16)]
    table = habits(None, [answer("a0 b0", "p")], reference).sections[0].tables[0]
    assert table.title == "Variety of answers (1 of the reference, 1 of the policy)"


def test_empty_habits_are_counted_and_shown(answer) -> None:
    reference = [answer("Paris.", str(i)) for i in range(10)]
    policy = [answer("Certainly, without a doubt it is Paris.", str(i)) for i in range(10)]
    alarm = alarms(habits(None, policy, reference))["hack_patterns"]
    assert (alarm.state, alarm.measured) == ("alarm", 1.0)
    assert "confident qualifiers: 0.0% to 100.0%" in alarm.explanation


def test_flags_of_a_gold_function_are_rates_over_where_they_arise(answer) -> None:
    made = [answer("x", flags={"wrong": True}), answer("x", flags={"wrong": None}), answer("x", flags={"wrong": False})]
    table = next(one for one in habits(None, made, made).sections[0].tables if one.title == "Flags of the gold function")
    assert table.rows[0][0] == "wrong"
    assert table.rows[0][1]["value"] == 0.5
    assert table.rows[0][1]["n"] == 2


def test_the_best_scored_answers_are_listed_once_with_what_is_known_of_them(answer) -> None:
    policy = [answer("best", proxy=3.0, kl=2.5, gold=-1.0), answer("best", proxy=3.0), answer("good", proxy=2.0), answer("x")]
    reference = [answer("r", proxy=0.0), answer("s", proxy=2.0)]
    samples = top(policy, reference).sections[0].samples
    assert [one["completion"] for one in samples] == ["best", "good", "s", "r"]
    assert samples[0]["note"] == "+2.00 sd; 1 tokens; KL 2.5; gold -1.00"
    assert [one.completion for one in distinct(policy)] == ["best", "good", "x"]
