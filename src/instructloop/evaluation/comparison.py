"""Judged completions into the tables of a comparison: win rates, mean scores, flags, groups, samples.

Answers to one prompt are not independent, so every interval resamples prompts, not rows. Ties count one half.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from instructloop.core.errors import DataError
from instructloop.core.records import Prompt, prompt_text
from instructloop.core.seeds import stream
from instructloop.evaluation.voters import AnyVoter, judge_all
from instructloop.evaluation.votes import Vote
from instructloop.formats.fields import prompt as read_prompt
from instructloop.scoring.diversity import distinct_n
from instructloop.stats import Interval, mean_interval, outcome, rate, win_rate

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
        samples: resamples behind each interval.
        seed: base seed of resampling and of the choice of shown samples.
        shown: prompts whose completions are kept in ``samples``.
    """
    return tabulate(judge_rows(rows, voter, prompts), voter_name=voter_name, samples=samples, seed=seed, shown=shown)


def tabulate(judged: Sequence[Row], *, voter_name: str, samples: int = 2000, seed: int = 0, shown: int = 48) -> dict[str, Any]:
    """Tables from rows that already carry scores (``judge_rows``); the layout is that of ``eval/*.json`` (docs: run directory).

    Raises:
        DataError: there are no rows, or a model has not answered what the others have.
    """
    by_model = _by_model(judged)
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in judged:
        if row.get("use_case"):
            groups[str(row["use_case"])].append(row)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "voter": voter_name,
        "n_prompts": len({row["prompt_id"] for row in judged}),
        "models": list(by_model),
        "wins": _wins(by_model, samples=samples, seed=seed),
        "scores": {name: _scores(own, samples=samples, seed=seed) for name, own in by_model.items()},
        "descriptions": {name: _descriptions(own, samples=samples, seed=seed) for name, own in by_model.items()},
        "groups": {
            name: {
                "n_prompts": len({row["prompt_id"] for row in own}),
                "wins": _wins(_by_model(own), samples=samples, seed=seed),
                "scores": {model: _mean(_column(part, "score"), samples, seed) for model, part in _by_model(own).items()},
            }
            for name, own in sorted(groups.items())
        },
        "samples": _samples(by_model, shown=shown, seed=seed),
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


def _wins(by_model: Mapping[str, Mapping[tuple[int, int], Row]], *, samples: int, seed: int) -> list[dict[str, Any]]:
    rows = []
    for b, a in combinations(by_model, 2):  # later models are asked whether they beat earlier ones
        keys = list(by_model[a])
        wins = [outcome(by_model[a][key]["score"], by_model[b][key]["score"]) for key in keys]
        interval = win_rate(wins, [key[0] for key in keys], samples=samples, seed=seed)
        rows += both_ways(a, b, interval)
    return rows


def both_ways(a: str, b: str, interval: Interval) -> list[dict[str, Any]]:
    """A's win rate over B, and the same comparison seen from B."""
    mirrored = replace(interval, value=1 - interval.value, low=1 - interval.high, high=1 - interval.low)
    return [
        {
            "a": first,
            "b": second,
            "win_rate": found.value,
            "low": found.low,
            "high": found.high,
            "n": found.n,
            "clusters": found.clusters,
            "ties": found.ties,
        }
        for first, second, found in ((a, b, interval), (b, a, mirrored))
    ]


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
            "scores": {name: own[prompt_id, 0]["score"] for name, own in by_model.items()},
        }
        for prompt_id in sorted(chosen[:shown])
    ]


def compare_votes(votes: Sequence[Vote], *, samples: int = 2000, seed: int = 0, shown: int = 48) -> dict[str, Any]:
    """The same tables from votes of people: every pair of models that was ever voted on, in order of appearance."""
    models = list(dict.fromkeys(name for vote in votes for name in (vote.model_a, vote.model_b)))
    wins: list[dict[str, Any]] = []
    for b, a in combinations(models, 2):
        found = [
            (vote.win_a if vote.model_a == a else 1 - vote.win_a, vote.key) for vote in votes if {vote.model_a, vote.model_b} == {a, b}
        ]
        if found:
            interval = win_rate([value for value, _ in found], [key for _, key in found], samples=samples, seed=seed)
            wins += both_ways(a, b, interval)
    bad = sum(vote.both_bad for vote in votes)
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": "comparison",
        "voter": "people",
        **({"both_bad": {"votes": bad, "share": bad / len(votes), "n": len(votes)}} if bad else {}),
        "n_prompts": len({vote.key for vote in votes}),
        "labelers": sorted({vote.labeler for vote in votes if vote.labeler}),
        "models": models,
        "wins": wins,
        "scores": {},
        "descriptions": {},
        "groups": {},
        "samples": _voted_samples(votes, shown),
    }


def _voted_samples(votes: Sequence[Vote], shown: int) -> list[dict[str, Any]]:
    by_prompt: dict[str, dict[str, str]] = {}
    for vote in votes:
        texts = by_prompt.setdefault(vote.key, {})
        for name, text in ((vote.model_a, vote.completion_a), (vote.model_b, vote.completion_b)):
            if text is not None:
                texts.setdefault(name, text)
    kept = [(prompt, texts) for prompt, texts in by_prompt.items() if texts][:shown]
    return [{"prompt": prompt, "use_case": None, "completions": texts, "scores": {}} for prompt, texts in kept]
