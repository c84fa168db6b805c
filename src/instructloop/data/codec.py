"""Text to token ids and back, in one place, so that every stage sees a prompt and a completion the same way.

A prompt starts with exactly one BOS if the tokenizer uses one (ppo-details T12), a completion ends in the end-of-turn token
that the model is to learn (EOS, or the special token with which the tokenizer's chat template closes an assistant turn), and
no mask is ever derived from PAD (T1): lengths are.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import PromptContent, prompt_json, prompt_text

_PROBE = "instructloop"


class TextCodec:
    """Encodes prompts, completions and documents with a Hugging Face tokenizer.

    Args:
        tokenizer: any tokenizer with an end-of-sequence token.
        chat_template: wrap prompts in the tokenizer's chat template where it has one; False treats them as plain text.
        name: how messages call it (a path or a hub name).

    Raises:
        ConfigError: the tokenizer has no EOS, so that a model could never learn to stop.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, chat_template: bool = True, name: str = "") -> None:
        self.tokenizer = tokenizer
        self.name = name or str(getattr(tokenizer, "name_or_path", "")) or "tokenizer"
        self.uses_chat_template = chat_template and bool(getattr(tokenizer, "chat_template", None))
        if tokenizer.eos_token_id is None:
            raise ConfigError(
                f"{self.name}: the tokenizer has no end-of-sequence token",
                hint="set one before saving it, e.g. tokenizer.eos_token = '</s>', and add it to the vocabulary",
            )
        self._tokenizer_eos = int(tokenizer.eos_token_id)
        self._bos_id = self._find_bos()
        turn_end = self._find_turn_end() if self.uses_chat_template else None
        self.eos_id: int = self._tokenizer_eos if turn_end is None else turn_end
        """The token that ends a completion; training appends it."""
        self.stop_ids: frozenset[int] = frozenset({self.eos_id, self._tokenizer_eos})
        """Tokens that end a sampled completion. Id 0 is a token like any other (T8)."""
        self._stop_texts = [str(token) for token in tokenizer.convert_ids_to_tokens(sorted(self.stop_ids))]
        pad = tokenizer.pad_token_id
        self.pad_id: int = self.eos_id if pad is None else int(pad)
        """Filler for padding. It may equal EOS in a user's tokenizer, so no mask may look at it."""

    def encode_prompt(self, prompt: PromptContent) -> list[int]:
        """Ids of a prompt, ready to be continued: one BOS if the tokenizer uses one, the template's assistant header if it has one.

        Without a chat template a conversation becomes ``role: content`` lines that end in ``assistant:``.
        A text that gives no token at all starts from EOS (the document border of tokenizers without BOS).
        """
        ids = self._raw(self.render_prompt(prompt))
        return self._with_one_bos(ids) or [self.eos_id]

    def render_prompt(self, prompt: PromptContent) -> str:
        """The text that ``encode_prompt`` tokenizes."""
        if self.uses_chat_template:
            content = prompt_json(prompt)
            messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return prompt if isinstance(prompt, str) else prompt_text(prompt) + "\nassistant:"

    def encode_completion(self, text: str) -> list[int]:
        """Ids of a completion without BOS, ending in exactly one end token even if the text already spells it out.

        Names of special tokens inside the text are spelled letter by letter: a completion holds no end token but its last.

        Raises:
            DataError: the text has no token of its own (ppo-details T10: an empty completion is a bad row, not an example).
        """
        for token in self._stop_texts:
            text = text.removesuffix(token)
        ids = [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)]
        if not ids:
            raise DataError("the completion is empty", hint="remove the row, or skip it with --skip-bad-rows")
        return [*ids, self.eos_id]

    def encode_text(self, text: str) -> list[int]:
        """Ids of a document of the pretraining mix: one BOS if the tokenizer uses one, the text, the tokenizer's EOS."""
        return [*self._with_one_bos(self._raw(text)), self._tokenizer_eos]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a completion: everything before its first stop token, special tokens left out."""
        cut = next((place for place, token in enumerate(ids) if token in self.stop_ids), len(ids))
        return str(self.tokenizer.decode(list(ids[:cut]), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _raw(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text, add_special_tokens=False)]

    def _with_one_bos(self, ids: list[int]) -> list[int]:
        if self._bos_id is None:
            return ids
        start = 0
        while start < len(ids) and ids[start] == self._bos_id:
            start += 1
        return [self._bos_id, *ids[start:]]

    def _find_bos(self) -> int | None:
        """BOS as the tokenizer itself uses it: by its post-processor or by its chat template; None where it does neither."""
        bos = self.tokenizer.bos_token_id
        if bos is None:
            return None
        marked = self.tokenizer.encode(_PROBE, add_special_tokens=True)
        if marked and marked[0] == bos:
            return int(bos)
        if self.uses_chat_template and self.tokenizer.bos_token != self.tokenizer.eos_token:
            # some chat formats use BOS as the marker of every turn (ChatML after SmolLM); only a lone one counts
            templated = self._raw(self.render_prompt(_PROBE))
            if templated[:1] == [bos] and templated.count(bos) == 1:
                return int(bos)
        return None

    def _find_turn_end(self) -> int | None:
        """The special token that closes an assistant turn in the chat template, if the template shows one."""
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        rendered = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        tail = rendered.rpartition(_PROBE)[2]
        specials = set(self.tokenizer.all_special_ids) | set(getattr(self.tokenizer, "added_tokens_decoder", {}))
        return next((token for token in self._raw(tail) if token in specials), None) if tail else None
