"""Supervised fine-tuning on demonstrations (spec C): the SFT baseline and the model that reinforcement learning starts from.

Two kinds, one function. The **SFT baseline** takes 16 epochs, residual dropout where the architecture has it, cosine to 10 % without
warm-up, and the epoch that a reward model scores best on validation prompts (C1, C3). The **RL-init model** takes 2 epochs with 10 %
pretraining text mixed in (C6).

Where the paper is silent or we depart from it:
- The loss is the mean over the batch's completion tokens, EOS included; prompt tokens carry none (C5 leaves it open).
- With a pretraining mix, a share f of each batch's sequences is text, and the loss is (1 - f) * completions + f * text, each a token
  mean. Weighing by tokens would let long documents drown short answers.
- Rows that do not fit are left out and counted; nothing is cut, so every target ends in EOS.
- Epochs are laid end to end, so all batches but the last are full; "epoch end" is the first step that has seen every row.
- Weights, moments and the sum of gradients are float32; the paper used fp16 with fp32 master copies (C0).
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from instructloop.config import SFTConfig, to_json
from instructloop.core.errors import ConfigError
from instructloop.core.protocols import Evaluator
from instructloop.core.records import Demonstration, Text
from instructloop.data import TextCodec, batch_at
from instructloop.data.quality import check_demonstrations
from instructloop.formats import split_by_prompt
from instructloop.models.adapters import add_lora
from instructloop.models.load import context_tokens, load_causal, load_tokenizer
from instructloop.models.ranks import joined
from instructloop.models.save import save_causal
from instructloop.models.sharding import gathered, shard
from instructloop.runs.rundir import RunDir
from instructloop.runs.snapshots import beside
from instructloop.training.cards import card_of
from instructloop.training.flops import Size
from instructloop.training.inputs import input_parents, load_demonstrations, load_texts, model_path
from instructloop.training.loop import StepClock, TrainState, commit_state, dropout_stream, open_run, resume_state, spent
from instructloop.training.memory import announce_memory
from instructloop.training.optim import lr_at, make_optimizer, set_lr, step_checked
from instructloop.training.pretrain import accumulate_text_gradient
from instructloop.training.selection import Progress, reward_model_scorer
from instructloop.training.sft_data import note_missing_dropout, prepare_sft
from instructloop.training.sft_loss import accumulate_sft_gradient, evaluate_sft

logger = logging.getLogger(__name__)
Scorer = Callable[[PreTrainedModel, int], float]
"""Model and step to the number that selects the final model (higher is better)."""


def run_sft(
    cfg: SFTConfig,
    out: Path,
    *,
    resume: bool = False,
    demonstrations: Sequence[Demonstration] | None = None,
    validation: Sequence[Demonstration] | None = None,
    pretrain_texts: Sequence[Text] | None = None,
    evaluators: Sequence[Evaluator] = (),
) -> Path:
    """The stage ``sft`` in the run directory ``out``: load, train, publish ``model``, write ``result.json``.

    Args:
        cfg: the stage's configuration.
        out: run directory.
        resume: continue the run that is there.
        demonstrations: records to use instead of ``cfg.data`` (the Python API).
        validation: records to use instead of ``cfg.validation``.
        pretrain_texts: records to use instead of ``cfg.pretrain_data``.
        evaluators: asked at each epoch end whether to go on.
    """
    if not cfg.model:
        raise ConfigError("sft.model is empty", hint="name a base model: --model DIR")
    paths = {"base": cfg.model, "demonstrations": cfg.data, "validation": cfg.validation, "pretraining text": cfg.pretrain_data}
    parents = input_parents({**paths, "reward model": cfg.reward_model})
    with open_run(out, ranks=joined(), stage="sft", config=to_json(cfg), parents=parents, resume=resume) as run:
        rows = load_demonstrations(cfg.data, demonstrations, run=run, what="sft.data", skip_bad_rows=cfg.skip_bad_rows)
        given = load_demonstrations(
            cfg.validation or beside(cfg.data, "demonstrations", "valid"),
            validation,
            run=run,
            what="sft.validation",
            skip_bad_rows=cfg.skip_bad_rows,
            optional=True,
        )
        train, held_out = (rows, given) if given else split_by_prompt(rows, cfg.validation_fraction, cfg.seed)
        if run.latest() is None:
            checked = check_demonstrations(rows)
            run.event(0, "check", checked.describe(), counts=checked.counts)
        texts: Sequence[Text] = ()
        if cfg.pretrain_fraction > 0:
            texts = load_texts(cfg.pretrain_data, pretrain_texts, run=run, what="sft.pretrain_data", skip_bad_rows=cfg.skip_bad_rows)
        codec = TextCodec(load_tokenizer(model_path(cfg.model)), chat_template=cfg.chat_template, name=cfg.model)
        announce_memory(cfg, codec, demonstrations=train)
        model = load_causal(model_path(cfg.model), cfg.compute, dropout=cfg.dropout)
        note_missing_dropout(run, model, cfg.dropout)
        add_lora(model, cfg.lora, seed=cfg.seed)
        select = reward_model_scorer(cfg, run, codec, held_out) if cfg.select_by == "rm_score" else None
        result = train_sft(
            cfg,
            run=run,
            model=model,
            codec=codec,
            demonstrations=train,
            validation=held_out,
            pretrain_texts=texts,
            select=select,
            evaluators=evaluators,
        )
        with gathered(model):
            run.publish("model", lambda path: save_causal(model, codec, path, card=card_of(run, result)))
        run.result({"stage": "sft", **result, **spent(run)})
    return out


def train_sft(
    cfg: SFTConfig,
    *,
    run: RunDir,
    model: PreTrainedModel,
    codec: TextCodec,
    demonstrations: Sequence[Demonstration],
    validation: Sequence[Demonstration] = (),
    pretrain_texts: Sequence[Text] = (),
    select: Scorer | None = None,
    evaluators: Sequence[Evaluator] = (),
) -> dict[str, Any]:
    """Maximise log p(completion | prompt) over the demonstrations; leaves the selected weights in ``model`` and returns its numbers."""
    if cfg.select_by == "rm_score" and select is None:
        raise ConfigError("sft.select_by = 'rm_score' needs a scorer", hint="run_sft makes one from sft.reward_model")
    # 1. Prompt + completion + EOS as one sequence each; for the RL-init model, documents packed into full blocks.
    data = prepare_sft(cfg, run, context_tokens(model), codec, demonstrations, validation, pretrain_texts)
    ranks, work = joined(), Size.of(model)
    shard(model, ranks=ranks, mode=cfg.compute.sharding)
    optimizer = make_optimizer(model, cfg.optimizer)
    state = TrainState({"model": model}, {"optimizer": optimizer})
    done, extra = resume_state(run, state)
    progress = Progress(**extra["progress"]) if extra else Progress()
    budget = cfg.compute.micro_batch_tokens
    if done == 0:
        run.metrics(0, "sft", evaluate_sft(model, data, codec.pad_id, budget, ranks=ranks))
    clock = StepClock(run, "sft", data.steps)
    for step in range(done + 1, data.steps + 1):
        if progress.stopped:
            break
        # 2. The rows of this step: a pure function of (seed, step).
        rows = batch_at(step - 1, len(data.train), data.rows_per_step, cfg.seed, epochs=cfg.epochs)
        batch = [data.train.sequences[row] for row in rows]
        model.train()
        with dropout_stream(cfg.seed, step, ranks=ranks):
            # 3. Gradient of the mean loss over all completion tokens of the batch, one micro-batch at a time.
            loss = accumulate_sft_gradient(model, batch, codec.pad_id, budget, step=step, weight=1 - data.text_share, ranks=ranks)
            metrics = {"loss": loss}
            # 4. RL-init only: the pretraining mix, accumulated into the same gradient (C6).
            text_tokens = 0
            if data.blocks is not None:
                blocks = data.blocks[batch_at(step - 1, len(data.blocks), data.blocks_per_step, cfg.seed)]
                text_tokens = blocks.numel()
                metrics["pretrain_loss"] = accumulate_text_gradient(
                    model, blocks, budget, name="sft/pretrain_loss", step=step, weight=data.text_share, ranks=ranks
                )
        model.eval()
        # 5. One AdamW step; cosine to 10 % without warm-up (C1).
        metrics["lr"] = lr_at(step - 1, data.steps, cfg.optimizer)
        set_lr(optimizer, metrics["lr"])
        metrics["grad_norm"] = step_checked(optimizer, model, cfg.optimizer.max_grad_norm, ranks=ranks)
        # 6. At each epoch end: losses on held-out rows, and the reward model's opinion (C3, C4).
        best = False
        if step in data.epoch_ends or step == data.steps:
            metrics["epoch"] = step * data.rows_per_step / len(data.train)
            metrics.update(evaluate_sft(model, data, codec.pad_id, budget, ranks=ranks))
            if select is not None:
                metrics["rm_score"] = select(model, step)
            best = progress.note(cfg.select_by, step, metrics)
            with gathered(model):
                progress.ask(evaluators, run, step, model, metrics, ranks=ranks)
        run.metrics(step, "sft", metrics)
        tokens = sum(len(sequence) for sequence in batch)
        flops = work.training(tokens, sum(sequence.completion_length for sequence in batch)) + work.training(text_tokens, text_tokens)
        clock.tick(step, tokens, metrics, flops=flops)
        last = step if progress.stopped else data.steps
        commit_state(run, step, last, cfg.checkpoint, state, extra={"progress": progress.as_dict()}, best=best, ranks=ranks)
    # 7. The weights of the selected epoch.
    progress.take_selected(cfg.select_by, run, state, ranks=ranks)
    return {
        **progress.result(cfg.select_by),
        "demonstrations": len(data.train),
        "validation": 0 if data.validation is None else len(data.validation),
        "skipped": dict(data.train.skipped),
        "pretrain_share": data.text_share,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "trained_parameters": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
    }
