"""A base model behind the prefix that the reward model likes best."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from instructloop.config import ComputeConfig, EvaluationConfig, SamplingConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Prompt
from instructloop.evaluation import run_evaluation
from instructloop.evaluation.baselines import as_template, choose_prefix, require_disjoint
from instructloop.models import load_scalar, save_scalar
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

CPU = ComputeConfig(device="cpu")
SHORT = SamplingConfig(max_new_tokens=6)
VALIDATION = [Prompt(prompt=f"tell {word}") for word in ("plum", "pear", "fig", "date")]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(str(tmp_path_factory.mktemp("base")), tiny_model(seed=0), tiny_tokenizer())


@pytest.fixture
def prefixes(tmp_path: Path) -> list[Path]:
    texts = {"polite.txt": "A kind helper answers.\n", "shots.txt": "Q: a\nA: b\nQ: {prompt}\nA:", "short.txt": "Go:"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return [tmp_path / name for name in texts]


def test_a_prefix_stands_before_the_prompt_and_a_template_says_where_it_goes() -> None:
    assert as_template("Be kind.\n") == "Be kind.\n\n{prompt}"
    assert as_template("Q: {prompt}\nA:") == "Q: {prompt}\nA:"


def test_the_prefix_with_the_highest_mean_score_is_chosen_and_every_candidate_recorded(base: str, prefixes: list[Path]) -> None:
    asked: list[str] = []

    def letters(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
        asked.extend(str(prompt.prompt) for prompt in prompts)
        return [float(len(text)) for text in completions]

    choice = choose_prefix("base", base, prefixes, VALIDATION, letters, sampling=SHORT, samples=100, compute=CPU)
    means = {row["file"]: row["value"] for row in choice.record["candidates"]}
    assert set(means) == {str(path) for path in prefixes}
    assert choice.record["file"] == max(means, key=lambda name: means[name])
    assert choice.chosen.template == choice.record["chosen"] == as_template(Path(choice.record["file"]).read_text())
    assert choice.name == "base prompted"
    assert set(asked) == {prompt.prompt for prompt in VALIDATION}, "the voter sees the question without the prefix"
    assert all(row["n"] == 4 and row["low"] <= row["value"] <= row["high"] for row in choice.record["candidates"])


def test_prompts_that_do_not_fit_behind_every_prefix_are_left_out_for_all(base: str, prefixes: list[Path]) -> None:
    # the context holds 256 byte tokens
    long = Prompt(prompt="x" * 235)
    choice = choose_prefix("base", base, prefixes, [*VALIDATION, long], lambda _, texts: [0.0] * len(texts), sampling=SHORT, compute=CPU)
    assert (choice.record["prompts"], choice.record["left_out"]) == (4, 1)
    assert choice.record["file"] == str(prefixes[0]), "the first of equals"


def test_unusable_prefixes_are_refused(base: str, tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text(" \n")
    (tmp_path / "a.txt").write_text("same")
    (tmp_path / "b.txt").write_text("same")
    for names, message in (
        ((), "no prefix"),
        (("none.txt",), "no such prefix"),
        (("empty.txt",), "is empty"),
        (("a.txt", "b.txt"), "same prefix"),
    ):
        with pytest.raises(ConfigError, match=message):
            choose_prefix("base", base, [tmp_path / name for name in names], VALIDATION, lambda _, texts: [0.0] * len(texts), compute=CPU)


def test_choosing_on_test_prompts_is_refused_whatever_their_letter_case() -> None:
    with pytest.raises(ConfigError, match="1 of 4 prompts to choose a prefix on are test prompts, e.g. 'tell fig'"):
        require_disjoint(VALIDATION, [Prompt(prompt="Tell  FIG"), Prompt(prompt="other")])


def test_the_stage_compares_the_prompted_model_beside_its_base(base: str, prefixes: list[Path], tmp_path: Path) -> None:
    for name, words in (("test", ("apple", "bread", "corn")), ("validation", ("plum", "pear"))):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": f"tell {word}"}) + "\n" for word in words))
    save_scalar(load_scalar(base, CPU, seed=0), tiny_tokenizer(), tmp_path / "rm", card="A random reward model for a test.")
    cfg = EvaluationConfig(
        models=(f"base={base}",),
        prompts=str(tmp_path / "test.jsonl"),
        reward_model=str(tmp_path / "rm"),
        prefixes=tuple(map(str, prefixes)),
        prefix_prompts=str(tmp_path / "validation.jsonl"),
        temperatures=("base=0.7",),
        baseline="base",
        sampling=SHORT,
        bootstrap_samples=100,
        compute=CPU,
    )
    out = run_evaluation(cfg, tmp_path / "out")
    table = json.loads((out / "eval/reward_model.json").read_text())
    assert table["models"] == ["base", "base prompted"]
    assert (table["wins"][0]["a"], table["baseline"]) == ("base prompted", "base")
    record = json.loads((out / "prefix.json").read_text())
    assert record["prompts"] == 2
    rows = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    assert {(row["model"], row["temperature"]) for row in rows} == {("base", 0.7), ("base prompted", 0.7)}
    lineage = json.loads((out / "lineage.json").read_text())
    assert {"prefix:polite.txt", "prefix_prompts"} <= {row["role"] for row in lineage["parents"]}


def test_prefixes_without_a_reward_model_or_with_unknown_models_are_refused() -> None:
    with pytest.raises(ConfigError, match="prefixes need models, reward_model and prefix_prompts"):
        EvaluationConfig(models=("base=b",), prefixes=("a.txt",))
    with pytest.raises(ConfigError, match="none of the models"):
        EvaluationConfig(models=("base=b",), temperatures=("sft=0.7",))
    with pytest.raises(ConfigError, match="base=warm is no temperature"):
        EvaluationConfig(models=("base=b",), temperatures=("base=warm",))
