"""Rollouts per second: our engine beside plain ``generate`` of transformers, in one process, on one CPU thread.

    python benchmarks/rollouts.py ../shared/models/model-stories260K

Both sample at temperature 1 until EOS or 64 tokens from prompts of mixed length. Ours also returns log-probability and
entropy of every token, which PPO needs; ``generate`` is timed without them and with its scores kept.
CPU time is what counts here, so that other work on the machine does not.
"""

import argparse
import random
import time
from collections.abc import Callable

import torch

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.records import Prompt
from instructloop.data import TextCodec
from instructloop.generation import TorchEngine
from instructloop.models import load_causal, load_tokenizer

OPENINGS = (
    "Once upon a time",
    "One day a little girl named Lily",
    "The dog",
    "Tom and his mom went to the park to play",
    "A big red ball was",
)


def best_of(repeats: int, run: Callable[[int], int]) -> tuple[float, int]:
    """Best CPU seconds of some runs, and how many completion tokens that run gave."""
    timed = []
    for repeat in range(repeats):
        start = time.process_time()
        tokens = run(repeat)
        timed.append((time.process_time() - start, tokens))
    return min(timed, key=lambda pair: pair[0] / pair[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--tokens", type=int, default=64)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = load_causal(given.model, ComputeConfig(device="cpu"))
    codec = TextCodec(load_tokenizer(given.model))
    engine = TorchEngine(model, codec)
    sampling = SamplingConfig(max_new_tokens=given.tokens)
    draw = random.Random(0)
    texts = [f"{draw.choice(OPENINGS)} {number}" for number in range(64)]

    def ours(count: int, n: int) -> Callable[[int], int]:
        prompts = [Prompt(prompt=text) for text in texts[:count]]
        return lambda seed: int(engine.generate(prompts, n=n, sampling=sampling, seed=seed).mask.sum())

    def theirs(count: int, n: int, *, scores: bool) -> Callable[[int], int]:
        rows = [codec.encode_prompt(text) for text in texts[:count]]
        widest = max(map(len, rows))
        ids = torch.tensor([[codec.pad_id] * (widest - len(row)) + row for row in rows])
        mask = torch.tensor([[0] * (widest - len(row)) + [1] * len(row) for row in rows])

        def run(_seed: int) -> int:
            with torch.no_grad():
                out = model.generate(
                    ids,
                    attention_mask=mask,
                    do_sample=True,
                    top_k=0,
                    num_return_sequences=n,
                    max_new_tokens=given.tokens,
                    pad_token_id=codec.pad_id,
                    return_dict_in_generate=True,
                    output_logits=scores,
                )
                new = out.sequences[:, widest:]
                if scores:
                    chosen = torch.stack(out.logits, 1).log_softmax(-1)
                    chosen.gather(-1, new[:, :, None])
                    -(chosen.exp() * chosen).sum(-1)
            ended = (new == codec.eos_id).int()
            return int(((ended.cumsum(1) - ended) == 0).sum())

        return run

    print(f"{'prompts x n':>12} {'ours':>8} {'generate':>9} {'with scores':>12}  completion tokens per CPU second")
    for count, n in ((1, 1), (16, 1), (64, 1), (64, 4)):
        rates = []
        for run in (ours(count, n), theirs(count, n, scores=False), theirs(count, n, scores=True)):
            seconds, tokens = best_of(3, run)
            rates.append(tokens / seconds)
        print(f"{count:>8} x {n} {rates[0]:>8.0f} {rates[1]:>9.0f} {rates[2]:>12.0f}")


if __name__ == "__main__":
    main()
