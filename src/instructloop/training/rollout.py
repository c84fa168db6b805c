"""Rollouts by all processes: each samples and scores a contiguous share of the rows, and all get to know the whole batch."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from instructloop.config.shared import SamplingConfig
from instructloop.core.records import Prompt
from instructloop.generation.rollouts import Rollouts
from instructloop.generation.torch_engine import TorchEngine
from instructloop.generation.vllm_engine import VllmEngine
from instructloop.models.device import device_of
from instructloop.models.ranks import ALONE, Ranks
from instructloop.models.sharding import gathered
from instructloop.rewards import Reward, RewardOutput


class Scored(NamedTuple):
    """Completions, and what the reward says of them, row by row."""

    rollouts: Rollouts
    output: RewardOutput


def roll_out(
    engine: TorchEngine | VllmEngine,
    reward: Reward,
    prompts: Sequence[Prompt],
    *,
    sampling: SamplingConfig,
    seed: int,
    ranks: Ranks = ALONE,
) -> Scored:
    """One scored completion of each prompt; what is sampled does not depend on how many processes share the work.

    Args:
        engine: samples from the policy (or the reference).
        reward: sees the share of one process at a time, so it must judge each row by itself.
        prompts: those of the whole batch, at least one.
        sampling: how completions are drawn.
        seed: row r of the whole batch draws from the stream (seed, r).
        ranks: the processes that share the rows.

    Raises:
        RewardError: the reward raised or returned something unusable; on every process if on one.
    """
    with gathered(engine.model):
        if ranks.size == 1:
            rollouts = engine.generate(prompts, n=1, sampling=sampling, seed=seed)
            return Scored(rollouts, reward(rollouts))
        device = device_of(engine.model)
        first, end = (len(prompts) * index // ranks.size for index in (ranks.index, ranks.index + 1))

        def mine() -> Scored | None:
            if first == end:
                if isinstance(engine, VllmEngine) and engine.follow:
                    engine.load_weights(engine.model)  # where weights are split, the others wait for this process's part
                return None
            rollouts = engine.generate(prompts[first:end], n=1, sampling=sampling, seed=seed, first_row=first)
            return _on(Scored(rollouts, reward(rollouts)), torch.device("cpu"))

        parts = [part for part in ranks.each(mine) if part is not None]
    return _on(_joined(parts, engine.codec.pad_id), device)


def _joined(parts: Sequence[Scored], pad_id: int) -> Scored:
    rollouts = Rollouts.concat([part.rollouts for part in parts], pad_id=pad_id)
    outputs = [part.output for part in parts]
    width = rollouts.mask.shape[1]
    tokens = [F.pad(one.token_scores, (0, width - one.token_scores.shape[1])) for one in outputs if one.token_scores is not None]
    output = RewardOutput(
        scores=torch.cat([one.scores for one in outputs]),
        parts={name: torch.cat([one.parts[name] for one in outputs]) for name in outputs[0].parts},
        token_scores=torch.cat(tokens) if len(tokens) == len(outputs) else None,
    )
    return Scored(rollouts, output)


def _on(scored: Scored, device: torch.device) -> Scored:
    rollouts, output = scored

    def moved(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    return Scored(
        replace(
            rollouts,
            batch=rollouts.batch.to(device),
            logprobs=rollouts.logprobs.to(device),
            entropies=moved(rollouts.entropies),
        ),
        RewardOutput(
            scores=output.scores.to(device),
            parts={name: values.to(device) for name, values in output.parts.items()},
            token_scores=moved(output.token_scores),
        ),
    )
