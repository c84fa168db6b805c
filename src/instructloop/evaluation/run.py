"""The stage ``instructloop evaluate``: a user's own models, prompts and voters, in a run directory."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.callables import load_function
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_json, write_jsonl
from instructloop.core.records import Prompt
from instructloop.evaluation.baselines import PREFIX_FILE, choose_prefix, require_disjoint
from instructloop.evaluation.capabilities import Probe
from instructloop.evaluation.comparison import compare_votes
from instructloop.evaluation.disjoint import Seen, refuse_seen
from instructloop.evaluation.evaluate import MAIN_SET, Answers, answer, vote_on
from instructloop.evaluation.judging import describe_judge, judge_parents, keep_answers, kept_answers, lasting, open_voter, read_answers
from instructloop.evaluation.sampling import Candidate
from instructloop.evaluation.suites.run import data_parents, run_suites, summary
from instructloop.evaluation.voters import AnyVoter, RewardModelVoter
from instructloop.evaluation.votes import read_votes
from instructloop.formats import read_prompts, read_texts
from instructloop.formats.fields import prompt as read_prompt
from instructloop.runs import Parent, RunDir, parent
from instructloop.runs.prompts_used import record_selection

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
        resume: allow an earlier, killed attempt there; answers and verdicts of a judge that were written down, and finished parts of
            suites, are taken up again, the rest starts over, since it is deterministic.
        voters: further voters by name (a gold function, a judge).
        probes: further held capabilities.

    Raises:
        ConfigError: nobody votes, models vote without prompts, or test prompts are not held out.
        JudgeError: the judge can't be asked any more; what it has said is kept.
        JudgeRefused: the judge is position-biased, and its bias is not accepted.
    """
    given = dict(voters or {})
    if cfg.gold:
        given["gold"] = load_function(cfg.gold, what="--gold", example="def gold(prompts, completions): return [0.0 for _ in completions]")
    asks = bool(given or cfg.reward_model or cfg.judge.wanted)
    if not (asks or cfg.votes or cfg.suite):
        raise ConfigError(
            "nobody votes",
            hint="give --reward-model PATH, --gold FILE:FUNCTION, --votes FILE with human votes, a --judge, or --suite NAME for test sets",
        )
    if cfg.suite and not cfg.named_models:
        raise ConfigError("suites need models", hint="instructloop evaluate runs/ppo --suite paper --data FOLDER")
    if asks and not (cfg.completions or (cfg.named_models and cfg.prompts)):
        raise ConfigError(
            "a reward model or a judge that votes needs models and prompts",
            hint="--models sft=runs/sft ppo=runs/ppo --prompts FILE, or --completions FILE with what they wrote",
        )
    made_earlier = read_answers(cfg.completions, [name for name, _ in cfg.named_models], limit=cfg.limit) if cfg.completions else None
    sets: dict[str, Sequence[Prompt]] = {}
    if asks and made_earlier is None:
        sets = {MAIN_SET: _prompts(cfg.prompts, cfg.limit), **{name: _prompts(path, cfg.limit) for name, path in cfg.named_sets}}
    # before the run begins: a refused run leaves nothing behind
    seen = _held_out(cfg, made_earlier, sets) if asks else None
    run = RunDir.open(out, stage=STAGE, config=lasting(cfg), parents=_parents(cfg), resume=resume)
    with run:
        tables: dict[str, dict[str, Any]] = {}
        rows: list[dict[str, Any]] = []
        votes = read_votes(cfg.votes) if cfg.votes else []
        if seen is not None:
            if cfg.reward_model:
                given["reward model"] = RewardModelVoter(cfg.reward_model, cfg.compute, chat_template=cfg.chat_template)
            answers = made_earlier or kept_answers(run.path)
            if answers is None:
                models = _with_prefix(cfg, run, sets[MAIN_SET], given["reward model"]) if cfg.prefixes else _candidates(cfg)
                answers = _sampled(cfg, run, models, sets, probes)
            given |= open_voter(cfg, run.path)
            settings: dict[str, Any] = {"samples": cfg.bootstrap_samples, "seed": cfg.seed}
            done = vote_on(answers, given, sets=sets or None, baseline=cfg.baseline, shown=cfg.samples_shown, **settings)
            describe_judge(done.tables, given, votes, answers, **settings)
            tables |= {name: {**table, "seen_prompts": seen.as_json()} for name, table in done.tables.items()}
            rows += done.rows
            for name, verdicts in done.verdicts.items():
                write_verdicts(run, name, verdicts)
        if votes:
            tables["people"] = compare_votes(
                votes, baseline=cfg.baseline, samples=cfg.bootstrap_samples, seed=cfg.seed, shown=cfg.samples_shown
            )
        suites: dict[str, Any] = {}
        if cfg.suite:
            suites, suite_rows = run_suites(cfg, run)
            rows += suite_rows
            run.evaluation("suites", suites)
        if rows:
            run.publish_file("completions.jsonl", lambda path: write_jsonl(path, rows))
        write_tables(run, tables, suites)
    return run.path


def _held_out(cfg: EvaluationConfig, made_earlier: Answers | None, sets: Mapping[str, Sequence[Prompt]]) -> Seen:
    """Refuse prompts that a model was trained on or selected by."""
    paths = [path for _, path in cfg.named_models]
    if made_earlier is None:
        prompts = [prompt.prompt for own in sets.values() for prompt in own]
    else:
        paths.append(cfg.completions)
        prompts = list({str(row["prompt"]): read_prompt(row["prompt"]) for row in made_earlier.rows}.values())
    return refuse_seen(paths, prompts, allow=cfg.allow_seen_prompts)


def _sampled(
    cfg: EvaluationConfig,
    run: RunDir,
    models: Mapping[str, Candidate],
    sets: Mapping[str, Sequence[Prompt]],
    probes: Sequence[Probe],
) -> Answers:
    """Let every model answer, and write the answers down before anyone votes."""
    answers = answer(
        models,
        sets[MAIN_SET],
        sets={name: own for name, own in sets.items() if name != MAIN_SET},
        texts=read_texts(cfg.texts).records if cfg.texts else (),
        probes=probes,
        reference=cfg.reference,
        sampling=cfg.sampling,
        n=cfg.completions_per_prompt,
        seed=cfg.seed,
        samples=cfg.bootstrap_samples,
        compute=cfg.compute,
        chat_template=cfg.chat_template,
    )
    keep_answers(run, answers)
    return answers


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
    record_selection(run.path, "prefix by reward-model score", [prompt.prompt for prompt in validation])
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
    named += judge_parents(cfg) + (data_parents(cfg) if cfg.suite else [])
    return named + [parent(f"model:{name}", path) for name, path in cfg.named_models]
