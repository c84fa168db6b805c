"""What a judge needs around it in the stage ``evaluate``: answers kept before the first question, and people to agree with.

completions.jsonl + answers.json   written before anyone votes, so that a stopped run judges exactly these answers when it goes on
judgements.jsonl                   what the judge was asked and said, line by line
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.config import to_json
from instructloop.config.evaluation import EvaluationConfig
from instructloop.core.errors import ConfigError, DataError
from instructloop.core.files import read_json, write_json, write_jsonl
from instructloop.core.records import prompt_json
from instructloop.evaluation.evaluate import Answers
from instructloop.evaluation.judges import MarkJudge, PairJudge, agreement_with_people, open_judge
from instructloop.evaluation.voters import AnyVoter
from instructloop.evaluation.votes import Vote
from instructloop.formats import read_rows
from instructloop.formats.fields import prompt as read_prompt
from instructloop.formats.loaded import RowProblemError
from instructloop.runs import Parent, RunDir, parent

JUDGE = "judge"
"""Name of the judge's table."""
ANSWERS_FILE = "answers.json"
COMPLETIONS_FILE = "completions.jsonl"
_NEEDED = ("prompt", "model", "completion")


def lasting(cfg: EvaluationConfig) -> dict[str, Any]:
    """The configuration that a run must be resumed with: how patiently a judge is asked, and whether its bias is accepted, may change."""
    values = to_json(cfg)
    values.pop("accept_biased_judge")
    return {**values, "judge": cfg.judge.identity() if cfg.judge.wanted else {}}


def judge_parents(cfg: EvaluationConfig) -> list[Parent]:
    """Files behind the verdicts: the judge's own instructions, a local judge's weights, completions made earlier."""
    files = [("judge_template", cfg.judge.template), ("judge", cfg.judge.path), ("completions", cfg.completions)]
    return [parent(role, path) for role, path in files if path]


def open_voter(cfg: EvaluationConfig, folder: Path) -> dict[str, AnyVoter]:
    """The judge by name, or nothing."""
    if not cfg.judge.wanted:
        return {}
    opened: PairJudge | MarkJudge = open_judge(
        cfg.judge,
        folder,
        accept_biased=cfg.accept_biased_judge,
        compute=cfg.compute,
        samples=cfg.bootstrap_samples,
        seed=cfg.seed,
    )
    return {JUDGE: opened}


def keep_answers(run: RunDir, answers: Answers) -> None:
    """Write the answers down before anyone votes on them."""
    run.publish_file(COMPLETIONS_FILE, lambda path: write_jsonl(path, answers.rows))
    rest = {"capabilities": answers.held, "over_long": answers.over_long, "reference": answers.reference}
    run.publish_file(ANSWERS_FILE, lambda path: write_json(path, {"schema_version": 1, **rest}))


def kept_answers(folder: Path) -> Answers | None:
    """The answers of a run that was stopped after all models had answered; None where there are none."""
    file = folder / ANSWERS_FILE
    if not file.exists():
        return None
    rest = read_json(file)
    rows = [{**row, "scores": {}} for _, row in read_rows(folder / COMPLETIONS_FILE) if "suite" not in row]
    return Answers(rows, rest["capabilities"], rest["over_long"], rest["reference"])


def read_answers(path: str | Path, models: Sequence[str] = (), *, limit: int = 0) -> Answers:
    """Completions made earlier: ``completions.jsonl`` of an evaluation, or any rows with prompt, model and completion.

    Args:
        path: the file.
        models: only these, in this order; empty takes all in order of appearance.
        limit: only the first n prompts of each set; 0 takes all.

    Raises:
        DataError: a row misses a field, or there is no row.
        ConfigError: a model has no row.
    """
    rows: list[dict[str, Any]] = []
    places: dict[tuple[str, str], int] = {}
    draws: dict[tuple[str, int, str], int] = {}
    for where, row in read_rows(path):
        if "suite" in row:
            continue
        missing = [name for name in _NEEDED if not isinstance(row.get(name), str) and not (name == "prompt" and row.get(name))]
        if missing:
            raise DataError(f"{where}: {missing[0]}: missing", hint='a completion needs "prompt", "model" and "completion"')
        try:
            content = read_prompt(row["prompt"])
        except RowProblemError as problem:
            raise DataError(f"{where}: prompt: {problem}", hint="a text, or a list of messages") from problem
        kind = str(row.get("set") or "")
        place = row.get("prompt_id")
        if not isinstance(place, int):
            place = places.setdefault((kind, str(content)), len(places))
        draw = row.get("draw")
        if not isinstance(draw, int):
            draw = draws[kind, place, row["model"]] = draws.get((kind, place, row["model"]), -1) + 1
        rows.append({**row, "set": kind, "prompt": prompt_json(content), "prompt_id": place, "draw": draw, "scores": {}})
    found = list(dict.fromkeys(str(row["model"]) for row in rows))
    unknown = [name for name in models if name not in found]
    if unknown:
        raise ConfigError(f"{path} has no completions of {unknown[0]!r}", hint=f"it has: {', '.join(found) or 'none'}")
    chosen = list(models) or found
    rows = [row for name in chosen for row in rows if row["model"] == name]
    if not rows:
        raise DataError(f"{path}: no completions", hint='one row each: {"prompt", "model", "completion"}')
    if limit:
        first: dict[str, dict[int, None]] = {}
        for row in rows:
            first.setdefault(row["set"], {})[row["prompt_id"]] = None
        kept = {(kind, place) for kind, own in first.items() for place in list(own)[:limit]}
        rows = [row for row in rows if (row["set"], row["prompt_id"]) in kept]
    if all(row["set"] for row in rows):  # a file of one further set only
        rows = [{**row, "set": ""} if row["set"] == rows[0]["set"] else row for row in rows]
    return Answers(rows)


def describe_judge(
    tables: Mapping[str, dict[str, Any]],
    voters: Mapping[str, AnyVoter],
    votes: Sequence[Vote],
    answers: Answers,
    *,
    samples: int,
    seed: int,
) -> None:
    """Name the judge in its table, and say how far it agrees with people."""
    judge = voters.get(JUDGE)
    if isinstance(judge, PairJudge):
        main = [row for row in answers.rows if not row["set"]]
        agreement = agreement_with_people(judge, votes, main, samples=samples, seed=seed) if votes else None
        tables[JUDGE]["judge"]["agreement_with_people"] = agreement
    elif isinstance(judge, MarkJudge):
        tables[JUDGE]["judge"] = judge.report()
    else:
        return
    tables[JUDGE]["voter"] = f"judge {tables[JUDGE]['judge']['name']}"
