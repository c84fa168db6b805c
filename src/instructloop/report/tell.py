"""What each stage did, in one sentence, and the few numbers that belong beside it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from instructloop.report.numbers import bare_percent, grouped, large, number
from instructloop.report.read import StageFiles, Story

Fact = tuple[str, str]

TITLES: Mapping[str, tuple[str, str]] = {
    "build": ("The data", "What everything below was made from."),
    "pretrain": ("The base model", "Predicts the next token of documents; it continues a text and follows no instruction."),
    "sft": ("Supervised fine-tuning", "Learns to answer as the demonstrations do (spec C)."),
    "sample": ("Completions to rank", "Several answers of the current models to each prompt, for labelers to order."),
    "label": ("Rankings", "Labelers order the answers from best to worst, with ties."),
    "rm": ("Reward model", "Learns a number that is higher for the answer people preferred (spec D)."),
    "ppo": ("Reinforcement learning", "Raises the reward while a KL penalty holds the policy near its start (spec E)."),
    "evaluate": ("Evaluation", "Every model on the same held-out prompts."),
}


def title_of(family: str) -> tuple[str, str]:
    """Heading and subheading of a stage family."""
    return TITLES.get(family, (family.replace("_", " ").capitalize(), ""))


_PER_POINT = {
    "pretrain": ("batch_tokens", "tokens, one optimizer step"),
    "sft": ("batch_size", "sequences, one optimizer step"),
    "rm": ("batch_prompts", "ranked prompts, one optimizer step"),
    "ppo": ("batch_size", "rollouts, one iteration"),
}


def per_point(family: str, stages: Sequence[StageFiles]) -> str:
    """How many observations stand behind a point of the training curves; held-out metrics use all held-out rows."""
    name, what = _PER_POINT.get(family, ("", ""))
    sizes = {int(stage.config[name]) for stage in stages if stage.config.get(name)}
    return f"Each point of a curve: {' or '.join(grouped(size) for size in sorted(sizes))} {what}." if sizes else ""


def sentence(story: Story, stage: StageFiles) -> str:
    """What was trained on what."""
    tell = _SENTENCES.get(stage.family)
    return tell(story, stage) if tell else ""


def source(story: Story, path: Any) -> str:
    """A path as a reader knows it: the stage it comes from and the file, or the last part of a foreign path."""
    if isinstance(path, list | tuple):
        return " + ".join(source(story, one) for one in path)
    text = str(path)
    owner = story.stage_of(text)
    last = Path(text).name
    if owner is None:
        return (Path(text).parent.name if last == "model" else last) or text
    return owner.name if last in {owner.name, "model"} else f"{owner.name}/{last}"


def _pretrain(story: Story, stage: StageFiles) -> str:
    size, seen = stage.result.get("parameters"), stage.result.get("tokens_seen")
    shape = f"A model of {large(size)} parameters" if size else "A model"
    read = f" read {large(seen)} tokens" if seen else " was trained"
    return f"{shape}{read} of {source(story, stage.config.get('data', ''))}."


def _sft(story: Story, stage: StageFiles) -> str:
    cfg, result = stage.config, stage.result
    count = result.get("demonstrations")
    text = f"{source(story, cfg.get('model', ''))} learned {grouped(count) if count else 'the'} demonstrations"
    text += f" of {source(story, cfg.get('data', ''))} for {cfg.get('epochs', '?')} epochs"
    share = result.get("pretrain_share") or cfg.get("pretrain_fraction") or 0
    if share:
        text += f", with {bare_percent(share)} % pretraining text mixed in"
    return text + "."


def _rm(story: Story, stage: StageFiles) -> str:
    cfg, result = stage.config, stage.result
    prompts, pairs = result.get("prompts"), result.get("pairs")
    counted = f"{grouped(prompts)} ranked prompts with {grouped(pairs)} strict pairs" if prompts and pairs else "rankings"
    text = f"Started from {source(story, cfg.get('model', ''))} and trained on {counted} of {source(story, cfg.get('data', ''))}"
    if result.get("normalized_on"):
        text += f"; its zero is the mean of {result['normalized_on']}"
    return text + "."


def _ppo(story: Story, stage: StageFiles) -> str:
    cfg, result = stage.config, stage.result
    reward = cfg.get("reward", {})
    judge = reward.get("args", {}).get("path") or reward.get("name", "a reward")
    text = f"{source(story, cfg.get('model', ''))} answered prompts of {source(story, cfg.get('prompts', ''))}"
    if result.get("episodes"):
        text += f" {grouped(result['episodes'])} times"
    text += f", was scored by {source(story, judge)}, and held by a KL penalty of beta = {number(float(cfg.get('beta', 0)))}"
    if cfg.get("ptx_coef"):
        text += f"; pretraining text of weight {number(float(cfg['ptx_coef']))} kept in every step (PPO-ptx)"
    return text + "."


def _sample(story: Story, stage: StageFiles) -> str:
    return f"Answers of {source(story, list(_values(stage.config.get('models'))))} to {source(story, stage.config.get('prompts', ''))}."


def _label(story: Story, stage: StageFiles) -> str:
    ranked = source(story, stage.config.get("completions", ""))
    return f"Answers of {ranked} were ranked." if ranked else ""


def _values(models: Any) -> list[str]:
    if isinstance(models, Mapping):
        return [str(path) for path in models.values()]
    return [str(one).rpartition("=")[2] for one in models or ()]


_SENTENCES: Mapping[str, Callable[[Story, StageFiles], str]] = {
    "pretrain": _pretrain,
    "sft": _sft,
    "rm": _rm,
    "ppo": _ppo,
    "sample": _sample,
    "label": _label,
}

_NOT_FACTS = frozenset({"schema_version", "stage", "loss", "accuracy", "lr", "grad_norm", "wins", "tokens", "flops"})


def facts(stage: StageFiles) -> list[Fact]:
    """Plain numbers and words of ``result.json``, in its order."""
    found = []
    for name, value in stage.result.items():
        if name in _NOT_FACTS or value in (None, "") or isinstance(value, Mapping | list):
            continue
        found.append((words(name), _plain(value)))
    return found


def tables(stage: StageFiles) -> list[tuple[str, list[Fact]]]:
    """Nested counts of ``result.json`` (notes, skipped rows) as small tables; estimates are shown elsewhere."""
    found = []
    for name, value in stage.result.items():
        if isinstance(value, Mapping) and name not in {"first", "last", "held_out", "wins"}:
            rows = [(words(str(key)), _plain(one)) for key, one in value.items() if not isinstance(one, Mapping | list) and one is not None]
            if rows:
                found.append((words(name), rows))
    return found


def words(name: str) -> str:
    """``score_bias`` to ``score bias``."""
    return name.replace("_", " ")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return grouped(value)
    return number(value) if isinstance(value, float) else str(value)
