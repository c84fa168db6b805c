"""``instructloop sample``: K distinct completions of each prompt, ready to be ranked (spec D1)."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instructloop.config import SampleConfig, to_json
from instructloop.core.errors import ConfigError
from instructloop.core.files import write_jsonl
from instructloop.core.records import Prompt
from instructloop.core.seeds import derive, stream
from instructloop.data.codec import TextCodec
from instructloop.data.prompts import keep_prompts
from instructloop.formats import read_prompts
from instructloop.formats.writers import to_row
from instructloop.generation import TorchEngine
from instructloop.generation.vllm_engine import VllmEngine, make_engine
from instructloop.models import context_tokens, load_causal, load_tokenizer
from instructloop.recipes.draws import Draws, Origin, origins_of
from instructloop.runs import Parent, RunDir, parent
from instructloop.training.flops import Size

if TYPE_CHECKING:
    from instructloop.recipes.sample_to_project import SampledProject

logger = logging.getLogger(__name__)
COMPLETIONS_FILE = "completions.jsonl"


def run_sample(cfg: SampleConfig, out: str | Path, *, resume: bool = False, prompts: Sequence[Prompt] | None = None) -> Path:
    """Write ``completions.jsonl`` (rows ``{"prompt", "completions", "models"}`` and the prompt's other fields) into a run directory.

    With ``cfg.project`` the prompts are the project's, and the completions also become tasks of one of its queues.

    Args:
        cfg: models, prompts, K.
        out: the run directory.
        resume: allow a killed attempt there; sampling starts over, since it is deterministic.
        prompts: records to use instead of ``cfg.prompts`` (the Python API).

    Raises:
        ConfigError: no model or no prompts are named.
    """
    if not cfg.models:
        raise ConfigError("sample.models is empty", hint="name at least one: --models runs/sft")
    if prompts is None and not cfg.prompts and not cfg.project:
        raise ConfigError("sample.prompts is empty", hint='name a JSONL file of {"prompt"} rows: --prompts FILE, or --project DIR')
    if cfg.pairwise and len(cfg.models) != 2:
        raise ConfigError(f"sample.pairwise compares two models, got {len(cfg.models)}", hint="--models A B")
    parents = [parent(f"model:{number}", model) for number, model in enumerate(cfg.models)]
    project = _project(cfg, parents) if cfg.project else None
    if cfg.prompts:
        parents.append(parent("prompts", cfg.prompts))
    with RunDir.open(out, stage="sample", config=to_json(cfg), parents=parents, resume=resume) as run:
        passed_over: dict[str, int] = {}
        if project is not None:
            records, passed_over = project.prompts()
        else:
            records = tuple(prompts) if prompts is not None else _read(cfg, run)
            records = records[: cfg.limit or None]
        counts: Counter[str] = Counter()
        rows, origins = [], []
        spent = {"tokens": 0.0, "flops": 0.0}
        for row, own in _sampled(cfg, records, run, counts, spent):
            rows.append(row)
            origins.append(own)
        if not rows:
            raise ConfigError(
                f"no prompt has two different completions ({dict(counts)})",
                hint="raise sampling.temperature or sample.draws, or use another model",
            )
        run.publish_file(COMPLETIONS_FILE, lambda path: write_jsonl(path, rows))
        filled = project.fill(rows, origins) if project is not None else {}
        sizes = Counter(len(row["completions"]) for row in rows)
        run.result(
            {
                "prompts": len(rows),
                "completions": sum(k * n for k, n in sizes.items()),
                "by_k": {str(k): sizes[k] for k in sorted(sizes)},
                **counts,
                **({"passed_over": passed_over} if passed_over else {}),
                **filled,
                **spent,
            }
        )
        logger.info("%d prompts with %s completions; %s", len(rows), dict(sorted(sizes.items())), dict(counts))
        if filled:
            logger.info("%d tasks in the queue %r of %s", filled["tasks"], filled["queue"], cfg.project)
    return run.path


def _project(cfg: SampleConfig, parents: Sequence[Parent]) -> "SampledProject":
    from instructloop.recipes.sample_to_project import SampledProject  # the store is an extra that plain sampling does without

    return SampledProject(cfg, parents)


def _read(cfg: SampleConfig, run: RunDir) -> tuple[Prompt, ...]:
    loaded = read_prompts(cfg.prompts, skip_bad_rows=cfg.skip_bad_rows)
    if loaded.skipped or loaded.notes:
        run.event(0, "input", loaded.describe(), source=cfg.prompts, skipped=[str(skip) for skip in loaded.skipped[:100]])
    return loaded.records


def _sampled(
    cfg: SampleConfig, prompts: Sequence[Prompt], run: RunDir, counts: Counter[str], spent: dict[str, float]
) -> Iterator[tuple[dict[str, Any], list[Origin]]]:
    """Rows, and where each of their completions came from."""
    engines = [_engine(cfg, path) for path in cfg.models]
    room = min(context_tokens(engine.model) for engine in engines) - cfg.sampling.max_new_tokens
    kept = keep_prompts(prompts, engines[0].codec, room)
    counts["over_long_prompts"] = kept.over_long
    for start in range(0, len(kept), cfg.portion):
        portion = kept.prompts[start : start + cfg.portion]
        drawn = [_draw(cfg, engine, number, portion, start) for number, engine in enumerate(engines)]
        spent["tokens"] += sum(own.seen for own in drawn)
        spent["flops"] += sum(own.flops for own in drawn)
        for offset, prompt in enumerate(portion):
            k = 2 if cfg.pairwise else chosen_k(cfg, start + offset)
            row = distinct_row(prompt, [own.of(offset) for own in drawn], cfg.models, k, counts)
            if row is not None:
                yield row, origins_of(row, cfg.models, drawn, offset)
        done = start + len(portion)
        run.metrics(done, "sample", {"prompts": done, "distinct_share": 1 - counts["identical"] / max(1, counts["drawn"])})
        logger.info("sampled %d of %d prompts", done, len(kept))


def chosen_k(cfg: SampleConfig, place: int) -> int:
    """How many completions the prompt at ``place`` gets: drawn from the configured distribution (spec D1: 4 to 9)."""
    random = stream(cfg.seed, "k", place)
    if not cfg.k_weights:
        return random.randint(cfg.min_completions, cfg.max_completions)
    return random.choices(range(cfg.min_completions, cfg.max_completions + 1), weights=cfg.k_weights)[0]


def _engine(cfg: SampleConfig, path: str) -> TorchEngine | VllmEngine:
    codec = TextCodec(load_tokenizer(path), chat_template=cfg.chat_template, name=path)
    return make_engine(cfg.engine, load_causal(path, cfg.compute, trainable=False), codec, sampling=cfg.sampling, follow=False)


def _draw(cfg: SampleConfig, engine: TorchEngine | VllmEngine, number: int, prompts: Sequence[Prompt], start: int) -> Draws:
    n = -(-cfg.samples_per_prompt // len(cfg.models))
    seed = derive(cfg.seed, "sample", number, start)
    rollouts = engine.generate(prompts, n=n, sampling=cfg.sampling, seed=seed)
    read = int(rollouts.batch.completion_lengths.sum())
    seen = int(rollouts.batch.prompt_lengths.sum()) // n + read
    return Draws(
        seed=seed,
        n=n,
        sampling={**to_json(cfg.sampling), "engine": cfg.engine},
        completions=rollouts.completions,
        finish_reasons=[str(reason) for reason in rollouts.finish_reasons],
        tokens=[int(count) for count in rollouts.mask.sum(1).tolist()],
        seen=seen,
        flops=Size.of(engine.model).forward(seen, read),
    )


def distinct_row(
    prompt: Prompt, drawn: Sequence[Sequence[str]], models: Sequence[str], k: int, counts: Counter[str]
) -> dict[str, Any] | None:
    """The first ``k`` distinct completions, models in turn; None (counted) if fewer than two are left.

    Args:
        prompt: what was completed.
        drawn: completions of each model.
        models: their names, in the same order.
        k: how many are wanted.
        counts: ``drawn``, ``identical``, ``empty``, ``too_few_distinct`` are counted here; nothing is dropped silently.
    """
    completions: list[str] = []
    sources: list[str] = []
    longest = max(len(own) for own in drawn)
    for place in range(longest):
        for model, own in zip(models, drawn, strict=True):
            if place >= len(own):
                continue
            text = own[place].strip()
            counts["drawn"] += 1
            if not text:
                counts["empty"] += 1
            elif text in completions:
                counts["identical"] += 1
            elif len(completions) < k:
                completions.append(text)
                sources.append(model)
    if len(completions) < 2:
        counts["too_few_distinct"] += 1
        return None
    return to_row(prompt) | {"completions": completions, "models": sources}
