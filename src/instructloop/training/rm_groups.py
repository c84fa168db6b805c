"""Whose preferences: weights by group of labelers, or a text that says for whom to judge (spec L1).

The paper's reward model takes every labeler alike. Here a cohort or a single labeler may weigh more (``rm.group_weights``), or
the model learns several groups at once, told apart by a text before the prompt (``rm.group_prompt``), and is asked for one of them
when it scores. What each group gets is reported either way: accuracy by cohort and by labeler on held-out rankings.
"""

import difflib
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Ranking
from instructloop.data import RankedGroup
from instructloop.data.prompts import prefixed
from instructloop.models.scalar import GROUP_PROMPT_KEY, ScalarModel

HELD_OUT_COHORT = "heldout"


def apart(rankings: Sequence[Ranking]) -> tuple[list[Ranking], list[Ranking]]:
    """(usable for training, by held-out labelers): the latter only ever validate, wherever they came from (spec B3)."""
    ours = [row for row in rankings if row.meta.get("cohort") != HELD_OUT_COHORT]
    return ours, [row for row in rankings if row.meta.get("cohort") == HELD_OUT_COHORT]


def weighted(groups: Sequence[RankedGroup], weights: Mapping[str, float]) -> tuple[list[RankedGroup], dict[str, Any]]:
    """Groups with their labelers' weights, scaled to a mean of 1, so that the learning rate means the same with and without them.

    Args:
        groups: the training rankings.
        weights: by labeler code or by cohort; a code goes before its cohort, whoever is not named weighs 1.

    Returns:
        The groups that weigh anything, and a table for ``result.json``: per name its weight after scaling, its rankings, and its
        share of the loss.

    Raises:
        ConfigError: a name that no ranking has, or nothing left.
    """
    if not weights:
        return list(groups), {}
    known = {group.labeler for group in groups} | {group.cohort for group in groups}
    for name in weights:
        if name not in known:
            names = sorted(item for item in known if item)
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"they name {', '.join(names) or 'no labelers and no cohorts'}"
            raise ConfigError(f"rm.group_weights: no training ranking is by {name!r}", hint=hint)
    raw = [weights.get(group.labeler or "", weights.get(group.cohort or "", 1.0)) for group in groups]
    kept = [(group, weight) for group, weight in zip(groups, raw, strict=True) if weight > 0]
    if not kept:
        raise ConfigError("rm.group_weights leaves no ranking", hint="give at least one group a weight above 0")
    mean = sum(weight for _, weight in kept) / len(kept)
    scaled = [replace(group, weight=weight / mean) for group, weight in kept]
    total = sum(group.weight for group in scaled)
    table = {}
    for name in (*weights, ""):
        mine = [group for group in scaled if _named(group, weights) == name]
        if mine:
            shown = name or "everyone else"
            table[shown] = {"weight": mine[0].weight, "rankings": len(mine), "share": sum(group.weight for group in mine) / total}
    for name, weight in weights.items():
        if weight == 0:
            table[name] = {"weight": 0.0, "rankings": sum(_named(group, weights) == name for group in groups), "share": 0.0}
    return scaled, table


def _named(group: RankedGroup, weights: Mapping[str, float]) -> str:
    return next((name for name in (group.labeler, group.cohort) if name and name in weights), "")


def conditioned(rankings: Sequence[Ranking], template: str) -> list[Ranking]:
    """Rankings whose prompts begin with the text for their labelers' group.

    Args:
        rankings: any.
        template: with ``{cohort}`` or ``{labeler}``, e.g. ``"[for {cohort} labelers] "``; empty leaves the rankings as they are.

    Raises:
        DataError: a ranking without that field.
    """
    if not template:
        return list(rankings)
    fields = {name for _, name, _, _ in string.Formatter().parse(template) if name}
    told = []
    for number, row in enumerate(rankings):
        values = {"cohort": row.meta.get("cohort"), "labeler": row.labeler}
        missing = sorted(name for name in fields if not values.get(name))
        if missing:
            raise DataError(
                f"ranking {number + 1}: rm.group_prompt needs {missing[0]!r}, which the row does not have",
                hint="train on a snapshot, whose rows name labeler and cohort, or leave group_prompt empty",
            )
        told.append(replace(row, prompt=prefixed(row.prompt, template.format(**values))))
    return told


def remember_group_prompt(model: ScalarModel, template: str) -> None:
    """Note the template in the model's own configuration: who scores with the saved model must say for which group."""
    if template:
        setattr(model.classifier.config, GROUP_PROMPT_KEY, template)
