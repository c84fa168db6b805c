"""Rollouts by vLLM, behind the same protocol as the engine of this package, with the weights handed over in memory.

vLLM runs inside this process and holds a second copy of the weights in the compute precision. Its log-probabilities come
from other kernels than the training module's; PPO therefore scores its rollouts again with the module it trains.

What differs from ``TorchEngine``: row r still has its own random stream keyed (seed, r), but vLLM draws the numbers, so the
completions of a seed are others; entropies are not measured; a last bit may depend on what else is in the batch.
"""

import os
import random
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError, DataError, InstructLoopError, MissingExtraError
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive
from instructloop.data import TextCodec, TokenSequence, collate
from instructloop.generation.endings import Endings, check_room, row_limits
from instructloop.generation.rollouts import FinishReason, Rollouts
from instructloop.generation.torch_engine import TorchEngine
from instructloop.models import completion_logprobs, compute_dtype, context_tokens, device_of, evaluating
from instructloop.models.adapters import plain_state_dict
from instructloop.models.memory import ROLLOUT_ROWS, kv_width

AGREEMENT = {torch.float32: 0.02, torch.bfloat16: 0.5}
"""By how many nats a log-probability of vLLM may differ from the training module's before the engine is refused."""
_CACHE_BYTES_CPU = 4 << 30
_ROWS_RESCORED = 32
_NEVER = -1e4  # added to a logit; -inf would make vLLM's own sums NaN where all else is -inf too


class Scored(Protocol):
    """A log-probability as vLLM returns it."""

    @property
    def logprob(self) -> float: ...


class Completion(Protocol):
    """The part of vLLM's ``CompletionOutput`` that is read."""

    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[Mapping[int, Scored]] | None: ...


def make_engine(
    name: str, model: PreTrainedModel, codec: TextCodec, *, sampling: SamplingConfig, follow: bool
) -> "TorchEngine | VllmEngine":
    """The rollout engine that a configuration names.

    Args:
        name: ``torch`` or ``vllm``.
        model: the model to sample from.
        codec: its prompts, stop tokens and text.
        sampling: what most calls will ask for.
        follow: the model is being trained, so vLLM takes its weights anew for every call.

    Raises:
        MissingExtraError: ``vllm`` is not installed.
    """
    if name == "vllm":
        return VllmEngine(model, codec, temperature=sampling.temperature, follow=follow)
    return TorchEngine(model, codec)


class VllmEngine:
    """Samples from a Hugging Face causal LM through vLLM.

    Args:
        model: the model that weights are taken from, and that scores what vLLM cannot.
        codec: its prompts, stop tokens and text.
        temperature: the sampling temperature at which vLLM itself tells log-probabilities; at any other one, and under top-k,
            top-p or a repetition penalty where that changes them, ``model`` scores the rollouts instead.
        follow: take the weights of ``model`` anew for every call of ``generate``; for a model that is being trained.

    Raises:
        MissingExtraError: vLLM is not installed.
        ConfigError: vLLM cannot run this model, or computes other log-probabilities than it.
    """

    def __init__(self, model: PreTrainedModel, codec: TextCodec, *, temperature: float = 1.0, follow: bool = False) -> None:
        self.model, self.codec, self.follow = model, codec, follow
        self.temperature = temperature or 1.0
        try:
            self._llm, self.context = _start(model, codec, raw=self.temperature == 1)
            _in_use[id(self)] = self._llm
            weakref.finalize(self, _retire, id(self))
            self.load_weights(model)
            self._check_agreement()
        except (RuntimeError, ValueError, NotImplementedError) as error:
            if isinstance(error, InstructLoopError):
                raise
            raise ConfigError(
                f"vLLM cannot run this {type(model).__name__} here: {error}", hint="use engine = 'torch', or give vLLM what it asks for"
            ) from error

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        sampling: SamplingConfig,
        seed: int,
        limits: Sequence[int] | None = None,
        first_row: int = 0,
    ) -> Rollouts:
        """``n`` completions of each prompt, prompt-major.

        Args:
            prompts: at least one.
            n: completions of each; the prompt is computed once (vLLM's prefix cache).
            sampling: temperature, limits, stop texts.
            seed: row r of the call draws from the stream keyed (seed, ``first_row`` + r).
            limits: the most tokens of each row, if rows have their own; at most ``sampling.max_new_tokens``.
            first_row: where this call's rows stand in a larger batch.

        Raises:
            ConfigError: a prompt and ``max_new_tokens`` do not fit into the model's context.
            DataError: there is no prompt, or limits do not fit the rows.
        """
        if self.follow:
            self.load_weights(self.model)  # before anything is refused: under FSDP all processes do this together
        if not prompts or n < 1:
            raise DataError(f"nothing to generate: {len(prompts)} prompts, {n} completions each")
        encoded = [tuple(self.codec.encode_prompt(prompt.prompt)) for prompt in prompts]
        check_room(max(map(len, encoded)), sampling, self.context)
        ids = [encoded[row // n] for row in range(len(encoded) * n)]
        seeds = [derive(seed, "vllm", first_row + row) for row in range(len(ids))]
        endings = Endings(self.codec, sampling)
        outputs = self._ask(ids, sampling, endings, seeds, row_limits(limits, len(ids), sampling))
        rollouts = self._at_home(rollouts_from(outputs, [prompts[row // n] for row in range(len(ids))], ids, endings, self.codec))
        return rollouts if self._tells(sampling) else self._rescored(rollouts, sampling)

    def load_weights(self, model: PreTrainedModel) -> None:
        """Give vLLM the weights of a module, adapters added in; cached keys and values of the old ones are dropped.

        Under FSDP every process calls this, each for its own engine.
        """
        from transformers.core_model_loading import revert_weight_conversion  # the names and shapes that checkpoints have

        with torch.no_grad():
            state = {name: _whole(value) for name, value in plain_state_dict(model).items()}
            weights = revert_weight_conversion(model, state)
            self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": iter(weights.items())})
        assert self._llm.reset_prefix_cache(), "vLLM still had rows at work"

    def _ask(
        self, ids: Sequence[tuple[int, ...]], sampling: SamplingConfig, endings: Endings, seeds: Sequence[int], limits: Sequence[int]
    ) -> list[Completion]:
        from vllm import SamplingParams

        fixed: dict[str, Any] = {
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "repetition_penalty": sampling.repetition_penalty,
            "stop": list(sampling.stop),
            "stop_token_ids": sorted(endings.ids),
            "ignore_eos": True,  # the stop tokens are the codec's, not those of a configuration file
            "detokenize": bool(sampling.stop),
            "logprobs": 0,  # of the sampled token alone
            "logit_bias": dict.fromkeys(endings.forbidden, _NEVER) or None,
        }
        asked = [SamplingParams(**fixed, seed=seed, max_tokens=most) for seed, most in zip(seeds, limits, strict=True)]
        with _global_generators_kept(device_of(self.model)):
            answers = self._llm.generate([{"prompt_token_ids": list(row)} for row in ids], asked, use_tqdm=False)
        return [answer.outputs[0] for answer in answers]

    def _tells(self, sampling: SamplingConfig) -> bool:
        """Whether vLLM's numbers are those of the model's own distribution at the sampling temperature."""
        if (sampling.temperature or 1.0) != self.temperature:
            return False
        # at temperature 1 vLLM tells them before anything is taken out, elsewhere after
        return self.temperature == 1 or not sampling.truncated

    def _rescored(self, rollouts: Rollouts, sampling: SamplingConfig) -> Rollouts:
        """The same rollouts with the log-probabilities that the model itself finds."""
        logprobs = torch.zeros_like(rollouts.logprobs)
        with evaluating(self.model):
            for rows in torch.arange(len(rollouts)).split(_ROWS_RESCORED):
                part = completion_logprobs(self.model, rollouts.batch.select(rows), temperature=sampling.temperature or 1.0).logprobs
                logprobs[rows.to(logprobs.device), : part.shape[1]] = part
        return replace(rollouts, logprobs=logprobs)

    def _at_home(self, rollouts: Rollouts) -> Rollouts:
        """On the model's device, where whoever trains it expects them."""
        device = device_of(self.model)
        return replace(rollouts, batch=rollouts.batch.to(device), logprobs=rollouts.logprobs.to(device))

    def _check_agreement(self) -> None:
        """Both sides score a short sample; an architecture that vLLM builds differently, or a weight it did not take, shows here."""
        sampling = SamplingConfig(max_new_tokens=min(8, self.context - 1), temperature=self.temperature)
        endings = Endings(self.codec, sampling)
        prompt = (self.codec.eos_id,)
        outputs = self._ask([prompt], sampling, endings, [0], [sampling.max_new_tokens])
        rollouts = self._at_home(rollouts_from(outputs, [Prompt(prompt="")], [prompt], endings, self.codec))
        own = self._rescored(rollouts, sampling).logprobs
        apart, allowed = float((own - rollouts.logprobs).abs().max()), AGREEMENT.get(compute_dtype(self.model), 0.5)
        if not apart <= allowed:
            raise ConfigError(
                f"vLLM and the model disagree by {apart:.3g} nats about one token (allowed: {allowed:g})",
                hint="this architecture does not run alike in vLLM: use engine = 'torch'",
            )


def rollouts_from(
    outputs: Sequence[Completion], prompts: Sequence[Prompt], ids: Sequence[tuple[int, ...]], endings: Endings, codec: TextCodec
) -> Rollouts:
    """Put vLLM's answers into a ``Rollouts``, ended by the same rule as those of ``TorchEngine``.

    Args:
        outputs: one completion for each row, with the log-probabilities of its tokens.
        prompts: one for each row.
        ids: prompt ids of each row.
        endings: when a completion has ended.
        codec: text and filler.

    Raises:
        DataError: a row came back without tokens, or without a log-probability for each of them.
    """
    rows: list[list[int]] = []
    logprobs: list[list[float]] = []
    reasons: list[FinishReason] = []
    for place, output in enumerate(outputs):
        tokens, told = list(output.token_ids), output.logprobs or ()
        if not tokens or len(told) != len(tokens):
            raise DataError(f"vLLM: row {place} has {len(tokens)} tokens and {len(told)} log-probabilities")
        length = endings.length(tokens)
        reasons.append(FinishReason.LENGTH if length is None else FinishReason.STOP)
        rows.append(tokens[:length])
        logprobs.append([float(one[token].logprob) for one, token in zip(told, rows[-1], strict=False)])
    batch = collate([TokenSequence((*prompt, *row), len(prompt)) for prompt, row in zip(ids, rows, strict=True)], codec.pad_id)
    blank = torch.zeros(batch.completion_mask.shape)
    return Rollouts(
        batch=batch,
        logprobs=blank.masked_scatter(batch.completion_mask, torch.tensor([value for row in logprobs for value in row])),
        entropies=None,
        finish_reasons=tuple(reasons),
        prompts=tuple(prompts),
        completions=tuple(endings.text(row) for row in rows),
    )


_in_use: dict[int, Any] = {}
_retired: list[Any] = []


def _retire(key: int) -> None:
    """Shut vLLM's engines down together, when the last one is done with: the end of one takes the process groups of all.

    With several ranks they stay until the process ends, because those groups are the training's own.
    """
    _retired.append(_in_use.pop(key))
    if not _in_use and not _several_ranks():
        while _retired:
            _retired.pop().llm_engine.engine_core.shutdown()


def _several_ranks() -> bool:
    return torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def _start(model: PreTrainedModel, codec: TextCodec, *, raw: bool) -> tuple[Any, int]:
    """A vLLM engine of this model's shape, weights still to come, and the longest row it can hold (tokens)."""
    # in this process, so that weights are handed over as tensors; and it is not to call home
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_NO_USAGE_STATS": "1", "VLLM_DO_NOT_TRACK": "1"}
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm import LLM, ModelRegistry
    except ImportError as error:
        if error.name not in {None, "vllm"}:
            raise
        raise MissingExtraError.for_extra("vllm", "vllm") from error
    architecture = type(model).__name__
    known = ModelRegistry.models.get(architecture)
    if known is None or "transformers" in str(getattr(known, "module_name", "")):
        # it would run the library's own class, and rewrite that class for this whole process
        raise ConfigError(f"vLLM has no implementation of {architecture}", hint="use engine = 'torch'")
    device, dtype = device_of(model), compute_dtype(model)
    text = model.config.get_text_config()
    per_token = 2 * int(text.num_hidden_layers) * kv_width(model.config) * dtype.itemsize
    budget = torch.cuda.get_device_properties(device).total_memory // 4 if device.type == "cuda" else _CACHE_BYTES_CPU
    context = min(context_tokens(model), budget // max(per_token, 1) // 2)
    with tempfile.TemporaryDirectory() as folder, _global_generators_kept(device):
        config = type(model.config).from_dict(model.config.to_dict() | {"architectures": [architecture]})
        config.save_pretrained(folder)
        codec.tokenizer.save_pretrained(folder)
        llm = LLM(
            model=folder,
            dtype=str(dtype).removeprefix("torch."),
            load_format="dummy",
            generation_config="vllm",  # nothing is read from the model's own
            logprobs_mode="raw_logprobs" if raw else "processed_logprobs",
            max_model_len=context,
            max_num_seqs=ROLLOUT_ROWS,
            # blocks are shared out whole: one more for every row
            kv_cache_memory_bytes=min(budget, (context + 32) * ROLLOUT_ROWS * per_token),
            enforce_eager=device.type != "cuda",
            seed=0,
            disable_log_stats=True,
            **({"distributed_executor_backend": "external_launcher"} if _several_ranks() else {}),
        )
    return llm, context


@contextmanager
def _global_generators_kept(device: torch.device) -> Iterator[None]:
    """At its start vLLM seeds every global generator of this process, and sampling advances them; nobody else is to notice."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global one is what vLLM seeds
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002


def _whole(value: Tensor) -> Tensor:
    """A sharded tensor gathered from all processes, any other as it is."""
    return value.full_tensor() if isinstance(value, DTensor) else value
