"""The list of controls in the documentation is the list of tests that run."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "security.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if re.match(r"\| \d+ \|", line)]


def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)}


def test_all_twenty_controls_are_listed_in_order() -> None:
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, 21))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_control_names_tests_and_files_that_exist(row: str) -> None:
    _, _, _, where, tests, _ = row.split("|")
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / "src" / "instructloop" / path).exists(), path
    named = re.findall(r"`(tests/[^`:]+\.py)(?:::(\w+))?`", tests)
    assert named
    for file, test in named:
        assert (ROOT / file).is_file(), file
        assert not test or test in names_in(ROOT / file), f"{file} has no {test}"
