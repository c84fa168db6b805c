"""What both sides of the benchmark work on: model shapes, a tokenizer, synthetic rows, lengths. Needs no package but torch and transformers.

Everything is a pure function of a seed and is written once into a temporary directory, from which both sides read: the same weights,
the same rows in the same order. The workers import this file in two different environments, so it must not import ``instructloop``.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

PAD, EOS, BOS = 0, 1, 2
PROMPT_TOKENS = 32
"""Length of every prompt of the generation workloads."""
NEW_TOKENS = 64
"""New tokens of the uniform generation workload."""
ROWS_TOGETHER = 64
"""Rows decoded at once, by both sides."""
BATCH = 16
"""Rows of an SFT step, pairs of a reward-model step."""
EPISODES, RESPONSE_TOKENS = 64, 48
"""One PPO update."""
PRETRAIN_TOKENS = 64
"""Length of a sequence of the pretraining mix; one comes with each episode."""
LONGEST, MEAN_LENGTH, SPREAD = 159, 43.0, 0.65
"""Ragged completions: lognormal with this mean, sigma of the logarithm, cut at the longest."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A decoder's shape; ``family`` is the architecture."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocab: int
    family: str = "llama"

    @property
    def kv_width(self) -> int:
        """Numbers of one token's keys in one layer."""
        return self.hidden // self.heads * self.kv_heads

    @property
    def trunk_weights(self) -> int:
        """Weights that are multiplied with every token: projections and MLP, without embeddings, norms and head."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_width
        return self.layers * (attention + (2 if self.family == "gpt2" else 3) * self.hidden * self.intermediate)


def _llama(hidden: int, layers: int, heads: int, vocab: int) -> Shape:
    middle = hidden * 8 // 3 // 32 * 32
    return Shape(hidden=hidden, layers=layers, heads=heads, kv_heads=heads, intermediate=middle, vocab=vocab)


SHAPES = {
    "micro": _llama(32, 2, 2, 512),
    "tiny": _llama(128, 4, 4, 4096),
    "small": _llama(256, 6, 8, 8192),
    "base": _llama(512, 6, 8, 12288),
    "smollm2": Shape(hidden=576, layers=30, heads=9, kv_heads=3, intermediate=1536, vocab=49152),
    "tiny-gpt2": Shape(hidden=128, layers=4, heads=4, kv_heads=4, intermediate=512, vocab=4096, family="gpt2"),
}
"""``tiny`` has 1.3 million weights, ``small`` 6.8, ``base`` 25.0, ``smollm2`` 134.5; ``micro`` is for tests."""
RAGGED_ROWS = {"micro": 6, "tiny": 512, "tiny-gpt2": 512, "small": 512, "base": 256, "smollm2": 64}


def model_config(shape: Shape, **more: Any) -> Any:
    """The Hugging Face configuration: 512 positions, tied embeddings, no dropout."""
    special: dict[str, Any] = {"pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": BOS}
    if shape.family == "gpt2":
        width: dict[str, Any] = {"n_embd": shape.hidden, "n_layer": shape.layers, "n_head": shape.heads, "n_inner": shape.intermediate}
        quiet: dict[str, Any] = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
        return GPT2Config(vocab_size=shape.vocab, n_positions=512, **width, **quiet, **special, **more)
    return LlamaConfig(
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        intermediate_size=shape.intermediate,
        vocab_size=shape.vocab,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        **special,
        **more,
    )


def save_models(shape: Shape, place: Path, *, seed: int = 0) -> None:
    """Tokenizer and random weights of ``place/lm`` (policy, SFT) and ``place/rm`` (one-label classifier)."""
    tokenizer = make_tokenizer(shape.vocab)
    torch.manual_seed(seed)
    lm = GPT2LMHeadModel(model_config(shape)) if shape.family == "gpt2" else LlamaForCausalLM(model_config(shape))
    lm.save_pretrained(place / "lm")
    tokenizer.save_pretrained(place / "lm")
    if shape.family == "llama":
        torch.manual_seed(seed + 1)
        LlamaForSequenceClassification(model_config(shape, num_labels=1)).save_pretrained(place / "rm")
        tokenizer.save_pretrained(place / "rm")


# -- text --------------------------------------------------------------------------------------------------------------------------


_SYLLABLES = ("ba", "ko", "ti", "ra", "mo", "ne", "su", "li", "da", "fe", "gu", "hi", "jo", "pa", "ve", "zu", "an", "er", "on", "is")


class Speech:
    """Sentences of made-up words of one to four syllables; the words are always the same, the sentences follow the seed."""

    def __init__(self, seed: int) -> None:
        draw = random.Random(0)
        self.words = ["".join(draw.choices(_SYLLABLES, k=draw.randint(1, 4))) for _ in range(3000)]
        self.draw = random.Random(seed)

    def sentence(self, fewest: int, most: int) -> str:
        """A sentence of that many words."""
        return " ".join(self.draw.choices(self.words, k=self.draw.randint(fewest, most)))

    def prompt(self) -> str:
        """4 to 16 words."""
        return self.sentence(4, 16)

    def completion(self) -> str:
        """4 to 24 words behind a space."""
        return " " + self.sentence(4, 24)


def make_tokenizer(vocab: int) -> PreTrainedTokenizerBase:
    """A byte-level BPE tokenizer of at most ``vocab`` tokens, trained on sentences; without chat template, adds nothing by itself."""
    speech, inner = Speech(1), Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab,
        special_tokens=["<pad>", "<eos>", "<bos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator((speech.sentence(20, 60) for _ in range(3000)), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>")


def demonstrations(count: int) -> list[dict[str, str]]:
    """Rows of SFT."""
    speech = Speech(2)
    return [{"prompt": speech.prompt(), "completion": speech.completion()} for _ in range(count)]


def rankings(count: int, k: int) -> list[dict[str, Any]]:
    """Prompts with k completions, best first."""
    speech = Speech(3 + k)
    return [{"prompt": speech.prompt(), "completions": [speech.completion() for _ in range(k)]} for _ in range(count)]


def pairs_of(rows: Sequence[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Rankings as all their pairs, which is how a trainer of pairs must see them."""
    for row in rows:
        for better, worse in combinations(row["completions"], 2):
            yield {"prompt": row["prompt"], "chosen": better, "rejected": worse}


def episode_prompts(count: int) -> list[str]:
    """Prompts of PPO."""
    speech = Speech(4)
    return [speech.prompt() for _ in range(count)]


def pretraining_texts(count: int) -> list[str]:
    """Documents of the pretraining mix."""
    speech = Speech(5)
    return [speech.sentence(60, 120) for _ in range(count)]


def even_prompts(count: int, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Prompts of exactly ``PROMPT_TOKENS`` tokens, filled up with words that fit."""
    speech = Speech(6)
    sizes = {word: len(tokenizer.encode(" " + word, add_special_tokens=False)) for word in speech.words}
    first = {word: len(tokenizer.encode(word, add_special_tokens=False)) for word in speech.words}
    fitting = {room: [word for word, size in sizes.items() if size <= room] for room in range(1, PROMPT_TOKENS + 1)}
    rows: list[str] = []
    while len(rows) < count:
        words = [speech.draw.choice(speech.words)]
        room = PROMPT_TOKENS - first[words[0]]
        while room > 0 and fitting[room]:
            words.append(speech.draw.choice(fitting[room]))
            room -= sizes[words[-1]]
        if room == 0:
            rows.append(" ".join(words))
    return rows


def ragged_lengths(count: int) -> list[int]:
    """Completion lengths in tokens: lognormal with mean 43, from 1 to 159, the longest at least once."""
    draw = random.Random(7)
    mu = math.log(MEAN_LENGTH) - SPREAD**2 / 2
    lengths = [min(LONGEST, max(1, round(math.exp(draw.gauss(mu, SPREAD))))) for _ in range(count)]
    lengths[lengths.index(max(lengths))] = LONGEST
    return lengths


def recorded_rollouts(prompts: Sequence[str], tokenizer: PreTrainedTokenizerBase, vocab: int) -> dict[str, list[list[int]]]:
    """Prompts with random completions free of PAD, EOS and BOS: the first PPO update of both sides is compared on these."""
    draw = random.Random(8)
    encoded = [[int(token) for token in tokenizer.encode(prompt, add_special_tokens=False)] for prompt in prompts]
    return {"prompts": encoded, "responses": [[draw.randrange(3, vocab) for _ in range(RESPONSE_TOKENS)] for _ in prompts]}


def write_json(path: Path, content: Any) -> None:
    """Write plain values."""
    path.write_text(json.dumps(content), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read plain values."""
    return json.loads(path.read_text(encoding="utf-8"))
