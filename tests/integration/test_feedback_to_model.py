"""From a project to a reward model and back: prompts, samples, simulated labelers, snapshot, training, lineage, verification."""

import json
import logging
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.config import RewardModelConfig, SampleConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.files import read_json
from instructloop.feedback.founding import found
from instructloop.feedback.project import Project
from instructloop.feedback.records import add_prompt
from instructloop.feedback.schema import CompletionRow, Evaluation, EvaluationPair, Task, TaskItem
from instructloop.feedback.snapshots import newest
from instructloop.recipes.from_project import with_snapshots
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer

WORDS = ["tea", "boat", "fern", "lamp", "rope", "salt", "mill", "kite", "nest", "drum"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(str(tmp_path_factory.mktemp("model") / "sft"), tiny_model("llama", context=64), tiny_tokenizer())


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = found(tmp_path / "project")
    db = made.database()
    with db.write() as session:
        for number, word in enumerate(WORDS * 3):
            owner = made.pseudonym("owner", f"o{number % 6}")
            split = "valid" if number % 6 == 5 else "train"
            prompt = f"{number} what is {word}?"
            add_prompt(session, prompt=prompt, source="dataset", owner=owner, split=split, pii_status="clean", use_case="open_qa")
        add_prompt(session, prompt="call 555-0100", source="dataset", owner="sha256:x", split="train", pii_status="quarantined")
    db.close()
    return made


def sample(project: Project, model: str, out: Path, *more: str) -> int:
    fast = ["--sampling.max-new-tokens", "6", "--compute.device", "cpu"]
    return main(["sample", "--models", model, "--project", str(project.path), "--out", str(out), *fast, *more])


def rm(model: str, data: str, out: Path, *more: str) -> int:
    fast = ["--batch-prompts", "8", "--max-steps", "3", "--compute.device", "cpu"]
    return main(["train", "rm", "--model", model, "--data", data, "--out", str(out), *fast, *more])


def test_the_whole_way_from_prompts_to_a_reward_model_and_back(
    project: Project, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    place = str(project.path)
    assert sample(project, model, tmp_path / "sample", "--max-completions", "5") == 0
    result = read_json(tmp_path / "sample/result.json")
    # 25 of the 30 prompts belong to owners of the training split; the quarantined one is passed over and said to be
    assert result["tasks"] == result["prompts"] == 25
    assert result["passed_over"] == {"personal_data_quarantined": 1}
    assert set(result["by_k"]) <= {"4", "5"}

    assert main(["rehearse", place, "--in-place", "--labelers", "4", "--heldout", "2", "--utility", "length", "--seed", "3"]) == 0
    said = capsys.readouterr().out
    assert "by 6 simulated labelers" in said

    caplog.set_level(logging.INFO, "instructloop")
    assert rm(model, place, tmp_path / "rm") == 0
    assert "made the snapshot" in caplog.text
    snapshot = next(
        folder for folder in project.snapshots.iterdir() if read_json(folder / "manifest.json")["selection"]["purpose"] == "training"
    )
    told = read_json(tmp_path / "rm/result.json")
    rows = [json.loads(line) for line in (snapshot / "rankings.jsonl").read_text().splitlines()]
    assert {row["cohort"] for row in rows} == {"training"}
    assert told["prompts"] <= len(rows)
    # those of the held-out cohort only measure
    assert set(told["held_out_labelers"]["by_cohort"]) == {"heldout"}
    assert {"S005", "S006"} >= set(told["held_out_labelers"]["by_labeler"])

    capsys.readouterr()
    assert main(["lineage", str(tmp_path / "rm")]) == 0
    tree = capsys.readouterr().out
    assert "(snapshot)" in tree
    assert all(f"{code} (training, simulated" in tree for code in {row["labeler"] for row in rows})
    assert "default@1 (training, " in tree
    assert "completions: " in tree, "down to the model whose completions were ranked"
    assert main(["verify", str(tmp_path / "rm")]) == 0

    caplog.clear()
    assert rm(model, place, tmp_path / "again") == 0
    assert "is up to date" in caplog.text

    file = snapshot / "rankings.jsonl"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))
    capsys.readouterr()
    assert main(["verify", str(tmp_path / "rm")]) == 3
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("changed")]
    assert any(line.endswith("rankings.jsonl") for line in lines)


def test_sampling_again_goes_on_with_prompts_that_are_not_in_the_queue(project: Project, model: str, tmp_path: Path) -> None:
    assert sample(project, model, tmp_path / "one", "--limit", "10", "--per-owner", "4") == 0
    assert sample(project, model, tmp_path / "two", "--per-owner", "4", "--seed", "0") == 0
    first, second = (read_json(tmp_path / name / "result.json") for name in ("one", "two"))
    # 5 owners with at most 4 prompts each in the queue
    assert first["tasks"] == 10
    assert second["tasks"] == 10
    assert second["passed_over"]["in_the_queue_already"] == 10
    assert second["passed_over"]["over_the_owner_cap"] == 5
    assert sample(project, model, tmp_path / "three", "--per-owner", "4") == 2


def test_k_follows_the_given_distribution(project: Project, model: str, tmp_path: Path) -> None:
    assert sample(project, model, tmp_path / "s", "--min-completions", "3", "--max-completions", "5", "--k-weights", "0", "1", "0") == 0
    assert set(read_json(tmp_path / "s/result.json")["by_k"]) == {"4"}


def test_every_completion_keeps_what_is_needed_to_draw_it_again(project: Project, model: str, tmp_path: Path) -> None:
    assert sample(project, model, tmp_path / "s", "--limit", "3") == 0
    db = project.database()
    with db.read() as session:
        rows = session.query(CompletionRow).all()
    db.close()
    assert len(rows) >= 12
    assert all(row.checkpoint_id and row.sampling["seed"] and row.sampling["engine"] == "torch" for row in rows)
    assert all(row.finish_reason in {"stop", "length"} and 1 <= row.tokens <= 6 for row in rows)
    assert len({(row.prompt_id, row.draw) for row in rows}) == len(rows)


def test_a_comparison_is_frozen_balanced_and_never_training_data(project: Project, model: str, tmp_path: Path) -> None:
    other = save_tiny(str(tmp_path / "other"), tiny_model("llama", context=64, seed=1), tiny_tokenizer())
    arguments = ["sample", "--models", model, other, "--project", str(project.path), "--pairwise", "--queue", "sft-v-other"]
    fast = ["--sampling.max-new-tokens", "6", "--compute.device", "cpu"]
    assert main([*arguments, "--out", str(tmp_path / "d"), *fast]) == 0
    db = project.database()
    with db.read() as session:
        evaluation = session.query(Evaluation).one()
        pairs = session.query(EvaluationPair).count()
        first = (
            session.query(CompletionRow.checkpoint_id)
            .join(TaskItem, TaskItem.completion_id == CompletionRow.id)
            .filter(TaskItem.slot == 0)
            .all()
        )
        tasks = session.query(Task).count()
    db.close()
    assert evaluation.frozen_at is not None
    assert pairs == tasks == len(first)
    left = sum(row[0] == evaluation.plan["checkpoints"][0] for row in first)
    assert abs(2 * left - tasks) <= 1
    assert main(["rehearse", str(project.path), "--in-place", "--labelers", "3", "--utility", "length"]) == 0
    assert main(["snapshot", str(project.path)]) == 2, "votes of an evaluation are no training data"
    assert main([*arguments, "--out", str(tmp_path / "e"), *fast, "--split", "valid"]) == 2, "the plan is frozen"
    votes = tmp_path / "votes"
    assert main(["feedback", "export", str(project.path), "--purpose", "evaluation", "--out", str(votes)]) == 0
    assert main(["evaluate", "--votes", str(votes / "votes.jsonl"), "--out", str(tmp_path / "eval")]) == 0
    table = read_json(tmp_path / "eval/eval/people.json")
    assert set(table["models"]) == {model, other}


def test_a_rehearsal_leaves_the_project_as_it_is(project: Project, model: str, tmp_path: Path) -> None:
    assert sample(project, model, tmp_path / "s") == 0
    before = (project.path / "feedback.sqlite3").read_bytes()
    copy = tmp_path / "rehearsal"
    assert main(["rehearse", str(project.path), "--out", str(copy), "--labelers", "3", "--utility", "length", "--json"]) == 0
    assert (project.path / "feedback.sqlite3").read_bytes() == before
    assert (copy / "secret.key").stat().st_mode & 0o077 == 0
    assert main(["snapshot", str(copy)]) == 0
    assert newest(Project.open(copy)).manifest["labelers"][0]["kind"] == "simulated"
    assert main(["rehearse", str(project.path)]) == 2, "somewhere, or in place: that must be said"


def test_a_project_without_answers_says_what_is_missing(project: Project, model: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing for a snapshot"):
        with_snapshots(RewardModelConfig(model=model, data=(str(project.path),)), tmp_path / "rm")
    with pytest.raises(ConfigError, match=r"needs sample\.project"):
        SampleConfig(pairwise=True)
