"""A reward model as a reward: the scalar at the last real token of prompt + completion (spec D9)."""

from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from instructloop.config.shared import ComputeConfig
from instructloop.core.errors import ConfigError
from instructloop.data.batching import micro_batches
from instructloop.data.codec import TextCodec
from instructloop.data.prompts import prefixed
from instructloop.data.sequences import TokenBatch, TokenSequence, collate
from instructloop.generation.rollouts import Rollouts
from instructloop.models.adapter_files import StoredAdapter
from instructloop.models.load import context_tokens, load_scalar, load_tokenizer
from instructloop.models.scalar import GROUP_PROMPT_KEY, ScalarModel
from instructloop.rewards.base import Reward, RewardOutput, rewards
from instructloop.runs import resolve_model

_SCORING_TOKENS = 16_384


class LearnedReward:
    """Scores rollouts with a ScalarModel, without gradient, in micro-batches.

    By default the ids that were sampled are the ids that are scored (ppo-details T4): nothing is decoded and tokenized again,
    and a completion that ended in EOS is scored ending in EOS. Only a reward model with another tokenizer than the policy
    (see ``for_policy``) reads the text anew, in its own tokens and template.
    """

    def __init__(
        self,
        scalar_model: ScalarModel,
        codec: TextCodec | None = None,
        *,
        retokenize: bool = False,
        micro_batch_tokens: int = _SCORING_TOKENS,
        group_text: str = "",
    ) -> None:
        if (retokenize or group_text) and codec is None:
            raise ConfigError("a reward model with another tokenizer than the policy needs its own codec")
        self.scalar_model = scalar_model
        self.codec = codec
        self.retokenize = retokenize
        self.micro_batch_tokens = micro_batch_tokens
        self.group_text = group_text

    def for_policy(self, policy_codec: TextCodec) -> "LearnedReward":
        """The same reward for rollouts of a policy: ids are scored as they are if both tokenizers have the same vocabulary."""
        if self.codec is None:
            return self
        same = self.codec.tokenizer.get_vocab() == policy_codec.tokenizer.get_vocab()
        return LearnedReward(
            self.scalar_model, self.codec, retokenize=not same, micro_batch_tokens=self.micro_batch_tokens, group_text=self.group_text
        )

    def __call__(self, rollouts: Rollouts, /) -> RewardOutput:
        """Scores in the reward model's own unit, its stored bias added (spec D8)."""
        batch = self._in_own_tokens(rollouts) if self.retokenize or self.group_text else rollouts.batch
        device = next(self.scalar_model.parameters()).device
        scores = score_batch(self.scalar_model, batch.to(device), budget_tokens=self.micro_batch_tokens)
        return RewardOutput(scores=scores.to(rollouts.logprobs.device))

    def _in_own_tokens(self, rollouts: Rollouts) -> TokenBatch:
        assert self.codec is not None
        limit = context_tokens(self.scalar_model.trunk)
        sequences = []
        for prompt, text, ended in zip(rollouts.prompts, rollouts.completions, rollouts.ended.tolist(), strict=True):
            head = self.codec.encode_prompt(prefixed(prompt.prompt, self.group_text))
            tail = self.codec.encode_completion(text) if text else [self.codec.eos_id]
            ids = (head + (tail if ended else tail[:-1]))[:limit]
            sequences.append(TokenSequence(tuple(ids), min(len(head), len(ids))))
        return collate(sequences, self.codec.pad_id)


@torch.no_grad()
def score_batch(model: ScalarModel, batch: TokenBatch, *, budget_tokens: int) -> Float[Tensor, "batch"]:
    """fp32 scores of all rows, computed in micro-batches of at most ``budget_tokens`` padded tokens."""
    scores = torch.zeros(len(batch.lengths), dtype=torch.float32, device=batch.tokens.device)
    was_training = model.training
    model.eval()
    try:
        for rows in micro_batches(batch.lengths.tolist(), budget_tokens):
            scores[rows] = model.scores(batch.select(rows)).float()
    finally:
        model.train(was_training)
    return scores


@rewards.register("model")
def learned(
    path: str,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    dtype: Literal["auto", "float32", "bfloat16"] = "auto",
    chat_template: bool = True,
    micro_batch_tokens: int = _SCORING_TOKENS,
    group: str = "",
) -> Reward:
    """A trained reward model: the directory of ``instructloop train rm``, or any sequence classifier with one label.

    Args:
        path: run directory or model directory.
        device: where it computes.
        dtype: its precision.
        chat_template: wrap prompts in the reward model's template when its tokenizer differs from the policy's.
        micro_batch_tokens: tokens (padding included) of one forward pass.
        group: the cohort (or labeler) for whom a model trained with ``rm.group_prompt`` is to judge (spec L1).

    Raises:
        ConfigError: no path; such a model without a group, or a group for another model.
    """
    if not path:
        raise ConfigError("rewards 'model': path is empty", hint="train one first: instructloop train rm")
    directory = resolve_model(path)
    model = load_scalar(directory, ComputeConfig(device=device, dtype=dtype), seed=0)
    model.requires_grad_(False)
    codec = TextCodec(load_tokenizer(directory), chat_template=chat_template, name=str(directory))
    text = _group_text(directory, getattr(model.config, GROUP_PROMPT_KEY, ""), group)
    return LearnedReward(model, codec, micro_batch_tokens=micro_batch_tokens, group_text=text)


def learned_on_trunk(
    model: ScalarModel,
    stored: StoredAdapter,
    *,
    chat_template: bool = True,
    micro_batch_tokens: int = _SCORING_TOKENS,
    group: str = "",
) -> LearnedReward:
    """The reward ``model`` for a model that sits on a shared trunk, and so computes where and how that does.

    Args:
        model: the reward model's view of the trunk.
        stored: the adapter that it came from; its tokenizer is there.
        chat_template: see ``learned``.
        micro_batch_tokens: see ``learned``.
        group: see ``learned``.
    """
    codec = TextCodec(load_tokenizer(stored.path), chat_template=chat_template, name=str(stored.path))
    text = _group_text(stored.path, stored.group_prompt, group)
    return LearnedReward(model, codec, micro_batch_tokens=micro_batch_tokens, group_text=text)


def _group_text(directory: Path, template: str, group: str) -> str:
    if bool(template) == bool(group):
        return template.format(cohort=group, labeler=group) if template else ""
    if template:
        raise ConfigError(
            f"{directory} judges for one group of labelers at a time ({template!r})", hint='name it: args = { group = "training" }'
        )
    raise ConfigError(f"{directory} was not trained for groups of labelers", hint="leave 'group' out, or train with rm.group_prompt")
