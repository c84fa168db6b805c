"""``instructloop inspect``: everything that a run's files, its models and its user's judges tell about it, in one document.

Nothing here changes a run: the findings are written to ``eval/observatory.json`` beside it. The same inputs give the same document and
are not examined twice.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from instructloop import __version__
from instructloop.config import from_mapping, to_json
from instructloop.config.inspection import InspectionConfig
from instructloop.config.watch import WatchConfig
from instructloop.core.callables import load_function
from instructloop.core.errors import ConfigError
from instructloop.core.files import read_json, write_json
from instructloop.core.hashing import hash_json, hash_tree
from instructloop.core.records import Prompt, Ranking
from instructloop.evaluation.observatory import answers as of
from instructloop.evaluation.observatory import watch_measure
from instructloop.evaluation.observatory.alarms import KINDS, Alarm, raised
from instructloop.evaluation.observatory.answers import Answer, Look
from instructloop.evaluation.observatory.best_of_n import best_of_n
from instructloop.evaluation.observatory.document import Findings, document
from instructloop.evaluation.observatory.ensemble import ensemble
from instructloop.evaluation.observatory.frontier_over_beta import frontier, path
from instructloop.evaluation.observatory.gather import Gathered, can_ask, gather, judged, score_rankings, scorer_of, wanted
from instructloop.evaluation.observatory.habits import habits
from instructloop.evaluation.observatory.length import length, probed
from instructloop.evaluation.observatory.proxy_gold import proxy_against_gold
from instructloop.evaluation.observatory.rang import rang
from instructloop.evaluation.observatory.readings import RunFiles, stages_of
from instructloop.evaluation.observatory.reward_accuracy import from_result, lexical_baseline, pairs_of, reward_accuracy, unmeasured
from instructloop.evaluation.observatory.sycophancy import sycophancy
from instructloop.evaluation.observatory.top import top
from instructloop.evaluation.votes import read_votes
from instructloop.formats import read_rankings, split_by_prompt
from instructloop.runs import enclosing_run, is_run, parent
from instructloop.runs.snapshots import beside

FILE = "observatory.json"
FOLDER = "observatory"
_VERSION = 1
"""Raised when the same inputs would give another document."""
_PROBED = 128
_HELD_OUT_COHORT = "heldout"
_READ_FILES = ("config.json", "metrics.jsonl", "events.jsonl", "result.json", "lineage.json", "artifacts.json", "watch", "samples")
logger = logging.getLogger(__name__)


def inspect(where: str | Path, cfg: InspectionConfig | None = None, *, out: str | Path = "") -> list[Path]:
    """Examine a run, or every reward model and PPO run of a pipeline.

    Args:
        where: run or pipeline directory.
        cfg: what to examine with.
        out: file to write instead of ``eval/observatory.json`` in the run; for one run only.

    Returns:
        The documents written, one a run.
    """
    settings = cfg or InspectionConfig()
    _refuse_missing(settings)
    runs = stages_of(Path(where))
    file = Path(out) if out and len(runs) == 1 else None
    return [inspect_among(place, runs, settings, file or place / "eval" / FILE) for place in runs]


def inspect_among(place: Path, runs: Sequence[Path], cfg: InspectionConfig, file: Path) -> Path:
    """Examine one of several runs; the other PPO runs are the frontier of a PPO run, unless the settings name others."""
    others = cfg.others or tuple(str(other) for other in runs if other != place and _stage(other) == _stage(place) == "ppo")
    return inspect_run(RunFiles.read(place), replace(cfg, others=others), file)


def _refuse_missing(cfg: InspectionConfig) -> None:
    """Everything that was named is there, before anything long begins."""
    named = [("prompts", cfg.prompts), ("rankings", cfg.rankings), ("human", cfg.human)]
    named += [("ensemble", place) for place in cfg.ensemble]
    named += [("others", place) for place in cfg.others] + [("probe_files", file) for file in cfg.probe_files]
    for option, given in named:
        if given and not Path(given).exists():
            raise ConfigError(
                f"inspect.{option}: no such path: {given}", hint=f"--{option.replace('_', '-')} takes what is on this machine"
            )


def _stage(place: Path) -> str:
    return str(read_json(place / "config.json")["stage"])


def inspect_run(run: RunFiles, cfg: InspectionConfig, file: Path) -> Path:
    """Examine one run and write its document, unless the same was examined before."""
    inputs = inputs_hash(run, cfg)
    if file.exists() and read_json(file).get("inputs") == inputs:
        logger.info("%s is up to date", file)
        return file
    findings = examine_policy(run, cfg, file.parent / FOLDER) if run.stage == "ppo" else examine_reward_model(run, cfg)
    write_json(file, document(run.stage, findings, inputs=inputs, settings=to_json(cfg), version=__version__))
    return file


def inputs_hash(run: RunFiles, cfg: InspectionConfig) -> str:
    """One hash over everything that the document depends on."""
    own = {name: hash_tree(run.path / name) for name in _READ_FILES if (run.path / name).exists()}
    given = [cfg.prompts, cfg.rankings, cfg.human, cfg.gold.rpartition(":")[0], *cfg.probe_files]
    files = [hash_tree(Path(name)) for name in given if name and Path(name).is_file()]
    models = [parent("judge", place).sha256 for place in cfg.ensemble]
    others = [hash_tree(Path(place) / "metrics.jsonl") for place in cfg.others if (Path(place) / "metrics.jsonl").exists()]
    return hash_json([_VERSION, own, files, models, others, to_json(cfg)])


# -- a policy --------------------------------------------------------------------------------------------------------


def examine_policy(run: RunFiles, cfg: InspectionConfig, keep: Path) -> Findings:
    """All sections of a PPO run.

    Args:
        run: the run.
        cfg: what to examine with.
        keep: folder for the answers that the models gave.
    """
    asked = gather(run, cfg, keep=keep) if can_ask(run, cfg) else None
    looks = list(run.looks)
    if cfg.ensemble and looks and wanted(run.model, cfg):
        scored = judged([look.answers for look in looks], [Path(place) for place in cfg.ensemble], cfg.compute)
        looks = [replace(look, answers=answers) for look, answers in zip(looks, scored, strict=True)]
    if cfg.gold:
        gold = gold_of(cfg.gold)
        looks = [replace(look, answers=of.with_gold(look.answers, gold)) for look in looks]
        asked = asked and Gathered(of.with_gold(asked.policy, gold), of.with_gold(asked.reference, gold))
    policy, reference = compared(run, looks, asked)
    votes = read_votes(cfg.human) if cfg.human else []
    others = [RunFiles.read(place) for place in cfg.others]
    findings = proxy_against_gold(run, looks or _ends(run, policy, reference), votes=votes, samples=cfg.bootstrap_samples, seed=cfg.seed)
    findings += rang(run)
    findings += frontier(run, others)
    if asked is not None and cfg.best_of_n:
        findings += best_of_n(asked.reference, looks or _ends(run, policy, reference), policy_path=path(run))
    findings += ensemble(policy, reference, looks)
    findings += _reward_model(run.reward_model, cfg)
    findings += length(run, policy, reference, probe=_probe(run, cfg, reference), seed=cfg.seed)
    findings += habits(run, policy, reference)
    if cfg.probes and can_ask(run, cfg):
        assert run.model is not None
        assert run.reference is not None
        findings += sycophancy(run.model, run.reference, cfg, chat_template=bool(run.config.get("chat_template", True)))
    findings += top(policy, reference)
    return replace(findings, alarms=(*watched(run, looks, policy, reference), *findings.alarms))


def compared(run: RunFiles, looks: Sequence[Look], asked: Gathered | None) -> tuple[list[Answer], list[Answer]]:
    """The answers of policy and reference that most sections compare: asked anew, else the watch's, else the trainer's few samples."""
    if asked is not None:
        return asked.policy, asked.reference
    if len(looks) > 1:
        return list(looks[-1].answers), list(looks[0].answers)
    if len(run.samples) > 1:
        # the first samples are drawn before the first update: they are the reference's
        return run.samples[-1][1], run.samples[0][1]
    return [], []


def _ends(run: RunFiles, policy: Sequence[Answer], reference: Sequence[Answer]) -> list[Look]:
    """Two looks, reference and policy, where nothing watched the run but the models were asked."""
    kl = [answer.kl for answer in policy if answer.kl is not None]
    if not policy or len(kl) < len(policy):
        return []
    known = {answer.key for answer in reference}
    if any(answer.key not in known for answer in policy):
        return []
    return [Look(step=0, kl=0.0, answers=reference), Look(step=max(1, run.last_step), kl=max(0.0, sum(kl) / len(kl)), answers=policy)]


def _paired(looks: Sequence[Look]) -> list[Look]:
    """The looks with one answer a prompt in the same order, where the models were asked and the reference gave several."""
    first = {answer.key: answer for answer in reversed(looks[0].answers)}
    return [replace(looks[0], answers=[first[answer.key] for answer in looks[-1].answers]), *looks[1:]]


def gold_of(path: str) -> of.Gold:
    """The user's gold function."""
    found: of.Gold = load_function(path, what="--gold", example="def gold(prompts, completions): return [0.0 for _ in completions]")
    return found


def _probe(run: RunFiles, cfg: InspectionConfig, reference: Sequence[Answer]) -> Mapping[str, Any] | None:
    """Score changes under padding, on one answer of the reference to each prompt."""
    if run.reward_model is None or not wanted(run.reward_model, cfg):
        return None
    return probe_lengths(run.reward_model, cfg, reference)


def probe_lengths(model: Path, cfg: InspectionConfig, answers: Sequence[Answer]) -> Mapping[str, Any] | None:
    """The same for any reward model and answers; None where fewer than two fit."""
    with scorer_of(model, cfg.compute) as scorer:
        # a third of the context is left for what is appended
        firsts = {answer.key: answer for answer in reversed(answers) if answer.completion.strip()}
        chosen = [one for one in firsts.values() if scorer.fits(one.prompt, f"{one.completion} {one.completion} {one.completion}")][
            :_PROBED
        ]
        return probed(chosen, scorer, seed=cfg.seed) if len(chosen) > 1 else None


def watched(run: RunFiles, looks: Sequence[Look], policy: Sequence[Answer], reference: Sequence[Answer]) -> tuple[Alarm, ...]:
    """The alarms of the watch, judged at the end of the run: those that no section looks at more closely."""
    wanted_kinds = ("unconfirmed", "falling", "kl", "entropy")
    ends = _ends(run, policy, reference)
    usable = list(looks) if len(looks) > 1 else _paired(ends) if ends else []
    usable = [look for look in usable if len(look.answers) == len(usable[0].answers) and all(a.proxy is not None for a in look.answers)]
    metrics = {name: values[-1][1] for name in ("kl", "entropy") if (values := run.series(name))}
    cfg = from_mapping(WatchConfig, run.config.get("watch") or {})
    if len(usable) < 2:
        known = {"kl": (metrics.get("kl"), cfg.kl), "entropy": (metrics.get("entropy"), cfg.entropy)}
        return tuple(
            raised(kind, known[kind][0], threshold=known[kind][1], step=run.last_step)
            if kind in known
            else raised(kind, None, explanation="Needs ppo.watch with held-out reward models, or --ensemble.")
            for kind in wanted_kinds
        )
    rows = [[one.json() for one in look.answers] for look in usable]
    draws = max(1, len(rows[0]) // len({answer.key for answer in usable[0].answers}))
    seen = [watch_measure.measure(look.step, own, rows[0], metrics, draws) for look, own in zip(usable, rows, strict=True)]
    best = max(seen[:-1], key=lambda one: one.numbers.get("held_out_gain", 0.0))
    found = watch_measure.alarms_of(seen[-1], best, cfg, rows=rows[-1], reference=rows[0])
    return tuple(alarm for alarm in found if alarm.kind in wanted_kinds)


# -- a reward model --------------------------------------------------------------------------------------------------


def examine_reward_model(run: RunFiles, cfg: InspectionConfig) -> Findings:
    """All sections of a reward-model run (other runs have none of them)."""
    model = run.model
    if run.stage != "rm" or model is None:
        return Findings()
    if run.config.get("group_prompt"):
        logger.warning("%s judges for one group of labelers at a time; its own measurements are shown", run.path)
        cfg = replace(cfg, models="no")
    findings = _reward_model(model, cfg, run=run)
    answers = ranked_answers(run, cfg)
    if not answers or not wanted(model, cfg):
        return findings + length(None, [], [])
    with scorer_of(model, cfg.compute) as scorer:
        kept = [one for one in answers if scorer.fits(one.prompt, one.completion)]
        scores = scorer([one.prompt for one in kept], [one.completion for one in kept])
        scored = [replace(one, proxy=score, tokens=scorer.tokens(one.completion)) for one, score in zip(kept, scores, strict=True)]
    findings += length(None, [], scored, probe=probe_lengths(model, cfg, scored), seed=cfg.seed)
    if cfg.ensemble:
        members = judged([scored], [Path(place) for place in cfg.ensemble], cfg.compute)[0]
        findings += ensemble(members, members)
    return findings + top(scored, scored)


def ranked_answers(run: RunFiles, cfg: InspectionConfig) -> list[Answer]:
    """The completions of the held-out rankings as answers of a reference."""
    _, held_out = rankings_of(run, cfg)
    return [
        Answer(prompt=Prompt(prompt=one.prompt, meta=one.meta), completion=text, tokens=len(text.split()))
        for one in held_out[: cfg.limit or None]
        for text in dict.fromkeys(one.completions)
        if text.strip()
    ]


def _reward_model(model: Path | None, cfg: InspectionConfig, *, run: RunFiles | None = None) -> Findings:
    """Accuracy and calibration of a reward model on held-out rankings; what its own training measured, where it cannot be asked."""
    place = run.path if run is not None else model and enclosing_run(model)
    own = run or (RunFiles.read(place) if place and is_run(place) and _stage(place) == "rm" else None)
    train, held_out = rankings_of(own, cfg)
    if model is not None and held_out and wanted(model / "model" if (model / "model").is_dir() else model, cfg):
        with scorer_of(model, cfg.compute) as scorer:
            rows = score_rankings(held_out, scorer)
        if pairs_of(rows):
            return reward_accuracy(rows, lexical=lexical_baseline(train, rows), trained_on="its training rankings", seed=cfg.seed)
    kept = from_result(own.result) if own is not None else None
    return Findings(sections=(kept,) if kept is not None else ()) + unmeasured()


def rankings_of(run: RunFiles | None, cfg: InspectionConfig) -> tuple[list[Ranking], list[Ranking]]:
    """(trained on, held out) as the reward model's run split them; a file given on the command line replaces the latter.

    Held-out labelers' rankings never train, and are among the held-out ones here.
    """
    given = list(read_rankings(cfg.rankings).records) if cfg.rankings else []
    if run is None:
        return [], given
    sources = [place for role, place in run.parents.items() if role.partition(" ")[0] == "rankings"]
    rows = [row for place in sources if place.exists() for row in read_rankings(beside(str(place), "rankings") or place).records]
    ours = [row for row in rows if row.meta.get("cohort") != _HELD_OUT_COHORT]
    strangers = [row for row in rows if row.meta.get("cohort") == _HELD_OUT_COHORT]
    aside = _validation(run, sources)
    if aside:
        return ours, given or [*aside, *strangers]
    train, held_out = split_by_prompt(ours, float(run.config.get("validation_fraction", 0.0)), int(run.config.get("seed", 0)))
    return train, given or [*held_out, *strangers]


def _validation(run: RunFiles, sources: Sequence[Path]) -> list[Ranking]:
    """The file that the run names for validation, else the valid split of its snapshots."""
    named = run.parents.get("validation")
    files = [str(named)] if named is not None and named.exists() else [beside(str(place), "rankings", "valid") for place in sources]
    return [row for file in files if file for row in read_rankings(file).records]


Printer = Callable[[str], None]


def tell(file: Path, say: Printer) -> None:
    """The alarms and the main words of a document, for the terminal."""
    found = read_json(file)
    say(f"{found['stage']}: {file}")
    for alarm in sorted(found["alarms"], key=lambda one: ("alarm", "warning", "ok", "not measured").index(one["state"])):
        value = "" if alarm["measured"] is None else f"{alarm['measured']:.3g} {alarm['unit']}"
        limit = "" if alarm["threshold"] is None or alarm["measured"] is None else f" (threshold {alarm['threshold']:.3g})"
        say(f"  {alarm['state'].upper():12} {alarm['title']}{': ' if value else ''}{value}{limit}")
        if alarm["state"] in ("alarm", "warning"):
            say(f"               {alarm['explanation']}")
            say(f"               next: {alarm['next']}")
        elif alarm["state"] == "not measured":
            # what the kind means can wait until it is measured; what comes before says what to give
            say(f"               {alarm['explanation'].removesuffix(KINDS[alarm['kind']].explanation).strip()}")
    for section in found["sections"]:
        say(f"\n  {section['title']}\n    {section['text']}")
