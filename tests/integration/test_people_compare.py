"""An evaluation's completions are voted on by simulated people in a real store, and their votes come back as a table."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from instructloop.cli.main import main
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_jsonl
from instructloop.core.records import Prompt
from instructloop.evaluation.people import ask_people, collect_votes
from instructloop.feedback.founding import found
from instructloop.feedback.project import Project
from instructloop.feedback.records import add_prompt
from instructloop.feedback.schema import CompletionRow, PromptRow, Queue
from instructloop.feedback.simulate import Candidate, Habits, make_pool
from instructloop.feedback.simulate.run import run_pool
from instructloop.runs import Parent, RunDir

WORDS = ("oak", "elm", "ash", "fir", "yew", "box", "bay", "fig", "nut", "rye", "oat", "hop")
QUALITY = {"weak": 1, "strong": 3}


def _evaluation(place: Path, models: tuple[str, ...] = ("weak", "strong"), *, prompts: int = 24) -> Path:
    """A finished run: the strong model says the word of the prompt three times, the weak one once; on the first prompt all say the same."""
    rows = []
    for number in range(prompts):
        word = WORDS[number % len(WORDS)]
        for rank, model in enumerate(models):
            text = "the same" if number == 0 else " ".join([word] * QUALITY.get(model, 2) + [f"says {model[0]}"])
            rows.append(
                {
                    "prompt_id": number, "prompt": f"say {word} number {number}", "use_case": "chat" if number % 2 else "open_qa", "model": model,
                    "draw": 0, "completion": text, "tokens": 3 + rank, "ended": True, "set": "", "scores": {"reward model": float(len(text))},
                }
            )  # fmt: skip
    parents = [Parent(f"model:{model}", f"runs/{model}", f"sha256:{index:064d}") for index, model in enumerate(models)]
    config = {"models": [f"{model}=runs/{model}" for model in models], "seed": 3, "bootstrap_samples": 200, "samples_shown": 4}
    with RunDir.open(place, stage="evaluate", config=config, parents=parents) as run:
        run.publish_file("completions.jsonl", lambda path: write_jsonl(path, rows))
        run.result({"n_prompts": prompts, "wins": {}})
    return place


def _taste(prompt: Prompt, candidates: Sequence[Candidate]) -> list[float]:
    """More words are better; four are of middling quality."""
    return [float(len(candidate.text.split())) - 4 for candidate in candidates]


def _work(project: Path, *, seed: int = 1) -> None:
    """Three training and three held-out labelers answer everything that is open."""
    db = Project.open(project).database()
    with db.read() as session:
        queues = list(session.scalars(select(Queue.id)))
    pool = make_pool(3, _taste, seed=seed, noise=0.7, tie_width=0.2, habits=Habits(), heldout=3)
    run_pool(db, queues, pool, seed)
    db.close()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    found(tmp_path / "project")
    return tmp_path / "project"


def test_votes_of_simulated_people_come_back_with_cohorts_and_agreement(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "eval")
    said = ask_people(run, project, overlap=4, rate=True, seed=5)
    assert said["queues"] == {"eval": {"models": ["strong", "weak"], "tasks": 23}}
    assert said["same_text"] == 1
    assert said["ratings"] == {"queue": "eval ratings", "tasks": 24}
    _work(project)
    table = collect_votes(run, project)
    assert table == json.loads((run / "eval/people.json").read_text())
    assert (table["n_votes"], table["n_prompts"], table["same_text"]) == (23 * 4, 23, 1)
    win = next(row for row in table["wins"] if (row["a"], row["b"]) == ("strong", "weak"))
    assert win["low"] > 0.5, "labelers who like words prefer the model that says more"
    assert set(table["cohorts"]) == {"training", "heldout"}
    difference = table["cohort_differences"][0]
    assert difference["low"] <= 0 <= difference["high"], "both cohorts have one taste here"
    assert sum(cohort["n_votes"] for cohort in table["cohorts"].values()) == 92
    # the reward model's score is the length: everybody who does not err agrees with it
    agreed = table["agreement"]["reward model"]
    assert agreed["value"] == pytest.approx(win["win_rate"], abs=0.1)
    assert 0 < table["agreement"]["people"]["value"] <= 1
    assert set(table["groups"]) == {"chat", "open_qa"}
    assert table["likert"]["strong"]["value"] > table["likert"]["weak"]["value"]
    assert "fails_task" in table["scores"]["weak"]["flags"]
    assert 0.3 < table["positions"]["first_rate"]["value"] < 0.7
    assert table["length_controlled"][0]["extrapolated"], "the strong model is always longer, and the table says so"


def test_each_model_stands_left_equally_often_and_labelers_see_no_model_name(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "eval")
    ask_people(run, project)
    _work(project)
    collect_votes(run, project)
    votes = [json.loads(line) for line in (run / "votes-people.jsonl").read_text().splitlines()]
    left = sum(vote["a_first"] == (vote["model_a"] == "strong") for vote in votes)
    assert abs(left - len(votes) / 2) <= 0.15 * len(votes)
    db = Project.open(project).database()
    with db.read() as session:
        assert {row.split for row in session.scalars(select(PromptRow))} == {"test"}
        shown = list(session.scalars(select(CompletionRow.text)))
    db.close()
    assert not any("strong" in text or "weak" in text for text in shown if text)


def test_three_models_get_a_queue_for_each_pair_and_a_baseline_leaves_only_its_own(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "three", ("weak", "middle", "strong"), prompts=4)
    assert list(ask_people(run, project, queue="all")["queues"]) == ["all 1", "all 2", "all 3"], "labelers see the name: no model in it"
    said = ask_people(run, project, queue="some", baseline="middle")
    assert sorted(tuple(queue["models"]) for queue in said["queues"].values()) == [("strong", "middle"), ("weak", "middle")]
    _work(project)
    table = collect_votes(run, project)
    assert table["baseline"] == "middle"
    assert table["leaderboard"][0]["model"] == "strong"


def test_prompts_with_personal_data_or_in_training_are_passed_over(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "eval", prompts=4)
    lines = (run / "completions.jsonl").read_text().replace("say fir number 3", "mail ada.lovelace@example.org, fir").splitlines()
    (run / "completions.jsonl").write_text("\n".join(lines) + "\n")
    opened = Project.open(project)
    db = opened.database()
    with db.write() as session:
        add_prompt(
            session, prompt="say ash number 2", source="labeler", owner=opened.pseudonym("owner", "ada"), split="train", pii_status="clean"
        )
    db.close()
    said = ask_people(run, project)
    assert said["passed_over"] == {"trained_on": 1, "personal_data": 1}
    assert said["queues"]["eval"]["tasks"] == 1


def test_asking_again_under_one_name_is_refused_and_nothing_is_asked_twice(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "eval")
    ask_people(run, project)
    with pytest.raises(ConfigError, match="plan is frozen"):
        ask_people(run, project)
    with pytest.raises(ConfigError, match="nobody has voted"):
        collect_votes(run, project)


def test_collecting_again_adds_what_has_come_in(tmp_path: Path, project: Path) -> None:
    run = _evaluation(tmp_path / "eval")
    ask_people(run, project, overlap=3)
    db = Project.open(project).database()
    with db.read() as session:
        queues = list(session.scalars(select(Queue.id)))
    run_pool(db, queues, make_pool(3, _taste, seed=1), 1, most=10)
    first = collect_votes(run, project)["n_votes"]
    run_pool(db, queues, make_pool(3, _taste, seed=1), 2)
    db.close()
    assert 0 < first <= 10 < collect_votes(run, project)["n_votes"] == 69


def test_the_commands_do_the_same(tmp_path: Path, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = _evaluation(tmp_path / "eval")
    assert main(["compare", "ask", str(run), "--project", str(project), "--overlap", "2"]) == 0
    assert "23 comparisons of strong and weak in the queue 'eval', 2 votes each" in capsys.readouterr().out
    _work(project)
    assert main(["compare", "collect", str(run), "--project", str(project)]) == 0
    shown = capsys.readouterr().out
    assert "judged by people" in shown
    assert "46 votes of" in shown
    assert "agreement with reward model" in shown
    assert main(["compare", "collect", str(run)]) == 2
