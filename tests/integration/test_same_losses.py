"""Every optimization leaves the numbers as they are: SFT, reward model and PPO-ptx over 20 steps, with and without each of them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from instructloop.config import ComputeConfig, OptimizerConfig, PPOConfig, SamplingConfig
from instructloop.core.seeds import stream
from instructloop.data import RankedGroup, TokenSequence, collate
from instructloop.models import fast_linear, logprobs, packing
from instructloop.models.compiling import set_compile
from instructloop.models.fast_linear import speed_up
from instructloop.models.logprobs import completion_logprobs
from instructloop.models.packing import set_packing
from instructloop.models.scalar import ScalarModel
from instructloop.testing import tiny_config, tiny_model
from instructloop.training.optim import make_optimizer, step_checked
from instructloop.training.ppo_update import Targets, ppo_epochs
from instructloop.training.pretrain import accumulate_text_gradient
from instructloop.training.rm_loss import accumulate_ranking_gradient
from instructloop.training.sft_loss import accumulate_sft_gradient

STEPS = 20
OPTIMIZER = OptimizerConfig(lr=1e-3, schedule="constant")
PLAIN: dict[str, Any] = {
    "matmul": "torch",
    "packing": "off",
    "share": True,
    "fused": False,
    "tokens": 4096,
    "checkpointing": False,
    "compile": False,
}
CHANGES = {
    "matmul": {"matmul": "onednn"},
    "packing": {"packing": "auto", "share": False},
    "shared prompts": {"packing": "auto"},
    "fused head": {"fused": True},
    "micro-batches": {"tokens": 48},
    "checkpointing": {"checkpointing": True},
    "everything": {"matmul": "onednn", "packing": "auto", "fused": True, "tokens": 150, "checkpointing": True},
}


def prompt_of(random: Any) -> tuple[int, ...]:
    return tuple(random.randrange(4, 60) for _ in range(random.randrange(1, 12)))


def row_of(random: Any, prompt: tuple[int, ...], longest: int = 14) -> TokenSequence:
    return TokenSequence((*prompt, *(random.randrange(4, 60) for _ in range(random.randrange(1, longest))), 2), len(prompt))


def batch_of(step: int, size: int, *, repeats: int = 2) -> list[TokenSequence]:
    """Rows of which every ``repeats`` have one prompt."""
    random = stream(0, "same losses", step)
    prompts = [prompt_of(random) for _ in range(size // repeats)]
    return [row_of(random, prompt) for prompt in prompts for _ in range(repeats)]


def scalar_model() -> ScalarModel:
    config = tiny_config("llama", 60)
    config.num_labels = 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = ScalarModel(AutoModelForSequenceClassification.from_config(config))
    model.reset_head(0)
    return model


def prepared(model: Any, settings: dict[str, Any]) -> Any:
    if settings["matmul"] == "onednn" and fast_linear.onednn_works():
        assert speed_up(model, "onednn") > 0
    set_packing(model, settings["packing"])
    set_compile(model.trunk if isinstance(model, ScalarModel) else model.base_model, settings["compile"])
    if settings["checkpointing"]:
        getattr(model, "classifier", model).activation_checkpointing_enable()
    return model.train()


def sft(settings: dict[str, Any]) -> list[float]:
    """Also the pretraining mix."""
    model = prepared(tiny_model("llama", 60), settings)
    optimizer, curve = make_optimizer(model, OPTIMIZER), []
    blocks = torch.randint(4, 60, (STEPS, 6, 20), generator=torch.Generator().manual_seed(0))
    for step in range(STEPS):
        curve.append(accumulate_sft_gradient(model, batch_of(step, 8), 0, settings["tokens"], step=step))
        curve.append(accumulate_text_gradient(model, blocks[step], settings["tokens"], name="ptx", step=step, weight=0.5))
        curve.append(step_checked(optimizer, model, 1.0))
    return curve


def rm(settings: dict[str, Any]) -> list[float]:
    model = prepared(scalar_model(), settings)
    optimizer, curve = make_optimizer(model, OPTIMIZER), []
    for step in range(STEPS):
        groups = [
            RankedGroup(tuple(batch_of(100 * step + number, k, repeats=k)), tuple(range(k)), None, None, "x")
            for number, k in enumerate((4, 9, 5))
        ]
        curve.append(accumulate_ranking_gradient(model, groups, 0, settings["tokens"], step=step).loss)
        curve.append(step_checked(optimizer, model, 1.0))
    return curve


@cache
def recorded() -> tuple[list[Any], Tensor]:
    """Rollouts of all steps, with log-probabilities of the start and drawn advantages."""
    model, found = tiny_model("llama", 60), []
    generator = torch.Generator().manual_seed(1)
    for step in range(STEPS):
        batch = collate(batch_of(step, 8), 0)
        mask = batch.completion_mask
        with torch.no_grad():
            start = completion_logprobs(model, batch).logprobs
        values, advantages, returns = (torch.randn(mask.shape, generator=generator) * mask for _ in range(3))
        found.append((batch, Targets(start, values, advantages, returns, mask)))
    return found, torch.randint(4, 60, (30, 16), generator=generator)


def ppo(settings: dict[str, Any]) -> list[float]:
    rollouts, blocks = recorded()
    policy, value_model = prepared(tiny_model("llama", 60), settings), prepared(scalar_model(), settings)
    cfg = PPOConfig(
        batch_size=8,
        minibatches=2,
        inner_epochs=1,
        ptx_coef=0.3,
        ptx_per_episode=1,
        ptx_tokens=16,
        pretrain_data="texts.jsonl",
        sampling=SamplingConfig(temperature=0.9),
        compute=ComputeConfig(device="cpu", micro_batch_tokens=settings["tokens"]),
        optimizer=OPTIMIZER,
        value_optimizer=OPTIMIZER,
    )
    optimizers = make_optimizer(policy, OPTIMIZER), make_optimizer(value_model, OPTIMIZER)
    curve = []
    for step, (batch, targets) in enumerate(rollouts):
        metrics = ppo_epochs(
            cfg,
            step=step,
            policy=policy,
            value_model=value_model,
            policy_optimizer=optimizers[0],
            value_optimizer=optimizers[1],
            batch=batch,
            targets=targets,
            pretrain_blocks=blocks,
        )
        curve += [metrics[name] for name in ("policy_loss", "value_loss", "ptx_loss", "grad_norm", "value_grad_norm", "approx_kl")]
    return curve


STAGES: dict[str, Callable[[dict[str, Any]], list[float]]] = {"sft": sft, "rm": rm, "ppo": ppo}


@pytest.fixture
def switches(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, dict[str, Any]], list[float]]:
    """Runs a stage under settings, on models so small that thresholds would switch most of it off."""
    monkeypatch.setattr(fast_linear, "SMALLEST_PRODUCT", 1)
    monkeypatch.setattr(packing, "LEAST_SAVING", 0.0)

    def run(stage: str, changes: dict[str, Any]) -> list[float]:
        settings = PLAIN | changes
        with monkeypatch.context() as patch:
            if not settings["fused"]:
                patch.setattr(logprobs, "fusible", lambda _head: False)
            if not settings["share"]:
                patch.setattr(packing, "_drops", lambda _trunk: True)
            return STAGES[stage](settings)

    return run


_plain: dict[str, list[float]] = {}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("stage", STAGES)
def test_twenty_steps_have_the_same_losses_and_norms(stage: str, change: str, switches: Callable[..., list[float]]) -> None:
    if stage not in _plain:
        _plain[stage] = switches(stage, {})
    found = switches(stage, CHANGES[change])
    assert found == pytest.approx(_plain[stage], rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("stage", STAGES)
def test_the_curves_move_so_that_equality_means_something(stage: str, switches: Callable[..., list[float]]) -> None:
    if stage not in _plain:
        _plain[stage] = switches(stage, {})
    curve = _plain[stage]
    width = len(curve) // STEPS
    assert max(abs(curve[place] - curve[-width + place]) for place in range(width)) > 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler warns of its own affairs
@pytest.mark.parametrize("stage", STAGES)
def test_twenty_compiled_steps_have_the_same_losses_and_norms(stage: str, switches: Callable[..., list[float]]) -> None:
    found = switches(stage, {"compile": True, "matmul": "onednn"})
    assert found == pytest.approx(switches(stage, {}), rel=1e-4, abs=1e-4)
