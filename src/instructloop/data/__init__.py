"""Records into training examples: token ids, right-padded batches, and which rows form a step."""

from instructloop.data.batching import batch_at, epoch_order, grouped_micro_batches, micro_batches, steps_in
from instructloop.data.codec import TextCodec
from instructloop.data.demonstrations import Tokenized, tokenize_demonstrations
from instructloop.data.prompts import KeptPrompts, keep_prompts
from instructloop.data.rankings import RankedGroup, TokenizedRankings, tokenize_rankings
from instructloop.data.sequences import TokenBatch, TokenSequence, collate
from instructloop.data.texts import pack_texts

__all__ = [
    "KeptPrompts",
    "RankedGroup",
    "TextCodec",
    "TokenBatch",
    "TokenSequence",
    "Tokenized",
    "TokenizedRankings",
    "batch_at",
    "collate",
    "epoch_order",
    "grouped_micro_batches",
    "keep_prompts",
    "micro_batches",
    "pack_texts",
    "steps_in",
    "tokenize_demonstrations",
    "tokenize_rankings",
]
