"""The shipped base model: small, ordinary, full of facts, and inclined to answer a question with a question."""

from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.files import read_json
from instructloop.evaluation import Subject, opened
from instructloop.miniature.build import BASE, bay
from instructloop.miniature.examine import evaluate, few_shot_candidate
from instructloop.miniature.probes import facts, list_continuation, reading
from instructloop.recipes.stages import MiniatureEvaluateConfig
from instructloop.runs import RunDir

WORLD = bay()


@pytest.fixture(scope="module")
def base() -> Subject:
    with opened("base", BASE, ComputeConfig(device="cpu")) as subject:
        yield subject


@pytest.fixture(scope="module")
def engine(base: Subject) -> object:
    from instructloop.generation import TorchEngine

    return TorchEngine(base.model, base.codec)


def test_the_checkpoint_is_an_ordinary_directory_of_at_most_eight_megabytes() -> None:
    assert sum(file.stat().st_size for file in BASE.rglob("*")) <= 8 * 1024 * 1024
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    assert len({tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}) == 3
    assert AutoModelForCausalLM.from_pretrained(BASE).config.model_type == "llama"


def test_any_typed_text_survives_the_tokenizer() -> None:
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    for text in ("What does Mira eat?", "ümläut 東京 🦦 12", "  two  spaces\nand lines"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_the_chat_frame_is_a_line_that_asks_and_a_line_that_replies(base: Subject) -> None:
    assert base.codec.render_prompt("What does Mira eat?") == "<|begin|>What does Mira eat?\n"
    assert base.codec.encode_prompt("x").count(base.codec.tokenizer.bos_token_id) == 1


def test_the_base_knows_its_facts_on_held_out_entities(engine: object) -> None:
    found = facts(WORLD)(engine)["facts"]
    assert sum(found) / len(found) >= 0.8


def test_the_base_reads_passages_that_contradict_what_it_knows_well_above_chance(engine: object) -> None:
    """Chance is one in ten, and a model that tells what it knows instead of what it reads has none right."""
    found = reading(WORLD)(engine)["reading"]
    assert sum(found) / len(found) >= 0.3


def test_asked_a_question_the_base_goes_on_with_another(engine: object) -> None:
    found = list_continuation(WORLD)(engine)["question_for_question"]
    assert sum(found) / len(found) >= 0.5


def test_an_examination_writes_gold_tables_with_intervals_capabilities_and_the_free_form_set(tmp_path: Path) -> None:
    cfg = MiniatureEvaluateConfig(models={"base": str(BASE)}, n=24, few_shot="base", sampling=SamplingConfig(max_new_tokens=16))
    with RunDir.open(tmp_path / "run", stage="miniature.evaluate", config={"n": 24}) as run:
        evaluate(cfg, run)
    table = read_json(tmp_path / "run/eval/gold.json")
    assert table["models"] == ["base", "few-shot base"]
    assert table["scores"]["base"]["n"] == 24
    assert {"lm_loss", "facts", "reading", "question_for_question"} <= set(table["capabilities"]["base"])
    assert table["sets"]["freeform"]["n_prompts"] == 60
    assert few_shot_candidate(BASE).template.endswith("{prompt}\n")
