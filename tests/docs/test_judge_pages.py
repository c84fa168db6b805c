"""The commands and files of the pages on judges and selection are ones that the program understands."""

import re
import shlex
from pathlib import Path

import pytest

from instructloop.cli.arguments import parse_stage
from instructloop.config import EvaluationConfig, JudgeConfig, SelectionConfig, SFTConfig
from instructloop.evaluation.judges import read_template

DOCS = Path(__file__).resolve().parents[2] / "docs/how-to"
KINDS = {"evaluate": EvaluationConfig, "select": SelectionConfig, "train sft": SFTConfig}


def commands(page: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.startswith("instructloop ")]
    return [[word for word in shlex.split(line)[1:] if word != "..."] for line in lines]


@pytest.mark.parametrize(("page", "count"), [("judge.md", 4), ("select-a-model.md", 2)])
def test_every_command_of_a_page_is_understood(page: str, count: int) -> None:
    found = commands(page)
    assert len(found) == count
    for words in found:
        verb = next(name for name in KINDS if words[: len(name.split())] == name.split())
        settings, given = parse_stage(KINDS[verb], words[len(verb.split()) :], f"instructloop {verb}")
        assert given.out.startswith("runs/")
        if verb == "evaluate" and not given.resume:
            assert settings.judge.wanted


def test_the_template_of_the_page_can_be_read_and_the_limits_are_the_defaults(tmp_path: Path) -> None:
    page = (DOCS / "judge.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"```toml\n(# mine.toml\n.*?)```", page, flags=re.DOTALL)
    (tmp_path / "mine.toml").write_text(body)
    assert "poems" in read_template(tmp_path / "mine.toml", "pair").system
    judge = JudgeConfig()
    for option, value in {
        "position-margin": judge.position_margin,
        "consistency-min": judge.consistency_min,
        "retries": judge.retries,
        "reasks": judge.reasks,
    }.items():
        assert f"`--judge.{option}` ({value:g})" in page
