"""What a terminal says about a judging model and about test prompts that were not held out."""

from collections.abc import Mapping
from typing import Any

Lines = list[tuple[str, str]]


def judge_lines(table: Mapping[str, Any]) -> list[tuple[str, Lines]]:
    """Titled lines on the judge of a comparison and on seen prompts; nothing where there is neither."""
    found = []
    if table.get("judge"):
        found.append((f"The judge {table['judge']['name']}", _judge(table["judge"])))
    seen = table.get("seen_prompts") or {}
    if seen.get("n"):
        found.append(("Not held out", [(one["where"], f"{one['n']} of {seen['of']} test prompts, {one['use']}") for one in seen["by"]]))
    return found


def _judge(judge: Mapping[str, Any]) -> Lines:
    lines: Lines = []
    if judge.get("warning"):
        lines.append(("warning", str(judge["warning"])))
    bias = judge.get("position_bias")
    if bias:
        lines.append(("win rate of the answer shown first", f"{_figure(bias['first_rate'])}, p {bias['p']:.3g}"))
        lines.append(("pairs with the same verdict in both orders", _figure(bias["consistent"])))
    people = judge.get("agreement_with_people")
    if people and people["agreement"]:
        lines.append(("agreement with people", f"{_figure(people['agreement'])}, {people['unmatched']} votes on other pairs"))
        if people["people"]:
            lines.append(("people with each other", _figure(people["people"])))
    about = f"{judge['pairs']} pairs" if "pairs" in judge else f"{judge['marks']} answers"
    lost = f", {judge['unreadable']} unreadable, {judge['failed']} failed" if "unreadable" in judge else ""
    lines.append(("asked", f"{about}, {judge['asks']['now']} questions now, {judge['asks']['from_journal']} answered before{lost}"))
    tokens = judge["tokens"]
    cost = f", {judge['cost']:.4f} at the given prices" if judge.get("cost") is not None else ""
    lines.append(("tokens", f"{tokens['prompt']} prompt, {tokens['completion']} completion{cost}"))
    return lines


def _figure(value: Mapping[str, Any]) -> str:
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}] n {value['n']}"
