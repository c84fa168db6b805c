"""The documentation says what the program does: generated pages are current, and every command named in prose exists."""

import re
import subprocess
import sys
from pathlib import Path

from instructloop.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_generated_reference_pages_are_current() -> None:
    checked = subprocess.run([sys.executable, str(ROOT / "scripts" / "reference"), "--check"], capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stderr


def test_every_command_in_the_documentation_exists() -> None:
    verbs = {name.split()[0] for name in VERBS}
    unknown = []
    for page in PAGES:
        for line in _console_lines(page.read_text(encoding="utf-8")):
            words = line.split()
            verb = words[1] if len(words) > 1 else ""
            if not verb.startswith("-") and verb not in verbs:
                unknown.append(f"{page.name}: {line}")
    assert unknown == []


def _console_lines(text: str) -> list[str]:
    blocks = re.findall(r"```(?:console|bash)\n(.*?)```", text, flags=re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("instructloop ")]


def test_every_page_of_the_navigation_exists_and_every_page_is_in_it() -> None:
    navigation = set(re.findall(r": ([\w/-]+\.md)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    assert navigation == pages
