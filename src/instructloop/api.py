"""The Python face, for notebooks and scripts: the same stages on lists, records or paths.

    import instructloop

    sft = instructloop.sft(model="models/base", data=[{"prompt": "Say hello.", "completion": "Hello!"}], out="runs/sft", epochs=3)
    rm = instructloop.reward_model(model=sft, data="rankings.jsonl", out="runs/rm")
    ppo = instructloop.ppo(model=sft, prompts=["Say hello."], reward=rm, out="runs/ppo", steps=20)
    print(instructloop.sample(ppo, ["Say hello."]))

The training functions take the fields of their stage's configuration as keywords, return the run directory, and raise the
errors of ``instructloop.core.errors``. Rows given as a list are kept in the run directory (``inputs/``), so that the run can be
resumed, verified and traced like one made from files.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from instructloop.config import PPOConfig, RewardModelConfig, RewardSpec, SamplingConfig, SFTConfig, from_mapping
from instructloop.core.records import Prompt
from instructloop.formats import read_demonstrations, read_prompts, read_rankings, read_texts
from instructloop.formats.writers import write_demonstrations, write_prompts, write_rankings, write_texts
from instructloop.runs import is_run

PathLike = str | os.PathLike[str]
Rows = PathLike | Iterable[Any]
"""A file, or rows as dictionaries, or records."""

__all__ = ["evaluate", "ppo", "reward_model", "sample", "sft"]


def sft(
    *,
    model: PathLike,
    data: Rows,
    out: PathLike,
    validation: Rows | None = None,
    pretrain_data: Rows | None = None,
    resume: bool = False,
    **settings: Any,
) -> Path:
    """Supervised fine-tuning (spec C).

    Args:
        model: base model.
        data: demonstrations; a file, rows, a snapshot, or a project folder, whose newest snapshot is taken.
        out: run directory; must be new unless ``resume``.
        validation: held-out demonstrations; None splits some off.
        pretrain_data: documents for the pretraining mix.
        resume: continue a stopped run.
        settings: further fields of ``SFTConfig``, e.g. ``epochs=3, optimizer={"lr": 1e-4}``.

    Returns:
        The run directory, which every ``model=`` accepts.
    """
    from instructloop.recipes.from_project import with_snapshots
    from instructloop.training.sft import run_sft

    keep = _Inputs(Path(out), resume)
    values = {
        "model": os.fspath(model),
        "data": keep.demonstrations("data", data),
        "validation": keep.demonstrations("validation", validation),
        "pretrain_data": keep.texts("pretrain_data", pretrain_data),
        **settings,
    }
    cfg = with_snapshots(from_mapping(SFTConfig, values, where="sft"), Path(out), resume=resume)
    return run_sft(cfg, Path(out), resume=resume)


def reward_model(
    *,
    model: PathLike,
    data: Rows,
    out: PathLike,
    validation: Rows | None = None,
    demonstrations: Rows | None = None,
    resume: bool = False,
    **settings: Any,
) -> Path:
    """A reward model from rankings or pairs (spec D).

    Args:
        model: initial trunk, usually the SFT run.
        data: rankings or chosen-rejected pairs; a file, rows, a snapshot, or a project folder, whose newest snapshot is taken.
        out: run directory; must be new unless ``resume``.
        validation: held-out rankings; None splits some off.
        demonstrations: whose mean reward becomes 0.
        resume: continue a stopped run.
        settings: further fields of ``RewardModelConfig``.

    Returns:
        The run directory.
    """
    from instructloop.recipes.from_project import with_snapshots
    from instructloop.training.reward_model import run_reward_model

    keep = _Inputs(Path(out), resume)
    values = {
        "model": os.fspath(model),
        "data": [keep.rankings("data", data)],
        "validation": keep.rankings("validation", validation),
        "demonstrations": keep.demonstrations("demonstrations", demonstrations),
        **settings,
    }
    cfg = with_snapshots(from_mapping(RewardModelConfig, values, where="reward_model"), Path(out), resume=resume)
    return run_reward_model(cfg, Path(out), resume=resume)


def ppo(
    *,
    model: PathLike,
    prompts: Rows,
    reward: PathLike | Mapping[str, Any] | Callable[..., Any],
    out: PathLike,
    pretrain_data: Rows | None = None,
    resume: bool = False,
    **settings: Any,
) -> Path:
    """PPO, or PPO-ptx with ``ptx_coef`` > 0 (spec E).

    Args:
        model: initial policy and reference.
        prompts: a file, texts, rows or records.
        reward: a reward-model run; ``{"name": ..., "args": ...}`` of a registered reward; or a function
            ``(prompts, completions) -> numbers``.
        out: run directory; must be new unless ``resume``.
        pretrain_data: documents of the pretraining mix.
        resume: continue a stopped run.
        settings: further fields of ``PPOConfig``.

    Returns:
        The run directory.
    """
    from instructloop.recipes.watched import run_ppo

    keep = _Inputs(Path(out), resume)
    values = {
        "model": os.fspath(model),
        "prompts": keep.prompts("prompts", prompts),
        "pretrain_data": keep.texts("pretrain_data", pretrain_data),
        **settings,
    }
    given: Any = None
    if isinstance(reward, str | os.PathLike):
        values["reward"] = RewardSpec(name="model", args={"path": os.fspath(reward)})
    elif isinstance(reward, Mapping):
        values["reward"] = dict(reward)
    else:
        given = reward
        values["reward"] = RewardSpec(name=getattr(reward, "__name__", type(reward).__name__))
    return run_ppo(from_mapping(PPOConfig, values, where="ppo"), Path(out), resume=resume, reward=given)


def evaluate(
    models: Mapping[str, PathLike],
    prompts: Rows,
    voter: PathLike | Callable[..., Any] | Any,
    *,
    sampling: Mapping[str, Any] | None = None,
    allow_seen_prompts: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Compare models on held-out prompts.

    Args:
        models: name to run or model directory, in the order in which they were trained.
        prompts: a file, texts, rows or records.
        voter: a reward-model run, or a function ``(prompts, completions) -> scores`` (higher wins, equal ties).
        sampling: fields of ``SamplingConfig``.
        allow_seen_prompts: go on although a model was trained on, or selected by, some of the prompts; the table counts them.
        settings: further keywords of ``instructloop.evaluation.evaluate`` (``seed``, ``n``, ``texts``, ``reference``...).

    Returns:
        The table: ``wins`` with intervals, ``scores``, ``groups``, ``samples``.

    Raises:
        ConfigError: prompts are not held out, as far as the models' lineage tells.
    """
    from instructloop.evaluation import RewardModelVoter
    from instructloop.evaluation import evaluate as compare
    from instructloop.evaluation.disjoint import refuse_seen

    judge = RewardModelVoter(os.fspath(voter)) if isinstance(voter, str | os.PathLike) else voter
    settings["sampling"] = from_mapping(SamplingConfig, dict(sampling or {}), where="sampling")
    named = {name: os.fspath(path) for name, path in models.items()}
    asked = _prompts(prompts)
    seen = refuse_seen(named.values(), [prompt.prompt for prompt in asked], allow=allow_seen_prompts)
    return {**compare(named, asked, judge, **settings).table, "seen_prompts": seen.as_json()}


def sample(model: PathLike, prompts: Rows, *, n: int = 1, seed: int = 0, chat_template: bool = True, **sampling: Any) -> list[list[str]]:
    """``n`` completions of each prompt.

    Args:
        model: run or model directory.
        prompts: a file, texts, rows or records.
        n: completions of each.
        seed: the same seed gives the same completions.
        chat_template: wrap string prompts as a user turn if the tokenizer has a template.
        sampling: fields of ``SamplingConfig`` (``temperature``, ``max_new_tokens``...).

    Returns:
        One list of texts per prompt.
    """
    from instructloop.config import ComputeConfig
    from instructloop.data import TextCodec
    from instructloop.generation import TorchEngine
    from instructloop.models import load_causal, load_tokenizer

    asked = _prompts(prompts)
    codec = TextCodec(load_tokenizer(os.fspath(model)), chat_template=chat_template, name=os.fspath(model))
    engine = TorchEngine(load_causal(os.fspath(model), ComputeConfig(), trainable=False), codec)
    rollouts = engine.generate(asked, n=n, sampling=from_mapping(SamplingConfig, sampling, where="sampling"), seed=seed)
    return [list(rollouts.completions[place * n : (place + 1) * n]) for place in range(len(asked))]


class _Inputs:
    """Paths of a stage's inputs; rows given as a list are first written into the run directory."""

    def __init__(self, out: Path, resume: bool) -> None:
        self.folder = out / "inputs"
        self.frozen = is_run(out) and not resume  # opening the run will refuse; its inputs must not change before that

    def demonstrations(self, name: str, rows: Rows | None) -> str:
        return self._path(name, rows, read_demonstrations, write_demonstrations)

    def rankings(self, name: str, rows: Rows | None) -> str:
        return self._path(name, rows, read_rankings, write_rankings)

    def prompts(self, name: str, rows: Rows | None) -> str:
        return self._path(name, rows, read_prompts, write_prompts)

    def texts(self, name: str, rows: Rows | None) -> str:
        return self._path(name, rows, read_texts, write_texts)

    def _path(self, name: str, rows: Rows | None, read: Callable[..., Any], write: Callable[[Path, Any], None]) -> str:
        if rows is None:
            return ""
        if isinstance(rows, str | os.PathLike):
            return os.fspath(rows)
        file = self.folder / f"{name}.jsonl"
        if not self.frozen:
            write(file, read(list(rows)).records)
        return str(file)


def _prompts(rows: Rows) -> tuple[Prompt, ...]:
    records: tuple[Prompt, ...] = read_prompts(os.fspath(rows) if isinstance(rows, str | os.PathLike) else list(rows)).records
    return records
