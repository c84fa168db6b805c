"""The stage with a judge as voter, from the command line: refused, interrupted, resumed, compared with people."""

import json
from pathlib import Path
from typing import Any

import pytest

from instructloop.cli.main import main
from instructloop.core.errors import ConfigError, DataError
from instructloop.evaluation.judging import read_answers
from instructloop.runs import RunDir, parent
from instructloop.testing.judge_endpoint import JudgeEndpoint, Reply, judge_endpoint, prefers
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer


@pytest.fixture
def completions(tmp_path: Path) -> Path:
    file = tmp_path / "completions.jsonl"
    rows = [
        {"prompt": f"question {n}", "model": name, "completion": f"the {word} answer {n}", "use_case": "qa" if n % 2 else "chat"}
        for name, word in (("sft", "wrong"), ("ppo", "right"))
        for n in range(8)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def evaluate(endpoint: JudgeEndpoint, out: Path, *more: str) -> int:
    asked = ["--judge.url", endpoint.url, "--judge.model", "judge-1", "--judge.retries", "0", "--judge.workers", "1"]
    return main(["evaluate", "--out", str(out), *asked, "--bootstrap-samples", "200", *more])


def table(out: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((out / "eval/judge.json").read_text())
    return value


def test_a_judge_decides_over_completions_made_earlier(completions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    votes = tmp_path / "votes.jsonl"
    rows = [{"prompt": f"question {n}", "model_a": "sft", "model_b": "ppo", "winner": "a" if n == 0 else "b"} for n in range(8)]
    votes.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    with judge_endpoint(prefers("right")) as endpoint:
        assert evaluate(endpoint, out, "--completions", str(completions), "--votes", str(votes), "--baseline", "sft") == 0
        assert len(endpoint.seen) == 16
    found = table(out)
    assert (found["models"], found["wins"][0]["a"], found["wins"][0]["win_rate"]) == (["sft", "ppo"], "ppo", 1.0)
    assert found["judge"]["agreement_with_people"]["agreement"]["value"] == 7 / 8
    assert found["seen_prompts"]["n"] == 0
    assert (out / "eval/people.json").exists()
    assert len((out / "judgements.jsonl").read_text().splitlines()) == 16
    assert "judge-1" in capsys.readouterr().out


def test_a_biased_judge_ends_with_exit_2_and_resumes_accepted_without_a_further_question(
    completions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with judge_endpoint(lambda seen: "Verdict: A") as endpoint:
        assert evaluate(endpoint, out, "--completions", str(completions)) == 2
        said = capsys.readouterr().err
        assert "position-biased and its verdicts are refused" in said
        assert "wins 100% of 16 asks" in said
        assert not (out / "eval/judge.json").exists()
        assert evaluate(endpoint, out, "--completions", str(completions), "--resume", "--accept-biased-judge") == 0
        assert len(endpoint.seen) == 16
    assert table(out)["judge"]["position_bias"]["biased"] is True
    assert "accepted" in capsys.readouterr().out


def test_an_endpoint_that_dies_is_resumed_at_another_address_with_the_missing_questions(
    completions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with judge_endpoint(lambda seen: Reply(drop=True) if seen.number >= 5 else prefers("right")(seen)) as dying:
        assert evaluate(dying, out, "--completions", str(completions)) == 2
    assert "5 of 16 asks are answered and kept" in capsys.readouterr().err
    with judge_endpoint(prefers("right")) as healthy:
        assert evaluate(healthy, out, "--completions", str(completions), "--resume", "--judge.timeout-s", "7") == 0
        assert len(healthy.seen) == 11
    assert table(out)["wins"][0]["n"] == 8


def test_answers_of_models_are_kept_before_the_first_question_and_judged_on_resume(tmp_path: Path) -> None:
    model = save_tiny(str(tmp_path / "model"), tiny_model(seed=1), tiny_tokenizer())
    other = save_tiny(str(tmp_path / "other"), tiny_model(seed=2), tiny_tokenizer())
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "say a"}\n{"prompt": "say b"}\n')
    given = ["--models", f"one={model}", f"two={other}", "--prompts", str(prompts), "--sampling.max-new-tokens", "4"]
    out = tmp_path / "out"
    with judge_endpoint(lambda seen: Reply(drop=True)) as dying:
        assert evaluate(dying, out, *given) == 2
    file = out / "completions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 4
    file.write_text("".join(json.dumps({**row, "completion": f"{row['model']} kept"}) + "\n" for row in rows))
    with judge_endpoint(prefers("two")) as healthy:
        assert evaluate(healthy, out, *given, "--resume") == 0
        assert {text for seen in healthy.seen for text in (seen.fenced["answer A"], seen.fenced["answer B"])} == {"one kept", "two kept"}
    assert table(out)["wins"][0]["win_rate"] == 1.0


def test_a_judge_that_gives_marks_makes_mean_scores(completions: Path, tmp_path: Path) -> None:
    with judge_endpoint(lambda seen: "Score: 6" if "right" in seen.fenced["answer"] else "Score: 2/7") as endpoint:
        assert evaluate(endpoint, tmp_path / "out", "--completions", str(completions), "--judge.mode", "score") == 0
        assert len(endpoint.seen) == 16
    found = table(tmp_path / "out")
    assert (found["voter"], found["judge"]["marks"], found["judge"]["tokens"]["prompt"]) == ("judge judge-1", 16, 1600)
    assert {name: score["mean"] for name, score in found["scores"].items()} == {"sft": 2.0, "ppo": 6.0}
    assert found["wins"][0]["win_rate"] == 1.0


def test_an_answer_without_a_mark_ends_the_run_because_it_cannot_be_left_out_fairly(
    completions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judge_endpoint(lambda seen: "hm" if "right answer 3" in seen.fenced["answer"] else "5") as endpoint:
        assert evaluate(endpoint, tmp_path / "out", "--completions", str(completions), "--judge.mode", "score") == 2
    assert "1 of 16 answers have no mark" in capsys.readouterr().err


def test_nobody_is_asked_without_models_or_completions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judge_endpoint(prefers("right")) as endpoint:
        assert evaluate(endpoint, tmp_path / "out") == 2
    assert "needs models and prompts" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_completions_of_other_programs_are_numbered_by_prompt_and_draw(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    talk = [{"role": "user", "content": "hi"}]
    rows = [
        {"prompt": talk, "model": "a", "completion": "1"}, {"prompt": talk, "model": "a", "completion": "2"},
        {"prompt": talk, "model": "b", "completion": "3"}, {"prompt": "x", "model": "b", "completion": ""}, {"suite": "squadv2", "model": "a"},
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_answers(file).rows
    assert [(row["model"], row["prompt_id"], row["draw"]) for row in found] == [("a", 0, 0), ("a", 0, 1), ("b", 0, 0), ("b", 1, 0)]
    assert [row["model"] for row in read_answers(file, ["b"]).rows] == ["b", "b"]
    assert [row["completion"] for row in read_answers(file, limit=1).rows] == ["1", "2", "3"]
    with pytest.raises(ConfigError, match="no completions of 'c'"):
        read_answers(file, ["c"])
    file.write_text('{"prompt": "x", "model": "a"}\n')
    with pytest.raises(DataError, match="completion: missing"):
        read_answers(file)


def test_seen_prompts_stop_the_run_before_it_begins_and_stand_in_the_table_when_allowed(
    completions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "demonstrations.jsonl"
    data.write_text('{"prompt": "Question 3", "completion": "x"}\n')
    with RunDir.open(tmp_path / "sft", stage="sft", config={}, parents=[parent("demonstrations", data)]) as run:
        run.publish("model", lambda path: (path / "config.json").write_text("{}"))
    given = ["--completions", str(completions), "--models", f"sft={run.path}", f"ppo={run.path}"]
    out = tmp_path / "out"
    with judge_endpoint(prefers("right")) as endpoint:
        assert evaluate(endpoint, out, *given) == 2
        assert "1 of 8 test prompts are not held out (1 trained on" in capsys.readouterr().err
        assert endpoint.seen == []
        assert not out.exists()
        assert evaluate(endpoint, out, *given, "--allow-seen-prompts") == 0
    assert (table(out)["seen_prompts"]["n"], table(out)["seen_prompts"]["by"][0]["use"]) == (1, "training")
    assert "Not held out" in capsys.readouterr().out
