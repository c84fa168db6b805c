"""Cross-validation over groups of labelers: does the reward model know people, or only these people? See spec D10.

The paper: 5 groups of labelers with about equal data, train on 4, test on the 5th, 3 seeds: 69.6 +- 0.9 % on the held-out group beside
72.4 +- 0.4 % on the training labelers' own preferences. Here both are measured on prompts that no training ranking has.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from instructloop.config import RewardModelConfig, to_json
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json
from instructloop.core.records import Ranking
from instructloop.core.seeds import derive, permutation
from instructloop.data import TextCodec, tokenize_rankings
from instructloop.data.rankings import prompt_key
from instructloop.formats import split_by_prompt
from instructloop.models.load import context_tokens
from instructloop.models.ranks import joined
from instructloop.models.scalar import ScalarModel
from instructloop.runs.rundir import RunDir
from instructloop.training.loop import open_run
from instructloop.training.rm_loss import score_groups
from instructloop.training.rm_report import accuracy_report

logger = logging.getLogger(__name__)
FoldTrainer = Callable[[RewardModelConfig, RunDir, Sequence[Ranking]], tuple[ScalarModel, TextCodec]]


def labeler_groups(rankings: Sequence[Ranking], count: int, seed: int) -> list[list[str]]:
    """Labelers in ``count`` groups of about equal data: the busiest first, each into the group with least so far.

    Raises:
        ConfigError: there are fewer named labelers than groups.
    """
    work = Counter(ranking.labeler for ranking in rankings if ranking.labeler is not None)
    if len(work) < count:
        raise ConfigError(
            f"cross-validation over {count} groups needs as many labelers, but the rankings name {len(work)}",
            hint="rows need a 'labeler' field; lower rm.cross_validation_groups, or set it to 0",
        )
    names = sorted(work)
    shuffled = [names[index] for index in permutation(len(names), seed, "labeler groups")]
    groups: list[list[str]] = [[] for _ in range(count)]
    load = [0] * count
    for name in sorted(shuffled, key=lambda name: -work[name]):
        lightest = load.index(min(load))
        groups[lightest].append(name)
        load[lightest] += work[name]
    return [sorted(group) for group in groups]


def cross_validate(cfg: RewardModelConfig, out: Path, rankings: Sequence[Ranking], *, train_one: FoldTrainer) -> dict[str, Any]:
    """Train ``groups * seeds`` models, each without one group of labelers, and test them on that group and on their own labelers.

    Every fold is a run of its own under ``out/cross-validation``; finished ones are not repeated on resume.

    Returns:
        ``held_out_labelers`` and ``own_labelers``: mean accuracy over folds and seeds, its standard deviation over seeds
        (each seed pooled over its folds), and every single fold.
    """
    folds = []
    for seed in range(cfg.cross_validation_seeds):
        base = derive(cfg.seed, "cross-validation", seed) % (1 << 31)
        groups = labeler_groups(rankings, cfg.cross_validation_groups, base)
        train, rest = split_by_prompt([row for row in rankings if row.labeler is not None], cfg.validation_fraction or 0.2, base)
        for number, group in enumerate(groups):
            fold_cfg = replace(cfg, seed=base, cross_validation_groups=0, validation="", demonstrations="")
            path = out / "cross-validation" / f"seed-{seed}-group-{number}"
            result = _fold(fold_cfg, path, train, [*rest, *train], frozenset(group), train_one)
            folds.append({"seed": seed, "group": group, **result})
    return {
        "groups": cfg.cross_validation_groups,
        "seeds": cfg.cross_validation_seeds,
        "held_out_labelers": _over_seeds(folds, "held_out_labelers"),
        "own_labelers": _over_seeds(folds, "own_labelers"),
        "folds": folds,
    }


def _fold(
    cfg: RewardModelConfig, path: Path, train: Sequence[Ranking], rest: Sequence[Ranking], left_out: frozenset[str], train_one: FoldTrainer
) -> dict[str, Any]:
    ranks = joined()
    if ranks.by_main((path / "result.json").exists):
        done: dict[str, Any] = read_json(path / "result.json")["fold"]
        return done
    mine = [row for row in train if row.labeler not in left_out]
    seen = {prompt_key(row.prompt) for row in mine}
    unseen = [row for row in rest if prompt_key(row.prompt) not in seen]
    strangers = [row for row in unseen if row.labeler in left_out]
    own = [row for row in unseen if row.labeler not in left_out]
    with open_run(path, ranks=ranks, stage="rm", config={**to_json(cfg), "left_out": sorted(left_out)}, resume=True) as run:
        model, codec = train_one(cfg, run, mine)
        result = {"prompts": len(seen), "held_out_labelers": _accuracy(cfg, model, codec, strangers)}
        result["own_labelers"] = _accuracy(cfg, model, codec, own)
        run.result({"stage": "rm", "fold": result})
    if ranks.main:
        shutil.rmtree(path / "checkpoints")  # the numbers are the result; fifteen training states are not
    logger.info("left out %s: %s", ", ".join(sorted(left_out)), result)
    return result


def _accuracy(cfg: RewardModelConfig, model: ScalarModel, codec: TextCodec, rows: Sequence[Ranking]) -> dict[str, Any]:
    if not rows:
        return {"pairs": 0}
    context = context_tokens(model.trunk)
    groups = list(tokenize_rankings(rows, codec, min(cfg.max_tokens or context, context)))
    report = accuracy_report(
        groups, score_groups(model, groups, codec.pad_id, cfg.compute.micro_batch_tokens, ranks=joined()), seed=cfg.seed
    )
    return {name: value for name, value in report.items() if not isinstance(value, dict)}


def _over_seeds(folds: Sequence[dict[str, Any]], which: str) -> dict[str, Any]:
    per_seed: dict[int, list[dict[str, Any]]] = {}
    for fold in folds:
        if fold[which]["pairs"]:
            per_seed.setdefault(fold["seed"], []).append(fold[which])
    means = [sum(test["accuracy"] * test["pairs"] for test in tests) / sum(test["pairs"] for test in tests) for tests in per_seed.values()]
    if not means:
        return {"pairs": 0}
    spread = stdev(means) if len(means) > 1 else 0.0
    pairs = sum(test["pairs"] for tests in per_seed.values() for test in tests)
    return {"accuracy": fmean(means), "std_over_seeds": spread, "pairs": pairs}
