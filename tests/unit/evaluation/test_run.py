"""The stage end to end on tiny random models."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from instructloop.config import ComputeConfig, EvaluationConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, Text
from instructloop.data import TokenSequence, collate
from instructloop.evaluation import Candidate, RewardModelVoter, evaluate, lm_loss, opened, run_evaluation, sample_models
from instructloop.generation import TorchEngine
from instructloop.models import load_scalar, save_scalar
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

CPU = ComputeConfig(device="cpu")
PROMPTS = [Prompt(prompt=f"say {word}", meta={"use_case": word[0]}) for word in ("apple", "bread", "apricot")]
SHORT = SamplingConfig(max_new_tokens=6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return {name: save_tiny(str(folder / name), tiny_model(seed=seed), tiny_tokenizer()) for seed, name in enumerate(("base", "sft"))}


def length_voter(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in completions]


def test_equal_models_tie_on_every_prompt_because_they_draw_the_same_numbers(models: dict[str, str]) -> None:
    table = evaluate({"one": models["sft"], "two": models["sft"]}, PROMPTS, length_voter, sampling=SHORT, compute=CPU).table
    assert table["wins"][0] | {"low": 0, "high": 0} == {
        "a": "two",
        "b": "one",
        "win_rate": 0.5,
        "low": 0,
        "high": 0,
        "n": 3,
        "clusters": 3,
        "ties": 3,
    }


def test_a_few_shot_template_is_what_the_model_is_asked(models: dict[str, str]) -> None:
    template = Candidate(path=models["base"], template="Q: {prompt}\nA:", stop=("\n",))
    filled = [Prompt(prompt=f"Q: {prompt.prompt}\nA:") for prompt in PROMPTS]
    few = sample_models({"few": template}, PROMPTS, sampling=SHORT, compute=CPU)
    plain = sample_models({"plain": models["base"]}, filled, sampling=SamplingConfig(max_new_tokens=6, stop=("\n",)), compute=CPU)
    assert [row["completion"] for row in few] == [row["completion"].strip() for row in plain]
    assert few[0]["prompt"] == "say apple", "tables show the question, not the examples before it"


def test_a_template_without_a_place_for_the_prompt_is_refused() -> None:
    with pytest.raises(ConfigError, match="no {prompt}"):
        Candidate(path="x", template="Q: A:")


def test_the_reference_is_no_distance_from_itself_and_another_model_is(models: dict[str, str]) -> None:
    done = evaluate(models, PROMPTS, length_voter, reference="base", sampling=SHORT, compute=CPU)
    assert done.table["descriptions"]["base"]["kl"]["value"] == pytest.approx(0, abs=1e-4)
    assert abs(done.table["descriptions"]["sft"]["kl"]["value"]) > 1e-3


def test_lm_loss_is_the_mean_over_all_predicted_tokens_also_of_documents_longer_than_the_context(models: dict[str, str]) -> None:
    texts = [Text(text="hello world"), Text(text="x" * 300)]
    with opened("base", models["base"], CPU) as subject:
        found = lm_loss(subject, texts)
        assert found.n == sum(len(subject.codec.encode_text(text.text)) - 1 for text in texts)
        assert found.clusters == 2
        short = lm_loss(subject, texts[:1])
        ids = torch.tensor([subject.codec.encode_text("hello world")])
        logits = subject.model(ids).logits[0, :-1]
        expected = torch.nn.functional.cross_entropy(logits.float(), ids[0, 1:])
    assert short.value == pytest.approx(float(expected), abs=1e-5)


def test_probes_are_asked_once_per_model_and_get_intervals(models: dict[str, str]) -> None:
    asked = []

    def probe(engine: TorchEngine) -> dict[str, list[float]]:
        asked.append(engine)
        return {"facts": [1.0, 0.0, 1.0, 1.0]}

    few = Candidate(path=models["base"], template="{prompt}")
    table = evaluate({**models, "few-shot": few}, PROMPTS, length_voter, probes=[probe], sampling=SHORT, compute=CPU).table
    assert len(asked) == 2, "a few-shot candidate has the weights of its base"
    assert table["capabilities"]["sft"]["facts"]["value"] == 0.75
    assert table["capabilities"]["sft"]["facts"]["better"] == "higher"


def test_a_prompt_too_long_for_one_model_is_left_out_for_all_and_counted(models: dict[str, str]) -> None:
    # the context holds 256 byte tokens
    long = Prompt(prompt="x" * 200)
    asked = {"plain": models["base"], "few": Candidate(path=models["base"], template="y" * 60 + "{prompt}")}
    done = evaluate(asked, [PROMPTS[0], long, PROMPTS[1]], length_voter, sampling=SHORT, compute=CPU)
    assert done.table["n_prompts"] == 2
    assert done.table["over_long"] == {"main": 1}
    assert {row["prompt"] for row in done.rows} == {"say apple", "say bread"}
    with pytest.raises(DataError, match="leaves few room for 6 tokens"):
        evaluate(asked, [long], length_voter, sampling=SHORT, compute=CPU)


def test_the_stage_writes_tables_completions_and_lineage(models: dict[str, str], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt.prompt, **prompt.meta}) + "\n" for prompt in PROMPTS))
    votes = tmp_path / "votes.jsonl"
    votes.write_text(json.dumps({"prompt": "say apple", "model_a": "sft", "model_b": "base", "winner": "a"}) + "\n")
    scalar = load_scalar(models["base"], CPU, seed=0)
    save_scalar(scalar, tiny_tokenizer(), tmp_path / "rm", card="A random reward model for a test.")
    cfg = EvaluationConfig(
        models=tuple(f"{name}={path}" for name, path in models.items()),
        prompts=str(prompts),
        sets=(f"again={prompts}",),
        reward_model=str(tmp_path / "rm"),
        votes=str(votes),
        sampling=SHORT,
        bootstrap_samples=200,
        compute=CPU,
    )
    out = run_evaluation(cfg, tmp_path / "out")
    table = json.loads((out / "eval/reward_model.json").read_text())
    assert table["voter"] == "reward model"
    assert table["models"] == ["base", "sft"]
    assert set(table["groups"]) == {"a", "b"}
    assert table["sets"]["again"]["wins"] == table["wins"]
    people = json.loads((out / "eval/people.json").read_text())
    assert people["wins"][0] | {"low": 0.0, "high": 1.0} == {
        "a": "base", "b": "sft", "win_rate": 0.0, "low": 0.0, "high": 1.0, "n": 1, "clusters": 1, "ties": 0, "both_bad": 0.0,
    }  # fmt: skip
    rows = [json.loads(line) for line in (out / "completions.jsonl").read_text().splitlines()]
    assert len(rows) == 2 * 2 * 3
    assert all(math.isfinite(row["scores"]["reward model"]) for row in rows)
    assert {item["role"] for item in json.loads((out / "lineage.json").read_text())["parents"]} >= {"prompts", "model:sft", "votes"}
    again = run_evaluation(cfg, tmp_path / "again")
    assert (again / "eval/reward_model.json").read_bytes() == (out / "eval/reward_model.json").read_bytes()


def test_a_language_model_is_no_voter(models: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="LlamaForCausalLM, which is no reward model"):
        RewardModelVoter(models["base"], CPU)


def test_the_reward_model_votes_with_the_score_of_the_whole_text_and_refuses_what_it_cannot_read(
    models: dict[str, str], tmp_path: Path
) -> None:
    scalar = load_scalar(models["base"], CPU, seed=0)
    save_scalar(scalar, tiny_tokenizer(), tmp_path / "rm", card="A random reward model for a test.")
    voter = RewardModelVoter(tmp_path / "rm", CPU)
    found = voter.score(PROMPTS, ["yes", "", "no"])
    # <s> 1, then the bytes of prompt and completion, then </s> 2: scored at that last token
    ids = tiny_tokenizer().encode("say appleyes", add_special_tokens=False)
    batch = collate([TokenSequence((1, *ids, 2), 10)], 0)
    assert found[0] == pytest.approx(scalar.scores(batch).item(), abs=1e-5)
    with pytest.raises(DataError, match="context holds 256"):
        voter.score(PROMPTS[:1], ["z" * 300])


def test_an_evaluation_in_which_nobody_votes_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nobody votes"):
        run_evaluation(EvaluationConfig(models=("a=b",), prompts="p.jsonl"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gold_function_from_a_file_votes_and_sees_the_prompts_meta(models: dict[str, str], tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": prompt.prompt, **prompt.meta}) + "\n" for prompt in PROMPTS))
    (tmp_path / "mine.py").write_text(
        "def gold(prompts, completions):\n    return [float(prompt.meta['use_case'] == 'a') for prompt in prompts]\n"
    )
    cfg = EvaluationConfig(
        models=tuple(f"{name}={path}" for name, path in models.items()),
        prompts=str(prompts),
        gold=f"{tmp_path / 'mine.py'}:gold",
        sampling=SHORT,
        bootstrap_samples=100,
        compute=CPU,
    )
    table = json.loads((run_evaluation(cfg, tmp_path / "out") / "eval/gold.json").read_text())
    assert table["scores"]["sft"]["mean"] == pytest.approx(2 / 3)
    assert table["wins"][0]["ties"] == 3
