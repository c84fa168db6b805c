r"""Any checkpoint of ours as a model of lm-eval (EleutherAI's evaluation harness), under the name ``instructloop``.

lm-eval 0.4 looks for models of other packages nowhere, so this module adds the name and hands over to lm-eval's own command line:

    python -m instructloop.evaluation.suites.lm_eval_adapter run \
        --model instructloop --model_args path=runs/ppo --tasks piqa,boolq --limit 100

From Python, ``lm_eval.simple_evaluate(model=InstructLoopLM("runs/ppo"), ...)``. A path is what our commands take: a model or run directory
(with its adapter), or a hub name. lm-eval writes the prompts, so a chat template is applied where lm-eval is asked to
(``--apply_chat_template``).
"""

import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Literal, get_args

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive
from instructloop.evaluation.sampling import opened
from instructloop.evaluation.suites.likelihood import BUDGET_TOKENS, Divided, divided_logprobs, sequence_logprobs
from instructloop.generation import TorchEngine
from instructloop.models import context_tokens

try:
    from lm_eval.api.model import LM
    from lm_eval.api.registry import model_registry
except ImportError as error:
    raise MissingExtraError.for_extra("lm_eval", "lm-eval") from error

NAME = "instructloop"
Device = Literal["auto", "cpu", "cuda", "mps"]
_MAX_NEW_TOKENS = 256
"""lm-eval's own default where a task names none."""
_LIMIT_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")


class InstructLoopLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """lm-eval's three questions, answered by our own scoring and sampling.

    The model stays open until ``close`` is called or the program ends.
    """

    def __init__(
        self,
        path: str,
        *,
        device: str | None = None,
        dtype: Literal["auto", "float32", "bfloat16"] = "auto",
        budget_tokens: int = BUDGET_TOKENS,
        seed: int = 0,
        batch_size: int | str | None = None,  # noqa: ARG002 - lm-eval passes it; passes are sized in tokens
        max_batch_size: int | None = None,  # noqa: ARG002
    ) -> None:
        """Open a model.

        Args:
            path: model or run directory, or hub name.
            device: lm-eval's ``--device`` (``cuda:0`` is ``cuda`` here); None takes CUDA where there is one, else the CPU.
            dtype: as in ``ComputeConfig``.
            budget_tokens: largest padded area of a scoring pass.
            seed: of tasks that sample.
            batch_size: ignored.
            max_batch_size: ignored.
        """
        super().__init__()
        self._held = ExitStack()
        kind: Any = (device or "auto").split(":")[0]
        if kind not in get_args(Device):
            raise ConfigError(f"unknown device {device!r}", hint=f"one of {', '.join(get_args(Device))}")
        compute = ComputeConfig(device=kind, dtype=dtype)
        self.subject = self._held.enter_context(opened(str(path), str(path), compute, chat_template=False))
        self._budget_tokens, self._seed = int(budget_tokens), int(seed)

    def close(self) -> None:
        """Let go of the model."""
        del self.subject
        self._held.close()

    @property
    def tokenizer(self) -> Any:
        """Of the model, for lm-eval's tasks that count tokens."""
        return self.subject.codec.tokenizer

    @property
    def tokenizer_name(self) -> str:
        """Under which lm-eval caches requests with a chat template."""
        return self.subject.name.replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's text, for lm-eval's report."""
        if not chat_template:
            return None
        found = self.tokenizer.chat_template
        if isinstance(chat_template, str) and isinstance(found, dict):
            return str(found[chat_template])
        if not isinstance(found, str):
            raise ConfigError(f"{self.subject.name}: the tokenizer has no chat template", hint="leave out --apply_chat_template")
        return found

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model reads."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history, tokenize=False, add_generation_prompt=add_generation_prompt, continue_final_message=not add_generation_prompt
            )
        )

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:  # noqa: ARG002
        """Log-probability (nats) of each continuation after its context, and whether greedy decoding would write it."""
        pairs = [(str(request.args[0]), str(request.args[1])) for request in requests]
        found = [(one.sum, one.greedy) for one in sequence_logprobs(self.subject, pairs, budget_tokens=self._budget_tokens)]
        for request, result in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", request.args, result)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:  # noqa: ARG002
        """Log-probability (nats) of each whole text after the beginning-of-sequence token, in windows of the model's context.

        NOTE: lm-eval's own class lets a tokenizer that adds that token add it once more, and scores the second one too.
        """
        windows, owners = list[Divided](), list[int]()
        for owner, request in enumerate(requests):
            own = self._windows(str(request.args[0]))
            windows += own
            owners += [owner] * len(own)
        totals = [0.0] * len(requests)
        for owner, scored in zip(owners, divided_logprobs(self.subject, windows, budget_tokens=self._budget_tokens), strict=True):
            totals[owner] += scored.sum
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _windows(self, text: str) -> list[Divided]:
        """Every token predicted once; the last window reaches back as far as the context allows."""
        codec, limit = self.subject.codec, context_tokens(self.subject.model)
        ids = codec.encode_text(text)[:-1]
        bos = codec.tokenizer.bos_token_id
        prefix = codec.eos_id if bos is None else int(bos)
        ids = ids if ids[:1] == [prefix] and bos is not None else [prefix, *ids]
        windows = []
        for start in range(1, len(ids), limit):
            end = min(start + limit, len(ids))
            windows.append(Divided(ids[max(end - limit - 1, 0) : start], ids[start:end]))
        return windows

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002
        """What the model writes after each context, up to the first of the request's stop texts (left out)."""
        groups: dict[str, list[int]] = {}
        for place, request in enumerate(requests):
            groups.setdefault(json.dumps(request.args[1], sort_keys=True, default=str), []).append(place)
        found = [""] * len(requests)
        engine = TorchEngine(self.subject.model, self.subject.codec)
        for number, places in enumerate(groups.values()):
            sampling = self._sampling(requests[places[0]].args[1])
            prompts = [Prompt(prompt=self._fitting(str(requests[place].args[0]), sampling.max_new_tokens)) for place in places]
            rollouts = engine.generate(prompts, sampling=sampling, seed=derive(self._seed, "lm_eval", number))
            for place, text in zip(places, rollouts.completions, strict=True):
                found[place] = text
                self.cache_hook.add_partial("generate_until", requests[place].args, text)
        return found

    def _sampling(self, wanted: dict[str, Any]) -> SamplingConfig:
        """lm-eval's settings of one request as ours; greedy unless it asks to sample."""
        longest = next((int(wanted[name]) for name in _LIMIT_NAMES if wanted.get(name) is not None), _MAX_NEW_TOKENS)
        until = wanted.get("until") or []
        drawn = bool(wanted.get("do_sample", float(wanted.get("temperature") or 0) > 0))
        return SamplingConfig(
            temperature=float(wanted.get("temperature") or 1.0) if drawn else 0.0,
            max_new_tokens=min(longest, max(context_tokens(self.subject.model) // 2, 1)),
            top_k=int(wanted.get("top_k") or 0) if drawn else 0,
            top_p=float(wanted.get("top_p") or 1.0) if drawn else 1.0,
            stop=tuple(text for text in ([until] if isinstance(until, str) else until) if text),
        )

    def _fitting(self, context: str, new_tokens: int) -> str:
        """The end of a context that is too long, cut between words."""
        codec, room = self.subject.codec, context_tokens(self.subject.model) - new_tokens
        if len(codec.encode_prompt(context)) <= room:
            return context
        pieces = [context[place:] for place in range(1, len(context)) if context[place].isspace()]
        low, high = 0, len(pieces)
        while low < high:  # shorter ends have fewer tokens
            middle = (low + high) // 2
            low, high = (low, middle) if len(codec.encode_prompt(pieces[middle])) <= room else (middle + 1, high)
        return pieces[low] if low < len(pieces) else ""


def register() -> None:
    """Add the name ``instructloop`` to lm-eval's models; a second call changes nothing."""
    if NAME not in model_registry:
        model_registry.register(NAME, target="instructloop.evaluation.suites.lm_eval_adapter:InstructLoopLM")


def main(arguments: Sequence[str] | None = None) -> None:
    """lm-eval's command line with our models in it."""
    import lm_eval.models  # noqa: F401 - its models first, so that ours is not taken for the only one
    from lm_eval.__main__ import cli_evaluate

    register()
    if arguments is not None:
        sys.argv[1:] = arguments
    cli_evaluate()


if __name__ == "__main__":
    main()
