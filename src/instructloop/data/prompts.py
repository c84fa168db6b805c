"""Which prompts fit into the room that a rollout leaves them (spec A7)."""

from collections.abc import Sequence
from dataclasses import dataclass

from instructloop.core.errors import DataError
from instructloop.core.records import Message, Prompt, PromptContent
from instructloop.data.codec import TextCodec


@dataclass(frozen=True, slots=True)
class KeptPrompts:
    """Prompts that fit, their ids, and how many did not."""

    prompts: tuple[Prompt, ...]
    ids: tuple[tuple[int, ...], ...]
    over_long: int = 0

    def __len__(self) -> int:
        return len(self.prompts)


def keep_prompts(prompts: Sequence[Prompt], codec: TextCodec, max_tokens: int) -> KeptPrompts:
    """Leave out and count prompts of more than ``max_tokens`` tokens; none is cut, for a cut prompt asks something else.

    Raises:
        DataError: not a single prompt fits.
    """
    kept: list[Prompt] = []
    ids: list[tuple[int, ...]] = []
    for prompt in prompts:
        tokens = tuple(codec.encode_prompt(prompt.prompt))
        if len(tokens) <= max_tokens:
            kept.append(prompt)
            ids.append(tokens)
    if prompts and not kept:
        raise DataError(
            f"none of the {len(prompts)} prompts fits into {max_tokens} tokens",
            hint="raise max_prompt_tokens, lower sampling.max_new_tokens, or shorten the prompts",
        )
    return KeptPrompts(tuple(kept), tuple(ids), len(prompts) - len(kept))


def prefixed(prompt: PromptContent, text: str) -> PromptContent:
    """The prompt with a text before its last turn."""
    if isinstance(prompt, str):
        return text + prompt
    last = prompt[-1]
    return (*prompt[:-1], Message(last.role, text + last.content))
