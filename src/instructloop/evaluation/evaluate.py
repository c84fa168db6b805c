"""A whole evaluation: each model is opened once, answers every prompt set, and shows what it can still do."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from instructloop.config import ComputeConfig, SamplingConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, Text
from instructloop.evaluation.capabilities import Probe, capabilities, same_tokens, sequence_kl
from instructloop.evaluation.comparison import judge_rows, pair_verdicts, tabulate, tabulate_pairs
from instructloop.evaluation.sampling import Models, Subject, as_candidate, opened, sample_rows
from instructloop.evaluation.voters import AnyVoter, PairVoter, ReportingVoter

logger = logging.getLogger(__name__)
MAIN_SET = ""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out: one table per voter, and every completion with every judgement."""

    tables: Mapping[str, dict[str, Any]]
    """Voter name to the layout of ``eval/<name>.json``."""
    rows: Sequence[dict[str, Any]]
    """Completions; ``set`` names the prompt set (empty: the main one), ``scores`` the voters' numbers."""
    verdicts: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    """By voter who compares pairs: each verdict (``pair_verdicts``), with ``set``."""

    @property
    def table(self) -> dict[str, Any]:
        """The first voter's table."""
        return next(iter(self.tables.values()))


@dataclass(frozen=True, slots=True)
class Answers:
    """What the models said, before anyone votes: all that voting needs, so that no model is opened again for it."""

    rows: list[dict[str, Any]]
    """Completions, as in ``Evaluation.rows``."""
    held: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    """Model name to its held capabilities."""
    over_long: Mapping[str, int] = field(default_factory=dict)
    """Prompts of each set that were too long for one of the models."""
    reference: str = ""
    """The model whose sequence KL to the others was measured."""


def evaluate(
    models: Models,
    prompts: Sequence[Prompt],
    voters: AnyVoter | Mapping[str, AnyVoter],
    *,
    sets: Mapping[str, Sequence[Prompt]] | None = None,
    texts: Sequence[Text] = (),
    probes: Sequence[Probe] = (),
    reference: str = "",
    baseline: str = "",
    sampling: SamplingConfig | None = None,
    n: int = 1,
    seed: int = 0,
    samples: int = 2000,
    shown: int = 48,
    compute: ComputeConfig | None = None,
    chat_template: bool = True,
) -> Evaluation:
    """Compare models on held-out prompts.

    Args:
        models: name to path or Candidate, in the order in which they were trained. Few-shot candidates are asked the prompts
            only: capabilities belong to weights, and those are the base's.
        prompts: held-out prompts; ``meta["use_case"]`` makes groups.
        voters: who decides: one voter, or several by name; each makes a table.
        sets: further prompt sets, reported apart.
        texts: held-out documents for the LM loss.
        probes: further held capabilities.
        reference: the model whose sequence KL to the others is measured (the RL-init SFT); empty measures none.
        baseline: the model that the others are first of all compared with; voters who compare pairs are asked about its pairs only.
        sampling: how completions are drawn; the default is temperature 1, the distribution that was trained.
        n: completions of each prompt.
        seed: base of sampling and resampling streams.
        samples: resamples behind each interval.
        shown: prompts whose completions are kept for the report.
        compute: device and precision.
        chat_template: wrap string prompts as a user turn where the tokenizer has a template.

    Raises:
        ConfigError: there is no model, voter or prompt, or ``reference`` or ``baseline`` is none of the models.
        DataError: no prompt of a set fits into the context of every model.
    """
    named = dict(voters) if isinstance(voters, Mapping) else {"voter": voters}
    if not named:
        raise ConfigError(f"an evaluation of {len(models)} models by 0 voters shows nothing")
    if baseline and baseline not in models:
        raise ConfigError(f"baseline {baseline!r} is none of the models", hint=f"models: {', '.join(models)}")
    answers = answer(
        models, prompts, sets=sets, texts=texts, probes=probes, reference=reference, sampling=sampling, n=n, seed=seed, samples=samples,
        compute=compute, chat_template=chat_template,
    )  # fmt: skip
    every = {MAIN_SET: prompts, **(sets or {})}
    return vote_on(answers, named, sets=every, baseline=baseline, samples=samples, seed=seed, shown=shown)


def answer(
    models: Models,
    prompts: Sequence[Prompt],
    *,
    sets: Mapping[str, Sequence[Prompt]] | None = None,
    texts: Sequence[Text] = (),
    probes: Sequence[Probe] = (),
    reference: str = "",
    sampling: SamplingConfig | None = None,
    n: int = 1,
    seed: int = 0,
    samples: int = 2000,
    compute: ComputeConfig | None = None,
    chat_template: bool = True,
) -> Answers:
    """The first half of ``evaluate``: every model answers every prompt, and shows its held capabilities."""
    if not models or not prompts:
        raise ConfigError(f"an evaluation of {len(models)} models on {len(prompts)} prompts shows nothing")
    if reference and reference not in models:
        raise ConfigError(f"reference {reference!r} is none of the models", hint=f"models: {', '.join(models)}")
    every = {MAIN_SET: prompts, **(sets or {})}
    settings, where = sampling or SamplingConfig(), compute or ComputeConfig()
    rows: list[dict[str, Any]] = []
    held: dict[str, dict[str, dict[str, Any]]] = {}
    with ExitStack() as stack:
        tether = stack.enter_context(opened(reference, models[reference], where, chat_template=chat_template)) if reference else None
        for name, model in models.items():
            with opened(name, model, where, chat_template=chat_template) as subject:
                rows += _answers(subject, every, tether, sampling=settings, n=n, seed=seed)
                if not as_candidate(model).template and (texts or probes):
                    held[name] = capabilities(subject, texts=texts, probes=probes, samples=samples, seed=seed)
            logger.info("%s answered %d prompts", name, sum(len(own) for own in every.values()))
    rows, over_long = _answered_by_all(rows, every, models)
    return Answers(rows, held, over_long, reference)


def vote_on(
    answers: Answers,
    voters: Mapping[str, AnyVoter],
    *,
    sets: Mapping[str, Sequence[Prompt]] | None = None,
    baseline: str = "",
    samples: int = 2000,
    seed: int = 0,
    shown: int = 48,
) -> Evaluation:
    """The second half of ``evaluate``: every voter judges the answers; its numbers join the rows.

    Args:
        answers: of all models.
        voters: by name; each makes a table.
        sets: the prompts of each set, counted by ``prompt_id``, where voters need their ``meta``; None rebuilds them from the rows, without.
        baseline: the model that the others are first of all compared with.
        samples: resamples behind each interval.
        seed: base of the resampling streams.
        shown: prompts whose completions are kept for the report.
    """
    rows = answers.rows
    every: dict[str, Sequence[Prompt] | None] = {MAIN_SET: None, **dict.fromkeys(row["set"] for row in rows), **(sets or {})}
    tables, verdicts = {}, {}
    for name, voter in voters.items():
        settings: dict[str, Any] = {"voter_name": name, "baseline": baseline, "samples": samples, "seed": seed, "shown": shown}
        if isinstance(voter, PairVoter):
            by_set, verdicts[name] = _compared(voter, rows, every, settings)
        else:
            judged = {kind: judge_rows([row for row in rows if row["set"] == kind], voter, own) for kind, own in every.items()}
            for row, one in zip(rows, _in_order(rows, judged), strict=True):
                row["scores"][name] = one["score"]
            by_set = {kind: tabulate(own, **settings) for kind, own in judged.items()}
        table = by_set.pop(MAIN_SET)
        table["capabilities"] = answers.held
        table["reference"] = answers.reference or None
        table["over_long"] = answers.over_long
        table["sets"] = by_set
        tables[name] = table
    return Evaluation(tables, rows, verdicts)


def _compared(
    voter: PairVoter, rows: Sequence[dict[str, Any]], sets: Mapping[str, Sequence[Prompt] | None], settings: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """The tables of a voter who compares pairs, by prompt set, and its verdicts."""
    tables, kept = {}, []
    for kind, prompts in sets.items():
        own = [row for row in rows if row["set"] == kind]
        found = pair_verdicts(own, voter, prompts, baseline=settings["baseline"], seed=settings["seed"])
        tables[kind] = tabulate_pairs(own, found, **settings)
        kept += [{"set": kind, **row} for row in found]
    if isinstance(voter, ReportingVoter):
        tables[MAIN_SET]["judge"] = dict(voter.report())
    return tables, kept


def _answers(
    subject: Subject, sets: Mapping[str, Sequence[Prompt]], tether: Subject | None, *, sampling: SamplingConfig, n: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for kind, prompts in sets.items():
        places = sorted(subject.fitting(prompts, sampling))
        if not places:
            raise DataError(
                f"no prompt{f' of set {kind}' if kind else ''} leaves {subject.name} room for {sampling.max_new_tokens} tokens",
                hint="lower sampling.max_new_tokens, or shorten the prompts or the few-shot template",
            )
        fitting = [prompts[place] for place in places]
        rollouts = subject.answer(fitting, n=n, sampling=sampling, seed=seed)
        own = [{**row, "prompt_id": places[row["prompt_id"]]} for row in sample_rows(subject, fitting, rollouts, n=n)]
        drawn = subject.sampling(sampling)
        kl = sequence_kl(tether, rollouts, sampling=drawn) if tether is not None and same_tokens(subject, tether) else None
        for place, row in enumerate(own):
            row |= {"set": kind, "scores": {}, "kl": None if kl is None else kl[place], "temperature": drawn.temperature}
        rows += own
    return rows


def _answered_by_all(
    rows: Sequence[dict[str, Any]], sets: Mapping[str, Sequence[Prompt]], models: Models
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows of prompts that fitted into every model's context, and how many prompts of each set did not."""
    answered: dict[tuple[str, int], set[str]] = {}
    for row in rows:
        answered.setdefault((row["set"], row["prompt_id"]), set()).add(row["model"])
    common = {key for key, names in answered.items() if len(names) == len(models)}
    over_long = {kind: len(own) - sum(key[0] == kind for key in common) for kind, own in sets.items()}
    for kind, count in over_long.items():
        if count == len(sets[kind]):
            raise DataError(
                f"no prompt{f' of set {kind}' if kind else ''} fits into the context of every model", hint="shorten the prompts"
            )
        if count:
            logger.warning("%d of %d prompts are too long for one of the models and are left out for all", count, len(sets[kind]))
    kept = [row for row in rows if (row["set"], row["prompt_id"]) in common]
    return kept, {kind or "main": count for kind, count in over_long.items() if count}


def _in_order(rows: Sequence[Mapping[str, Any]], judged: Mapping[str, Sequence[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Judged rows of all sets in the order of ``rows``."""
    waiting = {kind: iter(own) for kind, own in judged.items()}
    return [next(waiting[row["set"]]) for row in rows]
