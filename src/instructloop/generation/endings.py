"""When a completion has ended, what text it holds, and whether there is room for it: the same rules for every engine."""

from collections.abc import Sequence

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.data import TextCodec

_MARGIN_TOKENS = 8  # an unfinished character before the stop text


class Endings:
    """The end of completions under one codec and one sampling configuration.

    Attributes:
        ids: tokens that end a completion and belong to it: the codec's, and those that a stop text names (a special token
            never shows in decoded text).
        forbidden: PAD, where the tokenizer has one that is no stop token: it may have an embedding, but is not text (T13).
    """

    def __init__(self, codec: TextCodec, sampling: SamplingConfig) -> None:
        self.codec, self.texts = codec, sampling.stop
        special = codec.tokenizer.get_added_vocab()
        self.ids: frozenset[int] = codec.stop_ids | {special[text] for text in sampling.stop if text in special}
        # a stop text ends in the newest token, and a token holds at least a byte: the tail is enough
        self._reach = max((len(text.encode()) for text in sampling.stop), default=0) + _MARGIN_TOKENS
        pad = codec.tokenizer.pad_token_id
        self.forbidden: tuple[int, ...] = () if pad is None or pad in codec.stop_ids else (int(pad),)

    def ended(self, tokens: Sequence[int]) -> bool:
        """Whether the newest token ends the completion: it is a stop token, or completes a stop text."""
        if tokens[-1] in self.ids:
            return True
        if not self.texts:
            return False
        tail = self.codec.decode(tokens[-self._reach :])
        return any(text in tail for text in self.texts)

    def length(self, tokens: Sequence[int]) -> int | None:
        """How many tokens there are up to the first end, the ending one included; None if there is no end."""
        ends = range(1, len(tokens) + 1)
        return next((end for end in ends if self.ended(tokens[max(0, end - self._reach) : end])), None)

    def text(self, tokens: Sequence[int]) -> str:
        """The completion's text before its first stop text."""
        text = self.codec.decode(tokens)
        cuts = [place for place in (text.find(one) for one in self.texts) if place >= 0]
        return text[: min(cuts)] if cuts else text


def check_room(longest: int, sampling: SamplingConfig, context: int) -> None:
    """Refuse a prompt that leaves no room for a completion.

    Args:
        longest: tokens of the longest prompt.
        sampling: with ``max_new_tokens``.
        context: tokens that the model can hold.

    Raises:
        ConfigError: both together are longer than the context.
    """
    if longest + sampling.max_new_tokens > context:
        raise ConfigError(
            f"a prompt of {longest} tokens and max_new_tokens = {sampling.max_new_tokens} do not fit into the model's "
            f"context of {context} tokens",
            hint=f"lower sampling.max_new_tokens to {max(context - longest, 0)}, or drop longer prompts with max_prompt_tokens",
        )


def row_limits(limits: Sequence[int] | None, rows: int, sampling: SamplingConfig) -> list[int]:
    """The most tokens of each row: its own limit, or ``max_new_tokens``.

    Raises:
        DataError: there are not as many limits as rows, or one lies outside 1..max_new_tokens.
    """
    if limits is None:
        return [sampling.max_new_tokens] * rows
    if len(limits) != rows or not all(1 <= limit <= sampling.max_new_tokens for limit in limits):
        raise DataError(f"limits must be {rows} numbers of 1..{sampling.max_new_tokens} (max_new_tokens), got {len(limits)}")
    return list(limits)
