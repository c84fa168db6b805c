"""Prompted baselines: how far does a base model get if somebody asks it well (spec F2)?

The paper's authors wrote prefixes by hand and took the one whose completions the reward model scored highest on *validation* prompts; it then stood
before every test prompt. Worked examples before the question (a few-shot template) are candidates of the same kind.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.hashing import hash_bytes
from instructloop.core.records import Prompt, prompt_text
from instructloop.evaluation.ballots import as_estimate
from instructloop.evaluation.sampling import PLACEHOLDER, Candidate, opened, sample_rows
from instructloop.evaluation.voters import AnyVoter, judge_all
from instructloop.stats import mean_interval

PREFIX_FILE = "prefix.json"
"""In the run directory: the candidates, their scores, and the one that was chosen."""
PROMPTED = "prompted"
"""Added to the model's name."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixChoice:
    """Which prefix was best, and by how much."""

    chosen: Candidate
    record: Mapping[str, Any]
    """What ``prefix.json`` holds: ``base``, ``model``, ``file``, ``chosen`` (the template), ``candidates`` with mean scores, ``prompts``."""

    @property
    def name(self) -> str:
        """How tables call the prompted model."""
        return str(self.record["model"])


def prompted_name(base: str) -> str:
    """How tables call a base model behind its best prefix."""
    return f"{base} {PROMPTED}"


def as_template(text: str) -> str:
    """A prefix as a template: the text itself where it says where the prompt goes, else the prompt follows after an empty line."""
    return text if PLACEHOLDER in text else f"{text.rstrip()}\n\n{PLACEHOLDER}"


def choose_prefix(
    base: str,
    model: str | Path,
    prefixes: Sequence[str | Path],
    prompts: Sequence[Prompt],
    voter: AnyVoter,
    *,
    stop: tuple[str, ...] = ("\n\n",),
    temperature: float | None = None,
    sampling: SamplingConfig | None = None,
    samples: int = 2000,
    seed: int = 0,
    compute: ComputeConfig | None = None,
) -> PrefixChoice:
    """The prefix whose completions of validation prompts have the highest mean score.

    Every candidate answers the prompts that fit into the context behind every prefix, with the same random numbers.

    Args:
        base: the model's name in tables.
        model: its directory.
        prefixes: text files; one with ``{prompt}`` in it is a template (worked examples), any other stands before the prompt.
        prompts: validation prompts, none of them a test prompt (spec J-P18).
        voter: scores a prompt (without the prefix) and a completion.
        stop: texts that end a completion.
        temperature: of this model; None takes the one of ``sampling``.
        sampling: how completions are drawn.
        samples: resamples behind each interval.
        seed: base of sampling and resampling streams.
        compute: device and precision.

    Raises:
        ConfigError: no prefix, a file that is not there or empty, or two files with one text.
        DataError: no prompt fits behind every prefix.
    """
    texts = _read(prefixes)
    settings, where = sampling or SamplingConfig(), compute or ComputeConfig()
    candidates = {
        name: Candidate(path=model, template=as_template(text), stop=stop, temperature=temperature) for name, text in texts.items()
    }
    rows: dict[str, dict[str, Any]] = {}
    with opened(base, next(iter(candidates.values())), where) as subject:
        places = set(range(len(prompts)))
        for candidate in candidates.values():
            places &= replace(subject, candidate=candidate).fitting(prompts, settings)
        if not places:
            raise DataError("no validation prompt fits behind every prefix", hint="shorten the prefixes, or lower sampling.max_new_tokens")
        fitting = [prompts[place] for place in sorted(places)]
        for name, candidate in candidates.items():
            asked = replace(subject, candidate=candidate)
            drawn = sample_rows(asked, fitting, asked.answer(fitting, n=1, sampling=settings, seed=seed), n=1)
            scores = [one.score for one in judge_all(voter, fitting, [row["completion"] for row in drawn])]
            rows[name] = {
                "file": name,
                "sha256": hash_bytes(texts[name].encode()),
                **as_estimate(mean_interval(scores, samples=samples, seed=seed)),
            }
            logger.info("%s behind %s: mean score %.4f on %d validation prompts", base, name, rows[name]["value"], len(fitting))
    best = max(rows, key=lambda name: rows[name]["value"])  # the first of equals
    record = {
        "schema_version": 1,
        "base": base,
        "model": prompted_name(base),
        "file": best,
        "chosen": candidates[best].template,
        "candidates": list(rows.values()),
        "prompts": len(fitting),
        "left_out": len(prompts) - len(fitting),
    }
    return PrefixChoice(chosen=candidates[best], record=record)


def require_disjoint(validation: Sequence[Prompt], tests: Sequence[Prompt]) -> None:
    """Refuse to choose on prompts that are tested on (spec J-P18); letter case and white space do not tell prompts apart.

    Raises:
        ConfigError: a validation prompt is a test prompt.
    """
    tested = {_evened(prompt) for prompt in tests}
    shared = [prompt for prompt in validation if _evened(prompt) in tested]
    if shared:
        raise ConfigError(
            f"{len(shared)} of {len(validation)} prompts to choose a prefix on are test prompts, e.g. {prompt_text(shared[0].prompt)[:60]!r}",
            hint="choose on other prompts: --prefix-prompts validation.jsonl",
        )


def _evened(prompt: Prompt) -> str:
    return " ".join(prompt_text(prompt.prompt).casefold().split())


def _read(prefixes: Sequence[str | Path]) -> dict[str, str]:
    if not prefixes:
        raise ConfigError("no prefix to choose from", hint="--prefixes a.txt b.txt")
    found: dict[str, str] = {}
    for path in map(Path, prefixes):
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such prefix file", hint="a plain-text file that is put before every prompt")
        text = path.read_text(encoding="utf-8")
        if not text.strip():
            raise ConfigError(f"{path}: the prefix is empty", hint="the model without a prefix is compared anyway")
        twin = next((name for name, other in found.items() if other == text), None)
        if twin is not None:
            raise ConfigError(f"{path} and {twin} hold the same prefix", hint="name each once")
        found[str(path)] = text
    return found
