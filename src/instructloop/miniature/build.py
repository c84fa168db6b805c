"""The miniature as files: what a newcomer's own data would look like, written by a seed.

The world itself has one fixed seed, that of the base model shipped in ``base/``: a base must know the facts that tasks ask about.
The ``seed`` of a build varies prompts, demonstrations and documents.

The full recipe, base model included, from nothing (a quarter of an hour on an idle core); it is how ``base/`` was made:

    instructloop run miniature-base --out runs/base
    instructloop run miniature --set base=runs/base/stages/pretrain
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from instructloop.core.errors import ConfigError
from instructloop.core.files import write_atomic, write_json, write_jsonl
from instructloop.core.records import Demonstration, Prompt, prompt_json
from instructloop.core.seeds import stream
from instructloop.miniature import labelers, tasks
from instructloop.miniature.corpus import documents
from instructloop.miniature.freeform import freeform_prompts
from instructloop.miniature.replies import good_reply
from instructloop.miniature.templates import FAMILIES
from instructloop.miniature.world import World, make_world

WORLD_SEED = 0
TOKENIZER_DOCUMENTS = 20_000
BASE = Path(__file__).parent / "base"
"""The shipped base model: an ordinary Hugging Face Llama directory with its tokenizer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sizes:
    """How much of everything a build writes."""

    documents: int = 12_000
    heldout_documents: int = 300
    demonstrations: int = 3_000
    validation_demonstrations: int = 150
    train_prompts: int = 6_000
    validation_prompts: int = 200
    test_prompts: int = 500
    judge_prompts: int = 0
    """Further training prompts, neither in ``prompts_train`` nor demonstrated: for the rankings of held-out judges; 0 writes none."""
    vocabulary: int = 0
    """Entries of a tokenizer trained on the documents; 0 trains none (the shipped base has its own)."""


def sizes_of(changed: Mapping[str, int]) -> Sizes:
    """The default sizes with some changed by name."""
    names = {field.name for field in fields(Sizes)}
    for name, count in changed.items():
        if name not in names or count < 0:
            raise ConfigError(f"miniature.sizes: {name} = {count} is no size", hint=f"sizes: {', '.join(sorted(names))}")
    return Sizes(**dict(changed))


def bay() -> World:
    """The world that the shipped base model knows."""
    return make_world(WORLD_SEED)


def build(out: Path, seed: int = 0, sizes: Sizes | Mapping[str, int] | None = None) -> dict[str, int]:
    """Write corpus, held-out text, demonstrations, prompts by split, free-form prompts and the few-shot prefix.

    No prompt of a demonstration is among the training prompts that are ranked and rolled out. The test prompts do not depend
    on ``seed``: the test set is fixed.

    Args:
        out: folder to fill; existing files are replaced.
        seed: of everything but the world and the test set.
        sizes: how much of each, or the fields that differ from the defaults by name.

    Returns:
        Rows written by file name.

    Raises:
        ConfigError: a size is misspelt or negative.
    """
    world = bay()
    sizes = sizes if isinstance(sizes, Sizes) else sizes_of(sizes or {})
    out.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}

    def write(name: str, rows: Iterable[dict[str, Any]]) -> None:
        listed = list(rows)
        write_jsonl(out / name, listed)
        counts[name] = len(listed)

    write("corpus.jsonl", documents(world, sizes.documents, seed))
    write("heldout.jsonl", documents(world, sizes.heldout_documents, WORLD_SEED, "heldout"))
    write("demonstrations.jsonl", map(_demonstration_row, labelers.demonstrations(world, sizes.demonstrations, seed)))
    write(
        "demonstrations_validation.jsonl",
        map(_demonstration_row, labelers.demonstrations(world, sizes.validation_demonstrations, seed, "validation")),
    )
    asked = tasks.prompts(world, "train", sizes.demonstrations + sizes.train_prompts + sizes.judge_prompts, seed)[sizes.demonstrations :]
    write("prompts_train.jsonl", map(prompt_row, asked[: sizes.train_prompts]))
    if sizes.judge_prompts:
        write("prompts_judges.jsonl", map(prompt_row, asked[sizes.train_prompts :]))
    write("prompts_validation.jsonl", map(prompt_row, tasks.prompts(world, "validation", sizes.validation_prompts, seed)))
    write("prompts_test.jsonl", map(prompt_row, tasks.prompts(world, "test", sizes.test_prompts, WORLD_SEED)))
    write("freeform.jsonl", map(prompt_row, freeform_prompts(world)))
    write_atomic(out / "few_shot.txt", few_shot_prefix(world, seed))
    if sizes.vocabulary:
        from instructloop.miniature.tokenizer import save_tokenizer, train_tokenizer

        texts = (row["text"] for row in documents(world, min(sizes.documents, TOKENIZER_DOCUMENTS), seed))
        save_tokenizer(train_tokenizer(texts, sizes.vocabulary), out / "tokenizer")
    write_json(out / "build.json", {"seed": seed, "world_seed": WORLD_SEED, "rows": counts, "kinds": sorted(FAMILIES)})
    return counts


def prompt_row(prompt: Prompt) -> dict[str, Any]:
    """A prompt as it stands in JSONL."""
    return {"prompt": prompt_json(prompt.prompt), **prompt.meta}


def _demonstration_row(demonstration: Demonstration) -> dict[str, Any]:
    row = {key: value for key, value in demonstration.meta.items() if key != "task"}
    return {"prompt": prompt_json(demonstration.prompt), "completion": demonstration.completion, **row}


def few_shot_prefix(world: World, seed: int = 0) -> str:
    """Six exchanges in the frame of the chat template, all well answered: what makes a base model answer at all (spec H3)."""
    random = stream(seed, "few-shot")
    lines = []
    for kind in ("fact", "write_words", "unknown", "brainstorm", "insult", "write_fact"):
        prompt = tasks.make_prompt(world, kind, "train", random)
        lines.append(f"{prompt.prompt}\n{good_reply(prompt, random)}\n")
    return "".join(lines)
