"""Language-model pretraining: a small Llama-shaped base model from documents (the miniature's base), or further training of a given one.

The paper starts from GPT-3; this stage exists so that the embedded small world has a base of its own. Differences from pretraining at
scale: documents are packed end to end once, so blocks keep their borders in every epoch and a token may look at the end of the document
before its own (BOS and EOS mark the border).
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.config import PretrainConfig, to_json
from instructloop.core.errors import ConfigError
from instructloop.core.records import Text
from instructloop.data import TextCodec, batch_at, pack_texts
from instructloop.models.device import evaluating
from instructloop.models.load import load_causal, load_tokenizer, new_llama
from instructloop.models.logprobs import text_nll
from instructloop.models.ranks import ALONE, Ranks, joined
from instructloop.models.save import save_causal
from instructloop.models.sharding import gathered, is_sharded, shard
from instructloop.runs.rundir import RunDir
from instructloop.training.cards import card_of
from instructloop.training.flops import Size
from instructloop.training.inputs import input_parents, load_texts, model_path
from instructloop.training.loop import StepClock, TrainState, commit_state, open_run, resume_state, spent
from instructloop.training.memory import announce_memory
from instructloop.training.optim import check_loss, lr_at, make_optimizer, set_lr, step_checked

logger = logging.getLogger(__name__)


def run_pretrain(
    cfg: PretrainConfig,
    out: Path,
    *,
    resume: bool = False,
    documents: Sequence[Text] | None = None,
    validation: Sequence[Text] | None = None,
) -> Path:
    """The stage ``pretrain`` in the run directory ``out``: load, train, publish ``model``, write ``result.json``.

    Args:
        cfg: the stage's configuration.
        out: run directory.
        resume: continue the run that is there.
        documents: records to use instead of ``cfg.data`` (the Python API).
        validation: records to use instead of ``cfg.validation``.

    Raises:
        ConfigError: neither a tokenizer nor a model to start from is named.
    """
    if not (cfg.tokenizer or cfg.init):
        raise ConfigError("pretrain needs a tokenizer", hint="--tokenizer DIR, or --init DIR to continue from a model")
    parents = input_parents({"documents": cfg.data, "validation": cfg.validation, "tokenizer": cfg.tokenizer, "init": cfg.init})
    with open_run(out, ranks=joined(), stage="pretrain", config=to_json(cfg), parents=parents, resume=resume) as run:
        texts = load_texts(cfg.data, documents, run=run, what="pretrain.data")
        held_out = load_texts(cfg.validation, validation, run=run, what="pretrain.validation", optional=True)
        codec = TextCodec(load_tokenizer(model_path(cfg.tokenizer or cfg.init)), chat_template=False)
        announce_memory(cfg, codec)
        model = _initial_model(cfg, codec)
        result = train_pretrain(cfg, run=run, model=model, codec=codec, documents=texts, validation=held_out)
        with gathered(model):
            run.publish("model", lambda path: save_causal(model, codec, path, card=card_of(run, result)))
        run.result({"stage": "pretrain", **result, **spent(run)})
    return out


def train_pretrain(
    cfg: PretrainConfig,
    *,
    run: RunDir,
    model: PreTrainedModel,
    codec: TextCodec,
    documents: Sequence[Text],
    validation: Sequence[Text] = (),
) -> dict[str, float]:
    """Minimise the mean negative log-likelihood of the next token over packed blocks; returns the final numbers."""
    # 1. Documents end to end, cut into full blocks: no padding, no mask.
    blocks = pack_texts(documents, codec, cfg.context_tokens)
    held_out = pack_texts(validation, codec, cfg.context_tokens) if validation else None
    rows = max(1, cfg.batch_tokens // cfg.context_tokens)
    logger.info("%d blocks of %d tokens, %d a step; %d steps", len(blocks), cfg.context_tokens, rows, cfg.steps)

    ranks, work = joined(), Size.of(model)
    shard(model, ranks=ranks, mode=cfg.compute.sharding)
    optimizer = make_optimizer(model, cfg.optimizer)
    state = TrainState({"model": model}, {"optimizer": optimizer})
    done, extra = resume_state(run, state)
    result: dict[str, float] = dict(extra.get("result", {}))
    clock = StepClock(run, "pretrain", cfg.steps)
    model.train()
    for step in range(done + 1, cfg.steps + 1):
        # 2. The blocks of this step: a pure function of (seed, step).
        batch = blocks[batch_at(step - 1, len(blocks), rows, cfg.seed)]
        # 3. Gradient of the mean over all tokens of the batch, one micro-batch at a time.
        loss = accumulate_text_gradient(model, batch, cfg.compute.micro_batch_tokens, name="pretrain/loss", step=step, ranks=ranks)
        # 4. One AdamW step at this step's learning rate.
        lr = lr_at(step - 1, cfg.steps, cfg.optimizer)
        set_lr(optimizer, lr)
        norm = step_checked(optimizer, model, cfg.optimizer.max_grad_norm, ranks=ranks)
        # 5. Numbers, then the state they belong to.
        metrics = {"loss": loss, "lr": lr, "grad_norm": norm}
        if held_out is not None and (step % cfg.evaluate_every == 0 or step == cfg.steps):
            metrics["val_loss"] = mean_text_nll(model, held_out, cfg.compute.micro_batch_tokens, ranks=ranks)
        run.metrics(step, "pretrain", metrics)
        clock.tick(step, batch.numel(), metrics, flops=work.training(batch.numel(), batch.numel()))
        result = {name: metrics[name] for name in ("loss", "val_loss") if name in metrics}
        commit_state(run, step, cfg.steps, cfg.checkpoint, state, extra={"result": result}, ranks=ranks)
    model.eval()
    size = sum(parameter.numel() for parameter in model.parameters())
    return {**result, "steps": cfg.steps, "tokens_seen": cfg.steps * rows * cfg.context_tokens, "blocks": len(blocks), "parameters": size}


def accumulate_text_gradient(
    model: PreTrainedModel,
    blocks: Int[Tensor, "N L"],
    micro_batch_tokens: int,
    *,
    name: str,
    step: int,
    weight: float = 1.0,
    ranks: Ranks = ALONE,
) -> float:
    """Add ``weight`` times the gradient of the blocks' mean loss to ``.grad``; the split into micro-batches does not change it.

    Args:
        model: a causal LM in the mode the caller wants.
        blocks: packed token blocks of equal length, those of the whole batch.
        micro_batch_tokens: tokens of one forward-backward pass.
        name: the loss's name in an error.
        step: the step's number in an error.
        weight: factor of the gradient (not of the value returned).
        ranks: the processes that share the blocks.

    Returns:
        Mean loss in nats a token.

    Raises:
        TrainingDiverged: the loss is not finite.
    """
    total = 0.0
    mine = blocks[ranks.share([blocks.shape[1]] * len(blocks))]
    parts = mine.split(max(1, micro_batch_tokens // blocks.shape[1])) if len(mine) else ()
    for part, counts in ranks.in_step(parts, idle=lambda: blocks[:1], sharded=is_sharded(model)):
        share = counts * len(part) / len(blocks)
        loss = check_loss(text_nll(model, part), name, step) * share
        (loss * weight).backward()
        total += float(loss.detach())
    return ranks.sum(total)[0]


def mean_text_nll(model: PreTrainedModel, blocks: Int[Tensor, "N L"], micro_batch_tokens: int, *, ranks: Ranks = ALONE) -> float:
    """Mean loss over all blocks in evaluation mode, nats a token."""
    with gathered(model), evaluating(model):
        mine = blocks[ranks.share([blocks.shape[1]] * len(blocks))]
        parts = mine.split(max(1, micro_batch_tokens // blocks.shape[1])) if len(mine) else ()
        return ranks.sum(sum(float(text_nll(model, part)) * len(part) for part in parts))[0] / len(blocks)


def _initial_model(cfg: PretrainConfig, codec: TextCodec) -> PreTrainedModel:
    if cfg.init:
        return load_causal(model_path(cfg.init), cfg.compute)
    return new_llama(
        hidden_size=cfg.hidden_size,
        layers=cfg.layers,
        heads=cfg.heads,
        intermediate_size=cfg.intermediate_size,
        context_tokens=cfg.context_tokens,
        vocab_size=len(codec.tokenizer),
        seed=cfg.seed,
        tokenizer=codec.tokenizer,
        compute=cfg.compute,
    )
