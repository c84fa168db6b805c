"""Completions into the tables of a comparison, whoever votes: scores, verdicts on pairs, or votes of people.

Answers to one prompt are not independent, so every interval resamples prompts, not rows. Ties count one half. What the three kinds of voters share
(win rates, leaderboard, length control, use cases) is made in ``ballots``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from instructloop.core.errors import ConfigError, DataError
from instructloop.core.records import Prompt, prompt_text
from instructloop.core.seeds import permutation, stream
from instructloop.evaluation.ballots import Ballot, Tally, as_estimate, model_pairs
from instructloop.evaluation.voters import AnyVoter, PairVoter, ReportingVoter, judge_all
from instructloop.evaluation.votes import Vote
from instructloop.formats.fields import prompt as read_prompt
from instructloop.scoring.diversity import distinct_n
from instructloop.stats import Interval, mean_interval, outcome, rate

Row = Mapping[str, Any]
SCHEMA_VERSION = 1


def judge_rows(rows: Sequence[Row], voter: AnyVoter, prompts: Sequence[Prompt] | None = None) -> list[dict[str, Any]]:
    """The rows with ``score``, ``parts`` and ``flags`` filled in by the voter.

    Args:
        rows: as ``sample_models`` returns them.
        voter: sees the prompt (with the ``meta`` of ``prompts``, if given) and the text, never the model's name.
        prompts: the prompts that ``prompt_id`` counts; None rebuilds them from the rows, without meta.
    """
    asked = [_prompt_of(row) if prompts is None else prompts[row["prompt_id"]] for row in rows]
    judged = judge_all(voter, asked, [row["completion"] for row in rows])
    return [{**row, "score": one.score, "parts": dict(one.parts), "flags": dict(one.flags)} for row, one in zip(rows, judged, strict=True)]


def _prompt_of(row: Row) -> Prompt:
    return Prompt(prompt=read_prompt(row["prompt"]), meta={"use_case": row.get("use_case")})


def compare(
    rows: Sequence[Row],
    voter: AnyVoter,
    prompts: Sequence[Prompt] | None = None,
    *,
    voter_name: str = "voter",
    baseline: str = "",
    samples: int = 2000,
    seed: int = 0,
    shown: int = 48,
) -> dict[str, Any]:
    """The whole table of a comparison from completions, with the voter's judgement of each made here.

    Args:
        rows: as ``sample_models`` returns them; every model must have answered the same prompts equally often.
        voter: who decides.
        prompts: the prompts with their meta, where the voter needs it.
        voter_name: how tables call the voter.
        baseline: the model that the others are first of all compared with; empty prefers none.
        samples: resamples behind each interval.
        seed: base seed of resampling and of the choice of shown samples.
        shown: prompts whose completions are kept in ``samples``.
    """
    if isinstance(voter, PairVoter):
        return compare_pairs(rows, voter, prompts, voter_name=voter_name, baseline=baseline, samples=samples, seed=seed, shown=shown)
    return tabulate(judge_rows(rows, voter, prompts), voter_name=voter_name, baseline=baseline, samples=samples, seed=seed, shown=shown)


def tabulate(
    judged: Sequence[Row], *, voter_name: str, baseline: str = "", samples: int = 2000, seed: int = 0, shown: int = 48
) -> dict[str, Any]:
    """Tables from rows that already carry scores (``judge_rows``); the layout is that of ``eval/*.json`` (docs: run directory).

    Raises:
        DataError: there are no rows, or a model has not answered what the others have.
        ConfigError: the baseline is none of the models.
    """
    by_model = _by_model(judged)
    _check_baseline(baseline, list(by_model))
    found = Tally(models=list(by_model), baseline=baseline, samples=samples, seed=seed).tables(_score_ballots(by_model))
    cases: dict[str, list[Row]] = defaultdict(list)
    for row in judged:
        if row.get("use_case"):
            cases[str(row["use_case"])].append(row)
    for name, own in cases.items():
        group = found["groups"].setdefault(name, {"n_prompts": len({row["prompt_id"] for row in own}), "wins": []})
        group["scores"] = {model: _mean(_column(part, "score"), samples, seed) for model, part in _by_model(own).items()}
    return {
        **_head(voter_name, len({row["prompt_id"] for row in judged}), list(by_model)),
        **found,
        "scores": {name: _scores(own, samples=samples, seed=seed) for name, own in by_model.items()},
        "descriptions": {name: _descriptions(own, samples=samples, seed=seed) for name, own in by_model.items()},
        "samples": _samples(by_model, shown=shown, seed=seed),
    }


def _head(voter_name: str, n_prompts: int, models: Sequence[str]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "voter": voter_name,
        "n_prompts": n_prompts,
        "models": list(models),
    }


def _check_baseline(baseline: str, models: Sequence[str]) -> None:
    if baseline and baseline not in models:
        raise ConfigError(f"the baseline {baseline!r} is none of the models", hint=f"models: {', '.join(models)}")


def _score_ballots(by_model: Mapping[str, Mapping[tuple[int, int], Row]]) -> list[Ballot]:
    """What scores say about every pair of models on every prompt and draw."""
    return [
        Ballot(
            prompt=key[0],
            a=a,
            b=b,
            win_a=outcome(one["score"], by_model[b][key]["score"]),
            use_case=str(one["use_case"]) if one.get("use_case") else None,
            characters_a=len(one["completion"]),
            characters_b=len(by_model[b][key]["completion"]),
        )
        for a, b in model_pairs(list(by_model))
        for key, one in by_model[a].items()
    ]


def compare_pairs(
    rows: Sequence[Row],
    voter: PairVoter,
    prompts: Sequence[Prompt] | None = None,
    *,
    voter_name: str = "voter",
    baseline: str = "",
    samples: int = 2000,
    seed: int = 0,
    shown: int = 48,
) -> dict[str, Any]:
    """The whole table of a comparison by a voter that sees two completions at a time.

    Args:
        rows: as ``sample_models`` returns them; every model must have answered the same prompts equally often.
        voter: who decides; a ``ReportingVoter``'s report becomes the table's ``judge``.
        prompts: the prompts with their meta, where the voter needs it.
        voter_name: how tables call the voter.
        baseline: ask only about pairs with this model; empty asks about all pairs.
        samples: resamples behind each interval.
        seed: base seed of resampling, of who is shown first and of the choice of shown samples.
        shown: prompts whose completions are kept in ``samples``.

    Raises:
        ConfigError: the baseline is none of the models.
        DataError: there are no rows, a model has not answered what the others have, or the voter returned too few or too many verdicts.
    """
    verdicts = pair_verdicts(rows, voter, prompts, baseline=baseline, seed=seed)
    table = tabulate_pairs(rows, verdicts, voter_name=voter_name, baseline=baseline, samples=samples, seed=seed, shown=shown)
    return table | ({"judge": dict(voter.report())} if isinstance(voter, ReportingVoter) else {})


def pair_verdicts(
    rows: Sequence[Row], voter: PairVoter, prompts: Sequence[Prompt] | None = None, *, baseline: str = "", seed: int = 0
) -> list[dict[str, Any]]:
    """Ask a pair voter, each model first in half of its comparisons: rows that ``tabulate_pairs`` and ``read_votes`` understand.

    Equal completions are not asked about: they tie. Pairs without a verdict that counts have no row.

    Returns:
        Per pair of models, prompt and draw ``{"prompt_id", "draw", "prompt", "use_case", "model_a", "model_b", "completion_a",
        "completion_b", "win_a", "winner", "a_first", "note"}``; ``a_first`` is None where the voter asked both orders itself or was not asked.
    """
    by_model = _by_model(rows)
    _check_baseline(baseline, list(by_model))
    pairs = [pair for pair in model_pairs(list(by_model), baseline) if not baseline or pair[1] == baseline]
    asked: list[tuple[str, str, tuple[int, int], bool]] = []
    for a, b in pairs:
        keys = [key for key, row in by_model[a].items() if row["completion"] != by_model[b][key]["completion"]]
        first = {keys[place]: rank % 2 == 0 for rank, place in enumerate(permutation(len(keys), seed, "shown first", a, b))}
        asked += [(a, b, key, first[key]) for key in keys]
    shown = [
        (by_model[a if a_first else b][key]["completion"], by_model[b if a_first else a][key]["completion"]) for a, b, key, a_first in asked
    ]
    questions = [_prompt_of(by_model[a][key]) if prompts is None else prompts[key[0]] for a, _, key, _ in asked]
    found = voter.vote(questions, [first for first, _ in shown], [second for _, second in shown]) if asked else []
    if len(found) != len(asked):
        raise DataError(f"the voter returned {len(found)} verdicts for {len(asked)} pairs", hint="return one each, in order")
    both_orders = isinstance(voter, ReportingVoter)
    verdicts = {(a, b, key): (a_first, verdict) for (a, b, key, a_first), verdict in zip(asked, found, strict=True)}
    result = []
    for a, b in pairs:
        for key, row in by_model[a].items():
            a_first, verdict = verdicts.get((a, b, key), (None, None))
            if verdict is not None and not verdict.counted:
                continue
            win = 0.5 if verdict is None else verdict.win_first if a_first else 1 - verdict.win_first
            bad = verdict is not None and verdict.both_bad
            result.append(
                {
                    "prompt_id": key[0],
                    "draw": key[1],
                    "prompt": row["prompt"],
                    "use_case": row.get("use_case"),
                    "model_a": a,
                    "model_b": b,
                    "completion_a": row["completion"],
                    "completion_b": by_model[b][key]["completion"],
                    "win_a": win,
                    "winner": "both_bad" if bad else "a" if win > 0.5 else "b" if win < 0.5 else "tie",
                    "a_first": None if both_orders else a_first,
                    "note": "the same text" if verdict is None else verdict.note,
                }
            )
    return result


def tabulate_pairs(
    rows: Sequence[Row],
    verdicts: Sequence[Row],
    *,
    voter_name: str,
    baseline: str = "",
    samples: int = 2000,
    seed: int = 0,
    shown: int = 48,
) -> dict[str, Any]:
    """Tables from completions and the verdicts on their pairs (``pair_verdicts``)."""
    by_model = _by_model(rows)
    tells_bad = any(row["winner"] == "both_bad" for row in verdicts)
    ballots = [
        Ballot(
            prompt=row["prompt_id"],
            a=row["model_a"],
            b=row["model_b"],
            win_a=row["win_a"],
            both_bad=row["winner"] == "both_bad" if tells_bad else None,
            use_case=str(row["use_case"]) if row.get("use_case") else None,
            characters_a=len(row["completion_a"]),
            characters_b=len(row["completion_b"]),
            a_first=row["a_first"],
        )
        for row in verdicts
    ]
    notes: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in verdicts:
        if row["draw"] == 0:
            kept = {name: row[name] for name in ("model_a", "model_b", "winner", "win_a", "note")}
            notes[prompt_text(read_prompt(row["prompt"]))].append(kept)
    return {
        **_head(voter_name, len({row["prompt_id"] for row in rows}), list(by_model)),
        **Tally(models=list(by_model), baseline=baseline, samples=samples, seed=seed).tables(ballots),
        "scores": {},
        "descriptions": {name: _descriptions(own, samples=samples, seed=seed) for name, own in by_model.items()},
        "samples": [{**one, "verdicts": notes[one["prompt"]]} for one in _samples(by_model, shown=shown, seed=seed)],
    }


def _by_model(rows: Sequence[Row]) -> dict[str, dict[tuple[int, int], Row]]:
    found: dict[str, dict[tuple[int, int], Row]] = {}
    for row in rows:
        found.setdefault(str(row["model"]), {})[int(row["prompt_id"]), int(row.get("draw", 0))] = row
    if not found:
        raise DataError("nothing to compare: there are no completions", hint="is the prompt file empty?")
    first, keys = next(iter((name, set(own)) for name, own in found.items()))
    for name, own in found.items():
        if set(own) != keys:
            raise DataError(
                f"{name} has {len(own)} completions, {first} has {len(keys)}, or for other prompts",
                hint="a comparison needs the same prompts for every model; sample them again",
            )
    return {name: {key: own[key] for key in sorted(own)} for name, own in found.items()}


def _column(own: Mapping[tuple[int, int], Row], name: str) -> tuple[list[float], list[int]]:
    return [float(row[name]) for row in own.values()], [key[0] for key in own]


def _mean(column: tuple[Sequence[float], Sequence[int]], samples: int, seed: int) -> dict[str, Any]:
    values, clusters = column
    return as_mean(mean_interval(values, clusters, samples=samples, seed=seed))


def as_mean(interval: Interval) -> dict[str, Any]:
    """An interval in the layout of a score: ``mean`` beside low, high, n."""
    return {"mean": interval.value, "low": interval.low, "high": interval.high, "n": interval.n, "clusters": interval.clusters}


def _scores(own: Mapping[tuple[int, int], Row], *, samples: int, seed: int) -> dict[str, Any]:
    parts = sorted({name for row in own.values() for name in row.get("parts", {})})
    flags = sorted({name for row in own.values() for name in row.get("flags", {})})
    return {
        **_mean(_column(own, "score"), samples, seed),
        "parts": {name: _part(own, name, samples, seed) for name in parts},
        "flags": {name: _flag(own, name, samples, seed) for name in flags},
    }


def _part(own: Mapping[tuple[int, int], Row], name: str, samples: int, seed: int) -> dict[str, Any]:
    held = [(float(row["parts"][name]), key[0]) for key, row in own.items() if name in row["parts"]]
    return _mean(([value for value, _ in held], [cluster for _, cluster in held]), samples, seed)


def _flag(own: Mapping[tuple[int, int], Row], name: str, samples: int, seed: int) -> dict[str, Any]:
    """Share among the rows where the question arises; n = 0 says that it never did."""
    asked = [(bool(row["flags"][name]), key[0]) for key, row in own.items() if row["flags"].get(name) is not None]
    if not asked:
        return {"rate": 0.0, "low": 0.0, "high": 1.0, "n": 0}
    found = rate([value for value, _ in asked], [cluster for _, cluster in asked], samples=samples, seed=seed)
    return {"rate": found.value, "low": found.low, "high": found.high, "n": found.n, "clusters": found.clusters}


def _descriptions(own: Mapping[tuple[int, int], Row], *, samples: int, seed: int) -> dict[str, Any]:
    clusters = [key[0] for key in own]
    words = mean_interval([float(len(row["completion"].split())) for row in own.values()], clusters, samples=samples, seed=seed)
    found: dict[str, Any] = {"words": words.as_json()}
    if all("ended" in row for row in own.values()):
        found["ended"] = rate([bool(row["ended"]) for row in own.values()], clusters, samples=samples, seed=seed).as_json()
    if all(row.get("kl") is not None for row in own.values()):
        found["kl"] = _interval(_column(own, "kl"), samples, seed)
    found["distinct_2"] = {"value": distinct_n([row["completion"] for row in own.values()]), "n": len(own)}
    found["different"] = {"value": len({row["completion"] for row in own.values()}) / len(own), "n": len(own)}
    return found


def _interval(column: tuple[Sequence[float], Sequence[int]], samples: int, seed: int) -> dict[str, Any]:
    return mean_interval(*column, samples=samples, seed=seed).as_json()


def _raised(row: Row) -> list[str]:
    """The flags that a completion has, for the filter of the report."""
    return sorted(name for name, is_so in (row.get("flags") or {}).items() if is_so)


def _samples(by_model: Mapping[str, Mapping[tuple[int, int], Row]], *, shown: int, seed: int) -> list[dict[str, Any]]:
    """The first draw of a few prompts, spread over the use cases: chosen before anything is known about the answers."""
    first = next(iter(by_model.values()))
    by_case: dict[str, list[int]] = defaultdict(list)
    for (prompt_id, draw), row in first.items():
        if draw == 0:
            by_case[str(row.get("use_case") or "")].append(prompt_id)
    for name, own in by_case.items():
        stream(seed, "samples", name).shuffle(own)
    chosen: list[int] = []
    while len(chosen) < shown and any(by_case.values()):
        chosen += [own.pop() for own in by_case.values() if own]
    return [
        {
            "prompt": prompt_text(read_prompt(first[prompt_id, 0]["prompt"])),
            "use_case": first[prompt_id, 0].get("use_case"),
            "completions": {name: own[prompt_id, 0]["completion"] for name, own in by_model.items()},
            "scores": {name: own[prompt_id, 0]["score"] for name, own in by_model.items() if "score" in own[prompt_id, 0]},
            "flags": {name: _raised(own[prompt_id, 0]) for name, own in by_model.items()},
        }
        for prompt_id in sorted(chosen[:shown])
    ]


def compare_votes(
    votes: Sequence[Vote],
    *,
    models: Sequence[str] = (),
    baseline: str = "",
    voter_name: str = "people",
    samples: int = 2000,
    seed: int = 0,
    shown: int = 48,
) -> dict[str, Any]:
    """The same tables from votes of people: every pair of models that was ever voted on.

    Args:
        votes: as ``read_votes`` returns them; texts, cohorts and ratings that they carry make further tables.
        models: in the order of the tables; those that are not named follow in order of appearance.
        baseline: the model that the others are first of all compared with.
        voter_name: how tables call the voters.
        samples: resamples behind each interval.
        seed: base seed of the resampling stream.
        shown: prompts whose completions are kept in ``samples``.
    """
    seen = dict.fromkeys(name for vote in votes for name in (vote.model_a, vote.model_b))
    order = [*(name for name in models if name in seen), *(name for name in seen if name not in models)]
    _check_baseline(baseline, order)
    likert = _likert(votes, order, samples=samples, seed=seed)
    return {
        **_head(voter_name, len({vote.key for vote in votes}), order),
        "n_votes": len(votes),
        "labelers": sorted({vote.labeler for vote in votes if vote.labeler}),
        **Tally(models=order, baseline=baseline, samples=samples, seed=seed).tables([vote.ballot() for vote in votes]),
        **({"likert": likert} if likert else {}),
        "scores": {},
        "descriptions": {},
        "samples": _voted_samples(votes, shown),
    }


def _likert(votes: Sequence[Vote], models: Sequence[str], *, samples: int, seed: int) -> dict[str, Any]:
    """Mean overall quality (1 to 7) of each model that was rated."""
    found = {}
    for name in models:
        rated = [
            (value, vote.key)
            for vote in votes
            for model, value in ((vote.model_a, vote.likert_a), (vote.model_b, vote.likert_b))
            if model == name and value is not None
        ]
        if rated:
            found[name] = as_estimate(mean_interval([value for value, _ in rated], [key for _, key in rated], samples=samples, seed=seed))
    return found


def _voted_samples(votes: Sequence[Vote], shown: int) -> list[dict[str, Any]]:
    by_prompt: dict[str, dict[str, str]] = {}
    for vote in votes:
        texts = by_prompt.setdefault(vote.key, {})
        for name, text in ((vote.model_a, vote.completion_a), (vote.model_b, vote.completion_b)):
            if text is not None:
                texts.setdefault(name, text)
    kept = [(prompt, texts) for prompt, texts in by_prompt.items() if texts][:shown]
    return [{"prompt": prompt, "use_case": None, "completions": texts, "scores": {}} for prompt, texts in kept]
