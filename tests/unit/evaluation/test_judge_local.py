"""A local model as judge: likelihoods equal a direct computation, what it writes is read, what is too long is said."""

import json
import math
from pathlib import Path

import pytest
import torch

from instructloop.config import ComputeConfig, JudgeConfig
from instructloop.core.errors import ConfigError, JudgeRefused
from instructloop.core.records import Prompt
from instructloop.evaluation.judges import JOURNAL_FILE, MarkJudge, PairJudge, open_judge
from instructloop.models import load_causal, load_tokenizer
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

CPU = ComputeConfig(device="cpu")
PROMPTS = [Prompt(prompt=word) for word in ("apple", "bread", "citron")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(str(tmp_path_factory.mktemp("judge") / "model"), tiny_model(seed=3), tiny_tokenizer())


@pytest.fixture
def short(tmp_path: Path) -> str:
    """Instructions that leave room in a context of 256 bytes."""
    file = tmp_path / "short.txt"
    file.write_text("{prompt}{first}{second}")
    return str(file)


def total(model: str, prompt: str, tail: str) -> float:
    """Ln p(tail | prompt) by a plain forward pass."""
    tokenizer, causal = load_tokenizer(model), load_causal(model, CPU, trainable=False)
    head = [1, *tokenizer.encode(prompt, add_special_tokens=False)]
    ids = head + tokenizer.encode(tail, add_special_tokens=False)
    with torch.no_grad():
        logprobs = causal(torch.tensor([ids])).logits[0].float().log_softmax(-1)
    return sum(float(logprobs[place - 1, ids[place]]) for place in range(len(head), len(ids)))


def test_the_verdict_is_the_likeliest_continuation_and_the_probabilities_are_the_models_own(model: str, short: str, tmp_path: Path) -> None:
    judge = open_judge(JudgeConfig(path=model, template=short), tmp_path, accept_biased=True, compute=CPU, samples=200)
    assert isinstance(judge, PairJudge)
    judge.vote(PROMPTS, ["a1", "b1", "c1"], ["a2", "b2", "c2"])
    rows = [json.loads(line) for line in (tmp_path / JOURNAL_FILE).read_text().splitlines()]
    assert len(rows) == 6
    row = rows[0]
    # without a chat template a conversation is rendered as "role: content" lines that end in "assistant:"
    asked = f"user: {row['messages'][-1]['content']}\nassistant:"
    logprobs = {choice: total(model, asked, f"Verdict: {choice}") for choice in ("A", "B", "tie", "neither")}
    weights = {choice: math.exp(value - logprobs["A"]) for choice, value in logprobs.items()}
    expected = {choice: weight / sum(weights.values()) for choice, weight in weights.items()}
    assert row["probabilities"] == pytest.approx(expected, rel=1e-3)
    assert row["value"] == max(expected, key=lambda choice: expected[choice])


def test_a_random_model_that_always_takes_the_same_letter_is_refused(model: str, short: str, tmp_path: Path) -> None:
    judge = open_judge(JudgeConfig(path=model, template=short), tmp_path, compute=CPU, samples=200)
    assert isinstance(judge, PairJudge)
    prompts = [Prompt(prompt=f"p{n}") for n in range(12)]
    judge.vote(prompts, ["one"] * 12, ["two"] * 12)
    values = {json.loads(line)["value"] for line in (tmp_path / JOURNAL_FILE).read_text().splitlines()}
    assert values <= {"A", "B"}, "the long words are less likely than one letter to a random model"
    with pytest.raises(JudgeRefused):
        judge.report()


def test_marks_by_likelihood_are_expectations_between_one_and_seven(model: str, tmp_path: Path) -> None:
    file = tmp_path / "short.txt"
    file.write_text("{prompt}{completion}")
    judge = open_judge(JudgeConfig(path=model, mode="score", template=str(file)), tmp_path, compute=CPU)
    assert isinstance(judge, MarkJudge)
    found = judge.judge(PROMPTS, ["one", "two", "three"])
    row = json.loads((tmp_path / JOURNAL_FILE).read_text().splitlines()[0])
    assert found[0].score == pytest.approx(sum(int(mark) * share for mark, share in row["probabilities"].items()))
    assert all(1 < one.score < 7 for one in found)


def test_what_a_random_model_writes_is_unreadable_and_counted_so(model: str, short: str, tmp_path: Path) -> None:
    cfg = JudgeConfig(path=model, template=short, reading="generation", max_tokens=5, reasks=0)
    judge = open_judge(cfg, tmp_path, compute=CPU)
    assert isinstance(judge, PairJudge)
    verdicts = judge.vote(PROMPTS[:1], ["1"], ["2"])
    report = judge.report()
    assert [verdict.counted for verdict in verdicts] == [False]
    assert (report["unreadable"], report["position_bias"], report["tokens"]["completion"]) == (2, None, 10)


def test_a_question_longer_than_the_context_fails_and_says_why(model: str, tmp_path: Path) -> None:
    judge = open_judge(JudgeConfig(path=model), tmp_path, compute=CPU)  # our own instructions alone are longer
    assert isinstance(judge, PairJudge)
    assert [verdict.counted for verdict in judge.vote(PROMPTS[:1], ["1"], ["2"])] == [False]
    assert "context has room for" in judge.report()["missing"][0]["problem"]


def test_no_judge_is_opened_where_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no judge is named"):
        open_judge(JudgeConfig(), tmp_path)
