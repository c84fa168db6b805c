"""Few-shot prompts written by labelers, turned into training examples (spec A8).

A template is an instruction and K query/response pairs. It gives K examples, each with the other K - 1 pairs as context; further
examples come from other choices of the context.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.hashing import hash_json
from instructloop.core.records import Demonstration
from instructloop.core.seeds import stream

_ENUMERATE_UP_TO = 5000


@dataclass(frozen=True, slots=True)
class FewshotPair:
    """One worked case of a template."""

    query: str
    response: str


@dataclass(frozen=True, slots=True)
class FewshotTemplate:
    """An instruction with K >= 2 pairs, and the words that stand before queries and responses."""

    instruction: str
    pairs: tuple[FewshotPair, ...]
    query_label: str = "Input: "
    response_label: str = "Output: "

    def __post_init__(self) -> None:
        """Check the pairs.

        Raises:
            DataError: fewer than two pairs, or the same query twice.
        """
        if len(self.pairs) < 2:
            raise DataError(f"a few-shot prompt needs at least 2 query/response pairs, got {len(self.pairs)}", hint="add pairs")
        if len({pair.query for pair in self.pairs}) < len(self.pairs):
            raise DataError("a few-shot prompt has the same query twice", hint="its answer would stand in the context; take one out")

    @property
    def sha256(self) -> str:
        """Identity of the template, in every example made from it."""
        parts = [self.instruction, [[pair.query, pair.response] for pair in self.pairs], self.query_label, self.response_label]
        return hash_json(parts)

    def prompt(self, held: int, context: Sequence[int]) -> str:
        """The prompt that asks for pair ``held`` and shows the pairs ``context`` in that order."""
        if held in context:
            raise ConfigError(f"pair {held} is asked for and cannot be shown")
        blocks = [self.instruction.strip()]
        blocks += [f"{self.query_label}{self.pairs[i].query}\n{self.response_label}{self.pairs[i].response}" for i in context]
        return "\n\n".join([*blocks, f"{self.query_label}{self.pairs[held].query}\n{self.response_label.rstrip()}"])


def expand(template: FewshotTemplate) -> list[Demonstration]:
    """K examples from K pairs: each asks for one pair and shows all others, in the template's order."""
    return [_example(template, held, [i for i in range(len(template.pairs)) if i != held]) for held in range(len(template.pairs))]


def sample_sets(template: FewshotTemplate, n: int, *, shots: int, seed: int) -> list[Demonstration]:
    """``n`` different further examples that show ``shots`` pairs each; fewer where there are not so many different ones.

    Two examples differ if they ask for another pair or show another set of pairs; the order of what is shown is drawn.

    Raises:
        ConfigError: ``shots`` is not in 1..K - 1.
    """
    k = len(template.pairs)
    if not 1 <= shots < k:
        raise ConfigError(f"a template of {k} pairs can show 1 to {k - 1} of them, not {shots}")
    random = stream(seed, "few-shot sets", template.sha256, shots)
    possible = k * comb(k - 1, shots)
    chosen: dict[tuple[int, tuple[int, ...]], None] = {}
    if possible <= _ENUMERATE_UP_TO:
        everything = [(held, shown) for held in range(k) for shown in combinations([i for i in range(k) if i != held], shots)]
        chosen = dict.fromkeys(random.sample(everything, min(n, possible)))
    while len(chosen) < min(n, possible):
        held = random.randrange(k)
        chosen[held, tuple(sorted(random.sample([i for i in range(k) if i != held], shots)))] = None
    return [_example(template, held, random.sample(shown, shots)) for held, shown in chosen]


def _example(template: FewshotTemplate, held: int, context: Sequence[int]) -> Demonstration:
    meta = {"fewshot": {"template": template.sha256, "pair": held, "shown": list(context)}}
    return Demonstration(prompt=template.prompt(held, context), completion=template.pairs[held].response, meta=meta)
