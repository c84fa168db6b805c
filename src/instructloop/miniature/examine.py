"""The examination at the end of the loop: all models on held-out prompts, judged by gold, with what they still know.

Base, few-shot base, SFT, PPO and PPO-ptx answer the same prompts; the free-form prompts are a set of their own. Gold is passed
to ``evaluation`` as a voter and stays unknown to it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.files import write_jsonl
from instructloop.core.records import Prompt, Text
from instructloop.evaluation import Candidate, Judged, write_tables
from instructloop.evaluation import evaluate as compare_models
from instructloop.evaluation.disjoint import refuse_seen
from instructloop.miniature.build import WORLD_SEED, bay, few_shot_prefix
from instructloop.miniature.corpus import documents
from instructloop.miniature.freeform import freeform_prompts
from instructloop.miniature.gold import gold_utility
from instructloop.miniature.probes import all_probes
from instructloop.miniature.tasks import prompts as task_prompts
from instructloop.runs import RunDir

HELDOUT_DOCUMENTS = 300


class Examination(Protocol):
    """What an examination needs to know (the configuration of the stage has these fields)."""

    @property
    def seed(self) -> int: ...
    @property
    def models(self) -> "dict[str, str]": ...
    @property
    def n(self) -> int: ...
    @property
    def reference(self) -> str: ...
    @property
    def few_shot(self) -> str: ...
    @property
    def sampling(self) -> SamplingConfig: ...
    @property
    def compute(self) -> ComputeConfig: ...


def gold_voter(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Judged]:
    """Gold in the form that ``evaluation`` takes."""
    scores = [gold_utility(prompt, text) for prompt, text in zip(prompts, completions, strict=True)]
    return [Judged(score=score.total, parts=score.parts, flags=score.flags) for score in scores]


def few_shot_candidate(base: str | Path) -> Candidate:
    """The base after six worked examples in the chat frame; the reply ends with its line."""
    return Candidate(path=base, template=few_shot_prefix(bay()) + "{prompt}\n", stop=("\n",))


def evaluate(cfg: Examination, run: RunDir) -> None:
    """Write ``eval/gold.json``, ``completions.jsonl`` and ``result.json`` into the run directory."""
    world = bay()
    models: dict[str, str | Path | Candidate] = {}
    for name, path in cfg.models.items():
        models[name] = path
        if name == cfg.few_shot:
            models[f"few-shot {name}"] = few_shot_candidate(path)
    tests, freeform = task_prompts(world, "test", cfg.n, WORLD_SEED), freeform_prompts(world)
    seen = refuse_seen(cfg.models.values(), [prompt.prompt for prompt in (*tests, *freeform)])
    done = compare_models(
        models,
        tests,
        {"gold": gold_voter},
        sets={"freeform": freeform},
        texts=[Text(text=row["text"]) for row in documents(world, HELDOUT_DOCUMENTS, WORLD_SEED, "heldout")],
        probes=all_probes(world),
        reference=cfg.reference,
        sampling=cfg.sampling,
        seed=cfg.seed,
        compute=cfg.compute,
    )
    run.publish_file("completions.jsonl", lambda path: write_jsonl(path, done.rows))
    write_tables(run, {name: {**table, "seen_prompts": seen.as_json()} for name, table in done.tables.items()})
