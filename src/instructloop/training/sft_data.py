"""What SFT reads, as token ids, and how many steps that makes."""

import copy
import logging
import math
from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Int
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.config import SFTConfig
from instructloop.core.errors import ConfigError
from instructloop.core.records import Demonstration, Text
from instructloop.data import TextCodec, Tokenized, pack_texts, steps_in, tokenize_demonstrations
from instructloop.models.load import set_dropout
from instructloop.runs.rundir import RunDir

logger = logging.getLogger(__name__)
LONGEST_BLOCK_TOKENS = 2048
"""Length of pretraining blocks where the model has no position limit (the paper's context: C0)."""
_HELD_OUT_SHARE = 20
_HELD_OUT_MOST = 64


class SFTData(NamedTuple):
    """Everything that is read during training, and its division into steps."""

    train: Tokenized
    validation: Tokenized | None
    blocks: Int[Tensor, "N L"] | None
    """Pretraining text to mix in."""
    held_out_blocks: Int[Tensor, "M L"] | None
    """Pretraining text that is only measured: the RL-init model is chosen for low loss on both (C6)."""
    rows_per_step: int
    blocks_per_step: int
    steps: int
    epoch_ends: frozenset[int]
    """The first step after which every row was seen e times, for e = 1, 2..."""

    @property
    def text_share(self) -> float:
        """Share of a batch's sequences that is pretraining text."""
        return self.blocks_per_step / (self.rows_per_step + self.blocks_per_step)


def prepare_sft(
    cfg: SFTConfig,
    run: RunDir,
    context_tokens: int,
    codec: TextCodec,
    demonstrations: Sequence[Demonstration],
    validation: Sequence[Demonstration],
    pretrain_texts: Sequence[Text],
) -> SFTData:
    """Tokenize everything; what is left out is counted in the run's events.

    Raises:
        ConfigError: ``select_by`` or the mix needs something that is not there.
    """
    limit = min(cfg.max_tokens or context_tokens, context_tokens)
    train = tokenize_demonstrations(demonstrations, codec, limit)
    held_out = tokenize_demonstrations(validation, codec, limit) if validation else None
    if held_out is None and cfg.select_by == "validation_loss":
        raise ConfigError("sft.select_by = 'validation_loss' needs held-out demonstrations", hint="set validation or validation_fraction")
    _say_what_is_left_out(run, train, "training", limit)
    if held_out is not None:
        _say_what_is_left_out(run, held_out, "validation", limit)
    blocks = held_out_blocks = None
    blocks_per_step = 0
    if cfg.pretrain_fraction > 0:
        if not pretrain_texts:
            raise ConfigError("sft.pretrain_fraction > 0 needs pretraining text", hint="name it: --pretrain-data FILE")
        # at least one block a step, and at least one demonstration
        blocks_per_step = min(max(1, round(cfg.batch_size * cfg.pretrain_fraction)), max(1, cfg.batch_size - 1))
        packed = pack_texts(pretrain_texts, codec, min(limit, LONGEST_BLOCK_TOKENS))
        kept_back = min(len(packed) // _HELD_OUT_SHARE, _HELD_OUT_MOST)
        blocks = packed[: len(packed) - kept_back]
        held_out_blocks = packed[len(packed) - kept_back :] if kept_back else None
    rows = max(1, cfg.batch_size - blocks_per_step)
    steps = steps_in(len(train), rows, cfg.epochs)
    steps = min(steps, cfg.max_steps) if cfg.max_steps else steps
    ends = frozenset(math.ceil(len(train) * epoch / rows) for epoch in range(1, cfg.epochs + 1))
    logger.info("%d demonstrations (%d held out), %d a step, %d steps", len(train), len(held_out or ()), rows, steps)
    return SFTData(train, held_out, blocks, held_out_blocks, rows, blocks_per_step, steps, ends)


def note_missing_dropout(run: RunDir, model: PreTrainedModel, dropout: float) -> None:
    """Say so where the architecture has no residual dropout to set (spec C1 asks for .2; Llama-like models have none)."""
    if dropout > 0 and not set_dropout(copy.deepcopy(model.config), dropout) and run.latest() is None:
        message = f"{type(model).__name__} has no residual dropout: sft.dropout = {dropout} has no effect"
        run.event(0, "warning", message)


def _say_what_is_left_out(run: RunDir, data: Tokenized, which: str, limit: int) -> None:
    if data.skipped and run.latest() is None:
        shown = ", ".join(f"{name} {count}" for name, count in data.skipped.items())
        run.event(0, "input", f"{which} demonstrations left out ({shown}); the limit is {limit} tokens", **data.skipped)
