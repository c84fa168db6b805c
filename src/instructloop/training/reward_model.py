"""The reward model: one scalar for a prompt and a completion, learned from rankings of K completions (spec D).

Where the paper is silent or we depart from it:
- Ties give no pair; a prompt's loss is the mean over its strict pairs (not over all C(K, 2)), and prompts without one are passed over
  (D5). ``pair_weighting = "per_pair"`` weighs every pair the same instead.
- The score is read at the last real token, which is EOS (D9 is recalled, not printed); completions are scored with EOS everywhere (T4).
- The bias that puts labeler demonstrations at mean 0 (D8) is stored in the checkpoint; without demonstrations it is measured on the
  best-ranked completions of the training prompts.
- Completions that do not fit are left out of their ranking and counted; identical ones count once.
- Weights, moments and scores are float32; dropout is off (PPO-11), save that of adapters where asked for.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from instructloop.config import RewardModelConfig, to_json
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Demonstration, Ranking
from instructloop.data import RankedGroup, TextCodec, batch_at, steps_in, tokenize_demonstrations, tokenize_rankings
from instructloop.formats import split_by_prompt
from instructloop.models.adapter_files import ADAPTER_DIRECTORY, remember_base, save_adapter
from instructloop.models.adapters import add_lora
from instructloop.models.load import context_tokens, load_scalar, load_tokenizer
from instructloop.models.ranks import ALONE, Ranks, joined
from instructloop.models.save import save_scalar
from instructloop.models.scalar import ScalarModel
from instructloop.models.sharding import gathered, shard
from instructloop.runs.rundir import RunDir
from instructloop.runs.snapshots import beside
from instructloop.training.cards import card_of
from instructloop.training.crossval import cross_validate
from instructloop.training.flops import Size
from instructloop.training.inputs import input_parents, load_demonstrations, load_rankings, model_path
from instructloop.training.loop import StepClock, TrainState, commit_state, dropout_stream, open_run, resume_state, spent
from instructloop.training.memory import announce_memory
from instructloop.training.optim import lr_at, make_optimizer, set_lr, step_checked
from instructloop.training.rm_groups import apart, conditioned, remember_group_prompt, weighted
from instructloop.training.rm_loss import accumulate_ranking_gradient, score_groups, score_sequences
from instructloop.training.rm_report import accuracy_report, pair_accuracy_of, ranking_loss_of

logger = logging.getLogger(__name__)
_ENOUGH_COMPLETIONS = 1000


def run_reward_model(
    cfg: RewardModelConfig,
    out: Path,
    *,
    resume: bool = False,
    rankings: Sequence[Ranking] | None = None,
    validation: Sequence[Ranking] | None = None,
    demonstrations: Sequence[Demonstration] | None = None,
) -> Path:
    """The stage ``rm`` in the run directory ``out``: load, train, normalise, publish ``model``, write ``result.json``.

    Args:
        cfg: the stage's configuration. Several files in ``cfg.data`` are one set: a second round adds its rankings there (D12). A
            snapshot brings its rankings, its edits as pairs, its valid split, and its demonstrations for the bias.
        out: run directory.
        resume: continue the run that is there.
        rankings: records to use instead of ``cfg.data`` (the Python API).
        validation: records to use instead of ``cfg.validation``.
        demonstrations: records to use instead of ``cfg.demonstrations``.
    """
    if not cfg.model:
        raise ConfigError("rm.model is empty", hint="name the SFT model: --model DIR")
    paths = {"trunk": cfg.model, "rankings": cfg.data, "validation": cfg.validation, "demonstrations": cfg.demonstrations}
    with open_run(out, ranks=joined(), stage="rm", config=to_json(cfg), parents=input_parents(paths), resume=resume) as run:
        lenient = cfg.skip_bad_rows
        rows = load_rankings(cfg.data, rankings, run=run, what="rm.data", skip_bad_rows=lenient)
        given = load_rankings(_validation_files(cfg), validation, run=run, what="rm.validation", skip_bad_rows=lenient, optional=True)
        ours, strangers = _by_cohort(run, rows, cfg.group_prompt)
        validating = conditioned(given, cfg.group_prompt)
        train, held_out = (ours, validating) if given else split_by_prompt(ours, cfg.validation_fraction, cfg.seed)
        written = load_demonstrations(
            cfg.demonstrations or next(filter(None, (beside(source, "demonstrations") for source in cfg.data)), ""),
            demonstrations,
            run=run,
            what="rm.demonstrations",
            skip_bad_rows=lenient,
            optional=True,
        )
        if cfg.group_prompt:
            written = ()  # demonstrations are for nobody in particular; the best-ranked completions carry the text
        codec = TextCodec(load_tokenizer(model_path(cfg.model)), chat_template=cfg.chat_template, name=cfg.model)
        announce_memory(cfg, codec, rankings=train)
        extra: dict[str, Any] = {}
        if cfg.cross_validation_groups:
            extra["cross_validation"] = cross_validate(cfg, out, ours, train_one=_train_fold)
        model = _initial_model(cfg)
        result = train_reward_model(cfg, run=run, model=model, codec=codec, rankings=train, validation=held_out, demonstrations=written)
        if strangers:
            extra["held_out_labelers"] = _accuracy_on(cfg, model, codec, strangers)
        with gathered(model):
            run.publish("model", lambda path: save_scalar(model, codec, path, card=card_of(run, result)))
        if cfg.lora.rank:
            card = card_of(run, result, note=f"an adapter: it needs its base model {Path(cfg.model).name}")
            run.publish(ADAPTER_DIRECTORY, lambda path: save_adapter(model, codec.tokenizer, path, base=cfg.model, card=card))
        run.result({"stage": "rm", **result, **extra, **spent(run)})
    return out


def train_reward_model(
    cfg: RewardModelConfig,
    *,
    run: RunDir,
    model: ScalarModel,
    codec: TextCodec,
    rankings: Sequence[Ranking],
    validation: Sequence[Ranking] = (),
    demonstrations: Sequence[Demonstration] = (),
) -> dict[str, Any]:
    """Minimise -E log sigma(r(x, y_w) - r(x, y_l)) over the rankings' pairs (eq. 1); returns held-out accuracy and counts."""
    # 1. K sequences of prompt + completion + EOS for every ranking: one batch element (D3).
    context = context_tokens(model.trunk)
    limit = min(cfg.max_tokens or context, context)
    tokenized = tokenize_rankings(rankings, codec, limit)
    groups = [group for group in tokenized if next(group.strict_pairs(), None) is not None]
    held_out = list(tokenize_rankings(validation, codec, limit)) if validation else []
    if not groups:
        raise DataError(
            f"none of the {len(rankings)} rankings has two completions with different ranks that fit into {limit} tokens",
            hint="a reward model learns from strict preferences; check the ranks, or raise max_tokens",
        )
    # L1: some labelers may count more than others; by default all count alike.
    groups, group_table = weighted(groups, cfg.group_weights)
    steps = steps_in(len(groups), cfg.batch_prompts, cfg.epochs)
    steps = min(steps, cfg.max_steps) if cfg.max_steps else steps
    _say_what_is_trained(run, dict(tokenized.notes), groups, held_out, steps)

    ranks, work = joined(), Size.of(model)
    shard(model, ranks=ranks, mode=cfg.compute.sharding)
    optimizer = make_optimizer(model, cfg.optimizer)
    state = TrainState({"model": model}, {"optimizer": optimizer})
    done, extra = resume_state(run, state)
    last: dict[str, float] = dict(extra.get("last", {}))
    budget = cfg.compute.micro_batch_tokens
    clock = StepClock(run, "rm", steps)
    scores = None
    model.train()  # once: what scores held-out rows puts it into evaluation mode and back
    for step in range(done + 1, steps + 1):
        # 2. The prompts of this step: a pure function of (seed, step).
        batch = [groups[row] for row in batch_at(step - 1, len(groups), cfg.batch_prompts, cfg.seed, epochs=cfg.epochs)]
        # 3. K forward passes a prompt; gradient of the mean over prompts of the mean over their strict pairs.
        with dropout_stream(cfg.seed, step, ranks=ranks):
            stats = accumulate_ranking_gradient(
                model, batch, codec.pad_id, budget, step=step, per_pair=cfg.pair_weighting == "per_pair", ranks=ranks
            )
        # 4. One AdamW step; cosine to 10 % (D6).
        lr = lr_at(step - 1, steps, cfg.optimizer)
        set_lr(optimizer, lr)
        norm = step_checked(optimizer, model, cfg.optimizer.max_grad_norm, ranks=ranks)
        metrics = {"loss": stats.loss, "accuracy": stats.accuracy, "pairs": stats.pairs, "lr": lr, "grad_norm": norm}
        # 5. Held-out loss and accuracy.
        if held_out and (step == steps or (cfg.evaluate_every and step % cfg.evaluate_every == 0)):
            scores = score_groups(model, held_out, codec.pad_id, budget, ranks=ranks)
            metrics["val_loss"] = ranking_loss_of(held_out, scores)
            metrics["val_accuracy"] = pair_accuracy_of(held_out, scores)
        run.metrics(step, "rm", metrics)
        scored = sum(len(group.sequences) for group in batch)
        clock.tick(step, stats.tokens, metrics, flops=work.training(stats.tokens, scored))
        last = {name: metrics[name] for name in ("loss", "accuracy")}
        commit_state(run, step, steps, cfg.checkpoint, state, extra={"last": last}, ranks=ranks)
    model.eval()
    # 6. How often it agrees with rankings it never saw, beside the longer-wins rate.
    report = {}
    if held_out:
        # NOTE: before the bias, which changes no comparison but the last bits of a difference: a resumed run must give the same ones.
        report["held_out"] = accuracy_report(
            held_out, scores or score_groups(model, held_out, codec.pad_id, budget, ranks=ranks), seed=cfg.seed
        )
        logger.info("held out: %s", {name: value for name, value in report["held_out"].items() if not isinstance(value, dict)})
    # 7. One bias, so that demonstrations have mean reward 0 (D8).
    bias = normalize_on_demonstrations(model, codec, demonstrations, groups, limit, budget, ranks=ranks)
    counts = {"steps": steps, "prompts": len(groups), "pairs": sum(_pairs(group) for group in groups), "notes": dict(tokenized.notes)}
    groups_told = {"group_weights": group_table} if group_table else {}
    return {**last, **counts, **groups_told, **bias, **report}


@torch.no_grad()
def normalize_on_demonstrations(
    model: ScalarModel,
    codec: TextCodec,
    demonstrations: Sequence[Demonstration],
    groups: Sequence[RankedGroup],
    max_tokens: int,
    micro_batch_tokens: int,
    *,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Set the stored bias so that demonstrations (else the best-ranked completions) have mean score 0; the spread stays (D8).

    Returns:
        ``score_bias``, ``normalized_on`` (how many, of what), and the ``score_std`` of those scores.
    """
    if demonstrations:
        sequences, source = list(tokenize_demonstrations(demonstrations, codec, max_tokens).sequences), "demonstrations"
    else:
        best = [row for group in groups for row, rank in zip(group.sequences, group.ranks, strict=True) if rank == 0]
        # a mean over a thousand is known to a thirtieth of their spread; more would only take time
        sequences = best[:: max(1, len(best) // _ENOUGH_COMPLETIONS)]
        source = "best-ranked completions"
    model.score_bias.zero_()
    scores = torch.tensor(score_sequences(model, sequences, codec.pad_id, micro_batch_tokens, ranks=ranks), dtype=torch.float64)
    model.score_bias.fill_(-float(scores.mean()))
    spread = float(scores.std(correction=0))
    return {"score_bias": float(model.score_bias), "normalized_on": f"{len(sequences)} {source}", "score_std": spread}


def _initial_model(cfg: RewardModelConfig) -> ScalarModel:
    model = load_scalar(model_path(cfg.model), cfg.compute, seed=cfg.seed)
    if cfg.lora.rank:
        remember_base(model)
    add_lora(model, cfg.lora, seed=cfg.seed)
    remember_group_prompt(model, cfg.group_prompt)
    return model


def _validation_files(cfg: RewardModelConfig) -> list[str]:
    """The file named, else what the snapshots hold of the split ``valid``: prompts of owners whom training never saw (spec A5)."""
    return [cfg.validation] if cfg.validation else [beside(source, "rankings", "valid") for source in cfg.data]


def _by_cohort(run: RunDir, rows: Sequence[Ranking], group_prompt: str) -> tuple[list[Ranking], list[Ranking]]:
    """(for training, by held-out labelers), with the text for their group before the prompts where one is set."""
    ours, strangers = apart(rows)
    if strangers and not ours:
        raise DataError("all rankings are by held-out labelers, whose answers never train a model", hint="label with the training cohort")
    if strangers and run.latest() is None:
        run.event(0, "input", f"{len(strangers)} rankings by held-out labelers only measure", held_out=len(strangers))
    return conditioned(ours, group_prompt), conditioned(strangers, group_prompt)


def _accuracy_on(cfg: RewardModelConfig, model: ScalarModel, codec: TextCodec, rankings: Sequence[Ranking]) -> dict[str, Any]:
    """Accuracy on people whom training never saw (spec B3, D10); their prompts may have been trained on, by others' rankings."""
    context = context_tokens(model.trunk)
    groups = list(tokenize_rankings(rankings, codec, min(cfg.max_tokens or context, context)))
    return accuracy_report(groups, score_groups(model, groups, codec.pad_id, cfg.compute.micro_batch_tokens, ranks=joined()), seed=cfg.seed)


def _train_fold(cfg: RewardModelConfig, run: RunDir, train: Sequence[Ranking]) -> tuple[ScalarModel, TextCodec]:
    """One model of the cross-validation, trained like the real one."""
    codec = TextCodec(load_tokenizer(model_path(cfg.model)), chat_template=cfg.chat_template, name=cfg.model)
    model = _initial_model(cfg)
    train_reward_model(cfg, run=run, model=model, codec=codec, rankings=train)
    return model, codec


def _pairs(group: RankedGroup) -> int:
    return sum(1 for _ in group.strict_pairs())


def _say_what_is_trained(
    run: RunDir, notes: dict[str, int], groups: Sequence[RankedGroup], held_out: Sequence[RankedGroup], steps: int
) -> None:
    logger.info("%d prompts with a strict pair (%d rankings held out), %d steps", len(groups), len(held_out), steps)
    if run.latest() is None:
        shown = ", ".join(f"{name} {count}" for name, count in sorted(notes.items()))
        run.event(0, "input", f"training rankings: {shown}", **notes)
