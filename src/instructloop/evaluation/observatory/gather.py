"""Asking the models anew: samples of the policy and of the reference to the same prompts, scored by every reward model at hand.

Policy and reference are in memory together, reward models one at a time. What was asked once is kept beside the inspection and read again as long as models, prompts and
settings hash the same.
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instructloop.config import ComputeConfig, SamplingConfig, from_mapping
from instructloop.config.inspection import InspectionConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_jsonl, write_jsonl
from instructloop.core.hashing import hash_json
from instructloop.core.records import Prompt, Ranking, prompt_json
from instructloop.evaluation.capabilities import same_tokens, sequence_kl
from instructloop.evaluation.observatory.answers import Answer, from_row
from instructloop.evaluation.observatory.readings import RunFiles
from instructloop.evaluation.observatory.reward_accuracy import ScoredRanking
from instructloop.evaluation.sampling import Subject, opened
from instructloop.evaluation.voters import RewardModelVoter
from instructloop.formats import read_prompts
from instructloop.generation import Rollouts
from instructloop.rewards import rewards
from instructloop.runs import parent

_SCORED_AT_ONCE = 512
_SMALL_BYTES = 400_000_000
"""Weights up to this size are asked on a CPU without being told to."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Gathered:
    """Scored answers of both models to the same prompts."""

    policy: list[Answer]
    reference: list[Answer]
    """Several a prompt, the prompts in the policy's order."""


def can_ask(run: RunFiles, cfg: InspectionConfig) -> bool:
    """Whether the models are to be asked: they are there, and are small or wanted.

    Raises:
        ConfigError: they are wanted and not there.
    """
    there = run.model is not None and run.reference is not None
    if cfg.models == "yes" and not there:
        raise ConfigError(f"{run.path} has no model, or its reference is gone", hint="leave --models at auto to inspect the files alone")
    return there and cfg.models != "no" and (cfg.models == "yes" or wanted(run.model, cfg))


def wanted(model: Path | None, cfg: InspectionConfig) -> bool:
    """Whether ``auto`` asks a model: its weights are small, or there is a GPU."""
    if model is None or cfg.models == "no":
        return False
    if cfg.models == "yes":
        return True
    import torch

    size = sum(file.stat().st_size for file in model.glob("*.safetensors"))
    small = size <= _SMALL_BYTES or (torch.cuda.is_available() and cfg.compute.device != "cpu")
    if not small:
        logger.info("%s has %.1f GB of weights and is not asked on a CPU; --models yes does", model, size / 1e9)
    return small


def prompts_of(run: RunFiles, cfg: InspectionConfig) -> tuple[list[Prompt], str]:
    """Prompts to ask, and where they are from."""
    watched = (run.config.get("watch") or {}).get("prompts") or ""
    for file, where in ((cfg.prompts, "given"), (watched, "selection prompts of the watch"), (run.prompts, "training prompts of the run")):
        if file and Path(file).exists():
            return list(read_prompts(file).records[: cfg.limit or None]), where
        if file and where == "given":
            raise ConfigError(f"no such file: {file}", hint="--prompts takes a file of prompts")
    return [], "none"


def judges_of(run: RunFiles, cfg: InspectionConfig) -> list[Path]:
    """The held-out judges: those of the watch that are still there, and those given."""
    watched = [Path(place) for place in (run.config.get("watch") or {}).get("reward_models") or ()]
    return [*(place for place in watched if place.exists()), *(Path(place) for place in cfg.ensemble)]


def gather(run: RunFiles, cfg: InspectionConfig, *, keep: Path) -> Gathered | None:
    """Sample and score, or read what was sampled and scored before; None without prompts.

    Args:
        run: a PPO run with model and reference.
        cfg: what to ask.
        keep: folder in which the answers are kept.
    """
    prompts, where = prompts_of(run, cfg)
    if not prompts or run.model is None or run.reference is None:
        return None
    sampling = from_mapping(SamplingConfig, run.config.get("sampling") or {})
    models = {"policy": run.model, "reference": run.reference, "reward": run.reward_model}
    key = hash_json(
        [
            {role: parent(role, place).sha256 for role, place in models.items() if place is not None},
            [parent("judge", place).sha256 for place in judges_of(run, cfg)],
            [[prompt_json(one.prompt), dict(one.meta)] for one in prompts],
            [cfg.best_of_n, cfg.seed, run.config.get("sampling"), run.config.get("reward")],
        ]
    ).removeprefix("sha256:")[:12]
    file = keep / f"answers-{key}.jsonl"
    if file.exists():
        logger.info("answers are read from %s", file)
        rows = list(read_jsonl(file))
        return Gathered(*([from_row(row) for row in rows if row["who"] == who] for who in ("policy", "reference")))
    logger.info("asking the policy and the reference %d prompts (%s)", len(prompts), where)
    found = _ask(run, cfg, prompts, sampling)
    write_jsonl(
        file, [{"who": who, **one.json()} for who, some in (("policy", found.policy), ("reference", found.reference)) for one in some]
    )
    return found


def _ask(run: RunFiles, cfg: InspectionConfig, prompts: Sequence[Prompt], sampling: SamplingConfig) -> Gathered:
    assert run.model is not None
    assert run.reference is not None
    template = bool(run.config.get("chat_template", True))
    draws = cfg.best_of_n or 1
    with opened("policy", run.model, cfg.compute, chat_template=template) as policy:
        chosen = [prompts[place] for place in sorted(policy.fitting(prompts, sampling))]
        ours = policy.answer(chosen, n=1, sampling=sampling, seed=cfg.seed)
        with opened("reference", run.reference, cfg.compute, chat_template=template) as reference:
            kl = sequence_kl(reference, ours, sampling=sampling) if same_tokens(reference, policy) else [None] * len(ours)
            theirs = _draws(reference, chosen, n=draws, sampling=sampling, seed=cfg.seed)
    answers = [_answers(ours, kl), _answers(theirs, [None] * len(theirs))]
    proxy = [_scored(run, cfg, some, rolled) for some, rolled in zip(answers, (ours, theirs), strict=True)]
    found = [
        [replace(one, proxy=score) for one, score in zip(some, scores, strict=True)] for some, scores in zip(answers, proxy, strict=True)
    ]
    return Gathered(*judged(found, judges_of(run, cfg), cfg.compute))


def _draws(subject: Subject, prompts: Sequence[Prompt], *, n: int, sampling: SamplingConfig, seed: int) -> Rollouts:
    """``n`` answers of each prompt; greedy answers would all be the same."""
    warm = sampling if sampling.temperature > 0 or n == 1 else replace(sampling, temperature=1.0)
    return subject.answer(prompts, n=n, sampling=warm, seed=seed)


def _answers(rollouts: Rollouts, kl: Sequence[float | None]) -> list[Answer]:
    lengths, ended = rollouts.batch.completion_lengths.tolist(), rollouts.ended.tolist()
    return [
        Answer(
            prompt=rollouts.prompts[row],
            completion=rollouts.completions[row],
            tokens=int(lengths[row]),
            ended=bool(ended[row]),
            kl=kl[row],
        )
        for row in range(len(rollouts))
    ]


# -- scores ----------------------------------------------------------------------------------------------------------


def _scored(run: RunFiles, cfg: InspectionConfig, answers: Sequence[Answer], rollouts: Rollouts) -> list[float | None]:
    """By the maximized reward: a learned one reads the text, another gets the rollouts; None where it cannot be built any more."""
    if run.reward_model is not None:
        with scorer_of(run.reward_model, cfg.compute) as scorer:
            return list(scorer([one.prompt for one in answers], [one.completion for one in answers]))
    spec: dict[str, Any] = dict(run.config.get("reward") or {})
    gone = spec.get("name") == "model" and not Path((spec.get("args") or {}).get("path", "")).exists()
    if not spec.get("name") or gone:
        logger.warning("the reward model of %s is not there; answers have no score", run.path)
        return [None] * len(answers)
    found = rewards.build(spec["name"], spec.get("args") or {})(rollouts).scores
    return [float(score) for score in found.tolist()]


class RewardScorer:
    """A reward model as a function of prompts and texts, in portions."""

    def __init__(self, path: Path, compute: ComputeConfig | None = None) -> None:
        self._voter = RewardModelVoter(path, compute)

    def __call__(self, prompts: Sequence[Prompt], texts: Sequence[str]) -> list[float]:
        """One score a text, in the reward model's unit."""
        scores: list[float] = []
        for start in range(0, len(texts), _SCORED_AT_ONCE):
            scores += self._voter.score(prompts[start : start + _SCORED_AT_ONCE], texts[start : start + _SCORED_AT_ONCE])
        return scores

    def tokens(self, text: str) -> int:
        """Length in the model's tokens."""
        return self._voter.completion_tokens(text)

    def fits(self, prompt: Prompt, text: str) -> bool:
        """Whether the model's context holds both."""
        return self._voter.fits(prompt, text)


@contextmanager
def scorer_of(path: Path, compute: ComputeConfig | None = None) -> Iterator[RewardScorer]:
    """A reward model, released afterwards."""
    scorer = RewardScorer(path, compute)
    try:
        yield scorer
    finally:
        del scorer
        gc.collect()


def judged(groups: Sequence[Sequence[Answer]], judges: Sequence[Path], compute: ComputeConfig | None = None) -> list[list[Answer]]:
    """The answers of several groups with the scores of every judge behind those they have."""
    found = [list(group) for group in groups]
    for place in judges:
        with scorer_of(place, compute) as scorer:
            for group in found:
                scores = scorer([one.prompt for one in group], [one.completion for one in group])
                group[:] = [replace(one, held_out=(*one.held_out, score)) for one, score in zip(group, scores, strict=True)]
    return found


def score_rankings(rankings: Sequence[Ranking], scorer: RewardScorer) -> list[ScoredRanking]:
    """Every completion of every ranking scored; a ranking with an empty completion, or one beyond the context, is left out."""
    kept = [one for one in rankings if all(text.strip() and scorer.fits(Prompt(prompt=one.prompt), text) for text in one.completions)]
    prompts = [Prompt(prompt=one.prompt) for one in kept for _ in one.completions]
    scores = iter(scorer(prompts, [text for one in kept for text in one.completions]))
    return [ScoredRanking(one, tuple(next(scores) for _ in one.completions)) for one in kept]
