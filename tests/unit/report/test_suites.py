"""The suites' table: differences are called better or worse only where chance would not do."""

from pathlib import Path

import pytest

from instructloop.core.files import write_json
from instructloop.report import render
from instructloop.report.read import read_story
from instructloop.report.suites import SuitesView, suite_tables
from instructloop.testing.examinations import suites_table


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_json(tmp_path / "status.json", {"status": "done", "seconds": 3.0})
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "evaluate", "config": {}})
    write_json(tmp_path / "eval/suites.json", suites_table())
    return tmp_path


@pytest.fixture
def view(run: Path) -> SuitesView:
    (found,) = suite_tables(read_story(run))
    return found


def test_rows_of_a_suite_stand_together_and_one_that_nobody_ran_apart(view: SuitesView) -> None:
    assert [(group.title, len(group.rows)) for group in view.groups] == [
        ("SQuADv2", 2),
        ("RealToxicityPrompts", 1),
        ("CrowS-Pairs", 1),
        ("HellaSwag", 1),
    ]
    assert view.missing == [("WMT15 Fr-En", "no file newstest2015.fr was found")]


def test_a_paired_difference_decides_where_there_is_one(view: SuitesView) -> None:
    change = view.groups[0].rows[0].results[1].change
    assert change is not None
    # 41.2 [36.8, 45.9] and 30.2 [25.9, 34.6]; paired -11.0 [-14.2, -7.7]
    assert (change.sign, change.text, change.word, change.interval) == ("\u25bc", "\u221211.0", "worse", "[\u221214.2, \u22127.70]")


def test_without_a_paired_one_the_intervals_must_not_touch(view: SuitesView) -> None:
    toxicity = view.groups[1].rows[0]
    # lower is better: 0.21 [0.19, 0.23] against 0.15 [0.13, 0.17]
    assert [result.change.word if result.change else None for result in toxicity.results] == [None, "better", "better", "better"]
    entropy = view.groups[2].rows[0]
    assert [result.change.word for result in entropy.results if result.change] == ["undecided"] * 3


def test_equal_numbers_are_no_difference(view: SuitesView) -> None:
    assert [result.change.text for result in view.groups[0].rows[1].results if result.change] == ["0", "0", "0"]


def test_what_could_not_run_says_why(view: SuitesView) -> None:
    hellaswag = view.groups[3].rows[0]
    assert hellaswag.results[0].not_run == "its context is too short"
    assert hellaswag.results[1].change is None, "there is nothing to differ from"


def test_n_signature_and_the_paper_s_figures_are_on_the_page(run: Path) -> None:
    page = render(run)
    for text in ("n 100 from 61", "squad-v2 official normalization", "GPT 175B", "69.75", "19.1\u202f%", "4 shots", "not run"):
        assert text in page


def test_what_computed_a_number_is_a_footnote_told_once(view: SuitesView) -> None:
    assert view.footnotes == ["squad-v2 official normalization, best of the references", "local classifier 3a91"]
    assert [list(row.marks) for group in view.groups for row in group.rows] == [[1], [], [2], [], []]


def test_a_run_of_suites_alone_says_in_its_headline_who_was_asked_what(run: Path) -> None:
    assert '<p class="headline">base, sft, ppo, ppo-ptx on 4 public suites.</p>' in render(run)


def test_a_row_that_is_empty_does_not_break_the_page(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"schema_version": 1, "stage": "evaluate", "config": {}})
    write_json(
        tmp_path / "eval/suites.json",
        {"kind": "suites", "models": ["a"], "rows": [{"suite": "x"}, {"suite": "y", "results": {"a": {"value": 1.0, "n": 3}}}]},
    )
    (found,) = suite_tables(read_story(tmp_path))
    assert found.missing == [("x", "no result")]
    assert [group.title for group in found.groups] == ["y"]
    assert "Public suites" in render(tmp_path)
