"""Train and held-out records that share no prompt (spec A: splits by prompt; never by row, since many rows share one)."""

from collections.abc import Sequence
from typing import TypeVar

from instructloop.core.errors import ConfigError
from instructloop.core.hashing import hash_json
from instructloop.core.records import Demonstration, Pair, Prompt, Ranking, Unpaired, prompt_json
from instructloop.core.seeds import derive

WithPrompt = TypeVar("WithPrompt", Demonstration, Pair, Prompt, Ranking, Unpaired)


def split_by_prompt(records: Sequence[WithPrompt], fraction: float, seed: int) -> tuple[list[WithPrompt], list[WithPrompt]]:
    """Hold out a share of the distinct prompts, and all rows of each of them.

    Prompts are ordered by a hash of their text and the seed, so the choice depends neither on the order of the rows nor on other
    prompts' rows; the first ``round(fraction * prompts)`` are held out (at least one if ``fraction`` > 0 and there are two).

    Args:
        records: anything with a prompt, in any order.
        fraction: share of prompts in [0, 1).
        seed: another seed gives another split.

    Returns:
        (train, held out), each in the order of ``records``.

    Raises:
        ConfigError: the fraction lies outside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise ConfigError(f"the held-out fraction must be in [0, 1), got {fraction}")
    keys = [hash_json(prompt_json(record.prompt)) for record in records]
    ordered = sorted(set(keys), key=lambda key: (derive(seed, "split", key), key))
    count = round(fraction * len(ordered))
    if fraction > 0 and len(ordered) > 1:
        count = min(max(count, 1), len(ordered) - 1)
    held_out = set(ordered[:count])
    train = [record for record, key in zip(records, keys, strict=True) if key not in held_out]
    return train, [record for record, key in zip(records, keys, strict=True) if key in held_out]
