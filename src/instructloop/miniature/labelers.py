"""The people of the miniature: twelve labelers with tastes and noise, who write demonstrations and rank completions.

A labeler feels the parts of gold with weights of their own (taste), plus noise for every completion looked at, and cannot tell
apart what is close: close completions are tied. The noise is set so that two labelers agree on about 73 % of the pairs that
both rank strictly (the paper: 72.6 +- 1.5 %, spec B4).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.files import read_jsonl, write_jsonl
from instructloop.core.records import Demonstration, Prompt, Ranking, dense_ranks, prompt_json
from instructloop.core.seeds import stream
from instructloop.miniature import tasks
from instructloop.miniature.gold import PARTS, GoldScore, gold_utility
from instructloop.miniature.replies import SLIPS, good_reply, slip
from instructloop.miniature.world import World

NOISE = 0.36
"""Standard deviation of a labeler's error, in units of gold utility."""
STEP = 0.15
"""Completions whose felt values fall into one step of this width are tied."""
SHORTEST, LONGEST = 4, 9


@dataclass(frozen=True, slots=True)
class Labeler:
    """A pseudonymous code, what they care about, and how steady they are."""

    code: str
    taste: Mapping[str, float]
    noise: float

    def feel(self, score: GoldScore) -> float:
        """The weighted sum of the parts, before noise."""
        return sum(self.taste[part] * value for part, value in score.parts.items())


def make_labelers(n: int = 12, seed: int = 0) -> tuple[Labeler, ...]:
    """The pool: tastes between .7 and 1.3 of gold's weights, noise 20 % up or down from :data:`NOISE`."""
    random = stream(seed, "labelers")
    return tuple(
        Labeler(f"L{i:02d}", MappingProxyType({part: random.uniform(0.7, 1.3) for part in PARTS}), NOISE * random.uniform(0.8, 1.2))
        for i in range(1, n + 1)
    )


def prompts(world: World, split: str, n: int, seed: int) -> list[Prompt]:
    """What customers of the bay ask: ``n`` different prompts of one split."""
    return tasks.prompts(world, split, n, seed)


def demonstrations(world: World, n: int, seed: int, split: str = "train") -> list[Demonstration]:
    """``n`` prompts answered by labelers; one reply in four has a human slip (``meta["slip"]``)."""
    people = make_labelers()
    random = stream(seed, "demonstrations", split)
    written = []
    for prompt in tasks.prompts(world, split, n, seed):
        slipped = random.random() < SLIPS
        text = slip(prompt, world, random) if slipped else good_reply(prompt, random)
        written.append(
            Demonstration(
                prompt=prompt.prompt, completion=text, meta={**prompt.meta, "labeler": random.choice(people).code, "slip": slipped}
            )
        )
    return written


def rank(prompt: Prompt, completions: Sequence[str], labeler: Labeler, seed: int) -> Ranking:
    """One labeler's ranking of different completions; the same arguments give the same ranking."""
    random = stream(seed, "rank", labeler.code, str(prompt.meta.get("id", prompt.prompt)))
    felt = [labeler.feel(gold_utility(prompt, text)) + random.gauss(0.0, labeler.noise) for text in completions]
    ranks = dense_ranks(tuple(-round(value / STEP) for value in felt))
    spread = max(felt) - min(felt)
    meta = {key: prompt.meta[key] for key in ("id", "use_case", "template") if key in prompt.meta}
    return Ranking(
        prompt=prompt.prompt,
        completions=tuple(completions),
        ranks=ranks,
        labeler=labeler.code,
        confidence=round(min(1.0, spread / 2), 3),
        meta=meta,
    )


def distinct(completions: Iterable[str]) -> list[str]:
    """Different completions in order of appearance, white space at the ends ignored, empty ones dropped."""
    seen: dict[str, None] = {}
    for text in completions:
        if text.strip():
            seen.setdefault(text.strip())
    return list(seen)


def label_file(completions: Path, out: Path, seed: int) -> dict[str, int]:
    """Rank a file of ``{"prompt", "completions", ...}`` rows, as ``instructloop sample`` writes it, into ranking rows.

    Args:
        completions: JSONL; the rows keep the ``task`` of the miniature's prompts, which gold needs.
        out: JSONL of rankings.
        seed: of the labelers' noise and of who gets which prompt.

    Returns:
        Counts: ``ranked`` rows, and ``too_few`` rows with fewer than two different completions.

    Raises:
        DataError: a row is not from the miniature; its labelers can judge nothing else.
    """
    people = make_labelers()
    counts = {"ranked": 0, "too_few": 0}
    rows: list[dict[str, Any]] = []
    for number, row in enumerate(read_jsonl(completions)):
        meta = {key: value for key, value in row.items() if key not in ("prompt", "completions")}
        if "task" not in meta or not isinstance(row["prompt"], str):
            raise DataError(
                f"{completions}:{number + 1}: field 'task' is missing: not a prompt of the miniature",
                hint="the simulated labelers only know Pebble Bay; sample prompts_train.jsonl of `instructloop miniature build`",
            )
        different = distinct(row["completions"])[:LONGEST]
        if len(different) < 2:
            counts["too_few"] += 1
            continue
        ranking = rank(Prompt(prompt=row["prompt"], meta=meta), different, stream(seed, "assign", number).choice(people), seed)
        rows.append({"prompt": prompt_json(ranking.prompt), "completions": list(ranking.completions), "ranks": list(ranking.ranks),
                     "labeler": ranking.labeler, "confidence": ranking.confidence, **ranking.meta})  # fmt: skip
        counts["ranked"] += 1
    write_jsonl(out, rows)
    return counts
