"""From a project to a reward model and back: prompts, samples, simulated labelers, snapshot, training, lineage, verification."""

import json
import logging
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.config import ComputeConfig, RewardModelConfig, SampleConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.files import read_json
from instructloop.core.records import Prompt, prompt_text
from instructloop.data import TokenSequence
from instructloop.feedback.founding import found
from instructloop.feedback.project import Project
from instructloop.feedback.queues import NewTask, add_tasks, create_queue
from instructloop.feedback.records import add_completion, add_prompt
from instructloop.feedback.schema import CompletionRow, Evaluation, EvaluationPair, PromptRow, Task, TaskItem
from instructloop.feedback.simulate import make_pool, utility_of
from instructloop.feedback.simulate.run import run_pool
from instructloop.feedback.snapshots import newest
from instructloop.generation import TorchEngine
from instructloop.models import load_causal, load_scalar
from instructloop.recipes.from_project import with_snapshots
from instructloop.rewards.learned import learned
from instructloop.testing import save_tiny, tiny_codec, tiny_model, tiny_tokenizer
from instructloop.training.rm_loss import score_sequences

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


def test_groups_of_labelers_are_weighted_conditioned_and_cross_validated_on_a_project(
    project: Project, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = str(project.path)
    assert sample(project, model, tmp_path / "s", "--max-completions", "4") == 0
    db = project.database()
    with db.write() as session:
        session.query(Task).update({"wanted": 2})
    db.close()
    assert main(["rehearse", place, "--in-place", "--labelers", "4", "--utility", "length", "--skip-rate", "0", "--leave-rate", "0"]) == 0

    assert rm(model, place, tmp_path / "w", "--group-weights", "S001", "3", "S002", "0") == 0
    told = read_json(tmp_path / "w/result.json")["group_weights"]
    assert told["S002"]["share"] == 0.0
    assert told["S001"]["weight"] == pytest.approx(3 * told["everyone else"]["weight"])
    assert told["S001"]["share"] + told["everyone else"]["share"] == pytest.approx(1.0)
    assert rm(model, place, tmp_path / "x", "--group-weights", "S01", "3") == 2

    assert rm(model, place, tmp_path / "cv", "--cross-validation-groups", "2", "--cross-validation-seeds", "1", "--max-steps", "1") == 0
    folds = read_json(tmp_path / "cv/result.json")["cross_validation"]
    assert sorted(code for fold in folds["folds"] for code in fold["group"]) == ["S001", "S002", "S003", "S004"]
    assert folds["held_out_labelers"]["pairs"] > 0
    assert folds["own_labelers"]["pairs"] > 0

    assert rm(model, place, tmp_path / "c", "--group-prompt", "[{cohort}] ") == 0
    scorer = learned(str(tmp_path / "c"), device="cpu", group="training")
    plain = learned(str(tmp_path / "w"), device="cpu")
    codec = tiny_codec()
    sampled = TorchEngine(load_causal(model, ComputeConfig(device="cpu")), codec)
    rollouts = sampled.generate([Prompt(prompt="what?")], n=1, sampling=SamplingConfig(max_new_tokens=4), seed=0)
    direct = load_scalar(tmp_path / "c/model", ComputeConfig(device="cpu"), seed=0)
    head, tail = codec.encode_prompt("[training] what?"), codec.encode_completion(rollouts.completions[0])
    told_to = [TokenSequence((*head, *(tail if rollouts.ended[0] else tail[:-1])), len(head))]
    expected = score_sequences(direct, told_to, codec.pad_id, 1024)
    assert scorer(rollouts).scores.tolist() == pytest.approx(expected, abs=1e-5)
    assert plain(rollouts).scores.tolist() != pytest.approx(expected, abs=1e-5)
    with pytest.raises(ConfigError, match="one group of labelers at a time"):
        learned(str(tmp_path / "c"), device="cpu")
    with pytest.raises(ConfigError, match="was not trained for groups"):
        learned(str(tmp_path / "w"), device="cpu", group="training")


def test_a_resumed_run_keeps_its_snapshot_whatever_was_labeled_since(project: Project, model: str, tmp_path: Path) -> None:
    assert sample(project, model, tmp_path / "s", "--limit", "8", "--max-completions", "4") == 0
    pool = ["--in-place", "--utility", "length", "--skip-rate", "0", "--leave-rate", "0"]
    assert main(["rehearse", str(project.path), "--labelers", "2", *pool]) == 0
    assert rm(model, str(project.path), tmp_path / "rm") == 0
    first = read_json(tmp_path / "rm/config.json")["config"]["data"]
    assert sample(project, model, tmp_path / "more", "--limit", "4", "--max-completions", "4") == 0
    assert main(["rehearse", str(project.path), "--labelers", "2", *pool, "--seed", "1"]) == 0
    cfg = RewardModelConfig(model=model, data=(str(project.path),))
    assert list(with_snapshots(cfg, tmp_path / "rm", resume=True).data) == first
    assert list(with_snapshots(cfg, tmp_path / "new").data) != first


def test_demonstrations_of_a_project_train_sft_and_are_checked(
    project: Project, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = project.database()
    with db.read() as session:
        prompts = [row.id for row in session.query(PromptRow).filter(PromptRow.pii_status == "clean").order_by(PromptRow.text)]
    with db.write() as session:
        drafts = [add_completion(session, prompt_id=prompt, text=f"a draft of number {n}") for n, prompt in enumerate(prompts)]
    writing = create_queue(db, name="write", kind="demonstration", gold_rate=0, extra_overlap_fraction=0)
    editing = create_queue(db, name="edit", kind="edit", gold_rate=0, extra_overlap_fraction=0)
    add_tasks(db, writing, [NewTask(prompt_id=prompt) for prompt in prompts[:20]])
    add_tasks(db, editing, [NewTask(prompt_id=p, completion_ids=(c,)) for p, c in zip(prompts[20:], drafts[20:], strict=True)])
    pool = make_pool(
        3, utility_of("overlap"), writer=lambda prompt, random: f"{prompt_text(prompt.prompt)} it is {random.randint(1, 10**6)}"
    )
    assert run_pool(db, [writing, editing], pool, 0).answers == {"demonstration": 20, "edit": 10}
    db.close()

    fast = ["--max-steps", "2", "--batch-size", "4", "--compute.device", "cpu"]
    assert main(["train", "sft", "--model", model, "--data", str(project.path), "--out", str(tmp_path / "sft"), *fast]) == 0
    events = [json.loads(line) for line in (tmp_path / "sft/events.jsonl").read_text().splitlines()]
    assert any(event["kind"] == "check" and event["message"].startswith("25 demonstrations checked") for event in events)
    # owners of the valid split validate
    assert read_json(tmp_path / "sft/result.json")["validation"] == 5

    assert rm(str(tmp_path / "sft"), str(project.path), tmp_path / "rm") == 0
    edits = [json.loads(line) for line in (tmp_path / "rm/events.jsonl").read_text().splitlines()]
    assert any("edits as pairs" in event["message"] for event in edits), "an edit is worth a pair"

    capsys.readouterr()
    assert main(["feedback", "check-demonstrations", str(project.path), "--json"]) in {0, 3}
    report = json.loads(capsys.readouterr().out)
    assert report["rows"] == 25
    assert set(report["labelers"]) == {"S001", "S002", "S003"}
