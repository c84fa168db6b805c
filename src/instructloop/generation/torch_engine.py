"""The default rollout engine: the training module itself, so there are no weights to move and log-probabilities agree.

Nothing here reads ``model.generation_config`` (ppo-details T2, PPO-4): what is sampled is what ``SamplingConfig`` says.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from instructloop.config import SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, PromptContent
from instructloop.data import TextCodec, TokenSequence, collate
from instructloop.generation.decoding import PaddedDecoder
from instructloop.generation.endings import Endings, check_room, row_limits
from instructloop.generation.graphs import StaticStep
from instructloop.generation.kv_cache import is_attention_only
from instructloop.generation.ledger import Ledger
from instructloop.generation.library import Library
from instructloop.generation.refilling import RefillingDecoder
from instructloop.generation.requests import Request, StepDecoder
from instructloop.generation.rollouts import FinishReason, Rollouts
from instructloop.generation.stepping import LEAN, step_function
from instructloop.models import compute_dtype, context_tokens, device_of, evaluating, precision
from instructloop.models.memory import kv_width, rollout_rows

_REPLACEMENT = "\ufffd"


class TorchEngine:
    """Samples from any Hugging Face causal LM.

    Args:
        model: the model; it is put in evaluation mode for a call and back into the mode it was in.
        codec: its prompts, stop tokens and text.
        max_rows: rows decoded together; more wait for a place, which changes no row. None takes as many as a cache of bounded
            size holds (``models.memory.rollout_rows``).
    """

    def __init__(self, model: PreTrainedModel, codec: TextCodec, *, max_rows: int | None = None) -> None:
        if max_rows is not None and max_rows < 1:
            raise ConfigError(f"max_rows must be >= 1, got {max_rows}")
        self.model, self.codec, self.max_rows = model, codec, max_rows

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
            n: completions of each.
            sampling: temperature, limits, stop texts.
            seed: row r of the call draws from the stream keyed (seed, first_row + r).
            limits: for each row its own ``max_new_tokens``, at most the one in ``sampling``.
            first_row: where the rows of this call begin in a larger one that was shared out.

        Raises:
            ConfigError: a prompt and ``max_new_tokens`` do not fit into the model's context.
            DataError: there is no prompt, or limits do not fit the rows.
        """
        if not prompts or n < 1:
            raise DataError(f"nothing to generate: {len(prompts)} prompts, {n} completions each")
        count = len(prompts) * n
        encoded = [tuple(self.codec.encode_prompt(prompt.prompt)) for prompt in prompts]
        check_room(max(map(len, encoded)), sampling, context_tokens(self.model))
        most, endings = row_limits(limits, count, sampling), Endings(self.codec, sampling)
        places = {prompt: place for place, prompt in enumerate(dict.fromkeys(encoded))}
        request = Request(
            prompts=list(places),
            prompt_of=[places[encoded[row // n]] for row in range(count)],
            limits=most,
            streams=range(first_row, first_row + count),
            seed=seed,
            sampling=sampling,
            forbidden=endings.forbidden,
        )
        ledger = self._ledger(most, endings)
        with evaluating(self.model), precision(self.model):
            for rows, decoder in self._decoders(request):
                for step in decoder.steps():
                    decoder.retire(ledger.record(step if rows is None else step._replace(rows=rows[step.rows])))
        return self._rollouts(prompts, encoded, n, ledger, endings)

    def stream(self, prompt: Prompt | PromptContent, *, sampling: SamplingConfig, seed: int) -> Iterator[str]:
        """One completion as pieces of text while it is sampled; the pieces joined equal row 0 of ``generate``.

        Text is held back while it may still change: an unfinished character, or what may become a stop text.

        Raises:
            ConfigError: prompt and ``max_new_tokens`` do not fit into the model's context.
        """
        content = prompt.prompt if isinstance(prompt, Prompt) else prompt
        ids = tuple(self.codec.encode_prompt(content))
        check_room(len(ids), sampling, context_tokens(self.model))
        endings = Endings(self.codec, sampling)
        request = Request([ids], [0], [sampling.max_new_tokens], [0], seed, sampling, endings.forbidden)
        ledger, sampled, told = self._ledger(request.limits, endings), list[int](), 0
        with evaluating(self.model), precision(self.model):
            (_, decoder), *_ = self._decoders(request)
        steps = decoder.steps()
        while True:
            # entered anew for each token: between two of them the caller may do with the model what it likes
            with evaluating(self.model), precision(self.model):
                step = next(steps, None)
                if step is None:
                    break
                ended = ledger.record(step)
                decoder.retire(ended)
            sampled.append(int(step.draw.tokens[0]))
            text = endings.text(sampled)
            if bool(ended[0]):
                break
            safe = _settled(text, sampling.stop)
            if safe > told:
                yield text[told:safe]
                told = safe
        text = endings.text(sampled)
        if len(text) > told:
            yield text[told:]

    def _decoders(self, request: Request) -> Iterator[tuple[Tensor | None, StepDecoder]]:
        """Decoders for all rows of a request, each with the rows it decodes (None: all of them)."""
        library = Library(self.model)
        together = self.max_rows or self._rows_that_fit(request.capacity + 1)
        step = step_function(library, request.capacity)
        if step is not None:
            if type(step) in LEAN.values() and device_of(self.model).type == "cuda" and len(request.prompt_of) > 1:
                step = StaticStep(step, device_of(self.model))
            yield None, RefillingDecoder(library, step, request, together)
            return
        for portion in self._portions([len(request.prompts[prompt]) for prompt in request.prompt_of], together):
            yield torch.tensor(portion, device=device_of(self.model)), PaddedDecoder(library, request.part(portion))

    def _ledger(self, limits: Sequence[int], endings: Endings) -> Ledger:
        return Ledger(limits, endings.ids, endings.ended if endings.texts else None, device_of(self.model))

    def _rollouts(
        self, prompts: Sequence[Prompt], encoded: Sequence[tuple[int, ...]], n: int, ledger: Ledger, endings: Endings
    ) -> Rollouts:
        completions = ledger.completions()
        sequences = [TokenSequence((*encoded[row // n], *ids), len(encoded[row // n])) for row, ids in enumerate(completions)]
        batch = collate(sequences, self.codec.pad_id).to(ledger.logprobs.device)
        width = batch.completion_mask.shape[1]
        return Rollouts(
            batch=batch,
            logprobs=ledger.logprobs[:, :width] * batch.completion_mask,
            entropies=ledger.entropies[:, :width] * batch.completion_mask,
            finish_reasons=tuple(FinishReason.STOP if stopped else FinishReason.LENGTH for stopped in ledger.stopped()),
            prompts=tuple(prompts[row // n] for row in range(len(completions))),
            completions=tuple(endings.text(row) for row in completions),
        )

    def _portions(self, lengths: Sequence[int], rows: int) -> Iterator[list[int]]:
        """Row numbers decoded together: of similar prompt length, and of equal length where padding could not be masked."""
        mixed = is_attention_only(self.model.config)
        portion: list[int] = []
        for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
            if portion and (len(portion) == rows or (not mixed and lengths[portion[0]] != lengths[row])):
                yield portion
                portion = []
            portion.append(row)
        yield portion

    def _rows_that_fit(self, columns: int) -> int:
        config = self.model.config
        return rollout_rows(
            columns=columns,
            layers=int(config.get_text_config().num_hidden_layers),
            kv_width=kv_width(config),
            bytes_each=compute_dtype(self.model).itemsize,
            device=device_of(self.model),
        )


def _settled(text: str, stop: tuple[str, ...]) -> int:
    """How much of a growing text is final: not an unfinished character, not the beginning of a stop text."""
    end = len(text.rstrip(_REPLACEMENT))
    for one in stop:
        overlap = next((size for size in range(len(one) - 1, 0, -1) if text[:end].endswith(one[:size])), 0)
        end -= overlap
    return end
