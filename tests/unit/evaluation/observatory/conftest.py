"""Run directories and answers made by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from instructloop.core.records import Prompt
from instructloop.evaluation.observatory.answers import Answer

Make = Callable[..., Path]


def write_run(
    path: Path,
    *,
    stage: str = "ppo",
    config: Mapping[str, Any] | None = None,
    result: Mapping[str, Any] | None = None,
    metrics: Sequence[Mapping[str, Any]] = (),
    watch: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
    samples: Mapping[int, Sequence[Mapping[str, Any]]] | None = None,
    parents: Sequence[tuple[str, str]] = (),
) -> Path:
    """The files that a finished stage leaves."""
    path.mkdir(parents=True)
    head = {"schema_version": 1, "stage": stage}
    (path / "config.json").write_text(json.dumps({**head, "config": dict(config or {})}))
    rows = [{"role": role, "path": place, "sha256": None} for role, place in parents]
    (path / "lineage.json").write_text(json.dumps({**head, "parents": rows}))
    (path / "status.json").write_text(json.dumps({"status": "done"}))
    (path / "result.json").write_text(json.dumps(dict(result or {})))
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    for folder, steps in (("watch", watch), ("samples", samples)):
        for step, answers in (steps or {}).items():
            (path / folder).mkdir(exist_ok=True)
            (path / folder / f"step-{step:06d}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    return path


@pytest.fixture
def make_run(tmp_path: Path) -> Make:
    """``make_run("name", ...)`` writes a run below the test's folder."""

    def make(name: str = "ppo", **given: Any) -> Path:
        return write_run(tmp_path / name, **given)

    return make


@pytest.fixture
def answer() -> Callable[..., Answer]:
    """An answer from its text and what is known of it."""

    def make(text: str, prompt: str = "p", meta: Mapping[str, Any] | None = None, **given: Any) -> Answer:
        tokens = given.pop("tokens", len(text.split()))
        return Answer(prompt=Prompt(prompt=prompt, meta=meta or {}), completion=text, tokens=tokens, **given)

    return make
