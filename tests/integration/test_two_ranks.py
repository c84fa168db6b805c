"""Two processes train what one process trains: SFT, reward model, PPO-ptx, whole (ddp) and split (fsdp) weights, stopped and resumed.

All of it happens in one start of two processes (joined by gloo), beside a third process that does the same alone.
"""

import json
import multiprocessing
import os
import shutil
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.tensor import DTensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from instructloop.config import from_mapping
from instructloop.config.ppo import PPOConfig
from instructloop.core.errors import InstructLoopError, RewardError
from instructloop.core.seeds import derive
from instructloop.data import TokenSequence, collate
from instructloop.models.ranks import join, joined, leave
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import full_weights, gathered, is_sharded, shard
from instructloop.recipes.kinds import KINDS
from instructloop.testing import save_tiny, tiny_model, tiny_tokenizer
from instructloop.training.loop import open_run
from instructloop.training.optim import check_loss, step_checked
from instructloop.training.ppo import run_ppo
from instructloop.training.ppo_state import Learner
from instructloop.training.ppo_update import Targets, ppo_epochs

STEPS = 20
SHORT = 6
"""Steps of PPO with adapters, where policy and value network share one trunk."""
CONTEXT = multiprocessing.get_context("forkserver")
SETTINGS: dict[str, dict[str, Any]] = {
    "sft": {
        "model": "base",
        "data": "demonstrations.jsonl",
        "validation": "demonstrations.jsonl",
        "pretrain_data": "texts.jsonl",
        "pretrain_fraction": 0.2,
        "epochs": 4,
        "batch_size": 5,
        "max_steps": STEPS,
    },
    "rm": {"model": "base", "data": ["rankings.jsonl"], "validation_fraction": 0.2, "epochs": 10, "batch_prompts": 4, "max_steps": STEPS},
    "ppo": {
        "model": "base",
        "value_model": "base",
        "prompts": "prompts.jsonl",
        "reward_scale": "reference_std",
        "reward_samples": 16,
        "kl_controller": "adaptive",
        "steps": STEPS,
        "batch_size": 8,
        "minibatches": 2,
        "ptx_coef": 0.2,
        "ptx_tokens": 16,
        "pretrain_data": "texts.jsonl",
        "sampling": {"max_new_tokens": 6},
        "warn_kl": 1e6,
    },
}


def settings(kind: str, sharding: str) -> dict[str, Any]:
    return SETTINGS[kind] | {"checkpoint": {"every_steps": 7}, "compute": {"device": "cpu", "micro_batch_tokens": 64, "sharding": sharding}}


def run(kind: str, sharding: str, out: Path, *, resume: bool = False, **changes: Any) -> None:
    if kind == "ppo":
        run_ppo(from_mapping(PPOConfig, settings(kind, sharding) | changes), out, resume=resume, reward=even_characters)
    else:
        KINDS[kind].run(settings(kind, sharding) | changes, out, resume=resume)


def even_characters(prompts: list[str], completions: list[str]) -> list[float]:
    """A reward of which every row has another value."""
    return [
        sum(ord(letter) % 2 == 0 for letter in text) + len(text) / 7 + len(prompt) / 100
        for prompt, text in zip(prompts, completions, strict=True)
    ]


def write_inputs() -> None:
    save_tiny("base", tiny_model("llama"), tiny_tokenizer())
    rows: dict[str, list[dict[str, Any]]] = {
        "texts": [{"text": f"The cat has {n} legs. " * 3} for n in range(20)],
        "demonstrations": [{"prompt": f"cat {n}?", "completion": f"{n} cats" * (1 + n % 3)} for n in range(25)],
        "rankings": [{"prompt": f"cat {n}?", "completions": ["yes", "no", "maybe"], "ranks": [n % 3, 1, 2]} for n in range(20)],
        "prompts": [{"prompt": f"cat {n}?"} for n in range(8)],
    }
    for name, listed in rows.items():
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in listed))


def stop_earlier(run: Path, copy: Path) -> None:
    """Copy a run as if it had been killed right after its last checkpoint but one, at step 14."""
    shutil.copytree(run, copy)
    index = copy / "checkpoints/index.jsonl"
    lines = index.read_text().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines][-2:] == [14, STEPS]
    index.write_text("".join(lines[:-1]))
    shutil.rmtree(copy / "model")


def recorded_ppo(sharding: str, learner_state: Path) -> list[dict[str, float]]:
    """Twenty PPO-ptx updates on rollouts that are not sampled but made up; returns the metrics of each."""
    cfg = from_mapping(PPOConfig, settings("ppo", sharding))
    ranks = joined()
    policy = tiny_model("llama")
    value_model = ScalarModel(AutoModelForSequenceClassification.from_pretrained("base", num_labels=1))
    value_model.reset_head(0)
    for model in (policy, value_model):
        shard(model, ranks=ranks, mode=sharding)
        assert is_sharded(model) == (sharding == "fsdp" and ranks.size > 1)
    learner = Learner.start(cfg, policy, value_model)
    metrics = []
    for step in range(STEPS):
        draw = torch.Generator().manual_seed(derive(1, "recorded", step))
        lengths = torch.randint(2, 9, (8, 2), generator=draw).tolist()
        batch = collate([TokenSequence(tuple(range(10, 10 + p + c)), p) for p, c in lengths], 0)
        shape = batch.completion_mask.shape
        noise = [torch.randn(shape, generator=draw) * batch.completion_mask for _ in range(4)]
        targets = Targets(noise[0] * 0.3 - 5.5, noise[1], noise[2], noise[3], batch.completion_mask)
        blocks = torch.randint(3, 259, (16, 16), generator=draw)
        learner.set_learning_rates(step)
        metrics.append(
            ppo_epochs(
                cfg,
                step=step,
                policy=policy,
                value_model=value_model,
                policy_optimizer=learner.policy_optimizer,
                value_optimizer=learner.value_optimizer,
                batch=batch,
                targets=targets,
                pretrain_blocks=blocks,
                ranks=ranks,
            )
        )
    if sharding == "ddp":
        learner.save(learner_state) if ranks.main else None
        ranks.barrier()
    else:
        take_up_whole_state(learner, learner_state)
    return metrics


def take_up_whole_state(learner: Learner, path: Path) -> None:
    """What one process saved, split weights take up; each process looks at the whole of it."""
    learner.restore(path)
    saved = torch.load(path / "state.pt", weights_only=True)
    with gathered(learner.policy):
        for name, value in full_weights(learner.policy).items():
            assert torch.equal(value, saved["modules"]["policy"][name]), name
    moments = learner.policy_optimizer.state_dict()["state"]
    assert any(isinstance(state["exp_avg"], DTensor) for state in moments.values())
    for number, state in moments.items():
        moment = state["exp_avg"].full_tensor() if isinstance(state["exp_avg"], DTensor) else state["exp_avg"]
        assert torch.equal(moment, saved["optimizers"]["policy"]["state"][number]["exp_avg"]), number


def train(name: str, forms: tuple[str, ...], rank: int, size: int, port: int) -> None:
    """Everything one process does; ``name`` begins the names of its runs."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if size > 1:
        join("gloo")
    for sharding in forms:
        for kind in SETTINGS:
            run(kind, sharding, Path(f"{name}-{sharding}-{kind}"))
        run("ppo", sharding, Path(f"{name}-{sharding}-lora"), steps=SHORT, value_model="", share_trunk=True, lora={"rank": 4})
        metrics = recorded_ppo(sharding, Path(f"{name}-ddp-learner"))
        if rank == 0:
            Path(f"{name}-{sharding}-recorded.json").write_text(json.dumps(metrics))
    for kind in SETTINGS if size > 1 else ():
        joined().by_main(partial(stop_earlier, Path(f"two-fsdp-{kind}"), Path(f"again-fsdp-{kind}")))
        run(kind, "fsdp", Path(f"again-fsdp-{kind}"), resume=True)
    if size > 1:
        Path(f"errors-{rank}.json").write_text(json.dumps(told_to_all()))
    leave()


def told_to_all() -> list[str]:
    """Names of the errors that this process sees when only the second one has a reason."""
    ranks = joined()

    def reward() -> None:
        if ranks.index == 1:
            raise RewardError("it rained", hint="wait")

    def optimizer_step() -> None:
        weight = torch.nn.Parameter(torch.ones(2))
        (check_loss(weight.sum() * (float("nan") if ranks.index == 1 else 1.0), "loss", 1)).backward()
        step_checked(torch.optim.SGD([weight], lr=1.0), [weight], 1.0, ranks=ranks)

    def directory() -> None:
        open_run(Path("two-ddp-sft"), ranks=ranks, stage="sft", config={}, resume=False)

    seen = []
    for act in (partial(ranks.each, reward), optimizer_step, directory):
        try:
            act()
        except InstructLoopError as error:
            seen.append(f"{type(error).__name__}: {error.hint}")
    return seen


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder with the runs ``one-ddp-*``, ``two-ddp-*`` and ``two-fsdp-*``."""
    folder = tmp_path_factory.mktemp("ranks")
    before = Path.cwd()
    os.chdir(folder)
    write_inputs()
    CONTEXT.set_forkserver_preload(["instructloop.recipes.preload"])
    port = free_port()
    calls = [("one", ("ddp",), 0, 1, 0), *(("two", ("ddp", "fsdp"), rank, 2, port) for rank in (0, 1))]
    processes = [CONTEXT.Process(target=train, args=call) for call in calls]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    yield folder
    os.chdir(before)


def losses(folder: Path, run: str) -> list[dict[str, float]]:
    if run.endswith("recorded"):
        rows: list[dict[str, float]] = json.loads((folder / f"{run}.json").read_text())
        return rows
    return [json.loads(line) for line in (folder / run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", [*SETTINGS, "recorded", "lora"])
@pytest.mark.parametrize("form", ["ddp", "fsdp"])
def test_two_processes_report_the_numbers_of_one_in_twenty_steps(runs: Path, form: str, kind: str) -> None:
    alone, together = losses(runs, f"one-ddp-{kind}"), losses(runs, f"two-{form}-{kind}")
    assert len(alone) == len(together) >= (SHORT if kind == "lora" else STEPS)
    worst = ("", 0.0)
    for expected, found in zip(alone, together, strict=True):
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            off = abs(found[name] - value) / max(abs(value), 1e-2)
            worst = max(worst, (name, off), key=lambda item: item[1])
    assert worst[1] < 1e-3, worst
    for expected, found in zip(alone, together, strict=True):
        for name in (name for name in expected if name.endswith("loss")):
            # a policy loss is a sum that cancels to about 0
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=5e-6), (kind, form, name)


def test_an_error_of_one_process_is_raised_on_all(runs: Path) -> None:
    first, second = (json.loads((runs / f"errors-{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    assert [line.partition(":")[0] for line in first] == ["RewardError", "TrainingDiverged", "CheckpointError"]
    assert first[0] == "RewardError: wait"


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_a_split_run_that_was_stopped_goes_on_with_the_same_numbers(runs: Path, kind: str) -> None:
    assert (runs / f"two-fsdp-{kind}/checkpoints/step-000014/shards/.metadata").is_file()
    assert losses(runs, f"again-fsdp-{kind}") == losses(runs, f"two-fsdp-{kind}")


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_one_process_goes_on_with_what_two_have_split(runs: Path, kind: str) -> None:
    stop_earlier(runs / f"two-fsdp-{kind}", runs / f"alone-{kind}")
    run(kind, "fsdp", runs / f"alone-{kind}", resume=True)
    for expected, found in zip(losses(runs, f"two-fsdp-{kind}"), losses(runs, f"alone-{kind}"), strict=True):
        for name in (name for name in expected if name.endswith("loss")):
            assert found[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), (kind, name)


@pytest.mark.parametrize("form", ["ddp", "fsdp"])
@pytest.mark.parametrize(("kind", "name"), [("sft", "model"), ("rm", "model"), ("ppo", "model"), ("ppo", "model_raw")])
def test_plain_transformers_opens_what_two_processes_publish(runs: Path, form: str, kind: str, name: str) -> None:
    library = AutoModelForSequenceClassification if kind == "rm" else AutoModelForCausalLM
    alone = library.from_pretrained(runs / f"one-ddp-{kind}" / name).state_dict()
    together = library.from_pretrained(runs / f"two-{form}-{kind}" / name).state_dict()
    assert alone.keys() == together.keys()
    for key, value in alone.items():
        torch.testing.assert_close(together[key], value, rtol=1e-4, atol=1e-5, msg=key)
