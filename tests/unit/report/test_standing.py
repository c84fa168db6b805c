"""What a comparison says beyond win rates, and the warnings that belong to it."""

from pathlib import Path

from instructloop.core.files import write_json
from instructloop.report import render
from instructloop.report.compare import comparisons, palette
from instructloop.report.read import read_story
from instructloop.report.standing import Standing, standing
from instructloop.testing.examinations import people_comparison


def shown(row: dict[str, object]) -> Standing:
    models = ["sft", "ppo"]
    return standing(row, models, palette(models))


def test_a_table_with_none_of_the_optional_parts_shows_none() -> None:
    bare = shown({"models": ["sft", "ppo"], "wins": []})
    assert not any(
        (bare.warnings, bare.voter, bare.leaderboard, bare.controlled, bare.both_bad, bare.both_bad_pairs, bare.cohorts, bare.likert)
    )


def test_a_win_rate_at_equal_length_stands_beside_the_raw_one() -> None:
    (one,) = shown(people_comparison()).controlled
    assert (one.bar.label, one.bar.against, one.bar.estimate.text(), one.raw, one.bar.note) == (
        "ppo",
        "sft",
        "53.0\u202f%",
        "62.0\u202f%",
        "undecided",
    )


def test_a_pair_stored_from_the_other_side_is_turned_round() -> None:
    table = people_comparison()
    table["length_controlled"] = [
        {"a": "sft", "b": "ppo", "win_rate": 0.3, "low": 0.2, "high": 0.45, "n": 300, "slope": 0.8, "extrapolated": True}
    ]
    (one,) = shown(table).controlled
    assert (one.bar.label, one.bar.estimate.text(), one.bar.estimate.interval(), one.bar.note) == (
        "ppo",
        "70.0\u202f%",
        "[55.0, 80.0]",
        "extrapolated",
    )


def test_the_labeler_whose_votes_move_a_win_rate_most_is_told_by_code() -> None:
    table = people_comparison()
    without = {"labeler": "L07", "win_rate": 0.57, "low": 0.5, "high": 0.64, "n": 250}
    table["labelers_matter"] = [
        {"a": "ppo", "b": "sft", "win_rate": 0.62, "low": 0.52, "high": 0.71, "n": 300, "labelers": 9, "without": without}
    ]
    assert shown(table).others == [("ppo over sft", "62.0\u202f% [52.0, 71.0], 9 labelers; without L07 57.0\u202f% [50.0, 64.0]")]


def test_by_use_case_a_corrected_test_decides_where_there_is_one(tmp_path: Path) -> None:
    win = {"a": "ppo", "b": "sft", "win_rate": 0.8, "low": 0.6, "high": 0.95, "n": 20, "clusters": 20, "ties": 0}
    groups = {
        "chat": {"wins": [{**win, "significant": False}]},
        "open_qa": {"wins": [{**win, "significant": True}]},
    }
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "evaluate", "config": {}})
    write_json(tmp_path / "eval/people.json", {**people_comparison(), "groups": groups})
    (view,) = comparisons(read_story(tmp_path))
    assert view.by_case is not None
    assert {bar.label: bar.note for bar in view.by_case.bars} == {"chat": "undecided", "open qa": "better"}
    assert "Holm" in view.by_case.note


def test_the_leaderboard_is_ordered_by_strength() -> None:
    table = people_comparison()
    table["leaderboard"].reverse()
    assert [(place.rank, place.bar.label, place.votes) for place in shown(table).leaderboard] == [
        ("1", "ppo", "300 votes"),
        ("2", "sft", "300 votes"),
    ]


def test_both_bad_is_read_in_its_new_and_its_old_form() -> None:
    found = shown(people_comparison())
    assert found.both_bad == "7.0\u202f% [4.0, 10.0], n 300"
    assert found.both_bad_pairs == [("ppo and sft", "7.0\u202f%")]
    assert shown({"both_bad": {"votes": 3, "share": 0.25, "n": 12}}).both_bad == "25.0\u202f%, n 12"


def test_cohorts_are_told_apart() -> None:
    training, heldout = shown(people_comparison()).cohorts
    assert (training.title, training.note) == ("Training labelers", "210 votes")
    assert (heldout.title, heldout.bars[0].estimate.text(), heldout.bars[0].note) == ("Held-out labelers", "57.0\u202f%", "undecided")


def test_ratings_are_on_their_own_scale_and_no_percentages() -> None:
    likert = shown(people_comparison()).likert
    assert likert is not None
    assert [bar.estimate.text() for bar in likert.bars] == ["4.10", "4.90"]


def test_a_judge_that_always_says_the_first_is_warned_of() -> None:
    found = shown(people_comparison(biased=True))
    assert "biased by position: it chose the answer shown first 100\u202f% of the time" in found.warnings[0]
    assert any("agrees with people is not known" in warning for warning in found.warnings)
    assert any("3 verdicts are missing" in warning for warning in found.warnings)


def test_a_fair_judge_shows_its_agreement_with_people() -> None:
    found = shown(people_comparison())
    assert not any("biased" in warning for warning in found.warnings)
    facts = dict(found.voter)
    assert facts["chose the answer shown first"].startswith("50.0\u202f%")
    assert facts["with people: agreement"] == "69.0\u202f% [61.0, 76.0] n 120"
    assert facts["with people: kappa"] == "0.380"


def test_how_held_out_labelers_differ_and_how_often_a_judge_ties_is_told() -> None:
    table = people_comparison()
    table["judge"]["tie_share"] = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 150}
    table["cohort_differences"] = [{"a": "ppo", "b": "sft", "value": -0.05, "low": -0.15, "high": 0.05, "n": 300}]
    facts = dict(shown(table).voter)
    assert facts["ties"] == "10.0\u202f% [5.0, 15.0]"
    assert facts["held-out minus training labelers: ppo over sft"] == "\u22125.0\u202f% [\u221215.0, 5.0]"


def test_all_of_it_is_on_the_page(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "evaluate", "config": {}})
    write_json(tmp_path / "eval/people.json", people_comparison(biased=True))
    page = render(tmp_path)
    for text in (
        "At equal length",
        "Leaderboard",
        "Overall quality",
        "Both answers bad",
        "Held-out labelers",
        "How far this voter can be trusted",
        "biased by position",
    ):
        assert text in page


def test_prompts_that_were_no_longer_held_out_are_the_first_warning() -> None:
    seen = {"n": 12, "of": 1000, "by": [{"use": "training", "where": "x", "n": 10}, {"use": "selection", "where": "y", "n": 3}]}
    (warning,) = shown({"seen_prompts": seen}).warnings
    assert warning.startswith("12 of 1\u202f000 test prompts were seen before the test (selection and training)")
    assert shown({"seen_prompts": {"n": 0, "of": 1000, "by": []}}).warnings == []


def test_agreement_of_people_with_other_voters_and_with_each_other_is_told() -> None:
    row = {
        "models": ["old", "new"],
        "wins": [],
        "agreement": {
            "reward_model": {"value": 0.56, "low": 0.478, "high": 0.637, "n": 323, "clusters": 40},
            "people": {"value": 0.732, "low": 0.677, "high": 0.785, "n": 306, "clusters": 40},
        },
    }
    facts = dict(standing(row, ["old", "new"], {"old": 0, "new": 1}).voter)
    assert facts["voted like reward model"].startswith("56.0")
    assert facts["voted like each other"].startswith("73.2")
