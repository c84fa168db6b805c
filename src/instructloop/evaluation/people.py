"""People as voters: an evaluation's completions go blind into a labeling project, and their votes come back as one more table.

ask      completions.jsonl -> a comparison queue for every pair of models      people.json says what was asked
collect  votes -> votes-people.jsonl and eval/people.json, with cohorts and agreement with the run's other voters
"""

import logging
import unicodedata
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructloop.core.errors import CheckpointError, ConfigError
from instructloop.core.files import read_json, read_jsonl, write_json, write_jsonl
from instructloop.core.hashing import hash_file, hash_json
from instructloop.core.records import Prompt, prompt_json, prompt_text
from instructloop.evaluation.ballots import as_estimate, model_pairs
from instructloop.evaluation.baselines import PREFIX_FILE
from instructloop.evaluation.comparison import compare_votes
from instructloop.evaluation.votes import Vote, read_votes
from instructloop.formats.fields import prompt as read_prompt
from instructloop.runs import RunDir, is_run, read_status
from instructloop.runs.lineage import LINEAGE_FILE
from instructloop.stats import mean_interval, outcome, rate, rate_interval

if TYPE_CHECKING:
    from instructloop.feedback.evaluated import PeopleRating, PeopleVote
    from instructloop.feedback.sampled import ToLabel, Weights

ASKED_FILE = "people.json"
"""In the run directory: which queues of which project hold its comparisons."""
VOTES_FILE = "votes-people.jsonl"
TABLE = "people"
OVERALL = "overall"
"""Key of the 1-to-7 rating in the store."""
logger = logging.getLogger(__name__)
Row = Mapping[str, Any]


def ask_people(
    run: str | Path,
    project: str | Path,
    *,
    queue: str = "",
    overlap: int = 3,
    baseline: str = "",
    limit: int = 0,
    rate: bool = False,
    seed: int = 0,
) -> dict[str, Any]:
    """Put the first completion of each prompt and model into blind comparisons; nothing trains on the answers.

    Every pair of models gets a queue of its own: ``<queue>`` for two models, ``<queue> 1``, ``<queue> 2``, ... for more. Labelers see the
    queue's name, so it names no model. Sides are balanced and drawn from ``seed``. Prompts on which both models wrote the same text are not asked about; they are counted in ``same_text``.

    Args:
        run: directory of a finished ``evaluate`` run.
        project: a labeling project.
        queue: name of the queue; the run directory's name by default.
        overlap: labelers who vote on each pair.
        baseline: ask only about pairs with this model; by default the run's own baseline, if it has one.
        limit: the first so many prompts, in the run's order; 0 = all.
        rate: also ask for an overall quality of 1 to 7 and the flags of every completion, in the queue ``<queue> ratings``.
        seed: of the sides.

    Returns:
        What ``people.json`` holds: ``project``, ``queues`` (with models and tasks), ``ratings``, ``passed_over``, ``same_text``.

    Raises:
        ConfigError: no completions or fewer than two models, an unknown baseline, a queue that is asked already, or no prompt that may be shown.
    """
    place = Path(run)
    _finished(place)
    rows = _completions(place)
    config = read_json(place / "config.json")["config"]
    models = list(dict.fromkeys(str(row["model"]) for row in rows))
    chosen = baseline or str(config.get("baseline") or "")
    if len(models) < 2:
        raise ConfigError(f"{place} has completions of {len(models)} model", hint="a comparison needs two")
    if chosen and chosen not in models:
        raise ConfigError(f"the baseline {chosen!r} is none of the models", hint=f"models: {', '.join(models)}")
    from instructloop.feedback.evaluated import ask_for_ratings, ask_for_votes, keep_test_prompts
    from instructloop.feedback.project import Project

    name = queue or place.resolve().name
    opened = Project.open(project)
    weights = _weights(place, models)
    places = sorted({int(row["prompt_id"]) for row in rows})[: limit or None]
    first = {(int(row["prompt_id"]), str(row["model"])): row for row in rows}
    pairs = [pair for pair in model_pairs(models, chosen) if not chosen or pair[1] == chosen]
    db = opened.database()
    try:
        prompts = [_prompt(first[one, models[0]]) for one in places]
        identifiers, passed = keep_test_prompts(db, opened, prompts)
        usable = [(one, identifier) for one, identifier in zip(places, identifiers, strict=True) if identifier is not None]
        if not usable:
            raise ConfigError(
                f"none of the {len(places)} prompts may be shown ({passed})", hint="use prompts that the project does not train on"
            )
        sampling = {**config.get("sampling", {}), "seed": config.get("seed", 0), "completions": hash_file(place / "completions.jsonl")}
        queues, same = {}, 0
        for number, (a, b) in enumerate(pairs, start=1):
            items = [_item(identifier, [first[one, a], first[one, b]], sampling) for one, identifier in usable]
            asked = [item for item in items if len({drawn.text.strip() for drawn in item.completions}) == 2]
            same += len(items) - len(asked)
            title = name if len(pairs) == 1 else f"{name} {number}"
            if not asked:
                logger.warning("%s and %s wrote the same to every prompt: nothing to ask", a, b)
                continue
            plan = _plan(place, len(asked), overlap)
            tasks = ask_for_votes(db, queue=title, models=[weights[a], weights[b]], items=asked, plan=plan, overlap=overlap, seed=seed)
            queues[title] = {"models": [a, b], "tasks": tasks}
        if not queues:
            raise ConfigError("all models wrote the same to every prompt", hint="there is nothing to compare")
        ratings: dict[str, Any] = {}
        if rate:
            title = f"{name} ratings"
            items = [_item(identifier, [first[one, model] for model in models], sampling) for one, identifier in usable]
            tasks = ask_for_ratings(db, queue=title, models=[weights[model] for model in models], items=items, overlap=overlap)
            ratings = {"queue": title, "tasks": tasks}
    finally:
        db.close()
    said = {
        "project": opened.name,
        "baseline": chosen,
        "overlap": overlap,
        "seed": seed,
        "prompts": len(usable),
        "passed_over": passed,
        "same_text": same,
        "queues": queues,
        "ratings": ratings,
        "models": {model: weights[model].sha256 for model in models},
    }
    write_json(place / ASKED_FILE, {"schema_version": 1, **said})
    return said


def collect_votes(run: str | Path, project: str | Path, *, queues: Sequence[str] = ()) -> dict[str, Any]:
    """Fetch the votes so far and write ``votes-people.jsonl`` and ``eval/people.json``; again and again, as votes come in.

    Args:
        run: directory of the ``evaluate`` run.
        project: the labeling project.
        queues: comparison queues; those that ``ask_people`` filled by default.

    Returns:
        The table: that of ``compare_votes``, with ``agreement`` (with each other voter of the run, and of people with each other),
        ``same_text``, ``likert``, and flags under ``scores`` where completions were rated.

    Raises:
        ConfigError: nobody was asked, or nobody has voted yet.
        CheckpointError: the directory holds no run.
    """
    place = Path(run)
    _finished(place)
    asked = read_json(place / ASKED_FILE) if (place / ASKED_FILE).exists() else {}
    named = list(queues) or list(asked.get("queues", {}))
    if not named:
        raise ConfigError(f"nobody was asked about {place}", hint=f"instructloop compare ask {place} --project {project}")
    config = read_json(place / "config.json")
    from instructloop.feedback.evaluated import people_ratings, people_votes
    from instructloop.feedback.project import Project

    db = Project.open(project).database()
    try:
        given = people_votes(db, named)
        rated: list[PeopleRating] = []
        if asked.get("ratings"):
            rated = people_ratings(db, asked["ratings"]["queue"], {sha: model for model, sha in asked["models"].items()})
    finally:
        db.close()
    if not given:
        raise ConfigError(f"nobody has voted in {', '.join(named)} yet", hint=f"people vote at: instructloop label {project}")
    settings = config["config"]
    samples, seed = int(settings.get("bootstrap_samples", 2000)), int(settings.get("seed", 0))
    rows = [_vote_row(vote) for vote in given]
    votes = read_votes(rows)
    baseline = (
        str(asked.get("baseline", "")) if asked.get("baseline", "") in {v.model_a for v in votes} | {v.model_b for v in votes} else ""
    )
    table = compare_votes(
        votes,
        models=list(asked.get("models", ())),
        baseline=baseline,
        samples=samples,
        seed=seed,
        shown=int(settings.get("samples_shown", 48)),
    )
    table["agreement"] = agreement_with_voters(place, votes, samples=samples, seed=seed)
    table["same_text"] = int(asked.get("same_text", 0))
    table |= _rated(rated, table["models"], samples=samples, seed=seed)
    _write(place, config, rows, table)
    return table


def agreement_with_voters(run: Path, votes: Sequence[Vote], *, samples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """How often people and each other voter of a run decide the same way, on pairs that both decided; and people among themselves.

    Returns:
        Voter (``people`` for two labelers on one pair) to ``{"value", "low", "high", "n", "clusters", "tie_half"}``: ``value`` counts pairs
        without a tie on either side, ``tie_half`` gives half a point where one side tied. Voters without any such pair are absent.
    """
    seen = {_nfc(vote.key) for vote in votes}
    answers: dict[str, dict[tuple[str, str, str], float]] = {}
    scores: dict[str, dict[tuple[str, str], float]] = {}
    for row in _completions(run):
        key = _nfc(prompt_text(read_prompt(row["prompt"])))
        if key in seen:
            for voter, score in row.get("scores", {}).items():
                scores.setdefault(voter, {})[key, str(row["model"])] = float(score)
    for voter, own in scores.items():
        for key in seen:
            models = [model for known, model in own if known == key]
            for a, b in combinations(models, 2):
                answers.setdefault(voter, {})[key, a, b] = outcome(own[key, a], own[key, b])
    for file in sorted(run.glob("verdicts-*.jsonl")):
        own_verdicts = answers.setdefault(file.stem.removeprefix("verdicts-"), {})
        for row in read_jsonl(file):
            if not row.get("set") and not row.get("draw"):
                own_verdicts[_nfc(prompt_text(read_prompt(row["prompt"]))), row["model_a"], row["model_b"]] = outcome(row["win_a"], 0.5)
    found = {}
    for voter, given in answers.items():
        both = [
            (vote.win_a, theirs, vote.key)
            for vote in votes
            if (theirs := _answer(given, _nfc(vote.key), vote.model_a, vote.model_b)) is not None
        ]
        if row := _agreement(both, samples=samples, seed=seed):
            found[voter] = row
    by_pair: dict[tuple[str, str, str], list[Vote]] = {}
    for vote in votes:
        a, b = sorted((vote.model_a, vote.model_b))
        by_pair.setdefault((vote.key, a, b), []).append(vote)
    among = [
        (one.win_a, other.win_a if other.model_a == one.model_a else 1 - other.win_a, one.key)
        for own_votes in by_pair.values()
        for one, other in combinations(own_votes, 2)
    ]
    return found | ({"people": row} if (row := _agreement(among, samples=samples, seed=seed)) else {})


def _nfc(text: str) -> str:
    """As the store keeps texts."""
    return unicodedata.normalize("NFC", text)


def _answer(given: Mapping[tuple[str, str, str], float], key: str, a: str, b: str) -> float | None:
    if (key, a, b) in given:
        return given[key, a, b]
    return 1 - given[key, b, a] if (key, b, a) in given else None


def _agreement(both: Sequence[tuple[float, float, str]], *, samples: int, seed: int) -> dict[str, Any]:
    decided = [(float(one == other), key) for one, other, key in both if 0.5 not in (one, other)]
    if not decided:
        return {}
    found = rate_interval([value for value, _ in decided], [key for _, key in decided], samples=samples, seed=seed)
    halves = rate_interval([1 - abs(one - other) for one, other, _ in both], [key for *_, key in both], samples=samples, seed=seed)
    return {**as_estimate(found), "tie_half": as_estimate(halves)}


def _rated(rated: Sequence["PeopleRating"], models: Sequence[str], *, samples: int, seed: int) -> dict[str, Any]:
    """``likert`` and, where every model was rated, ``scores`` with the flags' rates (spec G2, G3: Fig. 4's analogue)."""
    likert, scores = {}, {}
    for model in models:
        overall = [(float(one.value), prompt_text(one.prompt)) for one in rated if one.model == model and one.key == OVERALL]
        if not overall:
            continue
        mean = as_estimate(mean_interval([value for value, _ in overall], [key for _, key in overall], samples=samples, seed=seed))
        likert[model] = mean
        flags = {}
        for key in sorted({one.key for one in rated} - {OVERALL}):
            told = [
                (one.value == "yes", prompt_text(one.prompt)) for one in rated if (one.model, one.key) == (model, key) and one.value != "na"
            ]
            if told:
                share = rate([flag for flag, _ in told], [prompt for _, prompt in told], samples=samples, seed=seed)
                flags[key] = {"rate": share.value, **{k: v for k, v in as_estimate(share).items() if k != "value"}}
        scores[model] = {"mean": mean["value"], **{k: v for k, v in mean.items() if k != "value"}, "parts": {}, "flags": flags}
    if len(scores) < len(models):
        scores = {}
    return ({"likert": likert} if likert else {}) | ({"scores": scores} if scores else {})


def _completions(place: Path) -> list[dict[str, Any]]:
    """The first completion of every prompt of the main set, by every model."""
    rows = read_jsonl(place / "completions.jsonl")
    return [row for row in rows if not row.get("set") and not row.get("draw") and "prompt_id" in row and "suite" not in row]


def _finished(place: Path) -> None:
    if not is_run(place) or read_status(place)["status"] != "done":
        raise CheckpointError(f"{place} holds no finished run", hint="instructloop evaluate ... --out RUN makes one")


def _weights(place: Path, models: Sequence[str]) -> dict[str, "Weights"]:
    """The models as the store names them: by the hash of their files, and of what they are asked where that is not the bare prompt."""
    from instructloop.feedback.sampled import Weights

    parents = {row["role"]: row for row in read_json(place / LINEAGE_FILE)["parents"]}
    templates = dict(item.split("=", 1) for item in read_json(place / "config.json")["config"].get("few_shot", ()))
    chosen = read_json(place / PREFIX_FILE) if (place / PREFIX_FILE).exists() else {}
    found, seen = {}, dict[str, str]()
    for model in models:
        row = parents.get(f"model:{model}") or parents.get(f"model:{chosen.get('base', '')}" if model == chosen.get("model") else "")
        sha = (row or {}).get("sha256") or hash_json({"name": (row or {}).get("path", model)})
        asked = templates.get(model) or (chosen.get("chosen") if model == chosen.get("model") else None)
        if asked:
            sha = hash_json({"weights": sha, "asked": asked})
        if sha in seen:
            raise ConfigError(f"{model} and {seen[sha]} are the same weights, asked the same way", hint="compare two different models")
        seen[sha] = model
        found[model] = Weights(name=model, sha256=sha, run=str((row or {}).get("path", "")))
    return found


def _prompt(row: Row) -> Prompt:
    return Prompt(prompt=read_prompt(row["prompt"]), meta={"use_case": row.get("use_case")})


def _item(prompt_id: str, rows: Sequence[Row], sampling: Mapping[str, Any]) -> "ToLabel":
    from instructloop.feedback.sampled import Drawn, ToLabel

    drawn = [
        Drawn(text=row["completion"], model=number, sampling=sampling, draw=0, tokens=row.get("tokens"), finish_reason=_reason(row))
        for number, row in enumerate(rows)
    ]
    return ToLabel(prompt_id=prompt_id, completions=tuple(drawn))


def _reason(row: Row) -> str | None:
    return None if row.get("ended") is None else "stop" if row["ended"] else "length"


def _plan(place: Path, prompts: int, overlap: int) -> dict[str, Any]:
    return {
        "question": "which completion do people prefer",
        "analysis": "win rate with ties as half, both bad apart, cluster bootstrap over prompts; training and held-out labelers apart",
        "prompts": prompts,
        "overlap": overlap,
        "completions": hash_file(place / "completions.jsonl"),
    }


def _vote_row(vote: "PeopleVote") -> dict[str, Any]:
    return {
        "prompt": prompt_json(vote.prompt),
        "use_case": vote.use_case,
        "model_a": vote.model_a,
        "model_b": vote.model_b,
        "winner": vote.winner,
        "completion_a": vote.completion_a,
        "completion_b": vote.completion_b,
        "a_first": vote.a_first,
        "labeler": vote.labeler,
        "cohort": vote.cohort,
    }


def _write(place: Path, config: Mapping[str, Any], votes: Sequence[Row], table: Mapping[str, Any]) -> None:
    """One more table for a finished run, under its lock and with its hash."""
    with RunDir.open(place, stage=config["stage"], config=config["config"], resume=True) as run:
        run.publish_file(VOTES_FILE, lambda path: write_jsonl(path, votes))
        run.evaluation(TABLE, table)
