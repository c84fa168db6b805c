"""The stage ``instructloop evaluate``: a user's own models, prompts and voters, in a run directory."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.config import to_json
from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_json, write_jsonl
from instructloop.core.records import Prompt
from instructloop.evaluation.baselines import PREFIX_FILE, choose_prefix, require_disjoint
from instructloop.evaluation.capabilities import Probe
from instructloop.evaluation.comparison import compare_votes
from instructloop.evaluation.evaluate import evaluate
from instructloop.evaluation.sampling import Candidate
from instructloop.evaluation.suites.run import data_parents, run_suites, summary
from instructloop.evaluation.voters import AnyVoter, RewardModelVoter
from instructloop.evaluation.votes import read_votes
from instructloop.formats import read_prompts, read_texts
from instructloop.runs import Parent, RunDir, parent

logger = logging.getLogger(__name__)
STAGE = "evaluate"


def run_evaluation(
    cfg: EvaluationConfig,
    out: str | Path,
    *,
    resume: bool = False,
    voters: Mapping[str, AnyVoter] | None = None,
    probes: Sequence[Probe] = (),
) -> Path:
    """Evaluate and write ``eval/<voter>.json``, ``eval/suites.json``, ``completions.jsonl`` and ``result.json``.

    Args:
        cfg: models, prompts, voters.
        out: the run directory.
        resume: allow an earlier, killed attempt there; comparisons start over, since they are deterministic, and finished parts of
            suites are taken up again.
        voters: further voters by name (a gold function, a judge).
        probes: further held capabilities.

    Raises:
        ConfigError: nobody votes, or models vote without prompts.
    """
    given = dict(voters or {})
    if not (given or cfg.reward_model or cfg.votes or cfg.suite):
        raise ConfigError("nobody votes", hint="give --reward-model PATH, --votes FILE with human votes, or --suite NAME for test sets")
    if cfg.suite and not cfg.named_models:
        raise ConfigError("suites need models", hint="instructloop evaluate runs/ppo --suite paper --data FOLDER")
    if (given or cfg.reward_model) and not (cfg.named_models and cfg.prompts):
        raise ConfigError("a reward model that votes needs models and prompts", hint="--models sft=runs/sft ppo=runs/ppo --prompts FILE")
    run = RunDir.open(out, stage=STAGE, config=to_json(cfg), parents=_parents(cfg), resume=resume)
    with run:
        tables: dict[str, dict[str, Any]] = {}
        rows: list[dict[str, Any]] = []
        if given or cfg.reward_model:
            if cfg.reward_model:
                given["reward model"] = RewardModelVoter(cfg.reward_model, cfg.compute, chat_template=cfg.chat_template)
            prompts = _prompts(cfg.prompts, cfg.limit)
            done = evaluate(
                _candidates(cfg) if not cfg.prefixes else _with_prefix(cfg, run, prompts, given["reward model"]),
                prompts,
                given,
                sets={name: _prompts(path, cfg.limit) for name, path in cfg.named_sets},
                texts=read_texts(cfg.texts).records if cfg.texts else (),
                probes=probes,
                reference=cfg.reference,
                baseline=cfg.baseline,
                sampling=cfg.sampling,
                n=cfg.completions_per_prompt,
                seed=cfg.seed,
                samples=cfg.bootstrap_samples,
                shown=cfg.samples_shown,
                compute=cfg.compute,
                chat_template=cfg.chat_template,
            )
            tables |= done.tables
            rows += done.rows
            for name, verdicts in done.verdicts.items():
                write_verdicts(run, name, verdicts)
        if cfg.votes:
            votes = read_votes(cfg.votes)
            settings = {"samples": cfg.bootstrap_samples, "seed": cfg.seed, "shown": cfg.samples_shown}
            tables["people"] = compare_votes(votes, baseline=cfg.baseline, **settings)  # type: ignore[arg-type]
        suites: dict[str, Any] = {}
        if cfg.suite:
            suites, answers = run_suites(cfg, run)
            rows += answers
            run.evaluation("suites", suites)
        if rows:
            run.publish_file("completions.jsonl", lambda path: write_jsonl(path, rows))
        write_tables(run, tables, suites)
    return run.path


def write_verdicts(run: RunDir, voter: str, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """Each verdict of a voter who compares pairs, as ``verdicts-<voter>.jsonl``: a file that ``--votes`` reads."""
    run.publish_file(f"verdicts-{file_name(voter)}.jsonl", lambda path: write_jsonl(path, verdicts))


def file_name(voter: str) -> str:
    """A voter's name as part of a file's name."""
    return voter.replace(" ", "_").replace("/", "_")


def write_tables(run: RunDir, tables: Mapping[str, Mapping[str, Any]], suites: Mapping[str, Any] | None = None) -> None:
    """Each voter's table as ``eval/<voter>.json``, and the win rates and the suites' numbers alone as ``result.json``."""
    for name, table in tables.items():
        run.evaluation(file_name(name), table)
    result: dict[str, Any] = {}
    if tables:
        result = {
            "n_prompts": max(table["n_prompts"] for table in tables.values()),
            "wins": {name: t["wins"] for name, t in tables.items()},
        }
    if suites:
        result["suites"] = summary(suites)
    run.result(result)


def _candidates(cfg: EvaluationConfig) -> dict[str, Candidate]:
    templates = {name: Path(file).read_text(encoding="utf-8") for name, file in cfg.templates}
    return {
        name: Candidate(
            path=path,
            template=templates.get(name, ""),
            stop=cfg.few_shot_stop if name in templates else (),
            temperature=cfg.warmth.get(name),
        )
        for name, path in cfg.named_models
    }


def _with_prefix(cfg: EvaluationConfig, run: RunDir, tests: Sequence[Prompt], voter: AnyVoter) -> dict[str, Candidate]:
    """The models, and behind the prompted one itself with the best prefix (spec F2), chosen on validation prompts."""
    models = _candidates(cfg)
    validation = _prompts(cfg.prefix_prompts, 0)
    require_disjoint(validation, tests)
    base = cfg.prefixed
    choice = choose_prefix(
        base,
        models[base].path,
        cfg.prefixes,
        validation,
        voter,
        stop=cfg.few_shot_stop,
        temperature=models[base].temperature,
        sampling=cfg.sampling,
        samples=cfg.bootstrap_samples,
        seed=cfg.seed,
        compute=cfg.compute,
    )
    run.publish_file(PREFIX_FILE, lambda path: write_json(path, choice.record))
    found: dict[str, Candidate] = {}
    for name, candidate in models.items():
        found[name] = candidate
        if name == base:
            found[choice.name] = choice.chosen
    return found


def _prompts(path: str, limit: int) -> list[Prompt]:
    loaded = read_prompts(path)
    return list(loaded.records[: limit or None])


def _parents(cfg: EvaluationConfig) -> list[Parent]:
    files = [("prompts", cfg.prompts), ("reward_model", cfg.reward_model), ("votes", cfg.votes), ("texts", cfg.texts), *cfg.named_sets]
    files += [("prefix_prompts", cfg.prefix_prompts), *((f"prefix:{Path(path).name}", path) for path in cfg.prefixes)]
    named = [parent(role, path) for role, path in files if path]
    named += data_parents(cfg) if cfg.suite else []
    return named + [parent(f"model:{name}", path) for name, path in cfg.named_models]
