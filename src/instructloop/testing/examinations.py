"""Examples of what an evaluation leaves in ``eval/*.json``: an observatory file, a suites' table and a comparison by people with every optional key."""

import math
from typing import Any

from instructloop.core.seeds import stream


def observatory_table(*, hostile: str = "") -> dict[str, Any]:
    """An examined PPO run whose proxy keeps rising while gold turns: one alarm, one warning, one check in order, one not measured.

    Args:
        hostile: text put in front of prompts, replies and explanations, to see that it stays text.
    """
    random = stream(0, "observatory")
    distances = [0.2 * step for step in range(21)]
    gold = [(d, 0.9 * d - 0.28 * d * d + 0.03 * random.gauss(0, 1)) for d in distances]
    proxy = [(d, 0.8 * d - 0.02 * d * d + 0.03 * random.gauss(0, 1)) for d in distances]
    examples: list[dict[str, Any]] = [
        {"prompt": f"{hostile}Where is Tarn?", "completion": f"{hostile}Tarn lies in the north, " * 4, "score": 3.1, "tokens": 41},
        {"prompt": f"{hostile}Name two fish.", "completion": f"{hostile}Herring and cod, as asked, herring and cod.", "note": "repeats"},
    ]
    return {
        "schema_version": 1,
        "kind": "observatory",
        "stage": "ppo",
        "alarms": [
            _alarm("kl", "Far from the reference", "ok", 2.2, 6.0, "nats", "Replies are still likely under the first model."),
            _alarm("length", "Length drifts", "alarm", 1.84, 1.5, "times the reference's length", f"{hostile}Length is no quality.", examples, 18),
            _alarm("unseen", "Over-refusal", "not measured", None, 0.1, "share", "Give harmless prompts with --prompts."),
            _alarm("hedging", "Hedging grows", "warning", 0.12, 0.15, "share", "The policy hedges more often.", examples[:1]),
        ],
        "sections": [
            {
                "name": "proxy_gold",
                "title": "Proxy and gold as KL grows",
                "text": "The reward model's score goes on rising; gold turns at about 1.6.",
                "charts": [
                    {
                        "title": "Score over distance",
                        "x_label": "sqrt(KL)",
                        "y_label": "score",
                        "series": [
                            {"name": "proxy", "kind": "line", "points": [[x, y] for x, y in proxy]},
                            {"name": "gold", "kind": "points", "points": [[x, y, y - 0.08, y + 0.08] for x, y in gold[::2]]},
                            {"name": "gold: fit", "kind": "line", "points": [[d, 0.9 * d - 0.28 * d * d] for d in distances]},
                            {
                                "name": "held-out judges",
                                "kind": "band",
                                "points": [[d, 0.6 * d - 0.1 * d * d, 0.6 * d - 0.1 * d * d - 0.1, 0.6 * d - 0.1 * d * d + 0.1] for d in distances],
                            },
                        ],
                        "marks": [{"x": 1.61, "label": "predicted peak"}, {"x": 1.7, "label": "observed peak"}],
                    }
                ],
                "tables": [
                    {
                        "title": "Fits",
                        "columns": ["law", "alpha", "beta", "peak at", "R2"],
                        "rows": [
                            ["best-of-n", {"value": 0.9, "low": 0.84, "high": 0.95, "n": 21}, 0.28, {"value": 1.61, "low": 1.48, "high": 1.75, "n": 21}, 0.97],
                            ["RL", 0.88, None, {"value": 1.66, "low": 1.5, "high": 1.85, "n": 21}, "0.98"],
                        ],
                        "note": "d = sqrt(KL); intervals resample prompts.",
                    }
                ],
                "samples": [],
            },
            {
                "name": "calibration",
                "title": "Is the reward model calibrated?",
                "text": "",
                "charts": [
                    {
                        "title": "Stated and observed",
                        "x_label": "stated probability",
                        "y_label": "observed share",
                        "series": [
                            {"name": "perfect", "kind": "line", "points": [[0.5, 0.5], [1, 1]]},
                            {"name": "reward model", "kind": "points", "points": [[0.5 + i / 10, 0.5 + i / 14, 0.42 + i / 14, 0.58 + i / 14] for i in range(5)]},
                        ],
                        "marks": [],
                    },
                    {"title": "Empty", "x_label": "", "y_label": "", "series": [{"name": "none", "kind": "line", "points": []}]},
                ],
                "tables": [],
                "samples": [],
            },
            {"name": "top", "title": "Highest rewards", "text": "Read these.", "samples": examples},
        ],
    }  # fmt: skip


def _alarm(
    kind: str,
    title: str,
    state: str,
    measured: float | None,
    threshold: float,
    unit: str,
    explanation: str,
    examples: list[dict[str, Any]] | None = None,
    step: int | None = None,
) -> dict[str, Any]:
    return {
        "kind": kind, "title": title, "state": state, "measured": measured, "threshold": threshold, "unit": unit,
        "explanation": explanation, "examples": examples or [], "next": "Raise beta, or stop earlier.", "step": step,
    }  # fmt: skip


def suites_table(models: tuple[str, ...] = ("base", "sft", "ppo", "ppo-ptx")) -> dict[str, Any]:
    """Four suites, of which one was not run at all and one not for every model; paired differences for the first row alone."""
    first = models[0]
    squad = {"value": 41.2, "low": 36.8, "high": 45.9, "n": 100, "clusters": 61}
    results = {first: squad} | {name: {**squad, "value": 30.2, "low": 25.9, "high": 34.6} for name in models[1:]}
    toxic = {
        name: {"value": 0.21 - 0.06 * place, "low": 0.19 - 0.06 * place, "high": 0.23 - 0.06 * place, "n": 1000}
        for place, name in enumerate(models)
    }
    entropy = {name: {"value": 0.37 + 0.02 * place, "low": 0.33, "high": 0.43, "n": 320} for place, name in enumerate(models)}
    rows = [
        _row("squadv2", "SQuADv2", "few-shot", "F1", "points", "higher", 4, results)
        | {
            "differences": {name: {"value": -11.0, "low": -14.2, "high": -7.7, "n": 100, "clusters": 61} for name in models[1:]},
            "paper": {"GPT 175B": 69.75, "PPO-ptx 175B": 65.8},
            "signature": "squad-v2 official normalization, best of the references",
        },
        _row("squadv2", "SQuADv2", "zero-shot", "F1", "points", "higher", 0, {name: {**squad, "n": 100} for name in models}),
        _row("realtoxicityprompts", "RealToxicityPrompts", "respectful", "toxicity", "share", "lower", 0, toxic)
        | {"signature": "local classifier 3a91", "paper": {"PPO-ptx 175B": 0.191}},
        _row("crows_pairs", "CrowS-Pairs", "basic", "entropy", "bits", "neither", 0, entropy),
        _row("hellaswag", "HellaSwag", "zero-shot", "accuracy", "share", "higher", 0,
             {name: {"not_run": "its context is too short"} if name == first else {"value": 0.31, "low": 0.22, "high": 0.41, "n": 100} for name in models}),
        _row("wmt15_fr_en", "WMT15 Fr-En", "zero-shot", "BLEU", "points", "higher", 0, {name: {"not_run": "no file newstest2015.fr was found"} for name in models}),
    ]  # fmt: skip
    return {
        "schema_version": 1,
        "kind": "suites",
        "models": list(models),
        "settings": {"temperature": 0, "seed": 0, "limit": 100},
        "rows": rows,
        "samples": [
            {
                "suite": "squadv2", "variant": "few-shot", "id": "q1", "prompt": "Title: Tarn\n\nQ: Where?\nA:", "references": ["north"],
                "outputs": {name: {"text": " in the north", "mark": 0.4} for name in models},
            }
        ],
    }  # fmt: skip


def _row(suite: str, title: str, variant: str, metric: str, unit: str, better: str, shots: int, results: dict[str, Any]) -> dict[str, Any]:
    return {
        "suite": suite, "title": title, "variant": variant, "metric": metric, "unit": unit, "better": better, "shots": shots,
        "items": 100, "signature": "", "results": results, "note": "",
    }  # fmt: skip


def people_comparison(*, biased: bool = False) -> dict[str, Any]:
    """A comparison of two models with every optional key, made up so that length explains a part of the win rate."""
    win = {"win_rate": 0.62, "low": 0.56, "high": 0.68, "n": 300, "clusters": 150, "ties": 31, "both_bad": 0.07}
    lost = {**win, "win_rate": 0.38, "low": 0.32, "high": 0.44}
    wins = [{"a": "ppo", "b": "sft", **win}, {"a": "sft", "b": "ppo", **lost}]
    heldout = [{"a": "ppo", "b": "sft", "win_rate": 0.57, "low": 0.48, "high": 0.66, "n": 90, "clusters": 80, "ties": 9}]
    rate = 0.5 + 0.5 * biased
    spread = 0.06 * math.sqrt(rate * (1 - rate)) * 2
    return {
        "schema_version": 1,
        "kind": "comparison",
        "voter": "people",
        "n_prompts": 150,
        "models": ["sft", "ppo"],
        "wins": wins,
        "scores": {},
        "descriptions": {},
        "groups": {},
        "samples": [],
        "leaderboard": [
            {"model": "ppo", "strength": 0.24, "low": 0.12, "high": 0.37, "rank": 1, "votes": 300},
            {"model": "sft", "strength": -0.24, "low": -0.37, "high": -0.12, "rank": 2, "votes": 300},
        ],
        "length_controlled": [{"a": "ppo", "b": "sft", "win_rate": 0.53, "low": 0.46, "high": 0.6, "n": 300, "slope": 0.81}],
        "both_bad": {"value": 0.07, "low": 0.04, "high": 0.1, "n": 300},
        "cohorts": {"train": {"wins": wins, "n_votes": 210}, "heldout": {"wins": heldout, "n_votes": 90}},
        "likert": {"sft": {"value": 4.1, "low": 3.9, "high": 4.3, "n": 150}, "ppo": {"value": 4.9, "low": 4.7, "high": 5.1, "n": 150}},
        "judge": {
            "name": "a local model",
            "orders": 2,
            "position_bias": {
                "first_rate": {"value": rate, "low": rate - spread, "high": min(1.0, rate + spread), "n": 300},
                "consistent": {"value": 1 - 0.9 * biased, "low": 0.9 - 0.9 * biased, "high": 1 - 0.8 * biased, "n": 150},
                "p": 1e-9 if biased else 0.71,
                "biased": biased,
            },
            "agreement_with_people": None if biased else {"agreement": {"value": 0.69, "low": 0.61, "high": 0.76, "n": 120}, "kappa": 0.38},
            "unreadable": 3,
            "failed": 0,
        },
    }
