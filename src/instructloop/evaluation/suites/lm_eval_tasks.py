"""The items of ``lm_eval_suites`` as tasks of lm-eval: its own task files, pointed at our items instead of the hub.

    python -m instructloop.evaluation.suites.lm_eval_tasks FOLDER --data DATA --limit 100

writes one YAML and one JSON-lines file a task; then ``--include_path FOLDER --tasks local_piqa,...`` makes lm-eval score exactly the items
that ``instructloop evaluate --suite lm_eval --suite-limit 100`` scores (with the same seed).
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from instructloop.core.errors import ConfigError, MissingExtraError
from instructloop.core.files import write_atomic, write_jsonl
from instructloop.evaluation.suites.catalogue import chosen
from instructloop.evaluation.suites.items import Loaded, load_all
from instructloop.evaluation.suites.lm_eval_suites import PREFIX
from instructloop.evaluation.suites.suite import Suite
from instructloop.scoring.sets import Item

LOCAL = "local_"
_LETTERS = "ABCDEFGHIJ"


class Official(NamedTuple):
    """Where lm-eval describes a task, and the columns that description reads."""

    file: str
    """Below ``lm_eval/tasks``."""
    split: str
    """Which split it scores."""
    columns: Callable[[Item, Sequence[str], int], Mapping[str, Any]]
    """From the item, its options and the number of the right one."""


def _generated(item: Item, _options: Sequence[str], _right: int) -> Mapping[str, Any]:
    return {"question": item.fields["question"], "answer": item.fields.get("solution") or item.references[0]}


OFFICIAL: Mapping[str, Official] = {
    "blimp": Official("blimp/_template_yaml", "train", lambda _item, own, _right: {"sentence_good": own[0], "sentence_bad": own[1]}),
    "piqa": Official(
        "piqa/piqa.yaml",
        "validation",
        lambda item, own, right: {"goal": item.fields["question"], "sol1": own[0], "sol2": own[1], "label": right},
    ),
    "openbookqa": Official(
        "openbookqa/openbookqa.yaml",
        "test",
        lambda item, own, right: {
            "question_stem": item.fields["question"],
            "choices": {"label": list(_LETTERS[: len(own)]), "text": list(own)},
            "answerKey": _LETTERS[right],
        },
    ),
    "boolq": Official(
        "super_glue/boolq/default.yaml",
        "validation",
        lambda item, _own, right: {"passage": item.fields["passage"], "question": item.fields["question"], "label": right},
    ),
    "truthfulqa_mc1": Official(
        "truthfulqa/truthfulqa_mc1.yaml",
        "validation",
        lambda item, own, _right: {
            "question": item.fields["question"],
            "mc1_targets": {"choices": list(own), "labels": [1] + [0] * (len(own) - 1)},
        },
    ),
    "gsm8k": Official("gsm8k/gsm8k.yaml", "test", _generated),
}


def write_tasks(
    folder: str | Path, data: Sequence[str], *, names: Sequence[str] = ("lm_eval",), limit: int = 0, seed: int = 0
) -> dict[str, str]:
    """Write the tasks whose data is found.

    Args:
        folder: gets the files; lm-eval's ``--include_path``.
        data: where the sets lie, as in ``instructloop evaluate --data``.
        names: suites or the group ``lm_eval``.
        limit: a random part of each set of this size; 0 takes all.
        seed: draws it.

    Returns:
        Suite to the name of its task.

    Raises:
        ConfigError: no data of any of them is there, or a suite is none of lm-eval's.
        MissingExtraError: lm-eval is not installed.
    """
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError.for_extra("lm_eval", "lm-eval")
    tasks = Path(next(iter(spec.submodule_search_locations))) / "tasks"
    suites = chosen(names)
    foreign = [suite.name for suite in suites if suite.name.removeprefix(PREFIX) not in OFFICIAL or not suite.name.startswith(PREFIX)]
    if foreign:
        raise ConfigError(f"{foreign[0]} is not in lm-eval's frame", hint=f"those are: {', '.join(PREFIX + name for name in OFFICIAL)}")
    written = {}
    for suite, own in zip(suites, load_all(suites, data, limit=limit, seed=seed).values(), strict=True):
        if isinstance(own, Loaded):
            written[suite.name] = _write(Path(folder), tasks, suite, own)
    return written


def _write(folder: Path, tasks: Path, suite: Suite, own: Loaded) -> str:
    name = suite.name.removeprefix(PREFIX)
    official = OFFICIAL[name]
    rows = []
    for item in own.scored:
        options = suite.options(item) if suite.options is not None else ()
        rows.append(official.columns(item, options, suite.right(item) if suite.right is not None else 0))
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / f"{LOCAL}{name}.jsonl").resolve()
    write_jsonl(file, rows)
    lines: dict[str, Any] = {
        "include": str(tasks / official.file),
        "task": LOCAL + name,
        "tag": [],
        "dataset_path": "json",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {official.split: str(file)}},
        "training_split": None,
        "validation_split": None,
        "test_split": None,
        "fewshot_split": None,
        "num_fewshot": 0,
    }
    lines["validation_split" if official.split != "test" else "test_split"] = official.split
    # each value as JSON, which is YAML too
    write_atomic(folder / f"{LOCAL}{name}.yaml", "".join(f"{key}: {json.dumps(value)}\n" for key, value in lines.items()))
    return LOCAL + name


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line in the module's first lines."""
    parser = argparse.ArgumentParser(prog="python -m instructloop.evaluation.suites.lm_eval_tasks", description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--data", action="append", required=True, help="folder or file of the sets; may be repeated")
    parser.add_argument("--suite", action="append", help="lm_eval_piqa, ...; all of them without it")
    parser.add_argument("--limit", type=int, default=0, help="a random part of this size")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    names = write_tasks(given.folder, given.data, names=given.suite or ("lm_eval",), limit=given.limit, seed=given.seed)
    print(",".join(names.values()))  # noqa: T201 - for lm-eval's --tasks


if __name__ == "__main__":
    main()
