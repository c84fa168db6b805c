"""The verbs on a tiny model, as a user would type them."""

import io
import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from instructloop.cli.main import main
from instructloop.core.files import read_json
from instructloop.testing import CHAT_TEMPLATE, save_tiny, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and the runs ``sft`` and ``rm``, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("cli")
    save_tiny(str(folder / "base"), tiny_model(), tiny_tokenizer(chat_template=CHAT_TEMPLATE))

    def rows(name: str, listed: list[dict[str, object]]) -> str:
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in listed))
        return str(folder / name)

    demonstrations = rows("demonstrations.jsonl", [{"prompt": f"say {n}", "completion": f"yes {n}", "labeler": "L01"} for n in range(12)])
    rankings = rows("rankings.jsonl", [{"prompt": f"ask {n}", "completions": ["a", "b", "cc"], "ranks": [0, 0, 1]} for n in range(8)])
    rows("prompts.jsonl", [{"prompt": f"ask {n}", "use_case": "chat"} for n in range(6)])
    base, sft, rm = (str(folder / name) for name in ("base", "sft", "rm"))
    assert main(["train", "sft", "--model", base, "--data", demonstrations, "--out", sft, "--epochs", "1"]) == 0
    assert main(["train", "rm", "--model", sft, "--data", rankings, "--out", rm]) == 0
    return folder


def test_train_ppo_takes_a_reward_model_by_its_run(trained: Path, tmp_path: Path) -> None:
    words = ["--model", str(trained / "sft"), "--reward-model", str(trained / "rm"), "--prompts", str(trained / "prompts.jsonl")]
    small = ["--steps", "1", "--batch-size", "4", "--minibatches", "1", "--sampling.max-new-tokens", "5"]
    assert main(["train", "ppo", *words, *small, "--out", str(tmp_path / "ppo")]) == 0
    assert (tmp_path / "ppo/model/config.json").exists()


def test_train_pretrain_makes_a_model_from_a_tokenizer_and_text(trained: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "a small text " * 40}) + "\n")
    shape = [
        "--hidden-size",
        "16",
        "--layers",
        "1",
        "--heads",
        "2",
        "--intermediate-size",
        "32",
        "--context-tokens",
        "32",
        "--batch-tokens",
        "64",
    ]
    words = ["--data", str(tmp_path / "texts.jsonl"), "--tokenizer", str(trained / "base"), "--steps", "2", "--out", str(tmp_path / "run")]
    assert main(["train", "pretrain", *words, *shape]) == 0
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run/model").config.hidden_size == 16


def test_chat_answers_one_prompt_or_every_line_of_a_pipe(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chat", str(trained / "sft"), "--max-new-tokens", "4", "--seed", "3"]
    assert main([*words, "--prompt", "say 1"]) == 0
    one = capsys.readouterr().out
    assert one.endswith("\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("say 1\n\nsay 2\n/quit\nnever read\n"))
    assert main(words) == 0
    both = capsys.readouterr().out
    assert both.startswith(one)
    assert len(both) > len(one)


def test_chat_can_show_the_model_the_conversation_so_far(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["chat", str(trained / "sft"), "--max-new-tokens", "6", "--temperature", "0"]
    replies = []
    for text in ("say 1\nsay 2\n", "say 1\n/new\nsay 2\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        assert main([*words, "--history"]) == 0
        replies.append(capsys.readouterr().out)
    assert replies[0] != replies[1], "after /new the second answer no longer depends on the first"


def test_sample_writes_different_completions_and_counts_what_it_dropped(trained: Path, tmp_path: Path) -> None:
    words = [
        "--models",
        str(trained / "sft"),
        str(trained / "base"),
        "--prompts",
        str(trained / "prompts.jsonl"),
        "--out",
        str(tmp_path / "s"),
    ]
    assert main(["sample", *words, "--sampling.max-new-tokens", "3"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "s/completions.jsonl").read_text().splitlines()]
    assert [row["prompt"] for row in rows] == [f"ask {n}" for n in range(6)]
    for row in rows:
        assert 4 <= len(row["completions"]) == len(set(row["completions"])) <= 9
        assert set(row["models"]) == {str(trained / "sft"), str(trained / "base")}
        assert row["use_case"] == "chat"
    result = read_json(tmp_path / "s/result.json")
    assert result["drawn"] == 6 * 12
    assert result["completions"] == sum(len(row["completions"]) for row in rows)


def test_lineage_walks_back_to_the_labelers(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lineage", str(trained / "rm")]) == 0
    shown = capsys.readouterr().out
    assert "rankings.jsonl" in shown
    assert "labelers: L01" in shown


def test_verify_finds_a_changed_file(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(trained / "rm")]) == 0
    file = trained / "demonstrations.jsonl"
    before = file.read_text()
    file.write_text(before + "\n")
    try:
        assert main(["verify", str(trained / "rm")]) == 3
    finally:
        file.write_text(before)
    assert "changed" in capsys.readouterr().out


def test_an_exported_model_opens_in_plain_transformers(trained: Path, tmp_path: Path) -> None:
    assert main(["export", str(trained / "sft"), str(tmp_path / "copy")]) == 0
    assert (tmp_path / "copy/README.md").read_text().startswith("#")
    AutoModelForCausalLM.from_pretrained(tmp_path / "copy")
    assert AutoTokenizer.from_pretrained(tmp_path / "copy").chat_template == CHAT_TEMPLATE
    assert main(["export", str(trained / "sft"), str(tmp_path / "copy")]) == 2


def test_evaluate_prints_a_table_with_intervals(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--models", f"base={trained / 'base'}", f"sft={trained / 'sft'}"]
    words = ["--prompts", str(trained / "prompts.jsonl"), "--reward-model", str(trained / "rm"), "--out", str(tmp_path / "e")]
    assert main(["evaluate", *models, *words, "--sampling.max-new-tokens", "4", "--bootstrap-samples", "100"]) == 0
    shown = capsys.readouterr().out
    assert "n 6" in shown
    assert "95 % intervals" in shown


def test_the_report_is_one_file(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("jinja2")
    assert main(["report", str(trained / "sft")]) == 0
    assert Path(capsys.readouterr().out.strip()).read_text().lstrip().lower().startswith("<!doctype html>")


def test_the_doctor_tells_about_the_machine_and_a_recipes_memory(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    assert "memory" in capsys.readouterr().out
    assert main(["doctor", "laptop", "--set", f"model={trained / 'base'}"]) == 0
    shown = capsys.readouterr().out
    assert all(stage in shown for stage in ("sft", "rm", "ppo"))
    assert "GiB" in shown
