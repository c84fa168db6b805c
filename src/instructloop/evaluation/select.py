"""The stage ``instructloop select``: one of several candidates, by preference on held-out prompts (spec C3, J-P18).

choice.json               who was chosen, by whom, on how many prompts, and every candidate's win rate against the first
model/                    the chosen weights, so that this run stands for them
selection_prompts.json    hashes of the prompts, here and in every candidate's run: ``evaluate`` refuses to test on them
"""

import logging
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.config.evaluation import EvaluationConfig
from instructloop.config.selection import SelectionConfig
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_json
from instructloop.core.records import Prompt, PromptContent
from instructloop.evaluation.comparison import compare_votes
from instructloop.evaluation.disjoint import TRAINING, refuse_seen
from instructloop.evaluation.evaluate import answer, vote_on
from instructloop.evaluation.judging import describe_judge, judge_parents, keep_answers, kept_answers, lasting, open_voter
from instructloop.evaluation.voters import AnyVoter, RewardModelVoter
from instructloop.evaluation.votes import Vote, read_votes
from instructloop.formats import read_prompts
from instructloop.runs import Parent, RunDir, enclosing_run, parent, resolve_model
from instructloop.runs.prompts_used import record_selection

logger = logging.getLogger(__name__)
STAGE = "select"
CHOICE_FILE = "choice.json"


def run_selection(cfg: SelectionConfig, out: str | Path, *, resume: bool = False, voter: AnyVoter | None = None) -> Path:
    """Compare the candidates, choose one, and write the choice with its evidence.

    Args:
        cfg: candidates, prompts, voter.
        out: the run directory.
        resume: go on with a stopped attempt there.
        voter: decides instead of the configured one (a gold function).

    Raises:
        ConfigError: there is nothing to choose from or nobody to choose, or a candidate was trained on the prompts.
        JudgeRefused: the judge is position-biased.
    """
    comparison = cfg.as_evaluation
    if not cfg.models:
        raise ConfigError("no candidates", hint="--models a=runs/a b=runs/b")
    if voter is None and not (cfg.reward_model or cfg.judge.wanted or cfg.votes):
        raise ConfigError("nobody votes", hint="one of --reward-model PATH, --judge.url URL --judge.model NAME, --votes FILE")
    votes = _votes(cfg, dict(comparison.named_models)) if cfg.votes and voter is None else []
    if not (votes or cfg.prompts):
        raise ConfigError("no prompts to choose on", hint="--prompts validation.jsonl")
    prompts = list(read_prompts(cfg.prompts).records[: cfg.limit or None]) if not votes else []
    seen_by_choice: list[PromptContent] = [one.prompt for one in (votes or prompts)]
    paths = dict(comparison.named_models)
    seen = refuse_seen(paths.values(), seen_by_choice, what="selection", uses=TRAINING)
    with RunDir.open(out, stage=STAGE, config=lasting(comparison), parents=_parents(cfg, comparison), resume=resume) as run:
        name, table = _table(cfg, comparison, run, prompts, votes, voter)
        run.evaluation(name.replace(" ", "_"), {**table, "seen_prompts": seen.as_json()})
        choice = choose(table, next(iter(paths)))
        chosen = {"schema_version": 1, "kind": "selection", **choice, "path": paths[choice["chosen"]], "voter": name}
        _note(run.path, paths.values(), f"{choice['chosen']} among {', '.join(paths)} by {name}", seen_by_choice)
        run.publish_file(CHOICE_FILE, lambda path: write_json(path, chosen))
        place = resolve_model(paths[choice["chosen"]])
        if place.is_dir():
            run.publish("model", lambda path: _link(place, path))
        run.result({"chosen": choice["chosen"], "clear": choice["clear"], "n_prompts": table["n_prompts"], "evidence": choice["evidence"]})
        if not choice["clear"]:
            run.event(0, "warning", f"{choice['chosen']} is chosen by a difference that may be chance; more prompts would tell")
    return run.path


def choose(table: Mapping[str, Any], first: str) -> dict[str, Any]:
    """The candidate with the highest win rate against the first; the first itself where none beats it.

    Args:
        table: a comparison's, with every candidate's win rate against the first.
        first: the candidate that the others must beat.

    Returns:
        ``{"chosen", "baseline", "criterion", "clear", "n_prompts", "evidence": [{"model", "win_rate", "low", "high", "n", "clusters"}]}``;
        ``clear`` says that the interval of the chosen one excludes one half (or, where the first stays, that of every other one).
    """
    fields = ("win_rate", "low", "high", "n", "clusters", "ties")
    evidence = [
        {"model": row["a"], **{name: row[name] for name in fields}} for row in table["wins"] if row["b"] == first and row["a"] != first
    ]
    evidence.sort(key=lambda row: -row["win_rate"])
    if not evidence:
        raise ConfigError(f"nobody was compared with {first!r}", hint="votes must be on the answers of the first model and another one")
    beaten = evidence[0]["win_rate"] > 0.5
    chosen = evidence[0]["model"] if beaten else first
    clear = evidence[0]["low"] > 0.5 if beaten else all(row["high"] < 0.5 for row in evidence)
    return {
        "chosen": chosen,
        "baseline": first,
        "criterion": "highest win rate against the first, ties as one half",
        "clear": clear,
        "n_prompts": table["n_prompts"],
        "evidence": evidence,
    }


def _table(
    cfg: SelectionConfig,
    comparison: EvaluationConfig,
    run: RunDir,
    prompts: Sequence[Prompt],
    votes: Sequence[Vote],
    voter: AnyVoter | None,
) -> tuple[str, dict[str, Any]]:
    """The voter's name and its comparison of all candidates with the first."""
    settings: dict[str, Any] = {"baseline": comparison.baseline, "samples": cfg.bootstrap_samples, "seed": cfg.seed}
    if votes:
        return "people", compare_votes(votes, **settings)
    voters: dict[str, AnyVoter] = {"voter": voter} if voter is not None else open_voter(comparison, run.path)
    if not voters:
        voters = {"reward model": RewardModelVoter(cfg.reward_model, cfg.compute, chat_template=cfg.chat_template)}
    answers = kept_answers(run.path)
    if answers is None:
        answers = answer(
            dict(comparison.named_models),
            prompts,
            sampling=cfg.sampling,
            n=cfg.completions_per_prompt,
            seed=cfg.seed,
            compute=cfg.compute,
            chat_template=cfg.chat_template,
        )
        keep_answers(run, answers)
    done = vote_on(answers, voters, sets={"": prompts}, **settings)
    describe_judge(done.tables, voters, (), answers, samples=cfg.bootstrap_samples, seed=cfg.seed)
    return next(iter(voters)), done.table


def _votes(cfg: SelectionConfig, paths: Mapping[str, str]) -> list[Vote]:
    votes = read_votes(cfg.votes)
    strange = sorted({name for vote in votes for name in (vote.model_a, vote.model_b)} - set(paths))
    if strange:
        raise ConfigError(f"{cfg.votes} has votes on {strange[0]!r}, which is no candidate", hint=f"candidates: {', '.join(paths)}")
    return votes


def _note(run: Path, paths: Iterable[str], what: str, prompts: Sequence[PromptContent]) -> None:
    """Write down on which prompts the choice was made, here and in every candidate's own run."""
    record_selection(run, what, prompts)
    for path in paths:
        own = enclosing_run(Path(path)) if Path(path).exists() else None
        if own is None:
            continue
        try:
            record_selection(own, what, prompts, by=str(run.resolve()))
        except OSError as error:
            logger.warning("%s can't be written: that it was a candidate is only noted in %s (%s)", own, run, error)


def _link(source: Path, target: Path) -> None:
    """The same files a second time without a second copy, where the file system can."""

    def link(one: str, other: str) -> None:
        try:
            os.link(one, other)
        except OSError:
            shutil.copy2(one, other)

    shutil.copytree(source, target, copy_function=link, dirs_exist_ok=True)


def _parents(cfg: SelectionConfig, comparison: EvaluationConfig) -> list[Parent]:
    files = [("prompts", cfg.prompts), ("reward_model", cfg.reward_model), ("votes", cfg.votes)]
    named = [parent(role, path) for role, path in files if path] + judge_parents(comparison)
    return named + [parent(f"model:{name}", path) for name, path in comparison.named_models]
