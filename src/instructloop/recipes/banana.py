"""The banana exercise (spec I17, W6): one reward, one small model, and three strengths of the KL tether.

With beta = 0 the policy hacks the reward ("banana banana banana"); with a beta far too high it does not move; in between it stays fluent and
improves. ``run_banana`` trains all three, samples the results anew on the same prompts, and leaves a table, samples and a picture.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import files
from itertools import product
from pathlib import Path
from typing import Any, Literal

from instructloop.config.ppo import PPOConfig, RewardSpec
from instructloop.config.shared import CheckpointConfig, ComputeConfig, OptimizerConfig, SamplingConfig
from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.core.files import read_json, read_jsonl, write_json
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive, permutation
from instructloop.stats.bootstrap import mean_interval

logger = logging.getLogger(__name__)

Regime = Literal["reference", "no tether", "tethered", "too tight"]

_NAMES = ("Lily", "Tom", "Mia", "Ben", "Sue", "Max", "Anna", "Tim", "Lucy", "Sam", "Amy", "Jack", "Sara", "Leo", "Jane", "Bob")
_OPENINGS = (
    "Once upon a time, there was a little child named {name}. {name}",
    "One day, {name} went to the park with a friend. They",
    "{name} had a small dog. One day, the dog",
    "It was a rainy day and {name} was at home. {name}",
    "{name} and Mom went to the store. They saw",
    "One morning, {name} woke up and looked outside. There",
    "{name} found an old box in the garden. Inside",
    "There once was a big tree near the house of {name}. One day",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class BananaRow:
    """One policy of the exercise, measured on fresh samples of its published weights."""

    regime: Regime
    beta: float | None
    """None for the reference itself."""
    n: int
    reward: float
    reward_low: float
    """Ends of the 95 % interval of the mean reward, prompts resampled."""
    reward_high: float
    reward_std: float
    kl: float
    """Mean sequence KL to the reference, in nats."""
    distinct_2: float
    """Different token pairs over all token pairs of the samples."""
    length: float
    eos_rate: float


def story_openings(count: int, seed: int) -> list[Prompt]:
    """Openings of small stories, every one once before any repeats."""
    texts = [opening.format(name=name) for opening, name in product(_OPENINGS, _NAMES)]
    order = permutation(len(texts), seed, "openings")
    return [Prompt(prompt=texts[order[index % len(order)]]) for index in range(count)]


def miniature_base() -> Path:
    """Directory of the base model that ships with the package.

    Raises:
        ConfigError: this installation has none.
    """
    folder = Path(str(files("instructloop"))) / "miniature" / "base"
    if not (folder / "config.json").is_file():
        raise ConfigError("this installation ships no base model", hint="name one: --model DIR (any Hugging Face causal language model)")
    return folder


def parse_reward(text: str) -> RewardSpec:
    """``sentiment``, ``contains:WORD`` (counted), ``file.py:function``, or the name of a reward without arguments."""
    name, colon, argument = text.partition(":")
    if name == "contains":
        return RewardSpec(name="contains", args={"word": argument, "count": True})
    if colon:
        return RewardSpec(name="python", args={"path": text})
    return RewardSpec(name=text)


def default_betas(reward: RewardSpec) -> tuple[float, float, float]:
    """No tether, a fitting one, one far too tight, in units of the reference's spread.

    A counted word is rare and pays anew each time, so a single one is worth several spreads and needs a stronger tether.
    """
    return (0.0, 2.0, 50.0) if reward.name == "contains" else (0.0, 0.15, 10.0)


def banana_config(model: Path, reward: RewardSpec, *, beta: float, steps: int, seed: int, max_new_tokens: int = 40) -> PPOConfig:
    """PPO as the exercise runs it: the reward in units of the reference's own spread, so that one beta fits many rewards.

    Completions may run into the length limit without penalty: a story's opening need not end.
    """
    return PPOConfig(
        seed=seed,
        model=str(model),
        reward=reward,
        reward_shift="reference_mean",
        reward_scale="reference_std",
        beta=beta,
        steps=steps,
        batch_size=128,
        minibatches=4,
        missing_eos="keep",
        chat_template=False,
        sampling=SamplingConfig(max_new_tokens=max_new_tokens),
        # falling, so that the noise of a whitened batch settles: it is all that moves a policy whose beta is far too high
        optimizer=OptimizerConfig(lr=5e-4, schedule="linear", final_fraction=0.05, warmup_steps=5, warmup_start=0.1),
        value_optimizer=OptimizerConfig(lr=1e-3, schedule="constant"),
        warn_kl=15.0,
        compute=ComputeConfig(micro_batch_tokens=8192),
        checkpoint=CheckpointConfig(every_steps=20, keep=1),
    )


def run_banana(
    out: Path,
    *,
    model: str = "",
    reward: str = "",
    betas: tuple[float, ...] = (),
    steps: int = 60,
    seed: int = 0,
    evaluation_samples: int = 512,
    prompts: Sequence[Prompt] | None = None,
    resume: bool = False,
) -> Path:
    """Train the three regimes and write ``banana.json``, ``banana.png`` and the runs ``beta-*`` into ``out``.

    Args:
        out: directory of the exercise.
        model: any Hugging Face causal language model; empty takes the base that ships with the package.
        reward: see ``parse_reward``; empty counts the word "boat", which small models know.
        betas: no tether, a fitting one, one that is far too tight; empty takes ``default_betas``.
        steps: PPO iterations of each.
        seed: base of all random streams.
        evaluation_samples: completions sampled from each policy at the end, and from the reference.
        prompts: prompts to use instead of story openings.
        resume: go on where a killed exercise stopped.

    Returns:
        ``out / "banana.json"``.

    Raises:
        ConfigError: not three different betas.
    """
    from instructloop.runs import resolve_model
    from instructloop.training.ppo import run_ppo

    directory = resolve_model(model) if model else miniature_base()
    spec = parse_reward(reward or "contains:boat")
    betas = betas or default_betas(spec)
    if len(set(betas)) != len(betas) or len(betas) != 3:
        raise ConfigError(f"the exercise compares three different betas, got {betas}", hint="for example --betas 0 0.15 10")
    training = list(prompts) if prompts is not None else story_openings(len(_OPENINGS) * len(_NAMES), seed)
    regimes: tuple[Regime, ...] = ("no tether", "tethered", "too tight")
    rows: list[BananaRow] = []
    samples: list[dict[str, Any]] = []
    for regime, beta in zip(regimes, betas, strict=True):
        config = banana_config(Path(directory), spec, beta=beta, steps=steps, seed=seed)
        run = out / f"beta-{beta:g}"
        if not (run / "result.json").is_file():
            run_ppo(config, run, resume=resume, prompts=training)
        logger.info("beta %g is trained: %s", beta, run)
        if not rows:
            row, texts = measure(config, Path(directory), "reference", None, training, evaluation_samples)
            rows.append(row)
            samples.append({"regime": "reference", "beta": None, "completions": texts})
        row, texts = measure(config, run, regime, beta, training, evaluation_samples)
        rows.append(row)
        samples.append({"regime": regime, "beta": beta, "completions": texts})
    path = out / "banana.json"
    result = {
        "schema_version": 1,
        "kind": "banana",
        "model": str(directory),
        "reward": asdict(spec) | {"args": dict(spec.args)},
        "steps": steps,
        "seed": seed,
        "rows": [asdict(row) for row in rows],
        "samples": samples,
    }
    write_json(path, result)
    draw(out, result)
    return path


def measure(
    config: PPOConfig, policy: Path, regime: Regime, beta: float | None, prompts: Sequence[Prompt], count: int
) -> tuple[BananaRow, list[dict[str, str]]]:
    """Sample a policy anew (the same prompts and noise for every regime) and measure reward, divergence and variety."""
    from instructloop.core.records import prompt_text
    from instructloop.data import TextCodec
    from instructloop.generation.torch_engine import TorchEngine
    from instructloop.models.load import load_causal, load_tokenizer
    from instructloop.objectives.kl import sequence_kl
    from instructloop.rewards import as_reward
    from instructloop.training.ppo_metrics import distinct_2
    from instructloop.training.ppo_steps import logprobs_of

    codec = TextCodec(load_tokenizer(policy), chat_template=config.chat_template)
    network = load_causal(policy, config.compute, trainable=False)
    reference = load_causal(config.model, config.compute, trainable=False)
    order = permutation(len(prompts), config.seed, "banana")
    chosen = [prompts[order[index % len(order)]] for index in range(count)]
    rollouts = TorchEngine(network, codec).generate(chosen, n=1, sampling=config.sampling, seed=derive(config.seed, "banana"))
    rewards = as_reward(config.reward)(rollouts).scores
    divergence = sequence_kl(rollouts.logprobs, logprobs_of(reference, rollouts.batch, config), rollouts.mask)
    interval = mean_interval(rewards.tolist(), [prompt_text(prompt.prompt) for prompt in chosen], seed=config.seed)
    row = BananaRow(
        regime=regime,
        beta=beta,
        n=count,
        reward=interval.value,
        reward_low=interval.low,
        reward_high=interval.high,
        reward_std=float(rewards.std(correction=0)),
        kl=float(divergence.mean()),
        distinct_2=distinct_2(rollouts.batch.completion_tokens, rollouts.mask),
        length=float(rollouts.batch.completion_lengths.float().mean()),
        eos_rate=float(rollouts.ended.float().mean()),
    )
    shown = [
        {"prompt": prompt_text(prompt.prompt), "completion": text}
        for prompt, text in zip(chosen[:4], rollouts.completions[:4], strict=True)
    ]
    return row, shown


def table(path: Path) -> list[list[str]]:
    """Header and rows of the result as text, for a terminal."""
    lines = [["regime", "beta", "reward (95 %)", "gain in sd", "KL nats", "distinct-2", "of reference", "n"]]
    rows: list[Mapping[str, Any]] = read_json(path)["rows"]
    reference = rows[0]
    for row in rows:
        gain = (row["reward"] - reference["reward"]) / max(reference["reward_std"], 1e-9)
        lines.append(
            [
                row["regime"],
                "" if row["beta"] is None else f"{row['beta']:g}",
                f"{row['reward']:.3f} [{row['reward_low']:.3f}, {row['reward_high']:.3f}]",
                f"{gain:+.2f}",
                f"{row['kl']:.2f}",
                f"{row['distinct_2']:.3f}",
                f"{row['distinct_2'] / max(reference['distinct_2'], 1e-9):.0%}",
                str(row["n"]),
            ]
        )
    return lines


def sample_lines(path: Path) -> list[str]:
    """One sample of each regime on the same prompt, as lines for a terminal."""
    lines: list[str] = []
    for entry in read_json(path)["samples"]:
        name = entry["regime"] if entry["beta"] is None else f"{entry['regime']} (beta {entry['beta']:g})"
        first = entry["completions"][0]
        lines.append(f"{name}: {first['prompt']} >>> {' '.join(first['completion'].split())}")
    return lines


def draw(out: Path, result: Mapping[str, Any]) -> Path:
    """``banana.png``: reward, sequence KL and distinct-2 of the three regimes over the iterations.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError.for_extra("matplotlib", "report") from error
    panels = (("reward", "mean reward"), ("kl", "sequence KL to the reference (nats)"), ("distinct_2", "distinct-2"))
    colors = {"no tether": "#c2410c", "tethered": "#15803d", "too tight": "#1d4ed8"}
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    reference = result["rows"][0]
    for place, (key, label) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        if key == "reward":  # distinct-2 depends on the number of samples: there the first iteration is the reference
            axes.axhline(reference[key], color="0.6", linewidth=1, linestyle="--", label="reference")
        for row in result["rows"][1:]:
            metrics = list(read_jsonl(out / f"beta-{row['beta']:g}" / "metrics.jsonl"))
            steps, values = [line["step"] for line in metrics], [line[f"ppo/{key}"] for line in metrics]
            axes.plot(steps, values, color=colors[row["regime"]], label=f"beta {row['beta']:g} ({row['regime']})")
        if key == "kl":
            axes.set_yscale("symlog", linthresh=1)
        axes.set_xlabel("PPO iteration")
        axes.set_title(label, fontsize=10)
        axes.grid(alpha=0.25)
        if place == 1:
            axes.legend(fontsize=8, frameon=False)
    figure.suptitle(f"One reward ({result['reward']['name']}), three tethers", fontsize=11)
    path = out / "banana.png"
    figure.savefig(path, dpi=120)
    return path
